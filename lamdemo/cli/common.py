"""What the commands share: kinds of arguments, devices, results that appear whole, words for reports."""

from __future__ import annotations

import math
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lamdemo.core.errors import LamdemoError, reason, shown_name

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline


def some_path(text: str) -> Path:
    """A path as an argument; an empty one is most often a variable of the shell that is not set.

    What cannot even be asked for is refused here: a name too long, a folder that is closed, links in a circle.
    """
    if not text.strip():
        raise typer.BadParameter("it is empty, give a name")
    if re.match(r"(https?|ftp|s3|gs)://", text):
        raise typer.BadParameter("addresses are not opened, download it and give the file")
    path = Path(text)
    with suppress(RuntimeError):  # there is no such home
        path = path.expanduser()
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except ValueError as error:
        raise typer.BadParameter("it holds a character that no name can, give another") from error
    except OSError as error:
        raise typer.BadParameter(f"{shown_name(path)} cannot be used, {reason(error).lower()}") from error
    return path


def some_text(text: str) -> str:
    """A name as an argument."""
    if not text.strip():
        raise typer.BadParameter("it is empty, give a name")
    return text


Checkpoint = Annotated[
    str | None,
    typer.Option(
        parser=some_text,
        metavar="ID",
        help="A folder, a bundled name, or owner/name\\[@revision] on the Hugging Face Hub. "
        "The bundled one without it.",
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto (the best there is), cpu, cuda, cuda:1, mps, ...")]
Things = Annotated[
    list[Path] | None,
    typer.Option(
        parser=some_path,
        metavar="DIR",
        help="Folder of cut-outs with alpha (PNG, WebP) that act in scenes; the bundled ones without it. Repeatable.",
    ),
]
Backgrounds = Annotated[
    list[Path] | None,
    typer.Option(
        parser=some_path,
        metavar="DIR",
        help="Folder of photographs of places for scenes, beside frames of the videos. May be repeated.",
    ),
]
Photos = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="Photographs for the procedural scenes."),
]
Cache = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="For decoded frames; OUT/cache without it."),
]
HeldOut = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="FILE", help="TOML file of the clips not to train on; all without it."),
]
StopAfter = Annotated[
    float | None, typer.Option(min=0, metavar="MIN", help="Stop training after so many minutes; call again.")
]
CheckpointFolder = Annotated[
    str, typer.Argument(parser=some_text, metavar="CHECKPOINT", help="A folder, or a bundled name.")
]
VideosOrPack = Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="Folder of videos, or a pack.")]
JudgedPart = Annotated[
    Literal["train", "validation", "test", "all"], typer.Option(help="Part of the split to judge on.")
]
DrawSeed = Annotated[int, typer.Option(min=0, metavar="N", help="Of what is drawn at random.")]
TrainingSteps = Annotated[int, typer.Option(min=1, metavar="N", help="Steps of training.")]
CommandHistory = Annotated[int, typer.Option(min=1, max=16, metavar="N", help="Commands that are seen at a step.")]
FramesBetween = Annotated[int, typer.Option(min=0, max=8, metavar="K", help="Frames to add between two steps.")]
Threads = Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads to compute with on a CPU.")]


@dataclass(frozen=True)
class Span:
    """A part of a clip."""

    start: float = 0.0  # in seconds
    end: float | None = None  # in seconds; None for the clip's own end

    @property
    def seconds(self) -> float | None:
        """How long it is; None up to the clip's own end."""
        return None if self.end is None else self.end - self.start

    def __str__(self) -> str:
        return f"{self.start:g}:" + ("" if self.end is None else f"{self.end:g}")


def span(text: str) -> Span:
    """``A:B`` in seconds, where either may be left out."""
    first, colon, second = text.partition(":")
    with suppress(ValueError):
        found = Span(float(first or 0), float(second) if second.strip() else None)
        # Written so that "nan" fails too.
        whole = found.end is None and 0 <= found.start < math.inf
        if colon and (whole or 0 <= found.start < (found.end or 0) < math.inf):
            return found
    raise typer.BadParameter(f"{text!r} is no range of seconds such as 1.5:4, 2: or :3")


# What is done with an action, alike wherever one is carried over.
SourceRange = Annotated[
    Span | None,
    typer.Option(parser=span, metavar="A:B", help="Part of the source, in seconds, such as 1.5:4."),
]
TargetTime = Annotated[
    float | None,
    typer.Option(min=0, metavar="S", help="Where in a target clip to take over, in seconds; its beginning without."),
]
Strength = Annotated[float, typer.Option(min=-10, max=10, metavar="X", help="1 as seen, 0 no action.")]
Reverse = Annotated[bool, typer.Option("--reverse", help="The action backwards.")]
Repeat = Annotated[int, typer.Option(min=1, max=50, metavar="N", help="How often to carry it out.")]
NoiseSeed = Annotated[int, typer.Option(min=0, metavar="N", help="Of the noise that --temperature adds.")]
Temperature = Annotated[
    float, typer.Option(min=0, max=2, metavar="X", help="Share of the latents' noise to add; 0 is none.")
]
Refinement = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=100,
        metavar="N",
        help="Steps of a search for latents that explain the source better; 0 for none, as many as serve without it.",
    ),
]


def loaded(
    checkpoint: str | Path | None, device: str, load: Callable[[Path, str], TransferPipeline] | None = None
) -> TransferPipeline:
    """The pipeline of a checkpoint, with a warning where its training has only begun.

    Args:
        checkpoint: a folder, a bundled name or an id on the Hub; the bundled default without it.
        device: to compute on.
        load: makes the pipeline, given its folder and the device; `TransferPipeline.from_pretrained` by default.

    Raises:
        LamdemoError: there is no such checkpoint or device, or the checkpoint is damaged.
    """
    from lamdemo.engine import TransferPipeline
    from lamdemo.engine.pretrained import hardly_trained, resolve_checkpoint
    from lamdemo.models.checkpoint import read_config

    folder = resolve_checkpoint(checkpoint)
    if load is not None:
        pipeline = load(folder, device)
    else:
        pipeline = TransferPipeline.from_pretrained(folder, device=device)
    pipeline.name = str(checkpoint) if checkpoint is not None and not Path(checkpoint).is_absolute() else folder.name
    if words := hardly_trained(read_config(folder)[1]):
        typer.echo(f"lamdemo: {words}", err=True)
    return pipeline


def checked_place(out: Path, *, folder: bool) -> None:
    """Find out whether results can be written before they are computed.

    Args:
        out: the folder or the file that will be written.
        folder: which of the two it is.

    Raises:
        LamdemoError: they cannot.
    """
    name = shown_name(out) if out.name else "The output"
    if folder and os.path.exists(out) and not os.path.isdir(out):
        raise LamdemoError(f"{name} is a file; give a folder for the results.")
    if not folder and os.path.isdir(out):
        raise LamdemoError(f"{name} is a folder; give the name of a file.")
    parent = out.absolute() if folder else Path(os.path.realpath(out)).parent
    while not os.path.exists(parent) and parent != parent.parent:
        parent = parent.parent
    if not os.path.isdir(parent) or not os.access(parent, os.W_OK | os.X_OK):
        raise LamdemoError(f"{name} cannot be written there; give a place that you may write to.")


@contextmanager
def appearing_whole(out: Path) -> Iterator[Path]:
    """A folder to write results to, which are moved to ``out`` once all are there, or removed on any error.

    Files and folders of the same names in ``out`` are replaced, others stay. Folders above ``out`` are made. The folder
    is in ``out``, the one place that is known to be writable and on the disk that the results belong to.
    """
    made = missing_folders(out)
    temporary = out / f".{secrets.token_hex(8)}.part"
    done = False
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in sorted(temporary.iterdir()):
            if (out / file.name).is_symlink():
                shutil.copyfile(file, out / file.name)  # what a link leads to is replaced, and the link stays
            else:
                if file.is_dir():
                    shutil.rmtree(out / file.name, ignore_errors=True)
                os.replace(file, out / file.name)
        done = True
    except OSError as error:
        raise LamdemoError(f"{shown_name(out)} cannot be written: {reason(error)}; choose another place.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if not done:
            remove_if_empty(made)


def missing_folders(*folders: Path) -> list[Path]:
    """Those of these folders, and of those above the last one, that are not there yet; innermost first."""
    return [folder for folder in (*folders, *folders[-1].absolute().parents) if not os.path.exists(folder)]


def remove_if_empty(folders: Sequence[Path]) -> None:
    """Remove those folders, innermost first, that hold nothing."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def command_line(arguments: Sequence[str]) -> str:
    """The command as a report quotes it: of absolute paths, which tell too much, only the names."""

    def shown(argument: str) -> str:
        option, equals, value = argument.partition("=")
        if option.startswith("--") and equals:
            return f"{option}={shown(value)}"
        return Path(argument).name if Path(argument).is_absolute() else argument

    return shlex.join(["lamdemo", *map(shown, arguments)])
