"""Writes what the image installs: every package that ``requirements.txt`` comes to, with a version and its hashes.

    python container/lock.py WHEEL ...

Needs uv, and torch's builds for CPUs as wheels (``pip download --no-deps torch==VERSION+cpu``), which are not on the
usual index. ``requirements.lock`` is for every machine but for torch: that is in ``requirements-cpu.lock``, and, as the
usual build, which on Linux needs gigabytes of CUDA's libraries, in ``requirements-cuda.lock``.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

PLACE = Path(__file__).resolve().parent
HEAD = "# Written by container/lock.py; change requirements.txt and call it again.\n"
CUDA = ("torch", "nvidia-", "cuda-", "triton")


def entries(text: str) -> dict[str, str]:
    """The entries of a lock by package, each with its lines; a package may have several, for several Pythons."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        name = re.split(r"[=; ]", entry, maxsplit=1)[0]
        found[name] = f"{found[name]}\n{entry}" if name in found else entry
    return found


def of_wheels(entry: str, wheels: list[Path]) -> str:
    """The entry of a build that other wheels are of than those of the usual index."""
    name, version = wheels[0].name.split("-")[:2]
    if not entry.startswith(f"{name}=={version.partition('+')[0]} ") or len({w.name.split("-")[1] for w in wheels}) > 1:
        raise SystemExit(f"{wheels[0].name} is no build of what is locked.")
    hashes = [f"    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}" for wheel in wheels]
    return " \\\n".join([f"{name}=={version}", *hashes])


def main() -> None:
    """See the module."""
    wheels = [Path(name) for name in sys.argv[1:]]
    if not wheels:
        raise SystemExit(__doc__)
    command = [
        "uv",
        "pip",
        "compile",
        str(PLACE.parent / "requirements.txt"),
        "--universal",
        "--python-version",
        "3.11",
    ]
    quiet = ["--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header", "--quiet"]
    found = entries(subprocess.run([*command, *quiet], check=True, capture_output=True, text=True).stdout)
    for file, chosen in {
        "requirements.lock": [entry for name, entry in found.items() if not name.startswith(CUDA)],
        "requirements-cpu.lock": [of_wheels(found["torch"], wheels)],
        "requirements-cuda.lock": [entry for name, entry in found.items() if name.startswith(CUDA)],
    }.items():
        (PLACE / file).write_text(HEAD + "\n".join(chosen) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
