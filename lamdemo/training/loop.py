"""The training loop of everything that is trained: schedule, moving average, saving, and going on bit for bit.

All randomness of a step comes from the seed and the step's number, so there is no random state to save: what a resumed
run draws is what the first would have drawn.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from lamdemo.core.devices import fast_dtype
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import PARTS, write_safely
from lamdemo.training.mishaps import in_words
from lamdemo.training.processes import Processes


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How weights are moved."""

    steps: int = 1000  # how many steps the schedule spans
    learning_rate: float = 2e-4  # at its peak
    warmup: float = 0.05  # share of the steps in which it rises; it then falls along a cosine
    floor: float = 0.0  # share of the peak at which it ends
    weight_decay: float = 0.02  # of matrices
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.99  # decay of the moving average of the weights (rising to it from 0)

    def rate(self, step: int) -> float:
        """Learning rate of a step: a linear warmup, then a cosine down to the floor."""
        rise = max(round(self.warmup * self.steps), 1)
        if step < rise:
            return self.learning_rate * (step + 1) / rise
        share = min((step - rise) / max(self.steps - rise, 1), 1.0)
        return self.learning_rate * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share)))


@dataclasses.dataclass(frozen=True)
class LoopConfig(Schedule):
    """A schedule, and what else a run is told."""

    bf16: bool = True  # compute in bfloat16, where the device is faster in it
    seed: int = 0  # of all that is drawn
    save_minutes: float = 3.0  # between two saved states


M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=Any)


class Loop(ABC, Generic[M, C]):
    """Trains a module step by step; a stopped run goes on where it was saved.

    Attributes:
        config: of the run, with ``seed`` and ``save_minutes``.
        module: what is trained.
        step: how many steps are done.
        average: moving average of the parameters in training, by name; this is what is kept.
        optimizers: that move them.
        processes: that train the module together, of which this is one.
        changing: whether weights are being changed right now, so that an interrupted step left them half changed.
        state_name: of the file that a run is kept in; each kind has its own, so that two can share a folder.
    """

    state_name: str = "state.safetensors"
    damaged: ClassVar[str] = "{file} of {folder} is damaged; remove it and call again."
    again: ClassVar[str] = "call it again"  # how one goes on with a run that was stopped
    shown: ClassVar[tuple[str, ...]] = ("loss",)  # logs beside the progress bar
    fused: ClassVar[bool | None] = True  # AdamW in one kernel
    eager: ClassVar[int] = 1  # whether the average's decay counts the step at hand

    def __init__(
        self, config: C, module: M, device: torch.device | str = "cpu", processes: Processes | None = None
    ) -> None:
        """Set everything up for step 0.

        Args:
            config: how to train.
            module: what is trained.
            device: where to compute.
            processes: that train it together; this one alone without it.
        """
        self.config, self.device, self.step, self.changing = config, torch.device(device), 0, False
        self.processes = processes or Processes()
        if self.device.type == "cuda":
            # Its gradients of bfloat16 attention over frames are no numbers (torch 2.11, H200).
            torch.backends.cuda.enable_cudnn_sdp(False)
        self.module = module.to(self.device).train()
        self.processes.copy_main([*self.module.parameters(), *self.module.buffers()])
        self.average = {n: p.detach().clone() for n, p in self._trained()}
        self.optimizers = self.make_optimizers()

    # What subclasses say of themselves.

    @abstractmethod
    def step_loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The loss of a step, the same whenever it is asked for, and logs."""

    @property
    def parts(self) -> int:
        """How many parts a step's batch has; `part_loss` gives the loss of each."""
        return 1

    def part_loss(self, step: int, part: int) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """See `step_loss`, of one part of the batch; their mean is what is made smaller."""
        return self.step_loss(step)

    @property
    def schedule(self) -> Schedule:
        """How the weights are moved."""
        return self.config

    @property
    def identity(self) -> dict[str, Any]:
        """What, beside the config, a run and the one that it goes on from must have in common; plain values."""
        return {}

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        """AdamW on all parameters in training; a group's ``scale`` multiplies its learning rate."""
        trained = [p for _, p in self._trained()]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.schedule.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, self.schedule.learning_rate, betas=(0.9, 0.98), fused=self.fused)]

    def astray(self) -> Exception:
        """The error of a loss or gradient that is no number."""
        return LamdemoError("The training went astray: its loss is no number; lower the learning rate.")

    def note(self, logs: Mapping[str, float]) -> None:
        """Take down the logs of the step that was just done."""

    def check(self, progress: Mapping[str, Any]) -> None:
        """See that a saved run, by its `progress`, is one to go on with.

        Raises:
            LamdemoError: it is of other settings.
        """
        mine = self.progress
        # What runs that were begun by an earlier version did not note is taken on trust.
        noted = {**mine, "config": dict(mine["config"])}
        for key, value in progress.items():
            both = isinstance(value, dict) and isinstance(mine.get(key), dict)
            noted[key] = {**mine[key], **value} if both else value
        noted["config"]["save_minutes"] = mine["config"]["save_minutes"]
        if {**noted, "step": self.step} != mine:
            raise LamdemoError(
                f"{self.state_name} is of a run with other settings or data; remove it, or give another folder."
            )

    # Steps.

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(n, p) for n, p in self.module.named_parameters() if p.requires_grad]

    def autocast(self) -> torch.autocast:
        """The precision to compute in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)

    @property
    def precision(self) -> torch.dtype:
        """Of matrix products."""
        return fast_dtype(self.device) if self.config.bf16 else torch.float32

    def learning_rate(self, step: int) -> float:
        """See `Schedule.rate`."""
        return self.schedule.rate(step)

    def train_step(self) -> dict[str, float]:
        """Do one step; returns its logs.

        Raises:
            LamdemoError: the loss or the gradient is not finite (see `astray`); the weights are as before.
        """
        self.module.train()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        told: dict[str, float] = {}
        own = self.processes.own(self.parts)
        for part in own:
            loss, logs = self.part_loss(self.step, part)
            # Before the way back, on which sampling at places that are no numbers crashes.
            if not self.processes.all(bool(torch.isfinite(loss))):
                raise self.astray()
            (loss / self.parts).backward()
            for key, value in {"loss": loss.detach(), **logs}.items():
                told[key] = told.get(key, 0.0) + float(value) / len(own)
        parameters = [p for _, p in self._trained()]
        self.processes.add_up(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.schedule.clip, foreach=True)
        if not torch.isfinite(norm):
            raise self.astray()
        rate = self.learning_rate(self.step)
        self.changing = True
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)
            optimizer.step()
        self._follow()
        self.step += 1
        self.changing = False
        return {**self.processes.mean(told), "gradient": float(norm), "learning_rate": rate}

    @torch.no_grad()
    def _follow(self) -> None:
        # Early in training the average follows closely, else it would remember the beginning.
        done = self.step + self.eager
        decay = min(self.schedule.ema, (1 + done) / (10 + done))
        current = dict(self._trained())
        torch._foreach_lerp_(list(self.average.values()), [current[n].detach() for n in self.average], 1 - decay)

    @torch.no_grad()
    def put(self, values: Mapping[str, Tensor]) -> None:
        """Set the model's parameters, by name."""
        for name, value in values.items():
            self.module.get_parameter(name).copy_(value)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """While it is entered the module has its averaged weights and is not in training."""
        own = {n: p.detach().clone() for n, p in self._trained()}
        self.put(self.average)
        self.module.eval()
        try:
            yield
        finally:
            self.put(own)
            self.module.train()

    def finish(self) -> M:
        """The trained model with its averaged weights, ready to use."""
        self.put(self.average)
        return self.module.eval()

    def run(
        self,
        folder: Path | None,
        *,
        minutes: float | None = None,
        most: int | None = None,
        title: str = "training",
        report: Callable[[str], None] | None = None,
    ) -> bool:
        """Train to the end, saving on the way.

        Args:
            folder: to save to; nothing is saved without it.
            minutes: stop after so many, to be called again; one step is always taken.
            most: stop after so many steps altogether.
            title: of the progress bar.
            report: gets a line of logs every 50 steps.

        Returns:
            Whether the schedule's end was reached.

        Raises:
            LamdemoError: the loss is no number, the folder cannot be written, or there is not enough memory. What was
                saved before is as it was.
        """
        with in_words(folder, None if folder is None else self.state_in(folder), self.again):
            return self._run(folder, minutes, most, title, report)

    def _run(
        self,
        folder: Path | None,
        minutes: float | None,
        most: int | None,
        title: str,
        report: Callable[[str], None] | None,
    ) -> bool:
        total = self.schedule.steps if most is None else min(most, self.schedule.steps)
        began = saved = time.monotonic()
        smooth: dict[str, float] = {}
        main = self.processes.main
        with tqdm(total=total, initial=self.step, desc=title, disable=None if main else True) as bar:
            while self.step < total:
                try:
                    logs = self.train_step()
                except KeyboardInterrupt:
                    # Between two changes of the weights there is nothing half done; a step cut short is not saved.
                    if not self.changing and main:
                        self.keep(folder)
                    raise
                bar.update()
                self.note(logs)
                for key, value in logs.items():
                    smooth[key] = 0.95 * smooth.get(key, value) + 0.05 * value
                if self.step % 10 == 0:
                    bar.set_postfix({k: f"{logs[k]:.3f}" for k in self.shown})
                if report is not None and main and self.step % 50 == 0:
                    report(f"step {self.step}: " + ", ".join(f"{k} {v:.3g}" for k, v in smooth.items()))
                now = time.monotonic()
                if main and now - saved > 60 * self.config.save_minutes:
                    self.keep(folder)
                    saved = time.monotonic()
                if minutes is not None and self.processes.as_main(now - began > 60 * minutes):
                    break
        if main:
            self.keep(folder)
        self.processes.wait()
        return self.step >= self.schedule.steps

    # Going on where a run was stopped.

    @property
    def progress(self) -> dict[str, Any]:
        """The step, the config and the `identity` of the run, as JSON holds them."""
        run = {"step": self.step, "config": dataclasses.asdict(self.config), **self.identity}
        return dict(json.loads(json.dumps(run)))

    def state_in(self, folder: Path) -> Path:
        """The file that a run that is kept in a folder goes on from."""
        return folder / self.state_name

    def keep(self, folder: Path | None) -> None:
        """What a run does from time to time and at its end: save, if it was told where."""
        if folder is not None:
            self.save(folder)

    def save(self, folder: Path) -> None:
        """Write all that is needed to go on: weights, averages, optimizers, buffers, step."""
        tensors = {f"model/{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        for i, optimizer in enumerate(self.optimizers):
            for key, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{i}/{key}/{name}": torch.as_tensor(v) for name, v in state.items()}
        # Tensors may share memory or lie in another order (channels last): both are undone.
        plain = {k: v.detach().to("cpu").contiguous().clone() for k, v in tensors.items()}
        folder.mkdir(parents=True, exist_ok=True)
        # One file, so that weights and step can never be of two moments.
        write_safely(folder / self.state_name, save(plain, metadata={"progress": json.dumps(self.progress)}))

    def resume(self, folder: Path) -> bool:
        """Go on from what `save` wrote, if there is any.

        Raises:
            LamdemoError: what lies there is of another run, or damaged.
        """
        path = folder / self.state_name
        for left in folder.glob(PARTS):  # by a run that was killed while it saved
            left.unlink(missing_ok=True)
        if not path.is_file():
            return False
        try:
            with safe_open(path, "pt") as stream:
                about = stream.metadata() or {}
            progress = json.loads(about["progress"] if "progress" in about else about["run"])
            tensors = {_name_today(k): v for k, v in load_file(path).items()}
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise LamdemoError(self.damaged.format(file=path.name, folder=folder.name)) from error
        self.check(progress)
        own = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        self.module.load_state_dict({**self.module.state_dict(), **own})
        self.average = {n: tensors[f"average/{n}"].to(self.device) for n in self.average}
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in tensors.items():
                if key.startswith(f"optimizer/{i}/"):
                    _, _, number, name = key.split("/")
                    state.setdefault(int(number), {})[name] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        self.step = int(progress["step"])
        return True


def _name_today(name: str) -> str:
    """The name of a saved tensor, also where an earlier version gave it another: ``module.X``, ``optimizer.0.step``."""
    for old, new in (("module.", "model/"), ("parameter.", "model/"), ("own/", "model/"), ("average.", "average/")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    if name.startswith("optimizer."):
        name = name.replace(".", "/")
    return name if name.count("/") != 2 or not name.startswith("optimizer/") else name.replace("/", "/0/", 1)
