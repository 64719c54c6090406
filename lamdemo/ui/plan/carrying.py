"""Plans in their simulator: what the commands of one really do, and a goal pursued step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.background import in_background
from lamdemo.jobs.turns import Pause
from lamdemo.ui.inputs import BETWEEN
from lamdemo.ui.plan.records import CLOSING, LATENT, PLANS, Found, Ran, Step, Truth
from lamdemo.ui.plan.work import HELD, Searcher
from lamdemo.video import side_by_side, write_video

if TYPE_CHECKING:
    from lamdemo.engine.controls import KnownController
    from lamdemo.planning.execution import Planned, Policy
    from lamdemo.planning.inverse import InversePolicy
    from lamdemo.planning.planner import CostWeights, Planner
    from lamdemo.planning.plans import Plan
    from lamdemo.simulators.pool import SimulatorPool
    from lamdemo.simulators.tasks import Task

_PANEL = 384  # pixels down of the videos that show two things side by side
_LABELS = ("imagined", "in truth")


def weights_of(what: str) -> CostWeights:
    """The cost of plans that are carried out step by step: the one that success rates are measured with.

    Args:
        what: is searched: the name of a controller, or `LATENT`.
    """
    from lamdemo.evaluation.control.planners import CLOSED
    from lamdemo.planning.building import LATENT_PRIOR
    from lamdemo.planning.planner import CostWeights

    prior = LATENT_PRIOR if what == LATENT else CLOSED.prior
    kind: Any = "shell" if what == LATENT else "gaussian"
    return CostWeights(goal=1 - CLOSED.along, along=CLOSED.along, prior=prior, kind=kind)


def _commander(searcher: Searcher) -> KnownController:
    """What gives the simulator's commands: the controller that is searched, or that of the simulator's name.

    Raises:
        LamdemoError: nothing turns what is searched into this simulator's commands.
    """
    ends, known = searcher.ends, searcher.known
    assert ends.spec is not None
    if known is None:
        if ends.simulator not in searcher.pipeline.controllers:
            raise LamdemoError(
                f"The checkpoint {searcher.pipeline.name} has no controller for {ends.simulator}, which would find the "
                "commands for latent actions; the plan can be looked at but not carried out."
            )
        known = searcher.pipeline.controller(ends.simulator)
    if known.spec.names != ends.spec.names:
        raise LamdemoError(
            f"The controller {known.name} gives commands that {ends.simulator} does not take; choose that of "
            f"{ends.simulator}, or the latent space."
        )
    return known


def _task_of(searcher: Searcher) -> Task:
    task = searcher.ends.task
    assert task is not None, "only the ends of a simulator's task come here"
    return task


# What a plan's commands do.


def find_truth(searcher: Searcher, found: Found, simulators: SimulatorPool, folder: Path) -> Truth | None:
    """Carry a plan's commands out as they are; None where it is of no task, or nothing gives its commands.

    Args:
        searcher: that found the plan.
        found: the plan.
        simulators: those at hand.
        folder: where the videos go.
    """
    if not searcher.ends.simulator:
        return None
    try:
        known = _commander(searcher)
    except LamdemoError:
        return None  # who wants to carry it out is told why
    task = _task_of(searcher)
    actions = found.actions if found.actions is not None else _decoded(found, known)
    simulator = simulators.lend(searcher.ends.simulator)
    seen = [simulator.restore(task.start)]
    spec = simulator.spec
    for action in actions:
        seen.append(simulator.step(np.clip(action, spec.low, spec.high)))
    frames = np.stack([o.frame for o in seen])
    distances = [simulator.distance(o.truth, task.goal_truth) for o in seen]
    fps = searcher.pipeline.fps * (BETWEEN + 1)
    video = write_video(folder / "true.mp4", iter(_held(frames)), fps)
    beside = _side_by_side(folder / "plan-beside.mp4", _held(found.frames), _held(frames), fps)
    return Truth(frames, np.asarray(actions), distances, simulator.reached(distances[-1]), video, beside)


def _decoded(found: Found, known: KnownController) -> np.ndarray:
    """The commands for a plan in the latent space, ``[S, A]``."""
    import torch

    from lamdemo.planning.decoding import decode_plan

    states = np.concatenate([found.plan.first_state[None], found.plan.states[:-1]])
    before = np.zeros((1, 0, known.spec.width), np.float32)
    return decode_plan(known, torch.from_numpy(states)[None], torch.from_numpy(found.latents)[None], before)[0]


def _held(frames: np.ndarray) -> np.ndarray:
    """Frames at the pace of a plan's video, which has others between them: each is held until the next."""
    return frames[[*(t for t in range(len(frames) - 1) for _ in range(BETWEEN + 1)), *[-1] * (1 + HELD)]]


def _side_by_side(path: Path, imagined: np.ndarray, true: np.ndarray, fps: float) -> Path:
    height = min(_PANEL, true.shape[1])
    return write_video(path, side_by_side([imagined, true], height=height, labels=_LABELS), fps)


# A goal pursued.


class Stoppable:
    """A planner that can be told to come to an end; see `lamdemo.planning.execution.Plans`."""

    def __init__(self, planner: Planner, stop: threading.Event, rest: Callable[[], None]) -> None:
        self._planner, self._stop, self._rest = planner, stop, rest

    def plan(self, start: Any, goal: Any, *, history: Any = None, seed: int = 0, warm: Any = None) -> Plan:
        """From a picture to a picture; a stopped one is the best so far."""

        def going(_: Any) -> bool:
            self._rest()
            return not self._stop.is_set()

        return self._planner.plan(start, goal, history=history, seed=seed, warm=warm, callback=going)


class _Chooser:
    """The policy of an execution, and what it expects of the next moment."""

    def __init__(self, way: str, searcher: Searcher, plans: Stoppable, known: KnownController) -> None:
        from lamdemo.evaluation.control.planners import CLOSED
        from lamdemo.planning.execution import Planned
        from lamdemo.planning.inverse import InversePolicy

        self._planner = searcher.planner
        # Near the goal plans rest, unless inverse dynamics takes over there.
        rest = CLOSED.rest if way == PLANS else 0.0
        self._planned: Planned = Planned(plans, known.spec, controller=known, rest=rest)
        self._inverse: InversePolicy | None = None
        if way != PLANS:
            far = self._planned if way == CLOSING else None
            self._inverse = InversePolicy(searcher.pipeline, known, far=far)

    @property
    def policy(self) -> Policy:
        """Chooses the commands."""
        return self._inverse or self._planned

    def expected(self) -> np.ndarray | None:
        """What was imagined of the moment after the newest command, uint8 ``[H, W, 3]``."""
        planner, reading = self._planner, self._inverse.reading if self._inverse is not None else None
        if reading is None:
            return self._planned.plan.frames()[1] if self._planned.plan is not None else None
        problem = planner.problem(reading.frame, reading.frame, reading.before if len(reading.before) else None)
        given = reading.latent if planner.spec is None else reading.command
        return planner.imagine(problem, given[None]).frames()[1]


def execute(
    searcher: Searcher,
    simulators: SimulatorPool,
    steps: int,
    folder: Path,
    stop: threading.Event,
    way: str = PLANS,
) -> Iterator[Step | Ran | Pause]:
    """Pursue the goal of a simulator's task step by step.

    Args:
        searcher: of the task's start and goal.
        simulators: those at hand.
        steps: at most; it ends where the goal is reached.
        folder: where the videos go.
        stop: ends it when it is set.
        way: of `WAYS`: what chooses each command.

    Yields:
        A `Step` for the start and after each step, then the `Ran`, and a `PAUSE` wherever others may go first.

    Raises:
        LamdemoError: nothing turns what is searched into this simulator's commands.
    """
    ends, known = searcher.ends, _commander(searcher)

    def pursued(tell: Callable[[Any], None]) -> Ran:
        from lamdemo.planning.execution import pursue

        task = _task_of(searcher)
        simulator = simulators.lend(ends.simulator)  # others may use it while the next plan is searched
        chooser = _Chooser(way, searcher, Stoppable(searcher.planner, stop, searcher.rest), known)
        first = Step(0, ends.start, None, ends.goal, simulator.distance(task.start_truth, task.goal_truth))
        last, expected = [first], [ends.start]
        tell(first)

        def stepped(index: int, seen: Any, _: Any) -> bool:
            imagined = chooser.expected()
            distance = simulator.distance(seen.truth, task.goal_truth)
            last[0] = Step(index, seen.frame, imagined, ends.goal, distance)
            expected.append(seen.frame if imagined is None else imagined)
            tell(last[0])
            return not stop.is_set() and not simulator.reached(distance)

        with searcher.resting(tell):
            run = pursue(simulator, task, chooser.policy, steps, seed=searcher.order.seed, callback=stepped)
        # The end is held for a moment before the loop begins anew.
        true, imagined = (np.stack([*some, *[some[-1]] * 2]) for some in (run.frames, expected))
        return Ran(
            video=write_video(folder / "run.mp4", iter(true), simulator.fps),
            imagined=write_video(folder / "run-imagined.mp4", iter(imagined), simulator.fps),
            beside=_side_by_side(folder / "run-beside.mp4", imagined, true, simulator.fps),
            last=last[0],
            actions=run.actions,
            distances=run.distances,
            reached=run.reached[-1],
            stopped=stop.is_set() and not run.reached[-1],
        )

    try:
        yield from in_background(pursued)
    finally:
        stop.set()
