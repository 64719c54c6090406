"""``lamdemo train-twin`` and ``lamdemo train-draft``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lamdemo.cli.common import (
    Cache,
    Device,
    HeldOut,
    Threads,
    checked_device,
    checked_place,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.errors import LamdemoError

if TYPE_CHECKING:
    from lamdemo.pipeline import TransferPipeline
    from lamdemo.training.traces import Trace

Sources = Annotated[
    list[str],
    typer.Option(
        parser=some_text,
        metavar="DIR[#PART]",
        help="Episodes with actions; may be given several times. #car, #arm: the part of a folder with an INDEX.tsv.",
    ),
]
Checkpoint = Annotated[
    str, typer.Argument(parser=some_text, metavar="CHECKPOINT", help="A folder, a bundled name or a Hub id.")
]


def train_twin(
    checkpoint: Checkpoint,
    episodes: Sources,
    out: Annotated[
        Path, typer.Option(parser=some_path, metavar="DIR", help="Gets the twin and what is needed to go on.")
    ],
    condition: Annotated[
        Literal["labels", "latents"],
        typer.Option(help="latents: train the checkpoint's own world model on, for comparison."),
    ] = "labels",
    split: HeldOut = None,
    cache: Cache = None,
    install: Annotated[bool, typer.Option("--install", help="Put a finished twin beside its checkpoint.")] = False,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps of training.")] = 1000,
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="Clips in a step.")] = 8,
    history: Annotated[int, typer.Option(min=1, max=16, metavar="N", help="Commands that are seen at a step.")] = 2,
    mirror: Annotated[
        bool, typer.Option(help="Learn from flipped pictures too, where it is known what commands do there.")
    ] = True,
    stop_after: Annotated[
        float | None, typer.Option(min=0, metavar="MIN", help="Stop training after so many minutes; call again.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of what is drawn at random.")] = 0,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Train a checkpoint's twin: the same world model, told what was commanded in the place of latent actions.

    It is what controllers and plans are compared with. Called again, it goes on where it stopped.

    [bold]Examples[/]

    [cyan]lamdemo train-twin noisy --episodes clips#car --episodes runs/doom --split configs/split.toml --out runs[/]
    """
    from lamdemo.models import Twin, TwinConfig, checkpoint_hash, save_checkpoint, save_companion
    from lamdemo.models.companions import TWIN
    from lamdemo.training.twins import TwinTrainer, TwinTrainingConfig

    pipeline, folder = _loaded(checkpoint, out, device, threads)
    made = [place for place in (out / "cache", out, *out.absolute().parents) if not place.exists()]
    try:
        kinds, judged = _kinds(pipeline, episodes, split, cache or out / "cache", mirror)
        config = TwinTrainingConfig(condition=condition, steps=steps, clips=clips, seed=seed)
        model, twin = pipeline.model, None
        if condition == "labels":
            widths = {name: traces[0].actions.shape[1] for name, traces in kinds.items()}
            sizes = model.config.encoder.channels, model.config.bottleneck.channels, model.config.encoder.grid
            twin = Twin(TwinConfig(widths, history=history, world_model=model.config.world_model), *sizes)
        trainer = TwinTrainer(config, model, twin, kinds, pipeline.model.device)
        trainer.resume(out)
        if not trainer.run(out, minutes=stop_after, report=typer.echo):
            typer.echo("The twin is not finished; call it again to go on.")
            return
        ahead = trainer.judge(judged) if judged else {}
        about = {
            "checkpoint": pipeline.checkpoint,
            "condition": condition,
            "steps": steps,
            "seed": seed,
            "frames": {name: sum(len(t.states) for t in traces) for name, traces in kinds.items()},
            "one step over copy, held out": ahead,
        }
        trained = trainer.finish()
        if isinstance(trained, Twin):
            for where in (out, folder) if install else (out,):
                save_companion(trained, where, TWIN, about)
                typer.echo(where / f"{TWIN}.safetensors")
        else:
            about["from"] = checkpoint_hash(folder)
            save_checkpoint(model, out / "model", about=about)
            typer.echo(out / "model")
        for name, figures in ahead.items():
            typer.echo(f"{name}: " + ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in figures.items()))
    finally:
        remove_if_empty(made)


def train_draft(
    checkpoint: Checkpoint,
    episodes: Sources,
    out: Annotated[
        Path, typer.Option(parser=some_path, metavar="DIR", help="Gets the draft and what is needed to go on.")
    ],
    videos: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="DIR", help="Videos to learn from too, whose actions nobody knows."),
    ] = None,
    clips: Annotated[int, typer.Option(min=1, metavar="N", help="Of these videos at most, five seconds each.")] = 500,
    twin: Annotated[bool, typer.Option("--twin", help="Distil the checkpoint's twin.")] = False,
    split: HeldOut = None,
    cache: Cache = None,
    install: Annotated[bool, typer.Option("--install", help="Put a finished draft beside its checkpoint.")] = False,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Steps of training.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of what is drawn at random.")] = 0,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Distil a checkpoint's world model into a small one, with which planners try thousands of actions.

    Called again, it goes on where it stopped.

    [bold]Examples[/]

    [cyan]lamdemo train-draft noisy --episodes clips#car --episodes runs/doom --split configs/split.toml --out runs[/]
    """
    import numpy as np
    import torch

    from lamdemo.models import Draft, DraftConfig, load_twin, save_companion
    from lamdemo.models.companions import DRAFT, TWIN_DRAFT
    from lamdemo.training.drafts import DraftTrainer, DraftTrainingConfig
    from lamdemo.training.traces import watch
    from lamdemo.training.twins import windows

    if twin and videos is not None:
        raise LamdemoError("A twin knows actions by their labels only; leave the videos without any out.")
    pipeline, folder = _loaded(checkpoint, out, device, threads)
    teacher = load_twin(folder, pipeline.model.device) if twin else None
    if twin and teacher is None:
        raise LamdemoError(f"The checkpoint {folder.name} brings no twin; train it first with lamdemo train-twin.")
    made = [place for place in (out / "cache", out, *out.absolute().parents) if not place.exists()]
    try:
        kinds, _ = _kinds(pipeline, episodes, split, cache or out / "cache", mirror=False)
        states, latents, weights = [], [], []
        for name, traces in kinds.items():
            whole = sum(len(t.states) for t in traces)
            for one in traces:
                if teacher is not None:
                    with torch.no_grad():
                        rows = windows(one.actions, teacher.config.history).to(pipeline.model.device)
                        latents.append(teacher.latents(name, rows).cpu())
                else:
                    latents.append(one.latents)
                states.append(one.states)
                weights.append(len(one.states) / whole)  # each kind as often as the others
        if videos is not None:
            chosen = _some_videos(videos, split, clips, seed)
            seen, inferred = watch(pipeline, chosen, cache or out / "cache")
            states, latents = states + seen, latents + inferred
            weights += [len(kinds) / max(len(seen), 1)] * len(seen)  # as often as all episodes together
        model = pipeline.model
        sizes = model.config.encoder.channels, model.config.bottleneck.channels, model.config.encoder.grid
        torch.manual_seed(seed)
        config = DraftTrainingConfig(steps=steps, seed=seed)
        large = teacher.world_model if teacher is not None else model.world_model
        trainer = DraftTrainer(config, Draft(DraftConfig(), *sizes), large, states, latents, weights, model.device)
        trainer.resume(out)
        trainer.run(out, report=typer.echo)
        draft = trainer.finish()
        over = trainer.judge()
        about = {
            "checkpoint": pipeline.checkpoint,
            "steps": steps,
            "seed": seed,
            "frames": int(np.sum([len(s) for s in states])),
            "variance kept": round(trainer.variance_kept, 4),
            "error over no change": round(over, 4),
        }
        name = TWIN_DRAFT if twin else DRAFT
        for where in (out, folder) if install else (out,):
            save_companion(draft, where, name, about)
            typer.echo(where / f"{name}.safetensors")
        typer.echo(f"variance kept {trainer.variance_kept:.3f}, error over no change {over:.3f}")
    finally:
        remove_if_empty(made)


def _some_videos(folder: Path, split: Path | None, count: int, seed: int) -> list[Path]:
    """Videos for training, chosen at random."""
    import numpy as np

    from lamdemo.data.splits import Split
    from lamdemo.video import find_videos

    parts = Split.read(split) if split is not None else Split()
    found = [v for v in find_videos(folder) if parts.part(v.relative_to(folder).as_posix()) == "train"]
    if not found:
        raise LamdemoError(f"{folder.name} has no video to learn from; give a folder that has.")
    chosen = np.random.default_rng(seed).permutation(len(found))[:count]
    return [found[i] for i in sorted(chosen)]


def _loaded(checkpoint: str, out: Path, device: str, threads: int | None) -> tuple[TransferPipeline, Path]:
    import torch

    from lamdemo.pipeline import TransferPipeline, resolve_checkpoint

    checked_place(out, folder=True)
    if threads is not None:
        torch.set_num_threads(threads)
    folder = resolve_checkpoint(checkpoint)
    return TransferPipeline.from_pretrained(folder, device=checked_device(device)), folder


def _kinds(
    pipeline: TransferPipeline, sources: list[str], split: Path | None, cache: Path, mirror: bool
) -> tuple[dict[str, list[Trace]], dict[str, list[Trace]]]:
    """Traces for training and, where a split names some of them, for validation, by the kind of their actions."""
    from lamdemo.data.episodes import open_episodes
    from lamdemo.data.splits import Split
    from lamdemo.training.traces import collect_traces

    parts = Split.read(split) if split is not None else None
    kinds: dict[str, list[Trace]] = {}
    judged: dict[str, list[Trace]] = {}
    for source in sources:
        place, _, part = source.partition("#")
        found = open_episodes(place, part=part or None)
        if found.spec.name in kinds:
            raise LamdemoError(f"Two sources have actions of the kind {found.spec.name}; give each kind once.")
        others = None
        if parts is not None:
            found, others = found.split(parts, "train"), found.split(parts, "validation")
        kinds[found.spec.name] = collect_traces(pipeline, found, cache, mirror=mirror)
        if not kinds[found.spec.name]:
            raise LamdemoError(
                f"No episode of {found.spec.name} is left to learn from; name fewer of them in the split."
            )
        if others is not None and len(others):
            judged[found.spec.name] = collect_traces(pipeline, others, cache)
    return kinds, judged
