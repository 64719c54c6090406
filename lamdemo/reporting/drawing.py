"""Writing plots: a page that can be zoomed and hovered over for each, and a still picture where a browser is at hand.

Pages show without a network: they share one file, Plotly's JavaScript (4.8 MB), beside them. It is written with them
and not kept under version control; a page that lacks it shows the still picture and says how to get the rest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

SCRIPT = "plotly.min.js"
_PAGE = """<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><title>{title}</title><script src="{script}"></script></head>
<body>
{plot}
<script>
if (!window.Plotly) document.body.innerHTML =
  '<p>A still picture, since {script} is not beside this page; ' +
  '<code>lamdemo report REPORTS --out FOLDER</code> writes both.</p>' +
  '<img width="{width}" alt="{title}" src="{name}.png">'
</script>
</body>
</html>
"""
_LONGEST = 180.0  # seconds for all pictures; a browser that will not start would be waited for without end
# A process of its own, since only a process can be ended whatever it waits for.
_DRAW = """
import json, sys
import kaleido
from choreographer.browsers.chromium import ChromeNotFoundError
jobs = json.load(sys.stdin)
try:
    # One browser for all; without MathJax, which it would fetch from the network.
    kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False, "timeout": 90}, cancel_on_error=True)
except ChromeNotFoundError:
    sys.exit(3)
"""


def write_plots(figures: Mapping[str, go.Figure], folder: Path, *, png: bool = True) -> str:
    """Write ``<name>.html`` for each plot, `SCRIPT` and, where a browser is at hand, ``<name>.png``.

    Args:
        figures: by name.
        folder: for the files; it is there.
        png: whether pictures are wanted.

    Returns:
        Why there are no pictures, in one sentence; "" where there are, or none were wanted.
    """
    for name, figure in figures.items():
        plot = figure.to_html(full_html=False, include_plotlyjs=False, include_mathjax=False, div_id=name)
        title, width = figure.layout.meta["title"], figure.layout.width
        page = _PAGE.format(title=title, script=SCRIPT, plot=plot, name=name, width=width)
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    if figures:
        (folder / SCRIPT).write_text(get_plotlyjs(), encoding="utf-8")
    if not png or not figures:
        return ""
    if find_spec("kaleido") is None:
        return "Pictures (PNG) were left out, since kaleido is not installed; pip install kaleido adds it."
    jobs = []
    for name, figure in figures.items():
        options = {"format": "png", "width": figure.layout.width, "height": figure.layout.height, "scale": 2}
        jobs.append({"fig": json.loads(figure.to_json()), "path": str(folder / f"{name}.png"), "opts": options})
    code = _draw(json.dumps(jobs))
    if code == 0 and all((folder / f"{name}.png").is_file() for name in figures):
        return ""
    for name in figures:
        (folder / f"{name}.png").unlink(missing_ok=True)
    why = {3: "no Chrome or Chromium was found; install one", None: "the browser did not answer; try it again"}
    return f"Pictures (PNG) were left out, since {why.get(code, 'the browser failed; try it again')}."


def _draw(jobs: str) -> int | None:
    """Draw pictures in another process; its exit code, None where it took too long."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DRAW], input=jobs, text=True, capture_output=True, timeout=_LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode
