"""Everything that is measured, by one command, on whatever machine it runs.

    python -m benchmarks --out report.json [--only SECTION ...] [--repeats N] [--plots FOLDER]

Each section is measured in a process of its own, so that its memory is its own, one after another. What is not on the
machine (a browser, say) is left out with a sentence. benchmarks/README.md says how to read the report.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePath
from typing import Any

from benchmarks.measuring import ROOT, Missing, Settings, machine_in_words, memory
from lamdemo.core.devices import let_threads_wait

SECTIONS = {
    "start": "page",
    "load": "network",
    "decode": "media",
    "network": "network",
    "draw": "drawing",
    "transfers": "jobs",
    "command": "jobs",
    "write": "media",
    "drive": "jobs",
    "plan": "planning",
    "atlas": "planning",
    "train": "training",
    "growth": "growth",
    "peers": "peers",
    "page": "page",
    "page_memory": "page",
    "map": "browser",
    "space": "browser",
    "visitors": "browser",
}
"""Sections in the order in which they are measured, each a function of the module that is named."""


def measure(name: str, settings: Settings) -> dict[str, Any]:
    """One section, in this process: what its function tells, and the memory that it took."""
    import torch

    torch.set_num_threads(settings.threads)
    try:
        told = getattr(importlib.import_module(f"benchmarks.{SECTIONS[name]}"), name)(settings)
    except Missing as missing:
        return {"left out": str(missing)}
    return {**told, "memory": memory()}


def in_a_process(name: str, settings: Settings) -> dict[str, Any]:
    """One section, in a process of its own; a section that fails is told and stops no other."""
    with tempfile.TemporaryDirectory(prefix="lamdemo-") as scratch:
        out = Path(scratch, "section.json")
        words = [sys.executable, "-m", "benchmarks", "--section", name, "--out", str(out)]
        words += ["--repeats", str(settings.repeats), "--threads", str(settings.threads)]
        words += ["--transfers", str(settings.transfers)]
        words += ["--checkpoint", settings.checkpoint] if settings.checkpoint else []
        let_threads_wait()  # as the programs do
        environment = os.environ | {"OMP_NUM_THREADS": str(settings.threads)}
        done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode or not out.is_file():
            sys.stderr.write(done.stderr.decode(errors="replace"))
            return {"failed": f"exit status {done.returncode}"}
        return dict(json.loads(out.read_text(encoding="utf-8")))


def lines_of(section: dict[str, Any]) -> list[str]:
    """A section in words, a line for each thing that was measured."""
    if "left out" in section or "failed" in section:
        return [f"  {key}: {section[key]}" for key in ("left out", "failed") if key in section]
    lines = []
    for name, one in section.items():
        if not isinstance(one, dict) or not isinstance(one.get("seconds"), dict):
            continue
        seconds = one["seconds"]
        words = f"  {name}: {seconds['median']:.4g} s ({seconds['low']:.4g} to {seconds['high']:.4g})"
        lines.append(words + (f", {one['ratio']:.3g} times its floor" if "ratio" in one else ""))
    found = section.get("memory") or {}
    return [*lines, "  memory: " + ", ".join(f"{key} {value}" for key, value in found.items())]


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the report, JSON")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--repeats", type=int, default=Settings.repeats, help="of each measurement")
    parser.add_argument("--threads", type=int, default=Settings().threads, help="that compute; one a core without it")
    parser.add_argument("--transfers", type=int, default=Settings.transfers, help="while the page's memory is watched")
    parser.add_argument("--checkpoint", help="a folder, a bundled name or a Hub id; the bundled default without it")
    parser.add_argument("--plots", type=Path, help="folder for the plots of the growth")
    parser.add_argument("--section", choices=SECTIONS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(words: list[str]) -> None:
    """Measure what is asked for and write the report, after each section anew."""
    arguments = parsed(words)
    settings = Settings(arguments.checkpoint, max(arguments.repeats, 1), arguments.threads, arguments.transfers)
    from lamdemo.core.files import write_safely

    def write(report: dict[str, Any]) -> None:
        write_safely(arguments.out, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())

    if arguments.section is not None:
        write(measure(arguments.section, settings))
        return
    from lamdemo.engine import resolve_checkpoint
    from lamdemo.evaluation.report import git_state
    from lamdemo.models import checkpoint_hash

    folder, begun = resolve_checkpoint(settings.checkpoint), time.monotonic()
    report: dict[str, Any] = {
        # Of absolute paths, which tell too much, only the names.
        "command": shlex.join(
            ["python", "-m", "benchmarks", *(PurePath(w).name if os.path.isabs(w) else w for w in words)]
        ),
        "git": git_state(),
        "checkpoint": {"name": folder.name, "sha256": checkpoint_hash(folder)},
        "seed": 0,
        "repeats": settings.repeats,
        "threads": settings.threads,
        "machine": machine_in_words(),
        "sections": {},
    }
    for name in [name for name in SECTIONS if name in arguments.only]:
        print(name, flush=True)
        busy = round(os.getloadavg()[0], 2)
        report["sections"][name] = {**in_a_process(name, settings), "load average before": busy}
        report["seconds"] = round(time.monotonic() - begun)
        print("\n".join(lines_of(report["sections"][name])), flush=True)
        write(report)
    if arguments.plots is not None and "growth" in report["sections"]:
        from benchmarks.growth import growth_plots
        from lamdemo.reporting.drawing import write_plots

        arguments.plots.mkdir(parents=True, exist_ok=True)
        print(write_plots(growth_plots(report), arguments.plots))


if __name__ == "__main__":
    main(sys.argv[1:])
