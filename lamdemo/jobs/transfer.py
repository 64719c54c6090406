"""One transfer, from what was read to what is written: infer, carry out, judge. See `transfer`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.core.latent_actions import ActionEdit, LatentActions
from lamdemo.engine import MAX_STEPS, OutOfDistribution, TransferPipeline, TransferStep, Verdict
from lamdemo.engine.verdict import Read
from lamdemo.jobs.turns import PAUSE, Pause

_FIRST, _PART = 2, 8  # steps that are refined before the first is carried out, and together later


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


class _Reading:
    """A source's actions, read at a glance, then refined a few at a time, each before it is carried out.

    Attributes:
        inferred: the source's actions.
        applied: what is carried out, edited; its numbers change as they are refined.
        read: what is read in the source at a glance, for judging; None where that is not known.
        seconds: that reading and refining took.
    """

    def __init__(self, pipeline: TransferPipeline, request: TransferRequest) -> None:
        begun = time.monotonic()
        self._pipeline, self._request = pipeline, request
        self._states: Tensor | None = None
        known = request.frames is not None
        self._refinement = pipeline.refinement_steps(request.refinement, request.temperature) if known else 0
        if self._refinement or request.actions is None:
            self._states = pipeline.encode(request.seen)
        glance = request.actions
        if glance is None:
            glance = pipeline.infer(
                request.seen,
                request.fps,
                temperature=request.temperature,
                seed=request.seed,
                refinement=0,
                states=self._states,
            )
        # What noise was added to, or what was given as it is, may be something else than what is read at a glance.
        self.read: Read | None = None
        if self._states is not None and not request.temperature:
            self.read = Read(self._states, glance.z)
        self.inferred = replace(glance, z=glance.z.copy())
        self.applied = self._edited()
        self._refined = 0 if self._refinement else len(glance)
        self.seconds = time.monotonic() - begun

    def _edited(self) -> LatentActions:
        edited = self._request.edit.apply(self.inferred)
        return replace(edited, z=edited.z[: self._request.limit])

    def refine(self, steps: int) -> Iterator[Pause]:
        """Refine what the first ``steps`` steps carry out; a `PAUSE` after each part."""
        while self._refined < min(steps, len(self.inferred)):
            begun = time.monotonic()
            at, size = self._refined, _PART if self._refined else _FIRST
            some = slice(at, min(at + size, len(self.inferred)))
            here = slice(at, some.stop + 1)
            part = replace(self.inferred, z=self.inferred.z[some])
            states = None if self._states is None else self._states[here]
            found = self._pipeline.refined(self._request.seen[here], part, self._refinement, states=states)
            self.inferred.z[some] = found.z
            self.applied.z[:] = self._edited().z
            self._refined = some.stop
            self.seconds += time.monotonic() - begun
            yield PAUSE


def _carry_out(
    pipeline: TransferPipeline,
    reading: _Reading,
    request: TransferRequest,
    keep: Callable[[TransferStep], TransferStep],
    shrink: Callable[[np.ndarray], np.ndarray],
    should_stop: Callable[[], bool],
) -> Generator[TransferStep | Pause, None, Carried]:
    """Carry out actions and keep what files are made of; what was made until a stop is kept. See `transfer`."""
    done: list[TransferStep] = []
    smooth: list[np.ndarray] = []
    stream = pipeline.stream(reading.applied, request.target, between=request.between)
    seconds = 0.0
    while True:
        yield from reading.refine(request.steps if pipeline.all_at_once else len(done))
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
    idle = [done[0].idle] + [step.idle for step in done[1:] for _ in range(request.between + 1)]
    return Carried(done, smooth, idle, replace(reading.applied, z=reading.applied.z[:made]), seconds)


def transfer(
    pipeline: TransferPipeline,
    request: TransferRequest,
    *,
    keep: Callable[[TransferStep], TransferStep] = TransferStep.lightened,
    shrink: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[TransferStep | Carried | Pause]:
    """Infer a source's actions, carry them out on a target, and judge what comes out.

    Args:
        pipeline: the model.
        request: what is to be done.
        keep: what of a step is kept; by default what measuring takes, in little room.
        shrink: each of the smooth frames to what is kept of it.
        should_stop: asked after each step; what was made until then becomes the result.

    Yields:
        A `PAUSE` wherever others may go first; each step, the target first, then what was carried out, and when that
        was judged, what came of it: a `Transferred`.

    Raises:
        LamdemoError: the source or the target cannot be used, or it was stopped before the first step.
    """
    reading = _Reading(pipeline, request)
    yield PAUSE
    carried = yield from _carry_out(pipeline, reading, request, keep, shrink, should_stop)
    yield carried
    source = replace(reading.inferred, z=reading.inferred.z[: len(carried.actions)])
    yield Transferred(
        steps=carried.steps,
        smooth=carried.smooth,
        idle=carried.idle,
        actions=carried.actions,
        seconds=reading.seconds + carried.seconds,
        inferred=reading.inferred,
        out_of_distribution=pipeline.out_of_distribution(source),
        verdict=None
        if request.frames is None
        else pipeline.judge(request.seen, carried.steps, carried.actions, reading.read),
    )
