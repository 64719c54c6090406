"""One transfer, from what was read to what is written: infer, carry out, judge. See `transfer`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.core.latent_actions import ActionEdit, LatentActions
from lamdemo.engine import MAX_STEPS, OutOfDistribution, TransferPipeline, TransferStep, Verdict
from lamdemo.jobs.turns import PAUSE, Pause

_PART = 8  # steps that are refined before others may go first


@dataclass(frozen=True)
class TransferRequest:
    """A transfer that is to be carried out."""

    # Of the source, uint8 [S * (between + 1) + 1, H, W, 3], of which the model sees every (between + 1)-th; None
    # where only its actions are known.
    frames: np.ndarray | None
    target: np.ndarray  # [T, H, W, 3], the last of which is the picture to begin from
    fps: float  # steps a second
    edit: ActionEdit = field(default_factory=ActionEdit)  # of the actions
    between: int = 2  # frames between two steps
    limit: int = MAX_STEPS  # steps at most, repeats counted; what is beyond is left out
    temperature: float = 0.0  # share of the posterior's noise
    seed: int = 0  # of that noise
    # Of the source, as inferred before; without refinement where its frames are known too.
    actions: LatentActions | None = None
    refinement: int | None = None  # of the latents on the source's frames, see `Inference.refined`

    @property
    def seen(self) -> np.ndarray:
        """The frames that the model sees, ``[S + 1, H, W, 3]``."""
        assert self.frames is not None
        return self.frames[:: self.between + 1]

    @property
    def span(self) -> int:
        """Steps of the source."""
        return len(self.actions) if self.frames is None and self.actions is not None else len(self.seen) - 1

    @property
    def steps(self) -> int:
        """Steps of the result."""
        return min(self.span * self.edit.repeat, self.limit)

    def looped(self, steps: int | None = None) -> np.ndarray:
        """Indices into ``frames``, in step with the result: the source starts over where its actions do."""
        pace = self.between + 1
        return np.array([0] + [k % (self.span * pace) + 1 for k in range((steps or self.steps) * pace)])


@dataclass(frozen=True)
class Carried:
    """Actions carried out on a target."""

    steps: list[TransferStep]  # the target and each step
    smooth: list[np.ndarray]  # frames under the actions, with those between
    idle: list[np.ndarray]  # frames under no action, in step with them
    actions: LatentActions  # those that were carried out
    seconds: float  # that this took, without the time of whoever was told of each step


@dataclass(frozen=True)
class Transferred(Carried):
    """A transfer that was carried out."""

    inferred: LatentActions  # the source's actions, before any edit
    # Of the source's actions that were carried out; None where the checkpoint brings no sample.
    out_of_distribution: OutOfDistribution | None
    # How much to trust it; None where the source's frames are not known, or the checkpoint brings no rule.
    verdict: Verdict | None


def carry_out(
    pipeline: TransferPipeline,
    actions: LatentActions,
    target: np.ndarray,
    between: int,
    *,
    keep: Callable[[TransferStep], TransferStep] = TransferStep.lightened,
    shrink: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[TransferStep, None, Carried]:
    """Carry out actions and keep what files are made of; what was made until a stop is kept.

    Args:
        pipeline: the model.
        actions: what is to be done.
        target: see `TransferPipeline.stream`.
        between: frames between two steps.
        keep: what of a step is kept; by default what measuring takes, in little room.
        shrink: each of the smooth frames to what is kept of it.
        should_stop: asked after each step.

    Yields:
        Each step, the target first.

    Returns:
        What was carried out.

    Raises:
        LamdemoError: the actions do not fit, or it was stopped before the first step.
    """
    done: list[TransferStep] = []
    smooth: list[np.ndarray] = []
    stream, seconds = pipeline.stream(actions, target, between=between), 0.0
    while True:
        begun = time.monotonic()
        step = next(stream, None)
        seconds += time.monotonic() - begun
        if step is None:
            break
        smooth += [shrink(frame) for frame in (*step.between, step.frame)]
        done.append(keep(step))
        yield step
        if should_stop():
            break
    made = len(done) - 1
    if made < 1:
        raise LamdemoError("It was stopped before the first step, so there is nothing to show; start it again.")
    idle = [done[0].idle] + [step.idle for step in done[1:] for _ in range(between + 1)]
    return Carried(done, smooth, idle, LatentActions(actions.z[:made], actions.fps, actions.checkpoint), seconds)


def transfer(
    pipeline: TransferPipeline,
    request: TransferRequest,
    *,
    keep: Callable[[TransferStep], TransferStep] = TransferStep.lightened,
    shrink: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[LatentActions | TransferStep | Carried | Pause]:
    """Infer a source's actions, carry them out on a target, and judge what comes out.

    Args:
        pipeline: the model.
        request: what is to be done.
        keep: see `carry_out`.
        shrink: see `carry_out`.
        should_stop: asked after each step; what was made until then becomes the result.

    Yields:
        A `PAUSE` wherever others may go first; the actions as inferred, then each step, the target first, then what was
        carried out, and when that was judged, what came of it: a `Transferred`.

    Raises:
        LamdemoError: the source or the target cannot be used, or it was stopped before the first step.
    """
    begun = time.monotonic()
    inferred = request.actions
    if inferred is None:
        inferred = pipeline.infer(
            request.seen, request.fps, temperature=request.temperature, seed=request.seed, refinement=0
        )
    seconds = time.monotonic() - begun
    known = request.frames is not None
    refinement = pipeline.refinement_steps(request.refinement, request.temperature) if known else 0
    if refinement:
        parts = []
        for at in range(0, len(inferred), _PART):
            begun = time.monotonic()
            part = LatentActions(inferred.z[at : at + _PART], inferred.fps, inferred.checkpoint)
            parts.append(pipeline.refined(request.seen[at : at + _PART + 1], part, refinement).z)
            seconds += time.monotonic() - begun
            yield PAUSE
            if should_stop():
                break
        inferred = LatentActions(np.concatenate(parts), inferred.fps, inferred.checkpoint)
    applied = request.edit.apply(inferred)
    applied = LatentActions(applied.z[: request.limit], applied.fps, applied.checkpoint)
    yield inferred
    carried = yield from carry_out(
        pipeline, applied, request.target, request.between, keep=keep, shrink=shrink, should_stop=should_stop
    )
    yield carried
    source = LatentActions(inferred.z[: len(carried.actions)], inferred.fps, inferred.checkpoint)
    yield Transferred(
        steps=carried.steps,
        smooth=carried.smooth,
        idle=carried.idle,
        actions=carried.actions,
        seconds=seconds + carried.seconds,
        inferred=inferred,
        out_of_distribution=pipeline.out_of_distribution(source),
        verdict=None if request.frames is None else pipeline.judge(request.seen, carried.steps, carried.actions),
    )
