"""What a plan's tab asks for, is told and keeps: requests, progress, results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamdemo.ui.plan.ends import MOST_APART, Ends

if TYPE_CHECKING:
    from lamdemo.core.actions import ActionSpec
    from lamdemo.planning.plans import Imagined
    from lamdemo.ui.plan.shared import Shared
    from lamdemo.ui.plan.work import Searcher

LATENT = "latent"  # how the latent space is called where controllers go by their names
# Samples and iterations; the first is what success rates in simulators are measured with.
BUDGETS = {"quick": (64, 4), "paper": (300, 15)}
_BY_GRADIENT = {"quick": (6, 12), "paper": (12, 30)}  # starts, and steps of Adam
PLANS, CLOSING, INVERSE = "plans", "closing", "inverse"
WAYS = {
    PLANS: "a new plan",
    CLOSING: "a new plan, near the goal inverse dynamics",
    INVERSE: "inverse dynamics alone",
}
"""What chooses each command of an execution, in words."""
MOST_FUTURES = 8  # of each command, over which costs are averaged
# Numbers of an order that can be chosen, with their least and their most.
SEARCH: dict[str, tuple[int, int]] = {
    "samples": (4, 512),
    "iterations": (1, 30),
    "horizon": (1, MOST_APART),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True)
class Order:
    """A search as it is asked for."""

    what: str = LATENT  # name of a controller whose actions are searched, or `LATENT`
    solver: str = "cem"  # "cem", "icem", "mppi", "gradient" or "random"
    samples: int = 300  # candidates of an iteration
    iterations: int = 15  # of the search
    horizon: int = 3  # steps of the plan
    seed: int = 0  # of all chance
    futures: int = 0  # of each command, over which costs are averaged; 0 for the controller's one latent


def budgets(solver: str) -> dict[str, tuple[int, int]]:
    """Samples and iterations of each preset for a solver."""
    return _BY_GRADIENT if solver == "gradient" else BUDGETS


@dataclass(frozen=True, eq=False)
class Progress:
    """A search under way."""

    index: int  # of the iteration, from 0
    of: int  # iterations there will be
    seconds: float  # since it began
    best: tuple[float, ...]  # lowest cost so far after each iteration
    elite: tuple[float, ...]  # mean cost of each iteration's elites
    low: tuple[float, ...]  # below which a tenth of the iteration's candidates lies
    high: tuple[float, ...]  # above which a tenth lies
    idle: float | None = None  # cost of doing nothing, where it is known
    true: float | None = None  # cost of what was really done, where it is known
    # Where the best candidates end, uint8 [h, w, 3], and what they cost.
    pictures: tuple[tuple[np.ndarray, float], ...] = ()
    drawn: int = 0  # the iteration that the pictures are of


@dataclass(frozen=True, eq=False)
class Truth:
    """What the plan's commands do in the simulator, all of them one after the other without another look."""

    frames: np.ndarray  # uint8 [S + 1, H, W, 3], the start first
    actions: np.ndarray  # the commands, float32 [S, A]
    distances: list[dict[str, float]]  # to the goal at each frame, by name
    reached: bool  # whether the last counts as being there
    video: Path  # MP4 of it, in step with the plan's
    beside: Path  # MP4 of the plan's and this one side by side


@dataclass(frozen=True, eq=False)
class Future:
    """Another way that the plan's commands could go."""

    frame: np.ndarray  # where it ends, uint8 [H, W, 3]
    cost: float  # of it, by the full world model


@dataclass(frozen=True, eq=False)
class Found:
    """A plan, and all that the page shows of it."""

    ends: Ends  # between which it leads
    order: Order  # what was asked for
    plan: Imagined  # itself
    spec: ActionSpec | None  # what its actions mean; None of a plan in the latent space
    actions: np.ndarray | None  # known ones, float32 [S, A]; None likewise
    latents: np.ndarray  # float32 [S, Z]
    true_latents: np.ndarray | None  # what the model infers from what really happened; None where that is not known
    meanings: tuple[str, ...]  # for each step what its latent action is most like; empty where that has no names
    cost: float  # of the plan, by the full world model, as are the next two
    idle_cost: float | None  # of doing nothing
    true_cost: float | None  # of what was really done; None where that is not known
    progress: Progress | None  # the last of the search; None of a plan that came by a link
    frames: np.ndarray  # the imagined path, uint8 [S + 1, H, W, 3]
    video: Path  # MP4 of it
    seconds: float  # that the search took
    stopped: bool  # whether it was stopped
    truth: Truth | None = None  # what really comes of it; None where no simulator can tell
    futures: tuple[Future, ...] = ()  # further ways its commands could go, where several were asked for


@dataclass(frozen=True, eq=False)
class Step:
    """A moment of an execution."""

    index: int  # steps taken so far
    frame: np.ndarray  # what the simulator shows, uint8 [H, W, 3]
    imagined: np.ndarray | None  # what was expected of this moment; None at the start
    goal: np.ndarray  # what is to be reached
    distance: dict[str, float]  # to it, by name


@dataclass(frozen=True, eq=False)
class Ran:
    """An execution at its end."""

    video: Path  # MP4 of what the simulator showed
    imagined: Path  # MP4 of what was expected of each moment before it came, in step with it
    beside: Path  # MP4 of both side by side
    last: Step  # the last step
    actions: np.ndarray  # the commands that were carried out, float32 [S, A]
    distances: list[dict[str, float]]  # to the goal at the start and after each step, by name
    reached: bool  # whether the last counts as being there
    stopped: bool  # whether it was stopped


@dataclass(eq=False)
class PlanSession:
    """What one open page plans."""

    own: str | None = None  # a visitor's own clip
    goal: str | None = None  # a visitor's own picture of the goal
    ends: Ends | None = None  # between which a way is searched; None before any was chosen
    found: Found | None = None  # the last plan
    searcher: Searcher | None = None  # that found it
    wanted: Order | None = None  # what the controls ask for now, and
    checkpoint: str = ""  # hash of the checkpoint that would search for it
    linked: Shared | None = None  # what came by a link and is not shown yet
