"""``lamdemo app``."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from lamdemo.cli.common import Checkpoint, Device, loaded, some_text
from lamdemo.core.devices import AUTO, best_device, make_ready
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
    device: Device = AUTO,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Offer it to assistants too, as tools of an MCP server at /gradio_api/mcp/.")
    ] = False,
) -> None:
    """Open the page on which clips and pictures are tried out, at http://127.0.0.1:7860.

    [bold]Examples[/]

    [cyan]lamdemo app --port 8080[/]

    [cyan]lamdemo app --checkpoint runs/first/checkpoint[/]
    """
    if importlib.util.find_spec("gradio") is None:
        raise LamdemoError("The page needs Gradio; install it with: pip install 'lamdemo[app]'.")
    if mcp and importlib.util.find_spec("mcp") is None:
        raise LamdemoError("Tools for assistants need the package mcp; install it with: pip install 'lamdemo[app]'.")
    from lamdemo.ui import serve

    make_ready()
    pipeline = None
    if device != AUTO:
        best_device(device)  # before the page opens on one that is not there
    if checkpoint is not None:
        from lamdemo.ui.models import placed

        pipeline = loaded(checkpoint, device, placed)
    serve(pipeline, host=host, port=port, device=device, **({"mcp_server": True} if mcp else {}))
