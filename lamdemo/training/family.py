"""Families of checkpoints: every bottleneck on the same stem, data, steps and seed (paper, section 4.1).

A comparison of bottlenecks is about bottlenecks only if nothing else differs. One model, hardly limited, is
trained first: the stem. Each member of the family starts from its weights with a bottleneck of its own and
sees the very same batches; those are made and encoded once. The default member is then trained further.
Members may differ by what latents are read from, too: the same holds for them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.config import config_from_dict, read_toml
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.data.scenes import SceneBank
from lamdemo.data.splits import Split
from lamdemo.data.videos import Recording
from lamdemo.models.bottleneck import BottleneckConfig, DiscreteBottleneck
from lamdemo.models.checkpoint import WEIGHTS_NAME, load_checkpoint
from lamdemo.models.encoder import imagenet_weights
from lamdemo.models.inverse_dynamics import ResidualDynamics, halved
from lamdemo.models.latent_action_model import LatentActionModel
from lamdemo.training.batches import Batch
from lamdemo.training.config import OptimizerConfig, TrainConfig
from lamdemo.training.latents import keep_sample
from lamdemo.training.material import SceneSources, training_material
from lamdemo.training.trainer import Trainer, began_with, uses_imagenet

RECIPE_NAME = "recipe.json"
_ROUNDS = 8  # of k-means
_SAMPLED = 150  # batches whose latents are sampled beside a finished checkpoint
_DONE = "done"  # marks a part that was trained to its end


@dataclass(frozen=True)
class MemberConfig(BottleneckConfig):
    """What a member has of its own: its bottleneck, and what latents are read from."""

    reads: Literal["matches", "residual"] = "matches"  # see `InverseDynamicsConfig.reads`
    structure: int = 0  # see `WorldModelConfig.structure`
    memory: int = 0  # see `WorldModelConfig.memory`
    cycle: float = 0.0  # see `LossConfig.cycle`
    # Whether half of the pairs of scenes are given each other's latents, as the recipe says; a difference of states is
    # of one scene, and means nothing in another.
    exchanged: bool = True

    def of(self, stem: TrainConfig) -> TrainConfig:
        """The stem's recipe with these differences."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(BottleneckConfig)}
        model = dataclasses.replace(
            stem.model,
            bottleneck=BottleneckConfig(**own),
            inverse_dynamics=dataclasses.replace(stem.model.inverse_dynamics, reads=self.reads),
            world_model=dataclasses.replace(
                stem.model.world_model,
                structure=self.structure,
                memory=self.memory,
                residual=self.reads == "residual",
            ),
        )
        return dataclasses.replace(stem, model=model, loss=dataclasses.replace(stem.loss, cycle=self.cycle))


@dataclass(frozen=True)
class FamilyConfig:
    """A family's recipe."""

    stem: TrainConfig = field(default_factory=TrainConfig)  # the recipe of what all members start from
    members: dict[str, MemberConfig] = field(default_factory=dict)  # by name
    branch: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(steps=300))  # how members are trained
    default: str = "noisy"  # the member that is trained further
    finish: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(steps=500))  # how it is trained further
    finish_frames: int = 8  # frames of each clip then: longer clips, so that predictions are fed back for longer
    finish_feedback: float = 0.5  # share of clips whose past is predicted then

    def __post_init__(self) -> None:
        if self.default not in self.members:
            raise ValueError(f"the default {self.default!r} is not among the members")
        if any(not n.replace("-", "").replace("_", "").isalnum() for n in self.members):
            raise ValueError("members' names are letters, digits and hyphens")

    @classmethod
    def read(cls, path: str | Path) -> FamilyConfig:
        """Read a TOML file; see `read_toml`."""
        return read_toml(cls, path, "The recipe")

    def member(self, name: str) -> TrainConfig:
        """The recipe of one member's branch."""
        return dataclasses.replace(self.members[name].of(self.stem), optimizer=self.branch)

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
        self._kept: list[Batch] = []
        # Not from step 0, whose batches the maker was trained on.
        first = maker.config.optimizer.steps
        for step in tqdm(range(first, first + steps), desc="encoding", disable=None):
            batch = maker.batch(step)
            with torch.no_grad(), maker.autocast():
                states = maker.model.encode(batch.pictures).half()
            b, t = batch.pictures.shape[:2]
            small = F.interpolate(batch.pictures.flatten(0, 1), (side, side), mode="area")
            small = (small * 255).round().to(torch.uint8).reshape(b, t, 3, side, side)
            truth = batch.truth
            if truth is not None:  # mattes in 8 bits again, a quarter of the memory
                matte, entering = ((m * 255).round().to(torch.uint8) for m in (truth.matte, truth.entering))
                truth = truth._replace(matte=matte, entering=entering)
            self._kept.append(batch._replace(pictures=small, states=states, truth=truth))

    def __len__(self) -> int:
        return len(self._kept)

    def as_they_are(self, step: int) -> Batch:
        """The batch of a step, each clip with its own latents."""
        batch = self(step)
        return batch._replace(swap=torch.arange(len(batch.swap), device=batch.swap.device))

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        kept = self._kept[step % len(self._kept)]
        assert kept.states is not None
        return kept._replace(states=kept.states.float()).to(kept.pictures.device)


@torch.no_grad()
def _unlimited_latents(trainer: Trainer, batches: PreparedBatches) -> Tensor:
    """What the trainer's bottleneck is given at all steps of some batches, ``[M, Z]``."""
    model, found = trainer.model.eval(), []
    for step in range(len(batches)):
        states = batches(step).states
        assert states is not None
        with trainer.autocast():
            evidence = model.evidence(states[:, :-1], states[:, 1:])
            found.append(model.bottleneck.mean(evidence.forward, evidence.backward))
    return torch.cat(found)


@torch.no_grad()
def begin_with_principal(model: LatentActionModel, batches: PreparedBatches) -> None:
    """Let residual latents begin as the principal coordinates of differences of states, and be decoded to them.

    Coordinates are scaled alike, to unit mean square. Both directions of a step count, so that the mean is zero.
    """
    dynamics, bottleneck, world = model.inverse_dynamics, model.bottleneck, model.world_model
    assert isinstance(dynamics, ResidualDynamics) and world.residual is not None
    g, found = dynamics.grid, []
    for step in range(min(len(batches), _SAMPLED)):
        states = batches(step).states
        assert states is not None
        change = (states[:, 1:] - states[:, :-1]).flatten(0, 1)
        found.append(halved(change.transpose(1, 2).unflatten(2, (g, g))))
    differences = torch.cat(found)
    z = min(model.config.bottleneck.channels, model.config.inverse_dynamics.hidden, *differences.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        axes = torch.svd_lowrank(differences, q=min(z + 32, *differences.shape), niter=4)[2][:, :z].T
    scale = (differences @ axes.T).square().mean().sqrt().clamp_min(1e-6)
    dynamics.begin(axes / scale)
    bottleneck.read.weight.zero_()
    bottleneck.read.weight[:z, :z] = torch.eye(z)
    back = torch.zeros(world.residual.weight.shape)
    back[:, :z] = (axes * scale).T
    world.residual.give(back)


def spread_codes(codes: int, latents: Tensor, seed: int) -> Tensor:
    """Centres ``[codes, Z]`` of latents ``[M, Z]``: k-means from latents drawn at random; the first is zero."""
    generator = torch.Generator(latents.device).manual_seed(seed)
    order = torch.randperm(len(latents), generator=generator, device=latents.device)
    centres = latents[order[torch.arange(codes, device=latents.device) % len(latents)]].clone()
    centres[0] = 0
    for _ in range(_ROUNDS):
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
    sources: SceneSources | None = None,
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
        sources: cut-outs and photographs for the scenes.
        cache: where decoded frames are kept; ``out/cache`` by default.
        device: where to compute.
        start_from: folder of the checkpoint that the stem begins with.
        stop_after: stop after so many minutes, to be gone on with.

    Returns:
        The folders of the members that are finished; all of them unless it was stopped.

    Raises:
        LamdemoError: for anything the user can mend.
    """
    recipe = json.dumps(dataclasses.asdict(config), indent=1)
    _check_recipe(out, config)
    start = time.monotonic()
    material = training_material(config.stem, videos, cache or out / "cache", split=split, sources=sources)
    out.mkdir(parents=True, exist_ok=True)
    write_safely(out / RECIPE_NAME, recipe.encode())
    made = _Family(config, material, out, device, None if stop_after is None else start + 60 * stop_after)
    made.began = began_with(start_from, made.stem, resume=True)
    done: list[Path] = []
    first = partial(made.trainer, config.stem, start_from)
    if not made.part("stem", first, videos=len(material[0])):
        return done
    # The default's branch first, so that there is one if time runs out; it is trained further when all are there.
    names = sorted(config.members, key=lambda n: n != config.default)
    for name in [*names, config.default]:
        final = out / "checkpoints" / name
        if not (final / WEIGHTS_NAME).is_file():
            last = made.branch(name)
            if last is not None and name == config.default and config.finish.steps:
                if len(done) < len(names) - 1:
                    continue
                last = made.finish(name, last)
            if last is None:
                return done
            _complete(last, final, made.batches, device)
            tqdm.write(f"finished: {name}", file=sys.stderr)
        done += [final] * (final not in done)
    return done


class _Family:
    """The parts of a family, each trained from where it stopped; those that were trained to their end are passed over.

    Args:
        config: the recipe.
        material: recordings and the material of scenes.
        out: see `train_family`.
        device: where to compute.
        until: stop at that time of the clock `time.monotonic`, to be gone on with.
    """

    def __init__(
        self,
        config: FamilyConfig,
        material: tuple[list[Recording], SceneBank | None],
        out: Path,
        device: str,
        until: float | None,
    ) -> None:
        self.config, self.material, self.out, self.device, self.until = config, material, out, device, until
        self.began: dict[str, str] | None = None  # whose weights the stem began with

    @cached_property
    def batches(self) -> PreparedBatches:
        """Batches that all members see, encoded with the stem."""
        return PreparedBatches(self.trainer(self.config.stem, self.stem), self.config.branch.steps)

    @property
    def stem(self) -> Path:
        """The stem's checkpoint."""
        return self.out / "stem" / "checkpoint"

    def trainer(
        self, recipe: TrainConfig, weights: Path | None, batches: Callable[[int], Batch] | None = None
    ) -> Trainer:
        """A trainer that begins with a checkpoint's weights, or with random ones."""
        return Trainer(
            recipe,
            *self.material,
            device=self.device,
            encoder_weights=imagenet_weights() if weights is None and uses_imagenet(recipe.model) else None,
            batches=batches,
            start_from=weights,
            own_bottleneck=True,
        )

    def part(self, name: str, make: Callable[[], Trainer], **about: Any) -> bool:
        """Train one part to its end, from where it stopped; whether the end was reached."""
        folder = self.out / name
        if (folder / _DONE).exists():
            return True
        made = make()
        made.about = about | ({"began_with": self.began} if self.began else {})
        if (folder / "state" / made.state_name).exists():
            made.resume(folder / "state")
        left = None if self.until is None else max((self.until - time.monotonic()) / 60, 0.0)
        if not made.train(folder, minutes=left):
            return False
        (folder / _DONE).touch()
        return True

    def about(self, name: str) -> dict[str, Any]:
        """What a member's checkpoint says of itself."""
        steps = self.config.stem.optimizer.steps, self.config.branch.steps
        return {"family": name, "stem_steps": steps[0], "branch_steps": steps[1]}

    def branch(self, name: str) -> Path | None:
        """Train a member from the stem on; its checkpoint, or None where it was stopped."""
        done = self.part(name, partial(self.member, name, self.batches), **self.about(name))
        return self.out / name / "checkpoint" if done else None

    def member(self, name: str, batches: PreparedBatches) -> Trainer:
        """A member's trainer; codes begin where latents are."""
        exchanged = self.config.members[name].exchanged
        made = self.trainer(self.config.member(name), self.stem, batches if exchanged else batches.as_they_are)
        if isinstance(made.model.inverse_dynamics, ResidualDynamics):
            begin_with_principal(made.model, batches)
        bottleneck = made.model.bottleneck
        if isinstance(bottleneck, DiscreteBottleneck):
            latents = _unlimited_latents(made, batches)
            bottleneck.set_codes(spread_codes(len(bottleneck.codes), latents, self.config.stem.seed))
        return made

    def finish(self, name: str, checkpoint: Path) -> Path | None:
        """Train the default member further; its checkpoint, or None where it was stopped."""
        make = partial(self.trainer, self.config.finishing(), checkpoint)
        done = self.part(f"{name}-finish", make, **self.about(name), finish_steps=self.config.finish.steps)
        return self.out / f"{name}-finish" / "checkpoint" if done else None


def _check_recipe(out: Path, config: FamilyConfig) -> None:
    """Refuse another recipe than a folder's parts were made by: they would not be alike.

    What an earlier version did not note has its default.

    Raises:
        LamdemoError: the folder was begun with another recipe.
    """
    path = out / RECIPE_NAME
    begun: FamilyConfig | None = config
    if path.is_file():
        try:
            begun = config_from_dict(FamilyConfig, json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            begun = None
    if begun != config:
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
    for step in range(min(len(batches), _SAMPLED)):
        states = batches(step).states
        assert states is not None
        found.append(model.infer(states.to(device)).float().cpu().numpy())
    with contextlib.suppress(ValueError):  # too few of them, after a run of a few steps, judge nothing
        keep_sample(unfinished, np.concatenate(found))
    shutil.rmtree(final, ignore_errors=True)
    unfinished.rename(final)
