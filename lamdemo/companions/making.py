"""Making one companion of a checkpoint: what the commands ``prior``, ``train-controller`` and so on do.

Each function keeps what is needed to go on in a folder, returns whether it came to the end, and goes on when it is
called again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes import Episodes, open_episodes
from lamdemo.data.splits import Split
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.control.held_out import of_episodes, stretches
from lamdemo.evaluation.futures import SPAN, evaluate_futures
from lamdemo.latent_space.sampling import finite_codes
from lamdemo.models.action_conditioned import ActionConditioned, ActionConditionedConfig
from lamdemo.models.checkpoint import checkpoint_hash, fingerprint, save_checkpoint
from lamdemo.models.companion_files import (
    BASELINE,
    DISTILLED,
    DISTILLED_BASELINE,
    load_action_conditioned,
    save_companion,
)
from lamdemo.models.controller import ControllerConfig, save_controller
from lamdemo.models.distilled import DistilledConfig, DistilledModel
from lamdemo.models.prior import FlowPriorConfig, futures_name, save_prior
from lamdemo.training import TrainConfig, training_recordings
from lamdemo.training.action_conditioned import BaselineTrainer, BaselineTrainingConfig, windows
from lamdemo.training.cached_features import CachedEpisode, cache_episodes, cache_videos, collect_steps
from lamdemo.training.controller import ControllerTrainingConfig, train_controller
from lamdemo.training.distillation import DistillationConfig, DistillationTrainer
from lamdemo.training.futures import train_futures
from lamdemo.training.prior import PairsConfig, PriorTrainConfig, collect_pairs, train_prior
from lamdemo.video import find_videos


@dataclass(frozen=True, eq=False)
class Work:
    """Where a companion is made, and where it goes."""

    pipeline: TransferPipeline  # of the checkpoint
    folder: Path  # of the checkpoint
    out: Path  # gets the companion, and what is needed to go on
    install: bool = False  # put a finished companion beside the checkpoint too
    cache: Path | None = None  # for states and decoded frames; `out/cache` without it
    stop_after: float | None = None  # stop training after so many minutes, to be called again
    say: Callable[[str], None] = print  # is told what was made

    @property
    def kept(self) -> Path:
        """The folder for states and decoded frames."""
        return self.cache or self.out / "cache"

    @property
    def places(self) -> tuple[Path, ...]:
        """The folders that get a finished companion."""
        return (self.out, self.folder) if self.install else (self.out,)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Channels of states, channels of latents, cells a side of the grid."""
        model = self.pipeline.model.config
        return model.encoder.channels, model.bottleneck.channels, model.encoder.grid


def make_controller(
    work: Work,
    name: str,
    episodes: Episodes,
    judged: Episodes | None,
    sizes: ControllerConfig,
    config: ControllerTrainingConfig,
    *,
    mirror: bool = True,
    reverse: bool = True,
    about: Mapping[str, Any] | None = None,
) -> bool:
    """Train a controller and write ``controllers/NAME.json`` and ``.safetensors``.

    Args:
        work: where.
        name: of the controller.
        episodes: to learn from.
        judged: to measure on; None for no others.
        sizes: of the controller.
        config: how to train.
        mirror: see `collect_steps`.
        reverse: see `collect_steps`.
        about: what else to note of it.

    Raises:
        LamdemoError: see `collect_steps` and `train_controller`.
    """
    seen = collect_steps(work.pipeline, episodes, work.kept, mirror=mirror, reverse=reverse)
    others = collect_steps(work.pipeline, judged, work.kept) if judged is not None and len(judged) else None
    known = train_controller(
        work.pipeline,
        seen,
        others,
        sizes,
        config,
        name=name,
        state=work.out / f"{name}.training.safetensors",
        stop_after=work.stop_after,
    )
    if known is None:
        return False
    for place in work.places:
        path = save_controller(
            known.controller,
            place,
            name,
            checkpoint=work.pipeline.checkpoint,
            spec=known.spec.to_json(),
            about={**known.about, **(about or {})},
        )
        work.say(str(path))
    for which, figures in known.about["figures"].items():
        work.say(f"{which}: R2 {figures['r2']:.3f}, error {figures['ratio']:.3f}, {figures['steps']} steps")
    return True


def make_futures(
    work: Work,
    name: str,
    episodes: Episodes,
    judged: Episodes | None,
    *,
    steps: int = 2500,
    seed: int = 0,
    mirror: bool = True,
    stretches_judged: int = 96,
) -> dict[str, Any] | None:
    """Train a prior that is told commands, and write ``futures-NAME.json`` and ``.safetensors``.

    Args:
        work: where.
        name: of the controller of these commands, which the checkpoint has.
        episodes: to learn from.
        judged: to measure on; None for no others.
        steps: of training.
        seed: of all that is drawn at random.
        mirror: see `collect_steps`.
        stretches_judged: how many stretches are measured on.

    Returns:
        What `evaluate_futures` found, with the ``data``; empty where nothing is measured, None where it was stopped.

    Raises:
        LamdemoError: the actions are not the controller's; see `collect_steps` and `train_futures`.
    """
    pipeline = work.pipeline
    known = pipeline.controller(name)
    seen = collect_steps(pipeline, episodes, work.kept, mirror=mirror)
    if seen.spec.names != known.spec.names:
        raise LamdemoError(f"These episodes have other actions than the controller {name}; give its own.")
    done = train_futures(
        pipeline,
        seen,
        PriorTrainConfig(steps=steps, seed=seed),
        name=name,
        state=work.out / f"{name}.futures",
        stop_after=work.stop_after,
    )
    if done is None:
        return None
    prior, about = done
    for place in work.places:
        save_prior(prior, place, {**about, "checkpoint": pipeline.checkpoint}, name=futures_name(name))
        work.say(str(place / f"{futures_name(name)}.safetensors"))
    if judged is None or not len(judged):
        return {}
    kind = of_episodes(name, judged, None, "all")
    side = pipeline.model.config.encoder.picture
    cut = list(stretches(kind, pipeline.fps, SPAN, stretches_judged, seed, side))
    return {**evaluate_futures(pipeline, prior, known, cut, seed=seed), "data": kind.about}


def token_patch(grid: int) -> int:
    """Cells a side of a controller's token: four tokens a side, or as near to it as the grid allows."""
    return next(p for p in range(max(grid // 4, 1), 0, -1) if grid % p == 0)


def make_action_conditioned(
    work: Work,
    sources: Sequence[str],
    split: Path | None,
    config: BaselineTrainingConfig,
    *,
    history: int = 2,
    mirror: bool = True,
) -> bool:
    """Train the action-conditioned baseline, or its counterpart.

    The baseline becomes ``twin.json`` and ``.safetensors``, the counterpart a checkpoint in ``model/``.

    Args:
        work: where.
        sources: of episodes, ``DIR`` or ``DIR#PART``, one for each kind of actions.
        split: TOML file of the clips not to train on; all without it.
        config: how to train.
        history: commands that are seen at a step.
        mirror: learn from flipped pictures too.

    Raises:
        LamdemoError: an episode cannot be read, or what lies in ``out`` is of another run.
    """
    pipeline = work.pipeline
    kinds, judged = _kinds(work, sources, split, mirror)
    model, baseline = pipeline.model, None
    if config.condition == "labels":
        widths = {name: episodes[0].actions.shape[1] for name, episodes in kinds.items()}
        baseline = ActionConditioned(
            ActionConditionedConfig(widths, history=history, world_model=model.config.world_model), *work.sizes
        )
    trainer = BaselineTrainer(config, model.world_model, baseline, kinds, model.device)
    trainer.resume(work.out)
    if not trainer.run(work.out, minutes=work.stop_after, report=work.say):
        return False
    one_step = trainer.judge(judged) if judged else {}
    about = {
        "checkpoint": pipeline.checkpoint,
        "condition": config.condition,
        "steps": config.steps,
        "seed": config.seed,
        "frames": {name: sum(len(t.states) for t in episodes) for name, episodes in kinds.items()},
        "one step over copy, held out": one_step,
    }
    trained = trainer.finish()
    if isinstance(trained, ActionConditioned):
        for place in work.places:
            save_companion(trained, place, BASELINE, about)
            work.say(str(place / f"{BASELINE}.safetensors"))
    else:
        save_checkpoint(model, work.out / "model", about={**about, "from": checkpoint_hash(work.folder)})
        work.say(str(work.out / "model"))
    for name, figures in one_step.items():
        work.say(f"{name}: " + ", ".join(f"{k.replace('_', ' ')} {v:.3f}" for k, v in figures.items()))
    return True


def make_distilled(
    work: Work,
    sources: Sequence[str],
    split: Path | None,
    config: DistillationConfig,
    *,
    videos: Path | None = None,
    clips: int = 500,
    baseline: bool = False,
) -> bool:
    """Distil a world model and write ``draft.json`` and ``.safetensors``, or with ``baseline`` those of ``twin-draft``.

    Args:
        work: where.
        sources: of episodes, see `make_action_conditioned`.
        split: TOML file of the clips not to train on; all without it.
        config: how to distil.
        videos: folder of videos to learn from too, whose actions nobody knows.
        clips: of these videos at most, five seconds each.
        baseline: distil the checkpoint's action-conditioned model.

    Raises:
        LamdemoError: there is no such model, an episode cannot be read, or what lies in ``out`` is of another run.
    """
    if baseline and videos is not None:
        raise LamdemoError("A twin knows actions by their labels only; leave the videos without any out.")
    pipeline = work.pipeline
    device = pipeline.model.device
    teacher = load_action_conditioned(work.folder, device) if baseline else None
    if baseline and teacher is None:
        raise LamdemoError(f"The checkpoint {work.folder.name} brings no twin; train it first with lamdemo train-twin.")
    kinds, _ = _kinds(work, sources, split, mirror=False)
    states, latents, weights = [], [], []
    for name, episodes in kinds.items():
        whole = sum(len(t.states) for t in episodes)
        for one in episodes:
            if teacher is not None:
                with torch.no_grad():
                    rows = windows(one.actions, teacher.config.history).to(device)
                    latents.append(teacher.latents(name, rows).cpu())
            else:
                latents.append(one.latents)
            states.append(one.states)
            weights.append(len(one.states) / whole)  # each kind as often as the others
    if videos is not None:
        seen, inferred = cache_videos(pipeline, _some_videos(videos, split, clips, config.seed), work.kept)
        states, latents = states + seen, latents + inferred
        weights += [len(kinds) / max(len(seen), 1)] * len(seen)  # as often as all episodes together
    torch.manual_seed(config.seed)
    large = teacher.world_model if teacher is not None else pipeline.model.world_model
    trainer = DistillationTrainer(
        config, DistilledModel(DistilledConfig(), *work.sizes), large, states, latents, weights, device
    )
    trainer.resume(work.out)
    if not trainer.run(work.out, minutes=work.stop_after, report=work.say):
        return False
    distilled = trainer.finish()
    over = trainer.judge()
    about = {
        "checkpoint": pipeline.checkpoint,
        **({"twin": fingerprint(teacher)} if teacher is not None else {}),
        "steps": config.steps,
        "seed": config.seed,
        "frames": int(np.sum([len(s) for s in states])),
        "variance kept": round(trainer.variance_kept, 4),
        "error over no change": round(over, 4),
    }
    name = DISTILLED_BASELINE if baseline else DISTILLED
    for place in work.places:
        save_companion(distilled, place, name, about)
        work.say(str(place / f"{name}.safetensors"))
    work.say(f"variance kept {trainer.variance_kept:.3f}, error over no change {over:.3f}")
    return True


def make_priors(
    works: Mapping[str, Work], videos: Path, split: Path | None, *, clips: int = 3000, steps: int = 2500, seed: int = 0
) -> bool:
    """Train a prior for each of several checkpoints of one encoder, whose work they share, one after the other.

    Args:
        works: where, by name. All have the same ``out``, in which each gets a folder of its name.
        videos: folder of videos, or a pack.
        split: TOML file of the clips not to train on; all without it.
        clips: to learn from.
        steps: of training.
        seed: of what is drawn at random.

    Raises:
        LamdemoError: see `collect_pairs` and `train_prior`.
    """
    start = time.monotonic()
    first = next(iter(works.values()))
    parts = Split.read(split) if split is not None else None
    recordings = training_recordings(videos, first.kept, TrainConfig(), split=parts)
    pipelines = {name: work.pipeline for name, work in works.items()}
    pairs = collect_pairs(pipelines, recordings, first.out / "pairs", PairsConfig(clips=clips, seed=seed))
    for name, work in works.items():
        codes = finite_codes(work.pipeline)
        model = work.pipeline.model.config
        config = FlowPriorConfig(
            channels=model.bottleneck.channels, state_channels=model.encoder.channels, snap=codes is not None
        )
        left = None if work.stop_after is None else max(work.stop_after - (time.monotonic() - start) / 60, 0)
        done = train_prior(
            pairs[name],
            config,
            PriorTrainConfig(steps=steps, seed=seed),
            codes=codes,
            state=work.out / name,
            label=name,
            stop_after=left,
        )
        if done is None:
            work.say(f"{name} is not finished; call it again to go on.")
            return False
        learned, about = done
        places = (work.out / name, work.folder) if work.install else (work.out / name,)
        for place in places:
            save_prior(learned, place, {**about, "checkpoint": work.pipeline.checkpoint})
        work.say(str(places[-1]))
    return True


def _some_videos(folder: Path, split: Path | None, count: int, seed: int) -> list[Path]:
    """Videos for training, chosen at random."""
    parts = Split.read(split) if split is not None else Split()
    found = [v for v in find_videos(folder) if parts.part(v.relative_to(folder).as_posix()) == "train"]
    if not found:
        raise LamdemoError(f"{folder.name} has no video to learn from; give a folder that has.")
    chosen = np.random.default_rng(seed).permutation(len(found))[:count]
    return [found[i] for i in sorted(chosen)]


def _kinds(
    work: Work, sources: Sequence[str], split: Path | None, mirror: bool
) -> tuple[dict[str, list[CachedEpisode]], dict[str, list[CachedEpisode]]]:
    """Episodes for training and, where a split names some of them, for validation, by the kind of their actions."""
    parts = Split.read(split) if split is not None else None
    kinds: dict[str, list[CachedEpisode]] = {}
    judged: dict[str, list[CachedEpisode]] = {}
    for source in sources:
        found = open_source(source)
        name = found.spec.name
        if name in kinds:
            raise LamdemoError(f"Two sources have actions of the kind {name}; give each kind once.")
        others = None
        if parts is not None:
            found, others = found.split(parts, "train"), found.split(parts, "validation")
        kinds[name] = cache_episodes(work.pipeline, found, work.kept, mirror=mirror)
        if not kinds[name]:
            raise LamdemoError(f"No episode of {name} is left to learn from; name fewer of them in the split.")
        if others is not None and len(others):
            judged[name] = cache_episodes(work.pipeline, others, work.kept)
    return kinds, judged


def open_source(source: str) -> Episodes:
    """Episodes of ``DIR`` or ``DIR#PART``.

    Raises:
        LamdemoError: there are none.
    """
    place, _, part = source.partition("#")
    return open_episodes(place, part=part or None)
