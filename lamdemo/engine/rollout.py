"""Rollouts: predicting step by step, drawing what is predicted, and both on one picture with a way back."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.engine.inference import Inference
from lamdemo.models import Canvas
from lamdemo.models.decoder import Rendering
from lamdemo.models.layers import KeyValueCache
from lamdemo.models.warp import resized
from lamdemo.models.world_model import Prediction, WorldModel

HISTORY = 64  # steps that can be taken back
MAX_LATENT = 1e4  # of a latent's numbers, hundreds of times those of any step: beyond, states become infinite
_SNAPSHOT_EVERY = 8  # steps between two canvases that are kept


def predict(
    world_model: WorldModel, states: Tensor, latent: Callable[[int, Tensor], Tensor], steps: int
) -> Iterator[tuple[Tensor, Prediction]]:
    """Let a world model go on by itself.

    Args:
        world_model: which predicts.
        states: where it begins, ``[B, N, D]``.
        latent: latents ``[B, Z]`` by the step and the predicted state in which it is taken.
        steps: S.

    Yields:
        The latents and the prediction (``T = 1``) of each step.
    """
    cache = world_model.new_cache()
    for step in range(steps):
        z = latent(step, states)
        prediction: Prediction = world_model(states[:, None], z[:, None].float(), cache)
        states = prediction.states[:, 0]
        yield z, prediction


def draw(inference: Inference, pictures: Tensor, states: Tensor, predictions: Iterable[Prediction]) -> Iterator[Tensor]:
    """Draw predictions (``T = 1``), one after another.

    Args:
        inference: with the model whose decoder draws.
        pictures: to begin from, ``[B, 3, H, W]`` in [0, 1].
        states: of the pictures, ``[B, N, D]``.
        predictions: of each step.

    Yields:
        The pictures after each step, of the same shape.
    """
    canvas = Canvas(pictures)
    for prediction in predictions:
        with inference.computing():
            rendering = inference.model.render(states, prediction, pictures)
        pictures, states = canvas.apply(rendering), prediction.states[:, 0]
        yield pictures


@dataclass(frozen=True)
class TransferStep:
    """One frame of a transfer, as it is made."""

    index: int  # which frame of the result this is (0 is the target itself, without flow)
    steps: int  # how many there will be, the target not counted; as many as there are where nobody knows
    frame: np.ndarray  # uint8 [H, W, 3] under the action
    idle: np.ndarray  # uint8 [H, W, 3] of the same moment under no action; the target where that is not computed
    flow: np.ndarray | None  # float32 [H, W, 2], backward, in pixels, from the frame before; None for the target
    painted: float  # share of the picture that was painted over instead of moved, 0 to 1
    between: np.ndarray  # uint8 [K, H, W, 3], frames between the last step and this one, for smooth playing
    state: np.ndarray  # float32 [N, D], the model's state
    idle_state: np.ndarray | None = None  # the same under no action; None where that is not computed
    # float32 [H, W] in [0, 1], where what acts is in this frame; None where nothing was found yet.
    matte: np.ndarray | None = None
    # Share of the picture that shows nothing of the target, 0 to 1: painted in this or an earlier step, filled behind
    # what acts, or continued beyond the target's edge.
    invented: float = 0.0

    def lightened(self) -> TransferStep:
        """Without frames between, and with coarse flow and matte: what measuring many steps takes, in little room."""
        return replace(
            self,
            flow=None if self.flow is None else self.flow[::4, ::4] / 4,
            matte=None if self.matte is None else self.matte[::4, ::4].copy(),
            between=self.between[:0],
            idle_state=None,
        )


class _Done(NamedTuple):
    """A step that was taken: the state before it, and what it did to the canvas."""

    before: Tensor
    rendering: Rendering


class Rollout:
    """Carries out actions step by step on one picture, and takes them back.

    Made by `TransferPipeline.begin`. Undoing restores the model's memory, state and canvas bit by bit. A canvas
    holds six numbers for each pixel, so of the last steps only every eighth canvas is kept; the others are made
    again from the small grids that the decoder gave. Of the world model's keys and values those of each frame
    are kept once, though up to ``context`` steps see them.

    Attributes:
        inference: with the model.
        idle: whether the same moments under no action are computed too, for comparison.
        between: frames that are added between two steps.
        count: steps taken so far.
    """

    def __init__(
        self,
        inference: Inference,
        target: np.ndarray,
        *,
        idle: bool = False,
        between: int = 0,
        history: int = HISTORY,
    ) -> None:
        """See `TransferPipeline.begin`."""
        past = target[None] if target.ndim == 3 else target
        past = past[-inference.model.config.world_model.context :]
        self.inference, self.idle, self.between, self.history = inference, idle, between, history
        self._begin(past)

    @torch.no_grad()
    def _begin(self, past: np.ndarray) -> None:
        model = self.inference.model
        seen = self.inference.encode(past)
        rows = 2 if self.idle else 1
        self._target = past[-1].copy()
        self._cache = model.world_model.new_cache()
        self._context: deque[dict[int, tuple[Tensor, Tensor]]] = deque()
        if len(past) > 1:
            with self.inference.computing():
                lived = model.infer(seen[None])
                for t in range(len(past) - 1):
                    model.world_model(
                        seen[None, t : t + 1].expand(rows, -1, -1, -1),
                        lived[:, t : t + 1].expand(rows, -1, -1),
                        self._cache,
                    )
                    self._context.append(self._cache.newest())
        self._first_state = seen[-1:].expand(rows, -1, -1)
        self._first_picture = self.inference.to_tensor(past[-1])[None].expand(rows, -1, -1, -1)
        self._past_frames, self._past_context = self._cache.frames, list(self._context)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Go back to the target; the way there is forgotten."""
        self._state, self._picture = self._first_state, self._first_picture
        self._canvas = Canvas(self._first_picture)
        self._context = deque(self._past_context)
        self._cache = self._remembered(self._past_frames)
        self.count = 0
        self._frame = self._target
        self._oldest = 0  # count of steps down to which one can go back
        self._done: deque[_Done] = deque()  # since the oldest canvas that is kept
        self._snapshots: dict[int, Canvas] = {0: copy.copy(self._canvas)}

    # What a step leaves behind.

    def _remembered(self, frames: int) -> KeyValueCache:
        """The world model's memory, put together from the last frames of the context."""
        cache = self.inference.model.world_model.new_cache()
        cache.frames = frames
        kept = list(self._context)[-cache.reach :]
        for block in kept[0] if kept else ():
            keys, values = zip(*(frame[block] for frame in kept), strict=True)
            cache.blocks[block] = torch.cat(keys, 2), torch.cat(values, 2)
        return cache

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return self.count > self._oldest

    @property
    def frame(self) -> np.ndarray:
        """The picture as it is now, uint8 ``[H, W, 3]``."""
        return self._frame

    @property
    def state(self) -> np.ndarray:
        """The model's state as it is now, float32 ``[N, D]``."""
        return self._state[0].float().cpu().numpy()

    def now(self) -> TransferStep:
        """The target as the first frame of a transfer. Later, use what `step` returned."""
        h, w = self._target.shape[:2]
        idle_state = self._first_state[1].cpu().numpy() if self.idle else None
        first, state = self._target, self._first_state[0].cpu().numpy()
        return TransferStep(0, 0, first, first, None, 0.0, np.zeros((0, h, w, 3), np.uint8), state, idle_state)

    @torch.no_grad()
    def step(self, z: np.ndarray) -> TransferStep:
        """Carry out one action.

        Args:
            z: ``[Z]``; zero is no action.

        Raises:
            LamdemoError: the action is of another width, or no numbers.
        """
        model = self.inference.model
        z = np.asarray(z, np.float32)
        if z.shape != (model.config.bottleneck.channels,) or not np.isfinite(z).all() or np.abs(z).max() > MAX_LATENT:
            raise LamdemoError(
                f"An action of this checkpoint is {model.config.bottleneck.channels} finite numbers of "
                f"{MAX_LATENT:g} at most; "
                "use the checkpoint it was made with."
            )
        given = torch.from_numpy(z)[None].to(model.device)
        # Two rollouts side by side: with the action and, for comparison, without.
        given = torch.stack([given, torch.zeros_like(given)]) if self.idle else given[None]
        before, picture = self._state, self._picture
        with self.inference.computing():
            self._cache.carried = self._carried(given)
            prediction: Prediction = model.world_model(before[:, None], given, self._cache)
            rendering = model.render(before, prediction, picture)
        shares = [(k + 1) / (self.between + 1) for k in range(self.between)]
        large = self._canvas.enlarged(rendering) if shares else rendering
        self._canvas.lift(large)
        # Of the same moments under no action nobody sees what lies between.
        alone, seen = self._canvas.first(), Rendering(*(values[:1] for values in large))
        middle = [to_frames(alone.preview(seen, s))[0] for s in shares]
        self._canvas.move(large)
        self._picture = self._canvas.picture
        self._state = prediction.states[:, 0]
        self.count += 1
        self._remember(rendering, before)
        h, w = self._target.shape[:2]
        flow = resized(rendering.flow[:1].float(), h, w)[0]
        pixels = flow.permute(1, 2, 0).cpu().numpy() * np.array([w, h], np.float32)
        drawn = to_frames(self._picture)
        self._frame = drawn[0]
        return TransferStep(
            self.count,
            self.count,
            drawn[0],
            drawn[1] if self.idle else self._target,
            pixels.astype(np.float32),
            float(rendering.mask[0].mean()),
            np.stack(middle) if middle else np.zeros((0, h, w, 3), np.uint8),
            self._state[0].cpu().numpy(),
            self._state[1].cpu().numpy() if self.idle else None,
            self._canvas.cover[0, 0].cpu().numpy() if model.config.world_model.layers else None,
            float(self._canvas.invented[0].mean()),
        )

    def _carried(self, given: Tensor) -> Tensor | None:
        """Where what acts is by the canvas, on the state's grid: sharper than the world model's own memory of it.

        Before the first step the canvas knows nothing. So the step is predicted twice: what the decoder finds in the
        picture at the first look, the world model is told at the second.
        """
        model = self.inference.model
        if not model.config.world_model.layers:
            return self._cache.carried
        cover = self._canvas.cover
        if not self.count:
            first: Prediction = model.world_model(self._state[:, None], given, self._cache.branch())
            cover = self._canvas.found(model.render(self._state, first, self._picture))
        # Every fourth place says as much as all of them, in cells of dozens.
        finest = 4 if min(cover.shape[-2:]) >= 16 * model.config.encoder.grid else 1
        return F.adaptive_avg_pool2d(cover[..., ::finest, ::finest], model.config.encoder.grid)[:, None]

    def _remember(self, rendering: Rendering, before: Tensor) -> None:
        if not self.history:
            self._oldest = self.count
            return
        self._context.append(self._cache.newest())
        self._done.append(_Done(before, rendering))
        if self.count % _SNAPSHOT_EVERY == 0:
            # Taking a step replaces the canvas' parts and changes none of them, so they need not be copied.
            self._snapshots[self.count] = copy.copy(self._canvas)
        self._oldest = max(self._oldest, self.count - self.history)
        while len(self._context) > self.count - self._oldest + self._cache.reach:
            self._context.popleft()
        first = _snapshot_before(self._oldest)
        self._snapshots = {at: canvas for at, canvas in self._snapshots.items() if at >= first}
        while len(self._done) > self.count - first:
            self._done.popleft()

    @torch.no_grad()
    def undo(self) -> bool:
        """Take the last step back. Returns False where there is none, or where it is too long ago."""
        if not self.can_undo:
            return False
        self._state = self._done.pop().before
        self._context.pop()
        self._cache = self._remembered(self._cache.frames - 1)
        self.count -= 1
        first = _snapshot_before(self.count)
        self._snapshots = {at: canvas for at, canvas in self._snapshots.items() if at <= first}
        self._canvas = copy.copy(self._snapshots[first])
        for done in list(self._done)[len(self._done) - (self.count - first) :]:
            self._canvas.advance(done.rendering)
        if self.count:
            self._picture = self._canvas.picture
            self._frame = to_frames(self._picture)[0]
        else:  # The target as it was given, not as sampling would give it.
            self._picture, self._frame = self._first_picture, self._target
        return True


def _snapshot_before(count: int) -> int:
    """The last count of steps, up to this one, after which the canvas is kept."""
    return count - count % _SNAPSHOT_EVERY


def to_frames(pictures: Tensor) -> np.ndarray:
    """``[B, 3, H, W]`` in [0, 1] to uint8 ``[B, H, W, 3]``."""
    return (pictures * 255).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
