"""Training the learned prior on pairs of a state and the latent action that was taken there.

Pairs are made from training recordings and procedural scenes, once, in parts that are kept, so that a stopped run goes
on; checkpoints with the same encoder share its work. Training is minutes on one CPU core and resumes bit for bit:
all randomness of a step comes from the seed and the step's number.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.data.scenes import Photographs, SceneConfig, draw_pairs
from lamdemo.data.videos import AugmentConfig, ClipSampler, Recording, photographs_from
from lamdemo.engine import TransferPipeline
from lamdemo.models.prior import FlowPrior, FlowPriorConfig, pool_states
from lamdemo.training.loop import Loop, LoopConfig

_PHOTOGRAPH = (192, 288)


@dataclass(frozen=True)
class PairsConfig:
    """Which pairs of a state and a latent to learn from."""

    clips: int = 3000  # clips to draw; each gives `2 * (frames - 1)` pairs, since every step is also taken backwards
    frames: int = 6  # of each clip
    scenes: float = 0.2  # share of the clips that are procedural scenes
    photographs: int = 1200  # frames of the recordings that serve as photographs in scenes
    # Weight of each folder of videos (1 where none is given), as in training the model.
    weights: dict[str, float] = field(default_factory=lambda: {"wild": 3.0, "wild_nc": 1.2, "robot": 1.6, "nav": 1.2})
    # How real clips are varied. One step spans the model's own time, and crops are mild: the prior is to know the
    # sizes that latents have in clips as they are read.
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(area=0.7, aspect=1.15, reverse=0.0, colour=0.1, durations=(0.25,))
    )
    part: int = 100  # clips that are kept together in one file
    pooled: int = 4  # cells a side that states are pooled to
    seed: int = 0  # of all that is drawn

    def __post_init__(self) -> None:
        if self.clips < 2 or self.frames < 2 or self.part < 1 or not 0 <= self.scenes <= 1:
            raise ValueError("pairs need two clips of two frames at least, and a share of scenes from 0 to 1")


@dataclass(frozen=True, eq=False)
class Pairs:
    """States and the latents of what happened next."""

    states: Tensor  # float16 [n, P, D], pooled to `P` cells (see `pool_states`)
    latents: Tensor  # float32 [n, Z]
    recordings: Tensor  # int64 [n], which recording (or scene) each is of
    scenes: Tensor  # bool [n], whether it is of a procedural scene
    commands: Tensor | None = None  # float32 [n, A * C], the known actions of the step and of those before it

    def __len__(self) -> int:
        return len(self.latents)

    def with_scenes(self, share: float) -> Pairs:
        """The same with so many scenes at most, as a share of all; the first ones are kept."""
        real = int((~self.scenes).sum())
        most = round(share / (1 - share) * real) if real else len(self)
        kept = ~self.scenes | (self.scenes.cumsum(0) <= most)
        commands = None if self.commands is None else self.commands[kept]
        return Pairs(self.states[kept], self.latents[kept], self.recordings[kept], self.scenes[kept], commands)


def collect_pairs(
    pipelines: Mapping[str, TransferPipeline],
    recordings: Sequence[Recording],
    folder: Path,
    config: PairsConfig | None = None,
) -> dict[str, Pairs]:
    """Infer the latents of clips and scenes with several checkpoints, and keep the pooled states beside them.

    Args:
        pipelines: by name; all with the same encoder, whose work is shared.
        recordings: to learn from; only such as the model was trained with.
        folder: gets one file a part; parts that are there already are taken as they are.
        config: which pairs.

    Returns:
        For each name its pairs; the states are the same tensor.

    Raises:
        LamdemoError: the checkpoints have different encoders, or the parts are of others or another config.
    """
    config = config or PairsConfig()
    first = next(iter(pipelines.values()))
    for name, pipeline in pipelines.items():
        if not _same(first.model.encoder.state_dict(), pipeline.model.encoder.state_dict()):
            raise LamdemoError(f"The checkpoint {name} has another encoder; make its prior by itself.")
    about = {
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "checkpoints": {name: p.checkpoint for name, p in pipelines.items()},
        "recordings": len(recordings),
    }
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(math.ceil(config.clips / config.part))
    missing = [n for n in numbers if not (folder / f"{n:04d}.safetensors").is_file()]
    if missing:
        sampler = ClipSampler(list(recordings), config.weights, config.augment)
        photographs = Photographs(
            photographs_from(list(recordings), config.photographs, _PHOTOGRAPH, config.seed)
            if config.scenes
            else torch.zeros(0)
        )
        for n in tqdm(missing, desc="inferring latents", disable=None):
            tensors = _part(pipelines, sampler, photographs, config, n)
            write_safely(folder / f"{n:04d}.safetensors", save(tensors, metadata={"about": json.dumps(about)}))
    parts = []
    for n in numbers:
        path = folder / f"{n:04d}.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                found = json.loads((file.metadata() or {})["about"])
            if found != about:
                raise LamdemoError(
                    f"{folder.name} holds pairs of other checkpoints, videos or settings; give another folder."
                )
            parts.append(load_file(path))
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise LamdemoError(f"{path.name} of {folder.name} is damaged; remove it and call again.") from error
    joined = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return {
        name: Pairs(joined["states"], joined[f"latents/{name}"].float(), joined["recordings"], joined["scenes"])
        for name in pipelines
    }


def _same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@torch.no_grad()
def _part(
    pipelines: Mapping[str, TransferPipeline],
    sampler: ClipSampler,
    photographs: Photographs,
    config: PairsConfig,
    number: int,
) -> dict[str, Tensor]:
    """Pairs of one part's clips."""
    first = next(iter(pipelines.values())).model
    size = first.config.encoder.picture
    rng = np.random.default_rng([config.seed, number])
    found: dict[str, list[Tensor]] = {}
    for clip in range(number * config.part, min((number + 1) * config.part, config.clips)):
        scene = bool(rng.random() < config.scenes)
        if scene:
            # One of a pair of scenes; the other shows the same action and would add little.
            pictures = draw_pairs(rng, 1, config.frames, photographs, size, SceneConfig())[0][0]
            recording = len(sampler.recordings) + clip
        else:
            recording = int(rng.choice(len(sampler.recordings), p=sampler.chance))
            alone = ClipSampler([sampler.recordings[recording]], {}, config.augment)
            pictures = alone.draw(rng, 1, config.frames, size)[0]
        states = first.encode(pictures.to(first.device)).float()
        pooled = pool_states(states, config.pooled).half().cpu()
        n = 2 * (config.frames - 1)
        found.setdefault("states", []).append(torch.cat([pooled[:-1], pooled[1:]]))
        found.setdefault("recordings", []).append(torch.full((n,), recording))
        found.setdefault("scenes", []).append(torch.full((n,), scene))
        for name, pipeline in pipelines.items():
            evidence = pipeline.model.evidence(states[:-1], states[1:])
            there = pipeline.model.bottleneck.infer(evidence.forward, evidence.backward)
            # Not the negative of the former: codes are not odd.
            back = pipeline.model.bottleneck.infer(evidence.backward, evidence.forward)
            found.setdefault(f"latents/{name}", []).append(torch.cat([there, back]).float().cpu())
    return {key: torch.cat(values).contiguous() for key, values in found.items()}


@dataclass(frozen=True)
class PriorTrainConfig(LoopConfig):
    """How a prior is trained; the best moving average of the weights is kept."""

    steps: int = 2500
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.998
    bf16: bool = False
    save_minutes: float = 1.0
    batch: int = 128  # pairs a step
    # Share of procedural scenes among the pairs at most; what is more is left out. A scene's photograph may be a
    # frame of a drive, and says nothing of the drive's actions.
    scenes: float = 0.05
    # Share of the recordings that are not trained on, but tell which average is best: states are few and a prior that
    # knows them by heart is soon worse on new ones.
    watch: float = 0.1
    look: int = 200  # steps between looks at these

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.look) < 1 or not 0 < self.watch < 1 or not 0 <= self.scenes < 1:
            raise ValueError("steps, batch and look must be positive, and watch and scenes shares below 1")


class WatchedPrior(nn.Module):
    """A prior in training, and as buffers, so that they are saved with it, the best of its averages so far."""

    best_loss: Tensor
    best_step: Tensor

    def __init__(self, prior: FlowPrior) -> None:
        super().__init__()
        self.prior = prior
        self.register_buffer("best_loss", torch.tensor(math.inf, dtype=torch.float64))
        self.register_buffer("best_step", torch.tensor(0))
        for i, parameter in enumerate(prior.parameters()):
            self.register_buffer(f"best_{i}", parameter.detach().clone())

    @torch.no_grad()
    def note(self, loss: float, step: int) -> None:
        """Keep the prior's parameters as they are now where their loss is the lowest so far."""
        if loss < self.best_loss:
            self.best_loss.fill_(loss)
            self.best_step.fill_(step)
            for i, parameter in enumerate(self.prior.parameters()):
                self.get_buffer(f"best_{i}").copy_(parameter)

    @torch.no_grad()
    def best(self) -> FlowPrior:
        """The prior with its best parameters, ready to use."""
        for i, parameter in enumerate(self.prior.parameters()):
            parameter.copy_(self.get_buffer(f"best_{i}"))
        return self.prior.eval()


class PriorTrainer(Loop[WatchedPrior, PriorTrainConfig]):
    """Trains a prior on the pairs of some recordings, and watches it on those of the others."""

    state_name = "state.safetensors"

    def __init__(self, config: PriorTrainConfig, prior: FlowPrior, pairs: Pairs, label: str = "prior") -> None:
        """Set everything up for step 0.

        Args:
            config: how to train.
            prior: to be trained, with its scales fitted.
            pairs: to learn from.
            label: what the saved state is bound to.

        Raises:
            LamdemoError: the pairs are of one recording.
        """
        every = torch.unique(pairs.recordings)
        if len(every) < 2:
            raise LamdemoError("A prior needs clips of two recordings at least; give more videos.")
        order = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(config.seed))]
        watched = torch.isin(pairs.recordings, order[: max(round(config.watch * len(every)), 1)])
        self.rows, watch = (~watched).nonzero()[:, 0], watched.nonzero()[:, 0]
        # In an order of chance, since pairs lie clip by clip.
        few = watch[torch.randperm(len(watch), generator=torch.Generator().manual_seed(1))[:1024]]
        self.pairs, self.few, self.label = pairs, few, label
        super().__init__(config, WatchedPrior(prior))

    @property
    def identity(self) -> dict[str, Any]:
        """See `Loop.identity`."""
        prior = dataclasses.asdict(self.module.prior.config)
        return {"label": self.label, "pairs": len(self.pairs), "prior": prior}

    def learning_rate(self, step: int) -> float:
        """See `Loop.learning_rate`; after the warmup it falls to a fiftieth and not to 0."""
        c, rate = self.config, super().learning_rate(step)
        return rate if step < max(round(c.warmup * c.steps), 1) else 0.02 * c.learning_rate + 0.98 * rate

    def step_loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """See `Loop.step_loss`."""
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        rows = self.rows[torch.randint(len(self.rows), (self.config.batch,), generator=generator)]
        loss, parts = self._loss(rows, generator)
        return loss, {name: float(part) for name, part in parts.items()}

    def _loss(self, rows: Tensor, generator: torch.Generator, draws: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
        told = None if self.pairs.commands is None else self.pairs.commands[rows]
        states = self.pairs.states[rows].float()
        return self.module.prior.loss(self.pairs.latents[rows], states, generator, commands=told, draws=draws)

    def train_step(self) -> dict[str, float]:
        """See `Loop.train_step`."""
        logs = super().train_step()
        if self.step % self.config.look == 0 or self.step == self.config.steps:
            now = {n: p.detach().clone() for n, p in self.module.named_parameters()}
            self.put(self.average)
            self.module.note(self.watched_loss(), self.step)
            self.put(now)
        return logs

    @torch.no_grad()
    def watched_loss(self) -> float:
        """The loss on recordings that are not trained on, with the same noise whenever it is asked."""
        self.module.eval()
        loss, _ = self._loss(self.few, torch.Generator().manual_seed(0), draws=4)
        self.module.train()
        return float(loss)


def train_prior(
    pairs: Pairs,
    prior_config: FlowPriorConfig,
    config: PriorTrainConfig | None = None,
    *,
    codes: Tensor | None = None,
    state: Path | None = None,
    label: str = "prior",
    stop_after: float | None = None,
) -> tuple[FlowPrior, dict[str, Any]] | None:
    """Train a prior on pairs, on the CPU.

    Args:
        pairs: to learn from.
        prior_config: sizes of the prior.
        config: how to train.
        codes: ``[C, Z]`` of a discrete model.
        state: folder to save to every minute or so, and to go on from.
        label: what the state is bound to.
        stop_after: stop after so many minutes, to be called again.

    Returns:
        The prior (the best average) and how it was made, for ``prior.json``; None where it was stopped before.

    Raises:
        LamdemoError: the state is of other settings or damaged, the loss is no number, or there is one recording.
    """
    config = config or PriorTrainConfig()
    pairs = pairs.with_scenes(config.scenes)
    torch.manual_seed(config.seed)
    prior = FlowPrior(prior_config, codes)
    prior.fit_scales(pairs.latents, pairs.commands)
    trainer = PriorTrainer(config, prior, pairs, label)
    with tempfile.TemporaryDirectory() as nowhere:
        if state is not None:
            trainer.resume(state)
        if not trainer.run(state or Path(nowhere), minutes=stop_after, report=lambda line: None):
            return None
    return trainer.module.best(), {
        **trainer.identity,
        "training": {k: v for k, v in dataclasses.asdict(config).items() if k != "save_minutes"},
        "recordings": int(torch.unique(pairs.recordings).numel()),
        "scenes": float(pairs.scenes.float().mean()),
        "best_step": int(trainer.module.best_step),
        "watched_loss": float(trainer.module.best_loss),
    }
