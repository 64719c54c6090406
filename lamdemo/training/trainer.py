"""Training the model from a recipe, on two CPU cores as on one large GPU."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.data.scenes import SceneBank
from lamdemo.data.splits import Split
from lamdemo.data.videos import ClipSampler, Recording
from lamdemo.models.checkpoint import checkpoint_hash, load_checkpoint, read_config, save_checkpoint
from lamdemo.models.encoder import EfficientNetLite0, EncoderConfig, imagenet_weights
from lamdemo.models.latent_action_model import LatentActionModel, ModelConfig
from lamdemo.training.batches import Batch, BatchMaker
from lamdemo.training.config import OptimizerConfig, TrainConfig
from lamdemo.training.loop import Loop
from lamdemo.training.material import SceneSources, training_material
from lamdemo.training.mishaps import in_words, without_traces
from lamdemo.training.objective import Objective
from lamdemo.training.processes import Processes
from lamdemo.training.throughput import StepWork

# What a model with layers, or a larger one, has beside one without.
FRESH = (
    "inverse_dynamics.reader.",
    "world_model.blocks.",
    "world_model.layers.",
    "world_model.recall.",
    "world_model.mend_layers.",
    "decoder.matte.",
    "decoder.enter_layers.",
    "painter.",
    "readout.",
)
# What members of a family may each have in their own way.
OWN = (
    "bottleneck.",
    "inverse_dynamics.enter.",
    "inverse_dynamics.principal.",
    "world_model.structure.",
    "world_model.memory.",
    "world_model.residual.",
)
# Trained with ImageNet's weights to begin with, and without batch norms: at a part of the learning rate.
PRETRAINED, _PRETRAINED_RATE = "decoder.matte.deep.", 0.25
PROGRESS_NAME = "progress.json"


class Trainer(Loop[LatentActionModel, TrainConfig]):
    """Trains a model from a recipe.

    Attributes:
        maker: of batches.
        fresh: names of the weights that the checkpoint it started from lacked.
        variance_kept: share of the encoder's variance that whitening keeps; None where a checkpoint brought it.
        about: what the checkpoint says of itself beside seed, steps and recipe.
    """

    damaged = "There is no state of training to resume here; start without --resume."
    again = "go on with --resume"
    eager = 0
    shown = ("state_over_copy", "motion_over_copy", "decoder")

    def __init__(
        self,
        config: TrainConfig,
        recordings: list[Recording],
        bank: SceneBank | None,
        *,
        device: torch.device | str = "cpu",
        encoder_weights: dict[str, Tensor] | None = None,
        batches: Callable[[int], Batch] | None = None,
        start_from: Path | None = None,
        own_bottleneck: bool = False,
        processes: Processes | None = None,
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: the recipe.
            recordings: real clips for training.
            bank: cut-outs and photographs for scenes; None for a recipe without any.
            device: where to compute.
            encoder_weights: ImageNet weights (see `imagenet_weights`); random ones without, for tests.
            batches: gives the batch of each step (each part of it, numbered through), in the place of those drawn from
                the recordings.
            start_from: folder of a checkpoint whose weights, whitening and codes to begin with.
            own_bottleneck: that checkpoint may have another bottleneck: what this one shares with it is taken.
            processes: see `Loop`.

        Raises:
            LamdemoError: ``start_from`` is no checkpoint, or of a model of other sizes; or the batch's parts cannot be
                shared out among the processes.
        """
        self.config, self.device = config, torch.device(device)
        torch.manual_seed(config.seed)
        model = LatentActionModel(config.model)
        model.world_model.recompute = config.recompute
        sampler = ClipSampler(recordings, config.batch.weights, config.augment) if config.batch.clips else None
        self.maker = BatchMaker(config, sampler, bank)
        encoder: Any = model.encoder
        if encoder_weights is not None:
            if isinstance(encoder, EfficientNetLite0):
                encoder.load_imagenet(encoder_weights)
            if model.decoder.matte is not None and model.decoder.matte.deep is not None:
                model.decoder.matte.deep.load_imagenet(encoder_weights)
        model.to(self.device)
        self._batches = batches
        self.variance_kept: float | None = None
        self.fresh: list[str] = []
        if start_from is not None:
            self.fresh = _start_from(model, start_from, own_bottleneck)
        else:
            # Whitened over what will be seen: clips and scenes alike.
            clips = config.batch.clips + 2 * config.batch.pairs
            with torch.no_grad(), self.autocast():
                sample = [self.batch(10_000_000 + i).pictures[:, 0] for i in range(max(256 // clips, 1))]
                self.variance_kept = round(float(encoder.fit_whitening(torch.cat(sample))), 4)
        encoder.to(memory_format=torch.channels_last)
        self._ready: tuple[int, Iterator[Batch]] | None = None
        super().__init__(config, model, device, processes)
        self.processes.own(self.parts)
        self._forward: Callable[..., tuple[Tensor, dict[str, Tensor]]] = (
            torch.compile(Objective(self.model)) if config.compile else Objective(self.model)
        )
        self.about: dict[str, Any] = {}
        self._writer: SummaryWriter | None = None
        self._work: StepWork | None = None

    @property
    def model(self) -> LatentActionModel:
        """The model in training."""
        return self.module

    @property
    def schedule(self) -> OptimizerConfig:
        """See `Loop.schedule`."""
        return self.config.optimizer

    @property
    def identity(self) -> dict[str, Any]:
        """See `Loop.identity`."""
        return {"fresh": self.fresh}

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW, and Muon for the transformer's matrices where the recipe says so."""
        o = self.schedule
        named, fresh = self._trained(), set(self.fresh)
        # Matrices inside the transformer; inputs, outputs and convolutions stay with AdamW, as is usual.
        matrices = [p for n, p in named if o.muon and ".blocks." in n and p.ndim == 2 and "modulation" not in n]
        chosen = {id(p) for p in matrices}
        groups: list[dict[str, Any]] = []
        scales = {n: _PRETRAINED_RATE if n.startswith(PRETRAINED) else o.fresh if n in fresh else 1.0 for n, _ in named}
        for scale in sorted(set(scales.values())):
            for decays in (True, False):
                parameters = [
                    p for n, p in named if scales[n] == scale and (p.ndim >= 2) == decays and id(p) not in chosen
                ]
                groups.append({"params": parameters, "scale": scale, "weight_decay": o.weight_decay if decays else 0.0})
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW([g for g in groups if g["params"]], o.learning_rate, betas=(0.9, 0.98), fused=True)
        ]
        if matrices:
            optimizers.append(
                torch.optim.Muon(matrices, o.learning_rate, weight_decay=o.weight_decay, adjust_lr_fn="match_rms_adamw")
            )
        return optimizers

    @property
    def parts(self) -> int:
        """See `Loop.parts`."""
        return self.config.batch.parts

    def batch(self, index: int) -> Batch:
        """The batch of a step, or a part of one, on the trainer's device, the same whenever it is asked for.

        Args:
            index: the step, or where a batch has parts the number of this one through all steps.
        """
        made = self._batches(index) if self._batches is not None else self.maker[index]
        return made.to(self.device)

    def _prepared(self, part: int) -> Batch:
        """A part of this step's batch, from those that worker processes prefetch."""
        index = self.step * self.parts + part
        if self._batches is not None or not self.config.batch.workers:
            return self.batch(index)
        own = self.processes.own(self.parts)
        if self._ready is None or self._ready[0] != index:  # resumed elsewhere in the meantime
            self._ready = index, self.maker.prefetch(self.step, self.config.optimizer.steps, own)
        batch = next(self._ready[1]).to(self.device)
        self._ready = index + own.step, self._ready[1]
        return batch

    def step_loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `Loop.step_loss`."""
        return self.part_loss(step, 0)

    def part_loss(self, step: int, part: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `Loop.part_loss`."""
        seed = (self.config.seed * 1_000_003 + step) * self.parts + part
        generator = torch.Generator(self.device).manual_seed(seed)
        # Squared: the latent must be of use before it is made scarce.
        warm = self.config.bottleneck_warmup * self.config.optimizer.steps
        strength = 1.0 if warm <= 0 else min(step / warm, 1.0) ** 2
        batch = self._prepared(part)
        with self.autocast():
            return self.loss(self._forward, batch, generator, strength)

    def train_step(self) -> dict[str, float]:
        """See `Loop.train_step`; codes, which learn by averages of their own, are the main process's everywhere."""
        logs = super().train_step()
        self.processes.copy_main(list(self.model.bottleneck.buffers()))
        return logs

    def loss(
        self, objective: Callable[..., Any], batch: Batch, generator: torch.Generator, strength: float = 1.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and logs of a batch, by an `Objective`, compiled or not."""
        return objective(
            batch.pictures,
            batch.swap,
            weights=self.config.loss,
            truth=batch.truth,
            seen=batch.seen,
            states=batch.states,
            strength=strength,
            generator=generator,
        )

    def astray(self) -> Exception:
        """See `Loop.astray`; `run` says what to do."""
        return FloatingPointError(f"the loss is not finite at step {self.step}")

    def note(self, logs: Mapping[str, float]) -> None:
        """Write logs for TensorBoard, every ten steps."""
        if self._writer is None or self.step % 10:
            return
        if self._work is None:
            batch, generator = self.batch(self.step), torch.Generator(self.device).manual_seed(0)

            def loss() -> Tensor:
                with self.autocast():
                    return self.loss(Objective(self.model), batch, generator)[0]

            self._work = StepWork.count(self.model, loss, self.device, self.precision)
            self._work.operations *= len(self.processes.own(self.parts))
        for name, value in {**logs, **self._work.logs(self.step)}.items():
            self._writer.add_scalar(name, value, self.step)

    def train(self, out: Path, *, minutes: float | None = None, most: int | None = None) -> bool:
        """Take steps, with logs, checkpoints every few minutes, and whatever stops them.

        Args:
            out: gets ``checkpoint/``, ``state/`` and ``logs/``.
            minutes: see `Loop.run`.
            most: see `Loop.run`.

        Returns:
            Whether the schedule's end was reached.

        Raises:
            LamdemoError: the loss is no number any more, or see `Loop.run`; the last good checkpoint is kept.
        """
        try:
            # Around the logs, too, which are written in a thread of their own and closed at the end.
            with in_words(out, self.state_in(out), self.again), without_traces(), self._logging(out):
                return self.run(out, minutes=minutes, most=most, title=f"training {out.name}")
        except FloatingPointError as error:
            advice = "lower the learning rate and start again"
            if self.state_in(out).exists():
                advice = (
                    f"the last good checkpoint is kept in {out.name}, so lower the learning rate and go "
                    "on with --resume"
                )
            raise LamdemoError(f"Training stopped, {error}: {advice}.") from error

    @contextlib.contextmanager
    def _logging(self, out: Path) -> Iterator[None]:
        """Logs for TensorBoard, by the main process alone."""
        if not self.processes.main:
            yield
            return
        with SummaryWriter(str(out / "logs")) as self._writer:
            yield

    # Starting, saving and resuming.

    def state_in(self, folder: Path) -> Path:
        """See `Loop.state_in`."""
        return folder / "state" / self.state_name

    def keep(self, folder: Path | None) -> None:
        """Save the state, and the averaged model as a checkpoint."""
        if folder is None:
            return
        self.save(folder / "state")
        about = {"seed": self.config.seed, **self.about}
        if self.variance_kept is not None:
            about["variance_kept"] = self.variance_kept
        about |= {"steps": self.step, "recipe": dataclasses.asdict(self.config)}
        save_checkpoint(self.model, folder / "checkpoint", about=about, weights=self.average)

    def save(self, folder: Path) -> None:
        """See `Loop.save`; beside it ``progress.json``, for people."""
        super().save(folder)
        write_safely(folder / PROGRESS_NAME, json.dumps(self.progress, indent=2).encode())

    def resume(self, folder: Path) -> bool:
        """Go on from what `save` wrote.

        Raises:
            LamdemoError: there is nothing to go on from, or it is of another recipe.
        """
        if not super().resume(folder):
            raise LamdemoError(self.damaged)
        return True

    def check(self, progress: Mapping[str, Any]) -> None:
        """See `Loop.check`: the model must be the same, the schedule may be another."""
        if progress["config"]["model"] != self.progress["config"]["model"]:
            raise LamdemoError("The state to resume is of another model; use the config it was started with.")
        if self.fresh != progress.get("fresh", []):
            self.fresh = progress.get("fresh", [])
            self.optimizers = self.make_optimizers()


def uses_imagenet(model: ModelConfig) -> bool:
    """Whether a new model begins with ImageNet's weights of EfficientNet-Lite0 somewhere."""
    return model.decoder.deep or model.encoder.name == EncoderConfig.name


def began_with(start_from: Path | None, checkpoint: Path, resume: bool) -> dict[str, str] | None:
    """Whose weights a run began with; what goes on finds it in the checkpoint that it wrote."""
    if start_from is not None:
        return {"name": start_from.resolve().name, "sha256": checkpoint_hash(start_from)}
    told = read_config(checkpoint)[1].get("began_with") if resume and checkpoint.is_dir() else None
    return told if isinstance(told, dict) else None


def _start_from(model: LatentActionModel, folder: Path, own_bottleneck: bool) -> list[str]:
    """Load a checkpoint's weights into a model; returns the names of those that the checkpoint lacks."""
    tensors, mine = load_checkpoint(folder).state_dict(), model.state_dict()
    # A model with layers begins with one that has none: what it lacks is fresh.
    may_lack: tuple[str, ...] = FRESH
    if own_bottleneck:
        fits = {n: v for n, v in tensors.items() if n in mine and v.shape == mine[n].shape}
        tensors = {n: v for n, v in tensors.items() if n in fits or (n in mine and not n.startswith(OWN))}
        may_lack = FRESH + OWN
    fresh = [n for n in mine if n not in tensors and n.startswith(may_lack)]
    try:
        model.load_state_dict({**{n: mine[n] for n in fresh}, **tensors})
    except RuntimeError as error:
        raise LamdemoError(
            f"The checkpoint {folder.name} is of a model of other sizes; use the config that it was trained with."
        ) from error
    return fresh


def train(
    config: TrainConfig,
    videos: Path,
    out: Path,
    *,
    split: Split | None = None,
    sources: SceneSources | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    start_from: Path | None = None,
    stop_after: float | None = None,
    max_steps: int | None = None,
) -> Path:
    """Train from a folder of videos; together with others where ``accelerate launch`` started several processes.

    Args:
        config: the recipe.
        videos: folder of videos, nested as they may be, or a pack (see `lamdemo.data.packs`).
        out: gets ``checkpoint/`` (the averaged model), ``state/`` (to resume), ``logs/`` (TensorBoard).
        split: which clips are for training; all without it.
        sources: cut-outs and photographs for the scenes.
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
    if (out / "state" / Loop.state_name).exists() and not resume:
        raise LamdemoError(f"{out.name} already holds a training run; go on with --resume, or give another folder.")
    # What a checkpoint brings of ImageNet's weights it brings itself.
    lacking = start_from is None or (config.model.decoder.deep and not read_config(start_from)[0].decoder.deep)
    lacking = lacking and uses_imagenet(config.model)
    processes = Processes.joined(device)
    processes.own(config.batch.parts)
    with processes.main_first():
        material = training_material(config, videos, cache or out / "cache", split=split, sources=sources)
    trainer = Trainer(
        config,
        *material,
        device=device,
        encoder_weights=imagenet_weights() if lacking else None,
        start_from=start_from,
        processes=processes,
    )
    if resume:
        trainer.resume(out / "state")
    trainer.about = {"videos": len(material[0])}
    if began := began_with(start_from, out / "checkpoint", resume):
        trainer.about["began_with"] = began
    left = None if stop_after is None else stop_after - (time.monotonic() - start) / 60
    trainer.train(out, minutes=left, most=max_steps)
    processes.part_ways()
    return out / "checkpoint"
