"""``lamdemo compare``: one transfer through several checkpoints, side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lamdemo.cli.carrying import about, aim, watched
from lamdemo.cli.common import (
    Device,
    FramesBetween,
    NoiseSeed,
    Refinement,
    Repeat,
    Reverse,
    SourceRange,
    Strength,
    TargetTime,
    Temperature,
    appearing_whole,
    checked_place,
    some_path,
    some_text,
)
from lamdemo.cli.transfer import Target
from lamdemo.core.devices import AUTO, best_device
from lamdemo.core.errors import LamdemoError, as_text

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.jobs.compare import Entry
    from lamdemo.jobs.transfer import TransferRequest

Checkpoints = Annotated[
    list[str],
    typer.Option(
        "--checkpoint",
        parser=some_text,
        metavar="ID",
        help="A folder, a bundled name, or owner/name\\[@revision] on the Hugging Face Hub. Give it two to six times.",
    ),
]
Source = Annotated[Path, typer.Argument(parser=some_path, metavar="SOURCE", help="Clip with the action.")]
Out = Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="Folder for the two results.")]


def compare(
    ctx: typer.Context,
    source: Source,
    target: Target,
    checkpoint: Checkpoints,
    out: Out,
    source_range: SourceRange = None,
    target_time: TargetTime = None,
    strength: Strength = 1.0,
    reverse: Reverse = False,
    repeat: Repeat = 1,
    seed: NoiseSeed = 0,
    temperature: Temperature = 0.0,
    max_steps: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Steps made at most, repeats counted.")
    ] = 32,
    smooth: FramesBetween = 2,
    refinement: Refinement = None,
    device: Device = AUTO,
) -> None:
    """Carry one action over to one picture with several checkpoints, and measure each result alike.

    Writes [bold]compare.mp4[/] (the source and all results, in step) and [bold]report.json[/] (the measures of
    each, and how familiar the source is to it).

    [bold]Example[/]

    [cyan]lamdemo compare walk.mp4 street.jpg --checkpoint noisy --checkpoint discrete --out result[/]
    """
    from lamdemo.engine import ActionEdit, TransferPipeline
    from lamdemo.jobs.compare import (
        COMPARE_SIDE,
        check_names,
        check_pace,
        write_grid,
    )
    from lamdemo.jobs.transfer import TransferRequest
    from lamdemo.models import read_config

    begun = time.monotonic()
    checked_place(out, folder=True)
    names = check_names(checkpoint)
    device = best_device(device)
    edit = ActionEdit(strength, reverse, repeat)
    if source.suffix.lower() == ".npz":
        raise LamdemoError(f"{source.name} holds the latent actions of one checkpoint; compare them on a clip.")
    # All are looked up before the first begins: a name that is wrong should not cost the work of the others.
    folders = _told_apart(names)
    shown = list(folders)
    configs = [read_config(folder)[0] for folder in folders.values()]
    fps = configs[0].fps
    for name, config in zip(shown, configs, strict=True):
        check_pace(name, config.fps, fps)
    frames, available = watched(source, fps, source_range, max_steps, smooth)
    past = aim(target, target_time, fps, max(c.world_model.context for c in configs), COMPARE_SIDE)
    request = TransferRequest(frames, past, fps, edit, smooth, max_steps, temperature, seed, refinement=refinement)

    def load(name: str) -> TransferPipeline:
        return TransferPipeline.from_pretrained(folders[name], device=device)

    entries = _carried(request, shown, load)
    with appearing_whole(out) as folder:
        write_grid(folder / "compare.mp4", request, entries)
        report = _figures(request, entries, {"available": available, "used": request.span, "made": request.steps})
        inputs = {
            "source": source.name,
            "source_range": str(source_range) if source_range else None,
            "target": target.name,
            "target_time": target_time,
            "target_context": len(past),
        }
        seconds = {"seconds": round(time.monotonic() - begun, 3)}
        report = {"inputs": inputs} | report | seconds | about(ctx.obj or [])
        report["settings"]["device"] = device
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (folder / "report.json").write_text(as_text(text), encoding="utf-8")
    typer.echo(f"{out / 'compare.mp4'} ({len(entries)} checkpoints, {request.steps} steps)")
    _tell(entries)


def _tell(entries: Sequence[Entry]) -> None:
    """How much to trust each result, and whom the source is unlike to."""
    for entry in entries:
        if entry.verdict is not None:
            typer.echo(f"{entry.name}: {entry.verdict.sentence}")
        if entry.out_of_distribution is not None and entry.out_of_distribution.warning:
            typer.echo(f"warning: {entry.name}: {entry.out_of_distribution.warning}")


def _carried(request: TransferRequest, names: list[str], load: Callable[[str], TransferPipeline]) -> list[Entry]:
    """The results of all checkpoints, under a bar."""
    from tqdm import tqdm

    from lamdemo.jobs.compare import Entry, compare

    entries: list[Entry] = []
    with tqdm(total=len(names) * request.steps, desc="compare", unit="step", leave=False, disable=None) as bar:
        for news in compare(request, names, load):
            if isinstance(news, Entry):
                entries.append(news)
            elif news.step is not None:
                bar.set_postfix_str(news.name)
                bar.update(news.index * request.steps + news.step - bar.n)
    return entries


def _told_apart(names: Sequence[str]) -> dict[str, Path]:
    """Folders of checkpoints by the names that are shown: two folders of one name by the folders they are in.

    Raises:
        LamdemoError: there is no such checkpoint.
    """
    from lamdemo.engine import resolve_checkpoint

    folders = [resolve_checkpoint(name) for name in names]
    shown = [Path(name).name if Path(name).is_absolute() else name for name in names]
    if len(set(shown)) < len(names):
        shown = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    return dict(zip(shown, folders, strict=True))


def _figures(request: TransferRequest, entries: Sequence[Entry], steps: dict[str, int]) -> dict[str, Any]:
    """What the report says of the transfer and of each checkpoint."""
    from lamdemo.jobs.compare import MEASURES, grid_columns

    height, width = entries[0].panel.shape[1:3]
    settings = {
        "strength": request.edit.scale,
        "reverse": request.edit.negate,
        "repeat": request.edit.repeat,
        "seed": request.seed,
        "temperature": request.temperature,
        "refinement": request.refinement,
        "max_steps": request.limit,
        "fps": request.fps,
        "smooth": request.between,
    }
    return {
        "settings": settings,
        "steps": steps,
        "size": {"width": request.target.shape[2], "height": request.target.shape[1]},
        "panels": ["source", *(e.name for e in entries)],
        "columns": grid_columns(len(entries) + 1, width / height),
        "checkpoints": [entry.as_dict() for entry in entries],
        "meaning": {m.key: m.meaning for m in MEASURES},
    }
