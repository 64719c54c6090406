"""``lamdemo compare``: one transfer through several checkpoints, side by side."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from lamdemo.cli.carrying import about, aim, watched
from lamdemo.cli.common import (
    Device,
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
    smooth: Annotated[
        int,
        typer.Option(min=0, max=8, metavar="K", help="Frames to add between two steps."),
    ] = 2,
    refinement: Refinement = None,
    device: Device = AUTO,
) -> None:
    """Carry one action over to one picture with several checkpoints, and measure each result alike.

    Writes [bold]compare.mp4[/] (the source and all results, in step) and [bold]report.json[/] (the measures of
    each, and how familiar the source is to it).

    [bold]Example[/]

    [cyan]lamdemo compare walk.mp4 street.jpg --checkpoint noisy --checkpoint discrete --out result[/]
    """
    from tqdm import tqdm

    from lamdemo.engine import ActionEdit, TransferPipeline, resolve_checkpoint
    from lamdemo.jobs.compare import (
        COMPARE_SIDE,
        MEASURES,
        Entry,
        check_names,
        check_pace,
        grid_columns,
        write_grid,
    )
    from lamdemo.jobs.compare import compare as run
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
    folders = {name: resolve_checkpoint(name) for name in names}
    configs = [read_config(folder)[0] for folder in folders.values()]
    shown = {name: Path(name).name if Path(name).is_absolute() else name for name in names}
    if len(set(shown.values())) < len(names):
        # Two folders of one name: told apart by the folders they are in.
        shown = {name: f"{folders[name].parent.name}/{folders[name].name}" for name in names}
    fps = configs[0].fps
    for name, config in zip(names, configs, strict=True):
        check_pace(shown[name], config.fps, fps)
    frames, available = watched(source, fps, source_range, max_steps, smooth)
    past = aim(target, target_time, fps, max(c.world_model.context for c in configs), COMPARE_SIDE)
    request = TransferRequest(frames, past, fps, edit, smooth, max_steps, temperature, seed, refinement=refinement)

    def load(label: str) -> TransferPipeline:
        name = next(n for n in names if shown[n] == label)
        return TransferPipeline.from_pretrained(folders[name], device=device)

    entries: list[Entry] = []
    with tqdm(total=len(names) * request.steps, desc="compare", unit="step", leave=False, disable=None) as bar:
        for news in run(request, list(shown.values()), load):
            if isinstance(news, Entry):
                entries.append(news)
            elif news.step is not None:
                bar.set_postfix_str(news.name)
                bar.update(news.index * request.steps + news.step - bar.n)

    with appearing_whole(out) as folder:
        write_grid(folder / "compare.mp4", request, entries)
        height, width = entries[0].panel.shape[1:3]
        report: dict[str, Any] = {
            "inputs": {
                "source": source.name,
                "source_range": str(source_range) if source_range else None,
                "target": target.name,
                "target_time": target_time,
                "target_context": len(past),
            },
            "settings": {
                "strength": strength,
                "reverse": reverse,
                "repeat": repeat,
                "seed": seed,
                "temperature": temperature,
                "refinement": refinement,
                "max_steps": max_steps,
                "fps": fps,
                "smooth": smooth,
                "device": device,
            },
            "steps": {"available": available, "used": request.span, "made": request.steps},
            "size": {"width": past.shape[2], "height": past.shape[1]},
            "panels": ["source", *(e.name for e in entries)],
            "columns": grid_columns(len(entries) + 1, width / height),
            "checkpoints": [entry.as_dict() for entry in entries],
            "meaning": {m.key: m.meaning for m in MEASURES},
            "seconds": round(time.monotonic() - begun, 3),
            **about(ctx.obj or []),
        }
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (folder / "report.json").write_text(as_text(text), encoding="utf-8")
    typer.echo(f"{out / 'compare.mp4'} ({len(entries)} checkpoints, {request.steps} steps)")
    for entry in entries:
        if entry.verdict is not None:
            typer.echo(f"{entry.name}: {entry.verdict.sentence}")
        if entry.out_of_distribution is not None and entry.out_of_distribution.warning:
            typer.echo(f"warning: {entry.name}: {entry.out_of_distribution.warning}")
