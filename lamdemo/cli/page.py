"""``lamdemo app``."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from lamdemo.cli.common import Checkpoint, some_text
from lamdemo.core.errors import LamdemoError


def page(
    checkpoint: Checkpoint = None,
    host: Annotated[
        str | None,
        typer.Option(
            parser=some_text,
            metavar="ADDRESS",
            help="Where to listen; 0.0.0.0 for every machine, this one only without it.",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="N", help="Port to listen at; 7860 without it.")
    ] = None,
) -> None:
    """Open the page on which clips and pictures are tried out, at http://127.0.0.1:7860.

    [bold]Examples[/]

    [cyan]lamdemo app --port 8080[/]

    [cyan]lamdemo app --checkpoint runs/first/checkpoint[/]
    """
    if importlib.util.find_spec("gradio") is None:
        raise LamdemoError("The page needs Gradio; install it with: pip install 'lamdemo[ui]'.")
    from lamdemo.ui import serve

    pipeline = None
    if checkpoint is not None:
        from lamdemo.engine import TransferPipeline

        pipeline = TransferPipeline.from_pretrained(checkpoint)
    serve(pipeline, host=host, port=port)
