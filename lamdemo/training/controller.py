"""Training controllers: what was commanded in episodes, and the latent actions that were seen in them.

States and latents of each episode are computed once and kept; a training is then minutes on one CPU core, and goes on
bit for bit where it was stopped: all randomness of a step comes from the seed and the step's number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from lamdemo.data.episodes import ActionSpec, Episode
from lamdemo.errors import LamdemoError
from lamdemo.models.bottleneck import DiscreteBottleneck
from lamdemo.models.checkpoint import write_safely
from lamdemo.models.controller import Controller, ControllerConfig
from lamdemo.pipeline import TransferPipeline
from lamdemo.pipeline.control import KnownController, command_windows, fitting

_TOGETHER = 4  # pictures encoded at once: more of them no longer stay in a processor's cache, and take longer each
_PAIRS = 32  # steps whose latents are inferred at once
_ROWS = 256  # steps that are judged at once


@dataclass(frozen=True)
class ControllerTrainingConfig:
    """How a controller is trained.

    Attributes:
        steps: of the optimizer.
        batch: steps of episodes in each.
        learning_rate: at its highest; falls along a cosine.
        warmup: share of the steps in which it rises.
        weight_decay: of AdamW, on matrices.
        clip: largest norm of the gradient.
        noise: largest standard deviation of the noise on states, in units of the whitened state, since in use most
            states are predictions.
        average: of the weights that are kept, the share that each step leaves.
        seed: of all that is drawn at random.
        save_minutes: time between two saves of the way so far.
    """

    steps: int = 3000
    batch: int = 64
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    clip: float = 1.0
    noise: float = 0.2
    average: float = 0.997
    seed: int = 0
    save_minutes: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.learning_rate <= 0 or not 0 <= self.average < 1:
            raise ValueError("training needs steps, a batch, a learning rate above 0 and an average below 1")


class Part(NamedTuple):
    """One episode as a controller learns from it.

    Attributes:
        states: float16 ``[T, N, D]``, most often mapped from a file.
        latents: float32 ``[S, Z]``, inferred.
        actions: float32 ``[S, A]``.
        recording: which recording it is of.
        made: it was flipped or reversed, and never recorded so.
    """

    states: np.ndarray
    latents: np.ndarray
    actions: np.ndarray
    recording: str
    made: bool = False


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps of many episodes.

    Attributes:
        spec: of their commands.
        parts: an episode each; flipped and reversed ones are parts of their own.
    """

    spec: ActionSpec
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        """Steps in all, M."""
        return sum(len(part.latents) for part in self.parts)

    @property
    def places(self) -> np.ndarray:
        """(part, step) of each step, ``[M, 2]``."""
        return np.array([(i, t) for i, part in enumerate(self.parts) for t in range(len(part.latents))], np.int64)

    @property
    def latents(self) -> np.ndarray:
        """All latents, ``[M, Z]``."""
        return np.concatenate([part.latents for part in self.parts])

    @property
    def commands(self) -> np.ndarray:
        """All commands as they were recorded, ``[M', A]``: of neither flipped nor reversed episodes."""
        return np.concatenate([part.actions for part in self.parts if not part.made])

    @property
    def recordings(self) -> set[str]:
        """Names of the recordings."""
        return {part.recording for part in self.parts}

    def without(self, recordings: Iterable[str]) -> Steps:
        """The steps of all other recordings."""
        left_out = set(recordings)
        return Steps(self.spec, tuple(p for p in self.parts if p.recording not in left_out))


def collect_steps(
    pipeline: TransferPipeline,
    episodes: Iterable[Episode],
    cache: Path,
    *,
    mirror: bool = False,
    reverse: bool = False,
    progress: bool = True,
) -> Steps:
    """Encode episodes at the model's rate and infer their latents, or take what is kept of them.

    Args:
        pipeline: whose states and latents.
        episodes: all of one spec; those of one frame are passed over.
        cache: folder for what was computed, by the frames' content, so that another reader or name finds it too.
        mirror: add each episode flipped from left to right, where the spec tells how.
        reverse: add each episode backwards, where all its commands are changes, which go back by their negatives, and
            the latents are odd in time, as they are but for codes.
        progress: show a progress bar on a terminal.

    Raises:
        LamdemoError: there is no step in them, or they are of different specs.
    """
    place = cache / (pipeline.checkpoint[:12] or "model")
    place.mkdir(parents=True, exist_ok=True)
    parts: list[Part] = []
    spec: ActionSpec | None = None
    for episode in tqdm(episodes, desc="inferring latents", disable=None if progress else True):
        if spec is not None and episode.spec != spec:
            raise LamdemoError(
                f"Episode {episode.name} has other actions ({', '.join(episode.spec.names)}) than those before it "
                f"({', '.join(spec.names)}); train a controller for each kind by itself."
            )
        spec = episode.spec
        at = episode.at(pipeline.fps)
        if len(at) < 2:
            continue
        parts.append(Part(*see(pipeline, at.frames, place), at.actions, at.recording))
        if mirror and spec.mirror is not None:
            flipped = np.ascontiguousarray(at.frames[:, :, ::-1])
            parts.append(Part(*see(pipeline, flipped, place), at.actions * spec.mirror, at.recording, True))
    if spec is None or not parts:
        raise LamdemoError("There is no step to learn from in these episodes; give some of two frames or more.")
    odd = not isinstance(pipeline.model.bottleneck, DiscreteBottleneck)
    if reverse and odd and all(channel.kind == "change" for channel in spec.channels):
        parts += [Part(p.states[::-1], -p.latents[::-1], -p.actions[::-1], p.recording, True) for p in parts]
    return Steps(spec, tuple(parts))


def see(pipeline: TransferPipeline, frames: np.ndarray, place: Path) -> tuple[np.ndarray, np.ndarray]:
    """States ``[T, N, D]`` and latents ``[T - 1, Z]`` of frames, from the cache if they are there."""
    digest = hashlib.sha256(str(frames.shape).encode())
    digest.update(frames.tobytes())
    key = digest.hexdigest()[:24]
    files = place / f"{key}.states.npy", place / f"{key}.latents.npy"
    try:
        states, latents = np.load(files[0], mmap_mode="r"), np.load(files[1])
        if len(states) == len(frames) and len(latents) == len(frames) - 1:
            return states, latents
    except (OSError, ValueError, EOFError):  # not there, or half of one that another version wrote
        pass
    with torch.no_grad():
        encoded = torch.cat([pipeline.encode(frames[i : i + _TOGETHER]) for i in range(0, len(frames), _TOGETHER)])
        with pipeline.computing():
            inferred = [
                pipeline.model.infer(encoded[None, i : i + _PAIRS + 1])[0] for i in range(0, len(frames) - 1, _PAIRS)
            ]
    latents = torch.cat(inferred).float().cpu().numpy()
    for file, array in zip(reversed(files), (latents, encoded.half().cpu().numpy()), strict=True):
        # A name of its own: another training may be computing the same.
        partial = file.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with open(partial, "wb") as stream:
                np.save(stream, array)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    return np.load(files[0], mmap_mode="r"), latents


class _Rows:
    """Steps in the shape in which a controller takes them."""

    def __init__(self, steps: Steps, config: ControllerConfig, codes: Tensor | None) -> None:
        self.steps, self.places, self.blind = steps, steps.places, config.kind == "actions"
        self.windows = torch.from_numpy(
            np.concatenate([command_windows(steps.spec, config.history, p.actions) for p in steps.parts])
        )
        self.latents = torch.from_numpy(steps.latents)
        self.codes = None if codes is None else torch.cdist(self.latents, codes.cpu()).argmin(-1)

    def __len__(self) -> int:
        return len(self.places)

    def states(self, rows: np.ndarray) -> Tensor:
        """``[B, N, D]``; ``[B, 0, D]`` where nobody will look at them."""
        if self.blind:
            return torch.zeros(len(rows), 0, self.steps.parts[0].states.shape[-1])
        return torch.from_numpy(np.stack([self.steps.parts[i].states[t] for i, t in self.places[rows]])).float()


class _Run:
    """A training that can be stopped at any step and go on as if it had not been."""

    def __init__(self, rows: _Rows, controller: Controller, config: ControllerTrainingConfig) -> None:
        self.rows, self.controller, self.config = rows, controller, config
        matrices = [p for p in controller.parameters() if p.ndim > 1]
        others = [p for p in controller.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        self.average = {n: p.detach().clone() for n, p in controller.named_parameters()}
        self.step = 0

    def rate(self) -> float:
        """The learning rate of the next step."""
        warmup = max(round(self.config.warmup * self.config.steps), 1)
        if self.step < warmup:
            return self.config.learning_rate * (self.step + 1) / warmup
        done = (self.step - warmup) / max(self.config.steps - warmup, 1)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def train_step(self) -> float:
        rng = np.random.default_rng([self.config.seed, self.step])
        chosen = rng.integers(len(self.rows), size=self.config.batch)
        device = next(self.controller.parameters()).device
        states = self.rows.states(chosen)
        with torch.random.fork_rng():
            torch.manual_seed(int(rng.integers(2**62)))
            if self.config.noise and states.numel():
                states += torch.randn(states.shape) * (self.config.noise * torch.rand(len(states), 1, 1))
            out = self.controller.train()(states.to(device), self.rows.windows[chosen].to(device))
        if self.rows.codes is not None:
            loss = F.cross_entropy(out, self.rows.codes[chosen].to(device))
        else:
            loss = (out - self.rows.latents[chosen].to(device)).square().sum(-1).mean()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.controller.parameters(), self.config.clip)
        self.optimizer.step()
        # Early in training the average follows closely, else it would remember the beginning.
        keep = min(self.config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, parameter in self.controller.named_parameters():
                self.average[name].lerp_(parameter, 1 - keep)
        self.step += 1
        return float(loss.detach())

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        tensors = {f"own/{k}": v for k, v in self.controller.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        for key, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{key}/{name}": torch.as_tensor(v) for name, v in state.items()}
        plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        write_safely(path, save(plain, metadata={"progress": json.dumps({"step": self.step, "about": about})}))

    def load(self, path: Path, about: Mapping[str, Any]) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                progress = json.loads((file.metadata() or {})["progress"])
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise LamdemoError(f"{path.name} is damaged; remove it and call again.") from error
        if progress["about"] != about:
            raise LamdemoError(
                f"There is a controller in training here ({path.name}) with other settings or data; "
                "remove it or give another folder."
            )
        device = next(self.controller.parameters()).device
        self.controller.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("own/")})
        self.average = {n: tensors[f"average/{n}"].to(device) for n in self.average}
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimizer/"):
                _, number, name = key.split("/")
                state.setdefault(int(number), {})[name] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.step = int(progress["step"])


@torch.no_grad()
def judge_controller(controller: Controller, steps: Steps) -> dict[str, float]:
    """How near a controller's latents come to the inferred ones.

    Args:
        controller: to judge.
        steps: with true states; best of recordings that were not trained on.

    Returns:
        ``r2``: share of the latents' variance that is explained, over all channels together. ``ratio``: mean of
        ``|z - z_hat|`` over the mean of ``|z - mean z|``. ``cosine``: mean cosine of z and z_hat, each step weighted
        by ``|z|``, so that steps in which nothing happens count little. ``steps`` and ``recordings``: how many there
        were.
    """
    rows = _Rows(steps, controller.config, None)
    device = next(controller.parameters()).device
    controller.eval()
    found = []
    for start in range(0, len(rows), _ROWS):
        chosen = np.arange(start, min(start + _ROWS, len(rows)))
        given = rows.states(chosen).to(device), rows.windows[chosen].to(device)
        found.append(controller.latents(*given).float().cpu())
    z, z_hat = rows.latents, torch.cat(found)
    error, spread, size = z - z_hat, z - z.mean(0), z.norm(dim=-1)
    cosine = F.cosine_similarity(z, z_hat, dim=-1)
    return {
        "r2": float(1 - error.square().sum() / spread.square().sum().clamp_min(1e-12)),
        "ratio": float(error.norm(dim=-1).mean() / spread.norm(dim=-1).mean().clamp_min(1e-12)),
        "cosine": float((cosine * size).sum() / size.sum().clamp_min(1e-12)),
        "steps": len(steps),
        "recordings": len(steps.recordings),
    }


def train_controller(
    pipeline: TransferPipeline,
    steps: Steps,
    validation: Steps | None,
    controller_config: ControllerConfig,
    config: ControllerTrainingConfig | None = None,
    *,
    name: str = "controller",
    state: Path | None = None,
    stop_after: float | None = None,
    progress: bool = True,
) -> KnownController | None:
    """Train a controller.

    Args:
        pipeline: whose states and latents they are.
        steps: from `collect_steps`, of training recordings.
        validation: of others, to measure on; nothing is chosen by them here.
        controller_config: its sizes.
        config: how to train.
        name: of the controller.
        state: file that holds the way so far, every minute or so, and is removed at the end.
        stop_after: stop after so many minutes, to be called again.
        progress: show a progress bar on a terminal.

    Returns:
        The controller with the weights' average, and figures in its ``about``; None where it was stopped before.

    Raises:
        LamdemoError: recordings are both trained on and measured on, or their actions differ, the state is of other
            settings or damaged, or the loss is no number.
    """
    config = config or ControllerTrainingConfig()
    if controller_config.actions != steps.spec.width:
        raise ValueError("the controller's commands are of another width than the episodes'")
    if validation is not None and (both := sorted(steps.recordings & validation.recordings)):
        raise LamdemoError(f"{both[0]} is to be trained on and measured on; split episodes by recording.")
    if validation is not None and validation.spec.names != steps.spec.names:
        raise LamdemoError(
            f"What is measured on has other actions ({', '.join(validation.spec.names)}) than what is trained on "
            f"({', '.join(steps.spec.names)}); give episodes of the same kind."
        )
    fits = fitting(pipeline)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        controller = Controller(controller_config, **fits).to(pipeline.model.device)
    rows = _Rows(steps, controller_config, fits["codes"])
    controller.fit_scales(rows.windows[:, -1])
    run = _Run(rows, controller, config)
    about: dict[str, Any] = {
        "data": {"steps": len(steps), "episodes": len(steps.parts), "recordings": len(steps.recordings)},
        "training": {k: v for k, v in dataclasses.asdict(config).items() if k != "save_minutes"},
    }
    bound = {**about, "name": name, "checkpoint": pipeline.checkpoint, "config": dataclasses.asdict(controller_config)}
    if state is not None and state.is_file():
        run.load(state, bound)
    start = saved = time.monotonic()
    with tqdm(total=config.steps, initial=run.step, desc=name, disable=None if progress else True) as bar:
        while run.step < config.steps:
            loss = run.train_step()
            if not math.isfinite(loss):
                raise LamdemoError("The controller's training went astray: its loss is no number; lower the rate.")
            bar.update()
            now = time.monotonic()
            stop = stop_after is not None and now - start > 60 * stop_after and run.step < config.steps
            if state is not None and (stop or now - saved > 60 * config.save_minutes):
                state.parent.mkdir(parents=True, exist_ok=True)
                run.save(state, bound)
                saved = now
            if stop:
                return None
    controller.load_state_dict(run.average, strict=False)
    controller.eval().requires_grad_(False)
    given = steps.commands.astype(np.float64)
    about["commands"] = {"mean": given.mean(0).tolist(), "std": given.std(0).tolist()}
    about["figures"] = {"train": judge_controller(controller, _some(steps, 2000))}
    if validation is not None:
        about["figures"]["validation"] = judge_controller(controller, validation)
    if state is not None:
        state.unlink(missing_ok=True)
    return KnownController(name, steps.spec, controller, about)


def _some(steps: Steps, most: int) -> Steps:
    """About ``most`` steps of whole parts, spread over all of them."""
    every = max(len(steps) // most, 1)
    return Steps(steps.spec, steps.parts[::every])
