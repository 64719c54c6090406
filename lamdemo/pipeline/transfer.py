"""The one way through: frames to latent actions, latent actions on another picture.

The page, the command line, the programming interface and the evaluations all call `TransferPipeline`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.errors import LamdemoError
from lamdemo.models import LatentActionModel, checkpoint_hash, load_checkpoint, read_config
from lamdemo.models.controller import list_controllers
from lamdemo.pipeline.actions import ActionEdit, LatentActions
from lamdemo.pipeline.control import Drive, KnownController, find_controller
from lamdemo.pipeline.familiarity import Familiarity, Judgement
from lamdemo.pipeline.hub import resolve_checkpoint
from lamdemo.pipeline.rollout import HISTORY, Rollout, TransferStep

MAX_STEPS = 256
MAX_SIDE = 1280


@dataclass(frozen=True)
class TransferResult:
    """A whole transfer.

    Attributes:
        frames: uint8 ``[S + 1, H, W, 3]``; the first is the target.
        idle: the same under no action, for comparison.
        smooth: uint8 ``[S * (K + 1) + 1, H, W, 3]``: frames with those between them.
        latents: the actions that were applied.
        flow: float32 ``[S, H, W, 2]``, backward, in pixels.
        fps: steps a second; ``smooth`` plays at ``(K + 1)`` times that.
        measures: figures of the result, by name, each explained in `measure`.
        familiarity: how near the source's actions, before any edit, lie to those seen in training; None
            where the checkpoint brings no sample of these.
    """

    frames: np.ndarray
    idle: np.ndarray
    smooth: np.ndarray
    latents: LatentActions
    flow: np.ndarray
    fps: float
    measures: dict[str, float] = field(default_factory=dict)
    familiarity: Judgement | None = None

    @property
    def smooth_fps(self) -> float:
        """Frames a second of ``smooth``."""
        return self.fps * (len(self.smooth) - 1) / max(len(self.frames) - 1, 1)


def sharpness(picture: np.ndarray) -> float:
    """Mean gradient magnitude of a picture ``[H, W, 3]`` in gray levels a pixel."""
    gray = picture.astype(np.float32).mean(-1)
    dy, dx = gray[1:, :-1] - gray[:-1, :-1], gray[:-1, 1:] - gray[:-1, :-1]
    return float(np.hypot(dx, dy).mean()) if dx.size else 0.0  # one row or column has no gradient


def measure(steps: list[TransferStep], latents: LatentActions) -> dict[str, float]:
    """Figures of a transfer.

    Returns:
        ``action_size``: mean norm of the latents. ``motion``: mean length of the flow, in percent of the
        picture's width a step. ``painted``: mean share of the picture painted over. ``sharpness``: of the
        last frame over the target's. ``change`` and ``idle_change``: mean absolute difference of the last
        frame from the target, in gray levels, with the action and without.
    """
    target, last = steps[0], steps[-1]
    moved = [np.linalg.norm(s.flow, axis=-1).mean() / s.flow.shape[1] for s in steps[1:] if s.flow is not None]

    def difference(picture: np.ndarray) -> float:
        return float(np.abs(picture.astype(np.int16) - target.frame).mean())

    return {
        "action_size": float(latents.size.mean()),
        "motion": float(100 * np.mean(moved)),
        "painted": float(np.mean([s.painted for s in steps[1:]])),
        "sharpness": sharpness(last.frame) / max(sharpness(target.frame), 1e-6),
        "change": difference(last.frame),
        "idle_change": difference(last.idle),
    }


class TransferPipeline:
    """Infers latent actions from clips and applies them to pictures.

    Example:
        >>> pipeline = TransferPipeline.from_pretrained()
        >>> actions = pipeline.infer(frames)  # uint8 [T, H, W, 3]
        >>> result = pipeline.transfer(actions, picture)  # uint8 [H, W, 3]
    """

    def __init__(
        self,
        model: LatentActionModel,
        *,
        name: str = "model",
        checkpoint: str = "",
        familiarity: Familiarity | None = None,
        trained: Mapping[str, int] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Args: a model, how to call it, its weights' hash, latents it saw in training, steps of it, its folder."""
        self.model, self.name, self.checkpoint = model.eval(), name, checkpoint
        self.familiarity = familiarity
        self.trained = dict(trained or {})
        self.folder = folder

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        cache_dir: str | Path | None = None,
    ) -> TransferPipeline:
        """Load a checkpoint.

        Args:
            path_or_id: a folder, the name of a bundled checkpoint ("noisy"), or an id on the Hugging Face
                Hub, ``owner/name`` or ``owner/name@revision``. The bundled default without it.
            device: where to compute.
            dtype: of the weights.
            cache_dir: where downloads are kept; huggingface_hub's own place by default.

        Raises:
            LamdemoError: there is no such checkpoint, or it is damaged.
        """
        folder = resolve_checkpoint(path_or_id, cache_dir=cache_dir)
        _, about = read_config(folder)
        model = load_checkpoint(folder, device=device, dtype=dtype)
        name = str(path_or_id) if path_or_id is not None else folder.name
        return cls(
            model,
            name=Path(name).name if Path(name).is_absolute() else name,
            checkpoint=checkpoint_hash(folder),
            familiarity=Familiarity.read(folder),
            trained={k: v for k, v in about.items() if k.endswith("steps") and isinstance(v, int)},
            folder=folder,
        )

    @property
    def fps(self) -> float:
        """Steps a second at which clips are best read."""
        return self.model.config.fps

    @property
    def family(self) -> str:
        """The bottleneck's family."""
        return self.model.config.bottleneck.family

    def computing(self) -> AbstractContextManager[object]:
        """What lets weights of half precision meet pictures and states of full precision."""
        dtype = self.model.world_model.tokens.weight.dtype
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.model.device.type, dtype)

    # Pictures and states.

    def to_tensor(self, frames: np.ndarray) -> Tensor:
        """Frames ``[..., H, W, 3]`` uint8 to ``[..., 3, H, W]`` in [0, 1] on the model's device.

        Raises:
            LamdemoError: the array is not of such frames.
        """
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3 or not frames.size:
            raise LamdemoError("Frames must be uint8 RGB pictures [T, H, W, 3]; convert them first.")
        # A copy where the array is read-only (a memory-mapped file), which torch cannot share.
        tensor = torch.from_numpy(np.require(frames, requirements=["C", "W"])).to(self.model.device)
        return tensor.movedim(-1, -3).float() / 255

    def encode(self, frames: np.ndarray) -> Tensor:
        """States ``[T, N, D]`` of frames ``[T, H, W, 3]``, stretched to the encoder's square."""
        side = self.model.config.encoder.picture
        states = []
        for chunk in np.array_split(frames, max(len(frames) // 16, 1)):
            pictures = self.to_tensor(chunk)
            if pictures.shape[-2:] != (side, side):
                pictures = F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)
            with self.computing():
                states.append(self.model.encode(pictures))
        return torch.cat(states)

    def infer(
        self, frames: np.ndarray, fps: float | None = None, *, temperature: float = 0.0, seed: int = 0
    ) -> LatentActions:
        """Latent actions between consecutive frames.

        Args:
            frames: uint8 ``[T, H, W, 3]``, at least two.
            fps: frames a second, kept with the result; the model's own by default.
            temperature: share of the posterior's noise that is added (noisy family); 0 is the mean.
            seed: of that noise.

        Raises:
            LamdemoError: there are fewer than two frames.
        """
        if frames.ndim != 4 or len(frames) < 2:
            raise LamdemoError("The source needs at least two frames; an action is what happens between them.")
        generator = torch.Generator(self.model.device).manual_seed(seed)
        states = self.encode(frames)[None]
        with self.computing():
            z = self.model.infer(states, temperature=temperature, generator=generator)[0]
        return LatentActions(z.float().cpu().numpy(), fps or self.fps, self.checkpoint)

    def judge_familiarity(self, actions: LatentActions) -> Judgement | None:
        """Whether actions are of the kind this model saw in training.

        Args:
            actions: as inferred; an edit moves them away from what any clip shows, and that is its purpose.

        Returns:
            A judgement of each step, with a sentence where a warning is due; None where the checkpoint brings
            no sample of latents or the actions are of another width.
        """
        if self.familiarity is None or actions.z.shape[1] != self.model.config.bottleneck.channels:
            return None
        return self.familiarity.judge(actions.z)

    def check(self, actions: LatentActions) -> None:
        """See that actions belong to this checkpoint.

        Raises:
            LamdemoError: they are of another width or were made with another checkpoint.
        """
        channels = self.model.config.bottleneck.channels
        if actions.z.shape[1] != channels:
            raise LamdemoError(
                f"These latent actions have {actions.z.shape[1]} channels and this checkpoint's have {channels}; "
                "use the checkpoint they were made with."
            )
        if actions.checkpoint and self.checkpoint and actions.checkpoint != self.checkpoint:
            raise LamdemoError(
                "These latent actions were made with another checkpoint; use that one, or infer them anew."
            )

    # Transfer.

    def stream(
        self,
        actions: LatentActions,
        target: np.ndarray,
        *,
        edit: ActionEdit | None = None,
        between: int = 0,
    ) -> Iterator[TransferStep]:
        """Apply actions to a target, frame by frame as they are made.

        Args:
            actions: from `infer`.
            target: a picture uint8 ``[H, W, 3]``, or the frames of a clip up to and with the moment to start
                from, ``[T, H, W, 3]``, whose past the model then sees.
            edit: scale, negate, repeat.
            between: frames to add between two steps, for smooth playing.

        Yields:
            The target itself, then one step after another.

        Raises:
            LamdemoError: the actions are of another model, or there are too many.
        """
        actions = (edit or ActionEdit()).apply(actions)
        self.check(actions)
        if not 1 <= len(actions) <= MAX_STEPS:
            raise LamdemoError(
                f"A transfer can have 1 to {MAX_STEPS} steps, and this has {len(actions)}; choose a shorter range."
            )
        return self._run(actions, target, between)

    def _run(self, actions: LatentActions, target: np.ndarray, between: int) -> Iterator[TransferStep]:
        rollout = self.begin(target, idle=True, between=between, history=0)
        yield replace(rollout.now(), steps=len(actions))
        for z in actions.z:
            yield replace(rollout.step(z), steps=len(actions))

    def begin(self, target: np.ndarray, *, idle: bool = False, between: int = 0, history: int = HISTORY) -> Rollout:
        """Begin to act on a target, step by step and with a way back; `stream` is this with all actions known.

        Args:
            target: see `stream`.
            idle: compute the same moments under no action too, which takes twice the time.
            between: frames to add between two steps, for smooth playing.
            history: how many steps can be taken back.

        Raises:
            LamdemoError: the target is no picture and no frames of a clip.
        """
        return Rollout(self, target, idle=idle, between=between, history=history)

    # Known actions.

    @property
    def controllers(self) -> list[str]:
        """Names of the checkpoint's controllers, by which known actions can be carried out."""
        return list_controllers(self.folder) if self.folder is not None else []

    def controller(self, name: str) -> KnownController:
        """Load a controller of this checkpoint.

        Args:
            name: one of `controllers`.

        Raises:
            LamdemoError: there is none of this name, or it is damaged or of another checkpoint.
        """
        return find_controller(self, name)

    def drive(
        self,
        target: np.ndarray,
        controller: KnownController | str,
        *,
        idle: bool = False,
        between: int = 0,
        history: int = HISTORY,
        before: np.ndarray | None = None,
    ) -> Drive:
        """Begin to carry out known actions on a target, step by step and with a way back.

        Args:
            target: see `stream`.
            controller: from `controller`, or its name; load it once where many drives begin.
            idle: see `begin`.
            between: see `begin`.
            history: see `begin`.
            before: commands ``[R, A]`` that were given before, the newest last; none without it.

        Raises:
            LamdemoError: see `begin` and `controller`.
        """
        known = self.controller(controller) if isinstance(controller, str) else controller
        return Drive(self, target, known, idle=idle, between=between, history=history, before=before)

    # A whole transfer.

    def transfer(
        self,
        source: np.ndarray | LatentActions,
        target: np.ndarray,
        *,
        fps: float | None = None,
        edit: ActionEdit | None = None,
        between: int = 0,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> TransferResult:
        """Carry the actions of a source over to a target.

        Args:
            source: frames uint8 ``[T, H, W, 3]``, or actions from `infer`.
            target: see `stream`.
            fps: of the source's frames; the model's own by default.
            edit: see `stream`.
            between: see `stream`.
            temperature: see `infer`.
            seed: see `infer`.

        Raises:
            LamdemoError: see `infer` and `stream`.
        """
        if isinstance(source, LatentActions):
            actions = source
        else:
            actions = self.infer(source, fps, temperature=temperature, seed=seed)
        steps = list(self.stream(actions, target, edit=edit, between=between))
        return collect(steps, (edit or ActionEdit()).apply(actions), self.judge_familiarity(actions))


def collect(steps: list[TransferStep], actions: LatentActions, familiarity: Judgement | None = None) -> TransferResult:
    """Put the steps of a stream together; ``actions`` are those applied (a stopped stream took fewer)."""
    done = LatentActions(actions.z[: len(steps) - 1], actions.fps, actions.checkpoint)
    smooth = [steps[0].frame]
    for step in steps[1:]:
        smooth += [*step.between, step.frame]
    flows = [s.flow for s in steps if s.flow is not None]
    return TransferResult(
        frames=np.stack([s.frame for s in steps]),
        idle=np.stack([s.idle for s in steps]),
        smooth=np.stack(smooth),
        latents=done,
        flow=np.stack(flows) if flows else np.zeros((0, *steps[0].frame.shape[:2], 2), np.float32),
        fps=actions.fps,
        measures=measure(steps, done) if flows else {},
        familiarity=familiarity,
    )
