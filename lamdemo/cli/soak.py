"""``lamdemo soak``."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.common import Checkpoint, command_line, some_path
from lamdemo.core.errors import LamdemoError


def soak(
    ctx: typer.Context,
    minutes: Annotated[float, typer.Option(min=0.05, max=1440, metavar="N", help="How long visitors come.")] = 5,
    clients: Annotated[int, typer.Option(min=1, max=256, metavar="M", help="How many there are at once.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="FILE", help="Where to write the report; else it is printed."),
    ] = None,
    checkpoint: Checkpoint = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of what visitors do.")] = 0,
) -> None:
    """Let visitors, good and bad, come to a page of their own for a while, and report what became of it.

    It tells how long they waited, what was refused in which words, whether each result is that of a quiet run, and the
    server's memory, open files, threads and disk over time. Exit code 1: a visit was lost, a result was wrong, or
    something was left behind.

    [bold]Example[/]

    [cyan]lamdemo soak --minutes 30 --clients 64 --out soak.json[/]
    """
    if importlib.util.find_spec("gradio") is None:
        raise LamdemoError("The page needs Gradio; install it with: pip install 'lamdemo[app]'.")
    from lamdemo.evaluation.report import git_state
    from lamdemo.ui import soak as work

    code = git_state()
    found = work.soak(
        minutes, clients, checkpoint=checkpoint, seed=seed, say=lambda words: print(words, file=sys.stderr, flush=True)
    )
    report = {
        "command": command_line(ctx.obj or []),
        "minutes": minutes,
        "clients": clients,
        "seed": seed,
        "git": code,
        **found,
    }
    if out is None:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        work.write(report, out)
        print(json.dumps({key: report[key] for key in ("ends", "transfers_a_minute")}))
    if not work.good(report):
        raise typer.Exit(1)
