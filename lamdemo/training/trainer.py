"""The trainer: one loop for two CPU cores and for one large GPU, that can be stopped and goes on bit for bit.

All randomness of a step comes from the seed and the step's number, so there is no random state to save: what
a resumed run draws is what the first would have drawn.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from lamdemo.data.packs import is_pack, read_pack
from lamdemo.data.scenes import Photographs, TrueMotion, draw_pairs
from lamdemo.data.splits import Split
from lamdemo.data.videos import ClipSampler, Recording, decode_folder, photographs_from, photographs_in
from lamdemo.errors import LamdemoError
from lamdemo.models.checkpoint import load_checkpoint, save_checkpoint, write_safely
from lamdemo.models.encoder import imagenet_weights
from lamdemo.models.latent_action_model import LatentActionModel
from lamdemo.training.config import TrainConfig
from lamdemo.video import find_videos

STATE_NAME = "state.safetensors"
PROGRESS_NAME = "progress.json"


class Batch(NamedTuple):
    """What a step sees.

    Attributes:
        pictures: clips ``[B, T, 3, H, W]`` in [0, 1]; real ones first, then pairs of scenes.
        donors: whose latents each clip is given, ``[B]``.
        motion: of the scenes, the last ``2 * pairs`` clips; None without any.
        states: of the pictures ``[B, T, N, D]``, where they were encoded before.
    """

    pictures: Tensor
    donors: Tensor
    motion: TrueMotion | None
    states: Tensor | None = None


class Trainer:
    """Trains a model from a recipe, step by step.

    Attributes:
        step: how many steps are done.
        model: the model in training.
        average: moving average of its parameters, by name; this is what a checkpoint holds.
        changing: whether weights are being changed right now, so that an interrupted step left them half changed.
    """

    def __init__(
        self,
        config: TrainConfig,
        recordings: list[Recording],
        photographs: Tensor,
        *,
        device: torch.device | str = "cpu",
        encoder_weights: dict[str, Tensor] | None = None,
        batches: Callable[[int], Batch] | None = None,
        start_from: Path | None = None,
        own_bottleneck: bool = False,
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: the recipe.
            recordings: real clips for training.
            photographs: uint8 ``[P, 3, H, W]`` for scenes.
            device: where to compute.
            encoder_weights: ImageNet weights (see `imagenet_weights`); random ones without, for tests.
            batches: gives the batch of each step, in the place of those drawn from the recordings.
            start_from: folder of a checkpoint whose weights, whitening and codes to begin with.
            own_bottleneck: that checkpoint may have another bottleneck: what this one shares with it is taken.

        Raises:
            LamdemoError: ``start_from`` is no checkpoint, or of a model of other sizes.
        """
        self.config, self.device, self.step = config, torch.device(device), 0
        self.changing = False
        torch.manual_seed(config.seed)
        self.model = LatentActionModel(config.model)
        self.sampler = ClipSampler(recordings, config.batch.weights, config.augment, device=self.device)
        self.photographs = Photographs(photographs.to(self.device))
        encoder: Any = self.model.encoder
        if encoder_weights is not None:
            encoder.load_imagenet(encoder_weights)
        self.model.to(self.device)
        self._batches = batches
        self.variance_kept: float | None = None
        if start_from is not None:
            self._start_from(start_from, own_bottleneck)
        else:
            # Whitened over what will be seen: clips and scenes alike.
            with torch.no_grad(), self.autocast():
                sample = [self.batch(10_000_000 + i).pictures[:, 0] for i in range(max(256 // self._clips, 1))]
                self.variance_kept = round(float(encoder.fit_whitening(torch.cat(sample))), 4)
        encoder.to(memory_format=torch.channels_last)
        self._maker = ThreadPoolExecutor(1)
        self._next: tuple[int, Future[Batch]] | None = None
        self.average = {n: p.detach().clone() for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimizers = self._optimizers()
        self._loss: Callable[..., tuple[Tensor, dict[str, Tensor]]] = (
            torch.compile(self.model) if config.compile else self.model
        )

    @property
    def _clips(self) -> int:
        return self.config.batch.clips + 2 * self.config.batch.pairs

    def autocast(self) -> torch.autocast:
        """The precision that the recipe computes in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        o = self.config.optimizer
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        # Matrices inside the transformer; inputs, outputs and convolutions stay with AdamW, as is usual.
        matrices = [p for n, p in named if o.muon and ".blocks." in n and p.ndim == 2 and "modulation" not in n]
        chosen = {id(p) for p in matrices}
        decayed = [p for _, p in named if p.ndim >= 2 and id(p) not in chosen]
        plain = [p for _, p in named if p.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, o.learning_rate, betas=(0.9, 0.98), weight_decay=o.weight_decay, fused=True)
        ]
        if matrices:
            optimizers.append(
                torch.optim.Muon(matrices, o.learning_rate, weight_decay=o.weight_decay, adjust_lr_fn="match_rms_adamw")
            )
        return optimizers

    def learning_rate(self, step: int) -> float:
        """Linear warmup, then a cosine down to the floor."""
        o = self.config.optimizer
        rise = max(round(o.warmup * o.steps), 1)
        if step < rise:
            return o.learning_rate * (step + 1) / rise
        share = min((step - rise) / max(o.steps - rise, 1), 1.0)
        return o.learning_rate * (o.floor + (1 - o.floor) * 0.5 * (1 + math.cos(math.pi * share)))

    def batch(self, step: int) -> Batch:
        """The batch of a step, the same whenever it is asked for."""
        if self._batches is not None:
            return self._batches(step)
        c = self.config
        rng = np.random.default_rng([c.seed, step])
        size = c.model.encoder.picture
        parts, motion = [], None
        if c.batch.clips:
            parts.append(self.sampler.draw(rng, c.batch.clips, c.batch.frames, size))
        if c.batch.pairs:
            pictures, motion = draw_pairs(
                rng,
                c.batch.pairs,
                c.batch.frames,
                self.photographs,
                size,
                c.scenes,
                grid=c.model.encoder.grid,
                device=self.device,
            )
            parts.append(pictures)
        donors = np.arange(self._clips)
        for i in range(c.batch.pairs):
            if rng.random() < c.batch.swapped:
                a = c.batch.clips + 2 * i
                donors[a], donors[a + 1] = a + 1, a
        return Batch(torch.cat(parts), torch.as_tensor(donors, device=self.device), motion)

    def _prepared(self) -> Batch:
        """This step's batch; on the CPU the next one is made meanwhile, beside the model's serial parts."""
        if self.device.type != "cpu" or self._batches is not None:
            return self.batch(self.step)
        step, future = self._next or (self.step, self._maker.submit(self.batch, self.step))
        if step != self.step:  # resumed elsewhere in the meantime
            future = self._maker.submit(self.batch, self.step)
        ready = future.result()
        self._next = (self.step + 1, self._maker.submit(self.batch, self.step + 1))
        return ready

    def train_step(self) -> dict[str, float]:
        """Do one step; returns its logs.

        Raises:
            FloatingPointError: the loss or the gradient is not finite; the weights are as before.
        """
        c = self.config
        batch = self._prepared()
        generator = torch.Generator(self.device).manual_seed(c.seed * 1_000_003 + self.step)
        # Squared: the latent must be of use before it is made scarce.
        warm = c.bottleneck_warmup * c.optimizer.steps
        strength = 1.0 if warm <= 0 else min(self.step / warm, 1.0) ** 2
        self.model.train()
        with self.autocast():
            loss, logs = self._loss(
                batch.pictures,
                batch.donors,
                weights=c.loss,
                motion=batch.motion,
                states=batch.states,
                strength=strength,
                generator=generator,
            )
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            [p for p in self.model.parameters() if p.requires_grad], c.optimizer.clip, foreach=True
        )
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise FloatingPointError(f"the loss is not finite at step {self.step}")
        rate = self.learning_rate(self.step)
        self.changing = True
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        self._follow()
        self.step += 1
        self.changing = False
        return {**{k: float(v) for k, v in logs.items()}, "gradient": float(norm), "learning_rate": rate}

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self.config.optimizer.ema, (1 + self.step) / (10 + self.step))
        current = dict(self.model.named_parameters())
        names = list(self.average)
        torch._foreach_lerp_([self.average[n] for n in names], [current[n].detach() for n in names], 1 - decay)

    # Starting, saving and resuming.

    def _start_from(self, folder: Path, own_bottleneck: bool) -> None:
        tensors = load_checkpoint(folder).state_dict()
        if own_bottleneck:
            mine = self.model.state_dict()
            tensors = {
                name: tensors[name]
                if not name.startswith("bottleneck.")
                else (tensors[name] if name in tensors and tensors[name].shape == value.shape else value)
                for name, value in mine.items()
                if name in tensors or name.startswith("bottleneck.")
            }
        try:
            self.model.load_state_dict(tensors)
        except RuntimeError as error:
            raise LamdemoError(
                f"The checkpoint {folder.name} is of a model of other sizes; use the config that it was trained with."
            ) from error

    def save_state(self, folder: Path) -> None:
        """Write everything a run needs to go on: weights, averages, optimizers, whitening, step."""
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        for i, optimizer in enumerate(self.optimizers):
            for key, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{i}/{key}/{name}": torch.as_tensor(v) for name, v in state.items()}
        # Tensors may share memory or lie in another order (channels last): both are undone.
        plain = {k: v.detach().to("cpu").contiguous().clone() for k, v in tensors.items()}
        folder.mkdir(parents=True, exist_ok=True)
        progress = {"step": self.step, "config": json.loads(json.dumps(dataclasses.asdict(self.config)))}
        # One file, so that weights and step can never be of two moments.
        write_safely(folder / STATE_NAME, save(plain, metadata={"progress": json.dumps(progress)}))
        write_safely(folder / PROGRESS_NAME, json.dumps(progress, indent=2).encode())

    def load_state(self, folder: Path) -> None:
        """Go on from what `save_state` wrote.

        Raises:
            LamdemoError: there is nothing to go on from, or it is of another recipe.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / STATE_NAME
        try:
            with safe_open(path, framework="pt") as file:
                progress = json.loads(file.metadata()["progress"])
            tensors = load_file(path)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise LamdemoError("There is no state of training to resume here; start without --resume.") from error
        mine = json.loads(json.dumps(dataclasses.asdict(self.config)))
        if progress["config"]["model"] != mine["model"]:
            raise LamdemoError("The state to resume is of another model; use the config it was started with.")
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        for name in self.average:
            self.average[name] = tensors[f"average/{name}"].to(self.device)
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            lead = f"optimizer/{i}/"
            for key, tensor in tensors.items():
                if key.startswith(lead):
                    number, name = key[len(lead) :].split("/")
                    state.setdefault(int(number), {})[name] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        self.step = int(progress["step"])

    def export(self, folder: Path, about: dict[str, Any]) -> None:
        """Write the averaged model as a checkpoint (see `lamdemo.models.checkpoint`)."""
        save_checkpoint(self.model, folder, about=about, weights=self.average)


@dataclasses.dataclass
class StepWork:
    """How much of the machine a training step uses.

    Attributes:
        operations: floating-point operations of a step's matrix products and convolutions, forward and backward.
        peak: operations a second of a large matrix product in the recipe's precision, measured.
    """

    operations: float
    peak: float
    _since: tuple[int, float] | None = None

    @classmethod
    def count(cls, trainer: Trainer) -> StepWork:
        """Count a step's operations on its next batch (no weight is changed), and measure the peak."""
        batch, config = trainer.batch(trainer.step), trainer.config
        trainer.model.train()
        kept = {name: buffer.clone() for name, buffer in trainer.model.named_buffers()}
        with FlopCounterMode(display=False) as counter, trainer.autocast():
            loss, _ = trainer.model(
                batch.pictures,
                batch.donors,
                weights=config.loss,
                motion=batch.motion,
                states=batch.states,
                generator=torch.Generator(trainer.device).manual_seed(0),
            )
            loss.backward()
        for parameter in trainer.model.parameters():
            parameter.grad = None
        with torch.no_grad():
            for name, buffer in trainer.model.named_buffers():
                buffer.copy_(kept[name])
        side = 8192 if trainer.device.type == "cuda" else 2048
        dtype = torch.bfloat16 if config.bf16 else torch.float32
        a = torch.ones(side, side, device=trainer.device, dtype=dtype)

        def product(times: int) -> float:
            start = time.perf_counter()
            for _ in range(times):
                b = a @ a
            b[0, 0].item()  # waits for a GPU
            return (time.perf_counter() - start) / times

        product(1)
        return cls(float(counter.get_total_flops()), 2 * side**3 / min(product(3), product(3)))

    def logs(self, step: int) -> dict[str, float]:
        """Seconds a step since the last call, and their share of the peak; nothing at the first call."""
        now = time.perf_counter()
        since, self._since = self._since, (step, now)
        if since is None or step <= since[0]:
            return {}
        seconds = (now - since[1]) / (step - since[0])
        return {"seconds": seconds, "share_of_peak": self.operations / seconds / self.peak}


def training_recordings(
    videos: Path, cache: Path, config: TrainConfig, *, split: Split | None = None
) -> list[Recording]:
    """The real clips to train on: a pack as it is, or the training part of a folder, decoded into a cache.

    Videos that cannot be read are named on standard error and left out.
    """
    if is_pack(videos):
        return read_pack(videos)
    names = [p.relative_to(videos).as_posix() for p in find_videos(videos)]
    if split is not None:
        names = split.select(names, "train")
    recordings, problems = decode_folder(videos, cache, config.cache, names=names)
    for problem in problems:
        tqdm.write(f"skipped: {problem}", file=sys.stderr)
    return recordings


def training_material(
    config: TrainConfig, videos: Path, cache: Path, *, split: Split | None = None, photos: Path | None = None
) -> tuple[list[Recording], Tensor]:
    """Recordings and photographs (uint8 ``[P, 3, H, W]``, frames of theirs and ``photos``) to train on."""
    recordings = training_recordings(videos, cache, config, split=split)
    size = (192, 288)
    photographs = photographs_from(recordings, config.batch.photographs, size, config.seed)
    if photos is not None:
        extra = photographs_in(photos, size)
        # Few but sharp: given as much room as a third of the frames.
        photographs = torch.cat([photographs, extra.repeat(max(len(photographs) // (3 * len(extra)), 1), 1, 1, 1)])
    return recordings, photographs


def train(
    config: TrainConfig,
    videos: Path,
    out: Path,
    *,
    split: Split | None = None,
    photos: Path | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    start_from: Path | None = None,
    stop_after: float | None = None,
    max_steps: int | None = None,
) -> Path:
    """Train from a folder of videos.

    Args:
        config: the recipe.
        videos: folder of videos, nested as they may be, or a pack (see `lamdemo.data.packs`).
        out: gets ``checkpoint/`` (the averaged model), ``state/`` (to resume), ``logs/`` (TensorBoard).
        split: which clips are for training; all without it.
        photos: folder of photographs for the scenes, beside frames of the videos.
        cache: where decoded frames are kept; ``out/cache`` by default.
        device: where to compute.
        resume: go on from ``out/state``.
        start_from: a checkpoint's folder, whose weights a new run begins with.
        stop_after: stop after so many minutes, to be resumed.
        max_steps: stop after so many steps altogether, to be resumed.

    Returns:
        The checkpoint's folder.

    Raises:
        LamdemoError: for anything the user can mend; also when the loss is no number any more, with the last
            good checkpoint kept.
    """
    start = time.monotonic()
    if (out / "state" / STATE_NAME).exists() and not resume:
        raise LamdemoError(f"{out.name} already holds a training run; go on with --resume, or give another folder.")
    material = training_material(config, videos, cache or out / "cache", split=split, photos=photos)
    trainer = Trainer(
        config,
        *material,
        device=device,
        encoder_weights=imagenet_weights() if start_from is None else None,
        start_from=start_from,
    )
    if resume:
        trainer.load_state(out / "state")
    left = None if stop_after is None else stop_after - (time.monotonic() - start) / 60
    run(trainer, out, about={"videos": len(material[0])}, stop_after=left, max_steps=max_steps)
    return out / "checkpoint"


def run(
    trainer: Trainer,
    out: Path,
    *,
    about: dict[str, Any],
    stop_after: float | None = None,
    max_steps: int | None = None,
) -> bool:
    """Take a trainer's steps, with logs, checkpoints every few minutes, and whatever stops them.

    Args:
        trainer: at its first step, or where its state was loaded.
        out: gets ``checkpoint/``, ``state/`` and ``logs/``.
        about: what the checkpoint says of itself beside steps, seed and recipe.
        stop_after: stop after so many minutes (one step is always taken).
        max_steps: stop after so many steps altogether.

    Returns:
        Whether the schedule's end was reached.

    Raises:
        LamdemoError: the loss is no number any more; the last good checkpoint is kept.
    """
    config, start = trainer.config, time.monotonic()
    about = {"seed": config.seed, **about}
    if trainer.variance_kept is not None:
        about["variance_kept"] = trainer.variance_kept

    def save() -> None:
        trainer.save_state(out / "state")
        trainer.export(out / "checkpoint", {**about, "steps": trainer.step, "recipe": dataclasses.asdict(config)})

    total = config.optimizer.steps if max_steps is None else min(max_steps, config.optimizer.steps)
    saved = time.monotonic()
    work: StepWork | None = None
    first = trainer.step
    with (
        SummaryWriter(str(out / "logs")) as writer,
        tqdm(total=total, initial=trainer.step, desc=f"training {out.name}", disable=None) as bar,
    ):
        while trainer.step < total:
            try:
                # The second step is counted: the first still allocates. Counting costs one slow step.
                if work is None and trainer.step > first:
                    work = StepWork.count(trainer)
                logs = trainer.train_step()
            except FloatingPointError as error:
                if (out / "state" / STATE_NAME).exists():
                    advice = (
                        f"the last good checkpoint is kept in {out.name}, so lower the learning rate and go "
                        "on with --resume"
                    )
                else:
                    advice = "lower the learning rate and start again"
                raise LamdemoError(f"Training stopped, {error}: {advice}.") from error
            except KeyboardInterrupt:
                # Between two changes of the weights there is nothing half done; inside one there may be, so a
                # step cut short is not saved.
                if not trainer.changing:
                    save()
                raise
            bar.update()
            if trainer.step % 10 == 0:
                for name, value in logs.items():
                    writer.add_scalar(name, value, trainer.step)
                if work is not None:
                    for name, value in work.logs(trainer.step).items():
                        writer.add_scalar(name, value, trainer.step)
                bar.set_postfix({k: f"{logs[k]:.3f}" for k in ("state_over_copy", "motion_over_copy", "drawn")})
            now = time.monotonic()
            if now - saved > 60 * config.save_minutes:
                save()
                saved = time.monotonic()
            if stop_after is not None and now - start > 60 * stop_after:
                break
    save()
    return trainer.step >= config.optimizer.steps
