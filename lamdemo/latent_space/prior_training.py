"""Training the learned prior: pairs of a state and the latent action that was taken there, and the loop.

Pairs are made from training recordings and procedural scenes, once, in parts that are kept, so that a stopped run goes
on; checkpoints with the same encoder share its work. Training is minutes on one CPU core and resumes bit for bit:
all randomness of a step comes from the seed and the step's number.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from lamdemo.data.scenes import Photographs, SceneConfig, draw_pairs
from lamdemo.data.videos import AugmentConfig, ClipSampler, Recording, photographs_from
from lamdemo.errors import LamdemoError
from lamdemo.latent_space.prior import FlowPrior, FlowPriorConfig, pool_states
from lamdemo.models.checkpoint import write_safely
from lamdemo.pipeline import TransferPipeline

STATE_NAME = "state.safetensors"
_PHOTOGRAPH = (192, 288)


@dataclass(frozen=True)
class PairsConfig:
    """Which pairs of a state and a latent to learn from.

    Attributes:
        clips: clips to draw; each gives ``2 * (frames - 1)`` pairs, since every step is also taken backwards.
        frames: of each clip.
        scenes: share of the clips that are procedural scenes.
        photographs: frames of the recordings that serve as photographs in scenes.
        weights: weight of each folder of videos (1 where none is given), as in training the model.
        augment: how real clips are varied. One step spans the model's own time, and crops are mild: the prior is
            to know the sizes that latents have in clips as they are read.
        part: clips that are kept together in one file.
        pooled: cells a side that states are pooled to.
        seed: of all that is drawn.
    """

    clips: int = 3000
    frames: int = 6
    scenes: float = 0.2
    photographs: int = 1200
    weights: dict[str, float] = field(default_factory=lambda: {"wild": 3.0, "wild_nc": 1.2, "robot": 1.6, "nav": 1.2})
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(area=0.7, aspect=1.15, reverse=0.0, colour=0.1, durations=(0.25,))
    )
    part: int = 100
    pooled: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips < 2 or self.frames < 2 or self.part < 1 or not 0 <= self.scenes <= 1:
            raise ValueError("pairs need two clips of two frames at least, and a share of scenes from 0 to 1")


@dataclass(frozen=True, eq=False)
class Pairs:
    """States and the latents of what happened next.

    Attributes:
        states: float16 ``[n, P, D]``, pooled to ``P`` cells (see `lamdemo.latent_space.prior.pool_states`).
        latents: float32 ``[n, Z]``.
        recordings: int64 ``[n]``, which recording (or scene) each is of.
        scenes: bool ``[n]``, whether it is of a procedural scene.
    """

    states: Tensor
    latents: Tensor
    recordings: Tensor
    scenes: Tensor

    def __len__(self) -> int:
        return len(self.latents)

    def with_scenes(self, share: float) -> Pairs:
        """The same with so many scenes at most, as a share of all; the first ones are kept."""
        real = int((~self.scenes).sum())
        most = round(share / (1 - share) * real) if real else len(self)
        kept = ~self.scenes | (self.scenes.cumsum(0) <= most)
        return Pairs(self.states[kept], self.latents[kept], self.recordings[kept], self.scenes[kept])


def collect_pairs(
    pipelines: Mapping[str, TransferPipeline],
    recordings: Sequence[Recording],
    folder: Path,
    config: PairsConfig | None = None,
    *,
    progress: bool = True,
) -> dict[str, Pairs]:
    """Infer the latents of clips and scenes with several checkpoints, and keep the pooled states beside them.

    Args:
        pipelines: by name; all with the same encoder, whose work is shared.
        recordings: to learn from; only such as the model was trained with.
        folder: gets one file a part; parts that are there already are taken as they are.
        config: which pairs.
        progress: show a progress bar on a terminal.

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
        for n in tqdm(missing, desc="inferring latents", disable=None if progress else True):
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
            evidence = pipeline.model.inverse_dynamics(states[:-1], states[1:])
            there = pipeline.model.bottleneck.infer(evidence.forward, evidence.backward)
            # Not the negative of the former: codes are not odd.
            back = pipeline.model.bottleneck.infer(evidence.backward, evidence.forward)
            found.setdefault(f"latents/{name}", []).append(torch.cat([there, back]).float().cpu())
    return {key: torch.cat(values).contiguous() for key, values in found.items()}


@dataclass(frozen=True)
class PriorTrainConfig:
    """How a prior is trained.

    Attributes:
        steps: in all.
        batch: pairs a step.
        learning_rate: AdamW's at its peak; it rises over the first twentieth and falls along a cosine.
        weight_decay: AdamW's.
        ema: decay of the moving average of the weights, which is what is kept.
        scenes: share of procedural scenes among the pairs at most; what is more is left out. A scene's photograph
            may be a frame of a drive, and says nothing of the drive's actions.
        watch: share of the recordings that are not trained on, but tell which average is best: states are few
            and a prior that knows them by heart is soon worse on new ones.
        look: steps between looks at these.
        save_minutes: minutes between saves.
        seed: of everything random.
    """

    steps: int = 2500
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.998
    scenes: float = 0.05
    watch: float = 0.1
    look: int = 200
    save_minutes: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.look) < 1 or not 0 < self.watch < 1 or not 0 <= self.scenes < 1:
            raise ValueError("steps, batch and look must be positive, and watch and scenes shares below 1")


class _Run:
    """A prior in training, its average, and the best of the averages so far."""

    def __init__(self, pairs: Pairs, prior: FlowPrior, config: PriorTrainConfig) -> None:
        self.config, self.prior, self.step = config, prior, 0
        every = torch.unique(pairs.recordings)
        if len(every) < 2:
            raise LamdemoError("A prior needs clips of two recordings at least; give more videos.")
        order = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(config.seed))]
        watched = torch.isin(pairs.recordings, order[: max(round(config.watch * len(every)), 1)])
        self.rows, watch = (~watched).nonzero()[:, 0], watched.nonzero()[:, 0]
        # In an order of chance, since pairs lie clip by clip.
        few = watch[torch.randperm(len(watch), generator=torch.Generator().manual_seed(1))[:1024]]
        self.pairs, self.watch = pairs, (pairs.latents[few], pairs.states[few].float())
        self.average = {n: p.detach().clone() for n, p in prior.named_parameters()}
        self.best = {n: p.clone() for n, p in self.average.items()}
        self.best_loss, self.best_step = math.inf, 0
        decayed = [p for p in prior.parameters() if p.ndim >= 2]
        plain = [p for p in prior.parameters() if p.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            groups,
            config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )

    def train_step(self) -> None:
        c = self.config
        generator = torch.Generator().manual_seed(c.seed * 1_000_003 + self.step)
        rise = max(round(0.05 * c.steps), 1)
        share = (self.step - rise) / max(c.steps - rise, 1)
        rate = c.learning_rate * (
            (self.step + 1) / rise if share < 0 else 0.02 + 0.49 * (1 + math.cos(math.pi * share))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows = self.rows[torch.randint(len(self.rows), (c.batch,), generator=generator)]
        self.prior.train()
        loss, _ = self.prior.loss(self.pairs.latents[rows], self.pairs.states[rows].float(), generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.prior.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, p in self.prior.named_parameters():
                self.average[name].lerp_(p, 1 - decay)
        if self.step % c.look == 0 or self.step == c.steps:
            found = self.watched_loss()
            if found < self.best_loss:
                self.best_loss, self.best_step = found, self.step
                self.best = {n: p.clone() for n, p in self.average.items()}

    @torch.no_grad()
    def watched_loss(self) -> float:
        """The average's loss on recordings that are not trained on, with the same noise whenever it is asked."""
        own = {n: p.detach().clone() for n, p in self.prior.named_parameters()}
        self.prior.load_state_dict(self.average, strict=False)
        self.prior.eval()
        loss, self.parts = self.prior.loss(*self.watch, torch.Generator().manual_seed(0), draws=4)
        self.prior.load_state_dict(own, strict=False)
        return float(loss)

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        tensors = {f"prior/{k}": v for k, v in self.prior.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        tensors |= {f"best/{k}": v for k, v in self.best.items()}
        for key, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{key}/{name}": torch.as_tensor(v) for name, v in state.items()}
        progress = {"step": self.step, "best_loss": self.best_loss, "best_step": self.best_step, "about": about}
        plain = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
        write_safely(path, save(plain, metadata={"progress": json.dumps(progress)}))

    def load(self, path: Path, about: Mapping[str, Any]) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                progress = json.loads((file.metadata() or {})["progress"])
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise LamdemoError(f"{path.name} is damaged; remove it and call again.") from error
        if progress["about"] != about:
            raise LamdemoError("There is a prior in training here with other settings or data; give another folder.")
        self.prior.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("prior/")})
        self.average = {n: tensors[f"average/{n}"] for n in self.average}
        self.best = {n: tensors[f"best/{n}"] for n in self.best}
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimizer/"):
                _, number, name = key.split("/")
                state.setdefault(int(number), {})[name] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.step, self.best_step = int(progress["step"]), int(progress["best_step"])
        self.best_loss = float(progress["best_loss"])


def train_prior(
    pairs: Pairs,
    prior_config: FlowPriorConfig,
    config: PriorTrainConfig | None = None,
    *,
    codes: Tensor | None = None,
    state: Path | None = None,
    label: str = "prior",
    stop_after: float | None = None,
    progress: bool = True,
) -> tuple[FlowPrior, dict[str, Any]] | None:
    """Train a prior on pairs, on the CPU.

    Args:
        pairs: to learn from.
        prior_config: sizes of the prior.
        config: how to train.
        codes: ``[C, Z]`` of a discrete model.
        state: folder to save to every minute or so, and to go on from.
        label: in the progress bar, and what the state is bound to.
        stop_after: stop after so many minutes, to be called again.
        progress: show a progress bar on a terminal.

    Returns:
        The prior (the best average) and how it was made, for ``prior.json``; None where it was stopped before.

    Raises:
        LamdemoError: the state is of other settings or damaged, the loss is no number, or there is one recording.
    """
    config = config or PriorTrainConfig()
    pairs = pairs.with_scenes(config.scenes)
    torch.manual_seed(config.seed)
    prior = FlowPrior(prior_config, codes)
    prior.fit_scales(pairs.latents)
    run = _Run(pairs, prior, config)
    about = {
        "label": label,
        "pairs": len(pairs),
        "prior": json.loads(json.dumps(dataclasses.asdict(prior_config))),
        "training": {k: v for k, v in dataclasses.asdict(config).items() if k != "save_minutes"},
    }
    file = state / STATE_NAME if state is not None else None
    if file is not None and file.is_file():
        run.load(file, about)
    start = saved = time.monotonic()
    with tqdm(total=config.steps, initial=run.step, desc=label, disable=None if progress else True) as bar:
        while run.step < config.steps:
            run.train_step()
            bar.update()
            now = time.monotonic()
            done = run.step == config.steps or (stop_after is not None and now - start > 60 * stop_after)
            if file is not None and (done or now - saved > 60 * config.save_minutes):
                file.parent.mkdir(parents=True, exist_ok=True)
                run.save(file, about)
                saved = now
            if done:
                break
    if run.step < config.steps:
        return None
    if not math.isfinite(run.best_loss):
        raise LamdemoError("The prior's training went astray: its loss is no number; lower the learning rate.")
    prior.load_state_dict(run.best, strict=False)
    told = {
        **about,
        "recordings": int(torch.unique(pairs.recordings).numel()),
        "scenes": float(pairs.scenes.float().mean()),
        "best_step": run.best_step,
        "watched_loss": run.best_loss,
    }
    return prior.eval(), told
