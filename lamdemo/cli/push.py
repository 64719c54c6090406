"""``lamdemo push``: a checkpoint for the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamdemo.cli.common import CheckpointFolder, checked_place, some_path, some_text
from lamdemo.core.errors import LamdemoError


def push(
    checkpoint: CheckpointFolder,
    repo: Annotated[
        str | None, typer.Argument(parser=some_text, metavar="REPO", help="owner/name; made if need be.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="DIR", help="Write what would be pushed to a folder too, or instead."),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(parser=some_text, metavar="ID", help="The card's, as the Hub calls it: apache-2.0, cc-by-nc-4.0."),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(parser=some_text, metavar="ID", help="On the Hub, that it was trained on; may be repeated."),
    ] = None,
    reports: Annotated[
        Path | None,
        typer.Option(
            parser=some_path, metavar="DIR", help="Reports of `lamdemo evaluate`, whose figures the card gives."
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Seen by its owner alone, where it is made.")] = False,
    revision: Annotated[
        str | None, typer.Option(parser=some_text, metavar="NAME", help="A branch; the main one without it.")
    ] = None,
    message: Annotated[str | None, typer.Option(parser=some_text, metavar="TEXT", help="Of the commit.")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Propose it instead of putting it there.")] = False,
) -> None:
    """Push a checkpoint with all that it brings and a model card to the Hub; log in with `hf auth login` before.

    The card has the Hub's fields at its head (licence, library, tags, data, results of reports that are of these
    weights); one that the checkpoint has keeps its words.

    [bold]Examples[/]

    [cyan]lamdemo push runs/mine/checkpoint me/my-model --license cc-by-nc-4.0[/]

    [cyan]lamdemo push layers --out folder[/]
    """
    if repo is None and out is None:
        raise LamdemoError("There is nowhere to push to; give owner/name, or --out for a folder.")
    import tempfile

    from lamdemo.engine import hub, resolve_checkpoint, sharing

    if out is not None:
        checked_place(out, folder=True)
    source = resolve_checkpoint(checkpoint)
    with tempfile.TemporaryDirectory() as scratch:
        folder = sharing.save(
            source,
            out or Path(scratch),
            name=repo or source.name,
            license=license,
            datasets=dataset or (),
            reports=reports,
        )
        if "\nlicense:" not in (folder / hub.CARD_NAME).read_text(encoding="utf-8"):
            typer.echo("lamdemo: the card names no licence, so nobody may use it; give --license.", err=True)
        if repo is None:
            typer.echo(str(folder))
            return
        address = hub.push(
            folder,
            repo,
            private=private or None,
            revision=revision,
            message=message,
            create_pr=create_pr,
        )
    typer.echo(address)
