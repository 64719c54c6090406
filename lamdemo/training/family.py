"""Families of checkpoints: every bottleneck on the same stem, data, steps and seed (paper, section 4.1).

A comparison of bottlenecks is about bottlenecks only if nothing else differs. One model, hardly limited, is
trained first: the stem. Each member of the family starts from its weights with a bottleneck of its own and
sees the very same batches; those are made and encoded once. The default member is then trained further.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lamdemo.data.scenes import TrueMotion
from lamdemo.data.splits import Split
from lamdemo.errors import LamdemoError
from lamdemo.models.bottleneck import BottleneckConfig, DiscreteBottleneck
from lamdemo.models.checkpoint import WEIGHTS_NAME, config_from_dict, load_checkpoint, write_safely
from lamdemo.models.encoder import imagenet_weights
from lamdemo.pipeline.familiarity import save_latents
from lamdemo.training.config import OptimizerConfig, TrainConfig
from lamdemo.training.trainer import STATE_NAME, Batch, Trainer, run, training_material

RECIPE_NAME = "recipe.json"
_DONE = "done"  # marks a part that was trained to its end
_LATENTS_KEPT = 4096  # latents of a member's own training steps that it keeps, to tell what it has seen


@dataclass(frozen=True)
class FamilyConfig:
    """A family's recipe.

    Attributes:
        stem: the recipe of what all members start from.
        members: bottleneck of each member, by its name.
        branch: how members are trained.
        default: the member that is trained further.
        finish: how it is trained further.
        finish_frames: frames of each clip then: longer clips, so that predictions are fed back for longer.
        finish_feedback: share of clips whose past is predicted then.
    """

    stem: TrainConfig = field(default_factory=TrainConfig)
    members: dict[str, BottleneckConfig] = field(default_factory=dict)
    branch: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(steps=300))
    default: str = "noisy"
    finish: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(steps=500))
    finish_frames: int = 8
    finish_feedback: float = 0.5

    def __post_init__(self) -> None:
        if self.default not in self.members:
            raise ValueError(f"the default {self.default!r} is not among the members")
        if any(not n.replace("-", "").replace("_", "").isalnum() for n in self.members):
            raise ValueError("members' names are letters, digits and hyphens")

    @classmethod
    def read(cls, path: str | Path) -> FamilyConfig:
        """Read a TOML file; what it does not say has its default.

        Raises:
            LamdemoError: the file is missing, is no TOML, or names something unknown.
        """
        path = Path(path)
        try:
            return config_from_dict(cls, tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise LamdemoError(f"The recipe {path.name} cannot be read; give an existing TOML file.") from error
        except (ValueError, ArithmeticError) as error:
            raise LamdemoError(f"The recipe {path.name} cannot be used: {error}.") from error

    def member(self, name: str) -> TrainConfig:
        """The recipe of one member's branch."""
        model = dataclasses.replace(self.stem.model, bottleneck=self.members[name])
        return dataclasses.replace(self.stem, model=model, optimizer=self.branch)

    def finishing(self) -> TrainConfig:
        """The recipe of the default member's last part; its bottleneck is in force from the start."""
        recipe = self.member(self.default)
        return dataclasses.replace(
            recipe,
            optimizer=self.finish,
            bottleneck_warmup=0.0,
            batch=dataclasses.replace(recipe.batch, frames=self.finish_frames),
            loss=dataclasses.replace(recipe.loss, feedback=self.finish_feedback),
            seed=recipe.seed + 1,
        )


class PreparedBatches:
    """Batches that a trainer never saw, encoded and kept small in memory, to be seen by several models.

    States are kept in half precision and pictures at the decoder's size, in 8 bits: about 5 MB a batch of
    eight clips of six frames.
    """

    def __init__(self, maker: Trainer, steps: int) -> None:
        """Make ``steps`` batches with ``maker``'s sampler and encoder."""
        side = maker.config.model.decoder.picture
        self._kept: list[tuple[Tensor, Tensor, TrueMotion | None, Tensor]] = []
        # Not from step 0, whose batches the maker was trained on.
        first = maker.config.optimizer.steps
        for step in tqdm(range(first, first + steps), desc="encoding", disable=None):
            batch = maker.batch(step)
            with torch.no_grad(), maker.autocast():
                states = maker.model.encode(batch.pictures).half()
            b, t = batch.pictures.shape[:2]
            small = F.interpolate(batch.pictures.flatten(0, 1), (side, side), mode="area")
            small = (small * 255).round().to(torch.uint8).reshape(b, t, 3, side, side)
            self._kept.append((small, batch.donors, batch.motion, states))

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        small, donors, motion, states = self._kept[step % len(self._kept)]
        return Batch(small.float() / 255, donors, motion, states.float())


@torch.no_grad()
def _unlimited_latents(trainer: Trainer, batches: PreparedBatches) -> Tensor:
    """What the trainer's bottleneck is given at all steps of some batches, ``[M, Z]``."""
    model, found = trainer.model.eval(), []
    for step in range(len(batches)):
        states = batches(step).states
        assert states is not None
        with trainer.autocast():
            evidence = model.inverse_dynamics(states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1))
            found.append(model.bottleneck.mean(evidence.forward, evidence.backward))
    return torch.cat(found)


def spread_codes(codes: int, latents: Tensor, seed: int, rounds: int = 8) -> Tensor:
    """Centres ``[codes, Z]`` of latents ``[M, Z]``: k-means from latents drawn at random; the first is zero."""
    generator = torch.Generator(latents.device).manual_seed(seed)
    order = torch.randperm(len(latents), generator=generator, device=latents.device)
    centres = latents[order[torch.arange(codes, device=latents.device) % len(latents)]].clone()
    centres[0] = 0
    for _ in range(rounds):
        nearest = torch.cat([torch.cdist(part, centres).argmin(-1) for part in latents.split(2048)])
        hits = nearest.bincount(minlength=codes)
        sums = torch.zeros_like(centres).index_add_(0, nearest, latents)
        centres = torch.where(hits[:, None] > 0, sums / hits.clamp_min(1)[:, None], centres)
        centres[0] = 0
    return centres


def train_family(
    config: FamilyConfig,
    videos: Path,
    out: Path,
    *,
    split: Split | None = None,
    photos: Path | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    start_from: Path | None = None,
    stop_after: float | None = None,
) -> list[Path]:
    """Train a family; what is already there in ``out`` is gone on with.

    Args:
        config: the recipe.
        videos: folder of videos, or a pack.
        out: gets ``stem/`` and ``<member>/``, each as `lamdemo.training.train` writes them, and
            ``checkpoints/<member>/``.
        split: which clips are for training; all without it.
        photos: folder of photographs for the scenes, beside frames of the videos.
        cache: where decoded frames are kept; ``out/cache`` by default.
        device: where to compute.
        start_from: folder of the checkpoint that the stem begins with.
        stop_after: stop after so many minutes, to be gone on with.

    Returns:
        The folders of the members that are finished; all of them unless it was stopped.

    Raises:
        LamdemoError: for anything the user can mend.
    """
    start = time.monotonic()

    def left() -> float | None:
        return None if stop_after is None else max(stop_after - (time.monotonic() - start) / 60, 0.0)

    recipe = json.dumps(dataclasses.asdict(config), indent=1)
    _check_recipe(out, recipe)
    material = training_material(config.stem, videos, cache or out / "cache", split=split, photos=photos)
    out.mkdir(parents=True, exist_ok=True)
    write_safely(out / RECIPE_NAME, recipe.encode())

    def trainer(recipe: TrainConfig, weights: Path | None, batches: Callable[[int], Batch] | None) -> Trainer:
        return Trainer(
            recipe,
            *material,
            device=device,
            encoder_weights=imagenet_weights() if weights is None else None,
            batches=batches,
            start_from=weights,
            own_bottleneck=True,
        )

    def part(name: str, make: Callable[[], Trainer], **about: Any) -> bool:
        """Train one part to its end, from where it stopped; whether the end was reached."""
        folder = out / name
        if (folder / _DONE).exists():
            return True
        made = make()
        if (folder / "state" / STATE_NAME).exists():
            made.load_state(folder / "state")
        if not run(made, folder, stop_after=left(), about=about):
            return False
        (folder / _DONE).touch()
        return True

    done: list[Path] = []
    if not part("stem", lambda: trainer(config.stem, start_from, None), videos=len(material[0])):
        return done
    stem = out / "stem" / "checkpoint"
    batches: PreparedBatches | None = None

    def member(name: str, batches: PreparedBatches) -> Trainer:
        made = trainer(config.member(name), stem, batches)
        bottleneck = made.model.bottleneck
        if isinstance(bottleneck, DiscreteBottleneck):
            latents = _unlimited_latents(made, batches)
            bottleneck.set_codes(spread_codes(len(bottleneck.codes), latents, config.stem.seed))
        return made

    # The default's branch first, so that there is one if time runs out; it is trained further when all are there.
    names = sorted(config.members, key=lambda n: n != config.default)
    for name in [*names, config.default]:
        final = out / "checkpoints" / name
        if (final / WEIGHTS_NAME).is_file():
            done += [final] * (final not in done)
            continue
        if batches is None:
            batches = PreparedBatches(trainer(config.stem, stem, None), config.branch.steps)
        about = {"family": name, "stem_steps": config.stem.optimizer.steps, "branch_steps": config.branch.steps}
        if not part(name, partial(member, name, batches), **about):
            return done
        last = out / name / "checkpoint"
        if name == config.default and config.finish.steps:
            if len(done) < len(names) - 1:
                continue
            about["finish_steps"] = config.finish.steps
            if not part(f"{name}-finish", partial(trainer, config.finishing(), last, None), **about):
                return done
            last = out / f"{name}-finish" / "checkpoint"
        _complete(last, final, batches, device)
        done.append(final)
        tqdm.write(f"finished: {name}", file=sys.stderr)
    return done


def _check_recipe(out: Path, recipe: str) -> None:
    """Refuse another recipe than a folder's parts were made by: they would not be alike.

    Raises:
        LamdemoError: the folder was begun with another recipe.
    """
    path = out / RECIPE_NAME
    if path.is_file() and path.read_text(encoding="utf-8") != recipe:
        raise LamdemoError(
            f"{out.name} holds a family begun with another recipe; give that recipe again, or another folder."
        )


def _complete(checkpoint: Path, final: Path, batches: PreparedBatches, device: str) -> None:
    """Put a member's checkpoint, with a sample of the latents it saw, where finished ones lie."""
    unfinished = final.with_name(final.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(checkpoint, unfinished)
    model = load_checkpoint(checkpoint, device=device)
    found = []
    for step in range(len(batches)):
        states = batches(step).states
        assert states is not None
        found.append(model.infer(states.to(device)).float().cpu().numpy())
    latents = np.concatenate(found)  # [clips, T-1, Z]
    clips = np.repeat(np.arange(len(latents)), latents.shape[1])
    kept = np.random.default_rng(0).permutation(len(clips))[:_LATENTS_KEPT]
    with contextlib.suppress(ValueError):  # too few of them, after a run of a few steps, judge nothing
        save_latents(unfinished, latents.reshape(len(clips), -1)[kept], clips[kept])
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
