"""What a plan's tab asks for, is told and keeps: requests, progress, results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamdemo.ui.plan.ends import Ends

if TYPE_CHECKING:
    from lamdemo.core.actions import ActionSpec
    from lamdemo.planning.plans import Plan
    from lamdemo.ui.plan.work import Searcher

LATENT = "latent"  # how the latent space is called where controllers go by their names
BUDGETS = {"quick": (64, 6), "paper": (300, 15)}  # samples and iterations
_BY_GRADIENT = {"quick": (6, 12), "paper": (12, 30)}  # starts, and steps of Adam


@dataclass(frozen=True)
class Order:
    """A search as it is asked for.

    Attributes:
        what: name of a controller whose actions are searched, or `LATENT`.
        solver: "cem", "icem", "mppi", "gradient" or "random".
        samples: candidates of an iteration.
        iterations: of the search.
        horizon: steps of the plan.
        seed: of all chance.
    """

    what: str = LATENT
    solver: str = "cem"
    samples: int = 300
    iterations: int = 15
    horizon: int = 3
    seed: int = 0


def budgets(solver: str) -> dict[str, tuple[int, int]]:
    """Samples and iterations of each preset for a solver."""
    return _BY_GRADIENT if solver == "gradient" else BUDGETS


@dataclass(frozen=True, eq=False)
class Progress:
    """A search under way.

    Attributes:
        index: of the iteration, from 0.
        of: iterations there will be.
        seconds: since it began.
        best: lowest cost so far after each iteration.
        elite: mean cost of each iteration's elites.
        low: below which a tenth of the iteration's candidates lies.
        high: above which a tenth lies.
        idle: cost of doing nothing, where it is known.
        true: cost of what was really done, where it is known.
        pictures: where the best candidates end, uint8 ``[h, w, 3]``, and what they cost.
        drawn: the iteration that the pictures are of.
    """

    index: int
    of: int
    seconds: float
    best: tuple[float, ...]
    elite: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    idle: float | None = None
    true: float | None = None
    pictures: tuple[tuple[np.ndarray, float], ...] = ()
    drawn: int = 0


@dataclass(frozen=True, eq=False)
class Found:
    """A plan, and all that the page shows of it.

    Attributes:
        ends: between which it leads.
        order: what was asked for.
        plan: itself.
        spec: what its actions mean; None of a plan in the latent space.
        actions: known ones, float32 ``[S, A]``; None likewise.
        latents: float32 ``[S, Z]``.
        true_latents: what the model infers from what really happened; None where that is not known.
        meanings: for each step what its latent action is most like; empty where that has no names.
        cost: of the plan, by the full world model, as are the next two.
        idle_cost: of doing nothing.
        true_cost: of what was really done; None where that is not known.
        progress: the last of the search.
        frames: the imagined path, uint8 ``[S + 1, H, W, 3]``.
        video: MP4 of it.
        seconds: that the search took.
        stopped: whether it was stopped.
    """

    ends: Ends
    order: Order
    plan: Plan
    spec: ActionSpec | None
    actions: np.ndarray | None
    latents: np.ndarray
    true_latents: np.ndarray | None
    meanings: tuple[str, ...]
    cost: float
    idle_cost: float | None
    true_cost: float | None
    progress: Progress
    frames: np.ndarray
    video: Path
    seconds: float
    stopped: bool


@dataclass(frozen=True, eq=False)
class Step:
    """A moment of an execution.

    Attributes:
        index: steps taken so far.
        frame: what the simulator shows, uint8 ``[H, W, 3]``.
        imagined: what the last plan expected of this moment; None at the start.
        goal: what is to be reached.
        distance: to it, by name.
    """

    index: int
    frame: np.ndarray
    imagined: np.ndarray | None
    goal: np.ndarray
    distance: dict[str, float]


@dataclass(frozen=True, eq=False)
class Ran:
    """An execution at its end.

    Attributes:
        video: MP4 of what the simulator showed.
        last: the last step.
        distances: to the goal at the start and after each step, by name.
        reached: whether the last counts as being there.
        stopped: whether it was stopped.
    """

    video: Path
    last: Step
    distances: list[dict[str, float]]
    reached: bool
    stopped: bool


@dataclass(eq=False)
class PlanSession:
    """What one open page plans.

    Attributes:
        own: a visitor's own clip.
        goal: a visitor's own picture of the goal.
        ends: between which a way is searched; None before any was chosen.
        found: the last plan.
        searcher: that found it.
        wanted: what the controls ask for now, and
        checkpoint: hash of the checkpoint that would search for it.
    """

    own: str | None = None
    goal: str | None = None
    ends: Ends | None = None
    found: Found | None = None
    searcher: Searcher | None = None
    wanted: Order | None = None
    checkpoint: str = ""
