"""Whether the page in this container answers; its exit status is what a container's health check asks for."""

import os
import sys
import urllib.request

port = os.environ.get("GRADIO_SERVER_PORT", "7860")
try:
    # Past any proxy: it is this machine that is asked.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"http://127.0.0.1:{port}/config", timeout=5) as answer:
        sys.exit(0 if answer.status == 200 else 1)
except OSError:
    sys.exit(1)
