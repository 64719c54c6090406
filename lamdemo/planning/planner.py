"""From a start and a goal to a plan (paper, section 4): dynamics, cost, space and solver put together."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.planning.costs import Cost, GoalDistance, PathLength, PriorPenalty, Sum, averages
from lamdemo.planning.dynamics import Dynamics
from lamdemo.planning.parallel import in_parallel
from lamdemo.planning.plans import Imagined, Landscape, Plan, Problem
from lamdemo.planning.solver import Callback, Iteration, Solution, Solver, SolverState, take
from lamdemo.planning.spaces import KnownSpace, Space

MAX_HORIZON = 32
_REOPENED = 0.5  # spread that a search which goes on from an earlier one has at least, in standard coordinates
_SMALLEST_UNIT = 0.01  # of the goal's own size: start and goal may be the same picture


@dataclass(frozen=True)
class CostWeights:
    """What makes up the cost. Distances are in units of the distance from start to goal, so 1 is "no nearer"."""

    goal: float = 1.0  # weight of the distance to the goal at the plan's end (`GoalDistance`)
    along: float = 0.0  # weight of its mean over the plan's steps
    prior: float = 0.0  # weight of `PriorPenalty`
    kind: Literal["gaussian", "shell"] = "shell"  # of that penalty
    path: float = 0.0  # weight of `PathLength`
    p: float = 2.0  # of the distance's norm; 2 is the paper's
    # Distances of coarser views beside the state's own, all alike in the mean: (4, 2) adds those of averages over 4x4
    # and 2x2 parts of the picture (`averages`), by which a small thing feels a goal that it does not overlap.
    regions: tuple[int, ...] = ()


class Planner:
    """Finds actions that lead from one picture to another."""

    def __init__(
        self,
        pipeline: TransferPipeline,
        judge: Dynamics,
        space: Space,
        solver: Solver,
        *,
        distilled: Dynamics | None = None,
        weights: CostWeights | None = None,
        horizon: int = 3,
        refine: int = 32,
        history: int = 1,
    ) -> None:
        """Put a planner together; `build_planner` is the way for most.

        Args:
            pipeline: encodes pictures and draws plans.
            judge: the dynamics by the full world model.
            space: what is searched.
            solver: searches it.
            distilled: a faster dynamics to search with.
            weights: of the cost's terms.
            horizon: H, steps of a plan.
            refine: candidates of the distilled model that ``judge`` is asked about; the best of them is the plan.
            history: C, commands that the dynamics sees at each step.

        Raises:
            LamdemoError: the horizon or ``refine`` is out of range.
        """
        if not 1 <= horizon <= MAX_HORIZON:
            raise LamdemoError(f"A plan can have 1 to {MAX_HORIZON} steps, not {horizon}.")
        if refine < 1:
            raise LamdemoError(f"The full world model must judge at least one candidate, not {refine}.")
        self.pipeline, self.judge, self.space, self.solver = pipeline, judge, space, solver
        self.distilled, self.weights = distilled, weights or CostWeights()
        self.horizon, self.refine, self.history = horizon, refine, history

    @property
    def spec(self) -> ActionSpec | None:
        """What the known actions are; None in latent space."""
        return self.space.spec if isinstance(self.space, KnownSpace) else None

    # Problems.

    def problem(
        self, start: np.ndarray | Tensor, goal: np.ndarray | Tensor, history: np.ndarray | Tensor | None = None
    ) -> Problem:
        """Encode a start and a goal.

        Args:
            start: a picture uint8 ``[H, W, 3]``, or a state ``[N, D]``.
            goal: the same; pictures must have the same shape, but may differ in size.
            history: known actions carried out before, ``[t, A]``, the newest last, as many as are known.

        Raises:
            LamdemoError: the two differ in shape, or the history is of another width.
        """
        pictures = [x for x in (start, goal) if _is_picture(x)]
        if len(pictures) == 2:
            (h, w), (gh, gw) = (x.shape[:2] for x in pictures)
            if not 0.9 <= (gw / gh) / (w / h) <= 1 / 0.9:
                raise LamdemoError(f"The goal is {gw}x{gh} and the start {w}x{h}; use pictures of the same shape.")
        return Problem(
            self._state(start),
            self._state(goal),
            self._history(history),
            np.asarray(start) if _is_picture(start) else None,
        )

    def _state(self, given: np.ndarray | Tensor) -> Tensor:
        if _is_picture(given):
            return self.pipeline.encode(np.asarray(given)[None]).float()
        encoder = self.pipeline.model.config.encoder
        state = torch.as_tensor(given)
        if state.shape != (encoder.grid**2, encoder.channels) or not state.is_floating_point():
            raise LamdemoError(
                "Start and goal must be RGB pictures (uint8, height x width x 3) or states of this checkpoint."
            )
        return state.float()[None].to(self.pipeline.model.device)

    def _history(self, given: np.ndarray | Tensor | None) -> Tensor:
        device = self.pipeline.model.device
        before = self.space.idle.to(device).expand(self.history - 1, -1)
        if given is not None and len(given) and self.spec is not None:
            known = self.spec.check(np.asarray(given), "The commands before the start")
            before = torch.cat([before, torch.from_numpy(known).to(device)])
        return before[len(before) - (self.history - 1) :][None]

    def cost(self, dynamics: Dynamics, problem: Problem) -> Cost:
        """What a dynamics' states are judged by."""
        start, goal, w = dynamics.goal(problem.start), dynamics.goal(problem.goal), self.weights
        unit = self._unit(start, goal)
        share = w.goal / (1 + len(w.regions))
        terms: list[tuple[float, Cost]] = [(share, GoalDistance(goal, unit, w.p))]
        for view in self._views(dynamics, problem):
            seen = view(goal)
            terms.append((share, GoalDistance(seen, self._unit(view(start), seen), w.p, view=view)))
        if w.prior:
            terms.append((w.prior, PriorPenalty(self.space, w.kind)))
        if w.path:
            terms.append((w.path, PathLength(start, unit)))
        if w.along:
            terms.append((w.along, GoalDistance(goal, unit, w.p, along=True)))
        return Sum(terms)

    def _unit(self, start: Tensor, goal: Tensor) -> Tensor:
        """What distances are measured in, ``[B]``: that of start and goal."""
        far, whole = (torch.linalg.vector_norm(x, ord=self.weights.p, dim=-1) for x in (goal - start, goal))
        return far.maximum(_SMALLEST_UNIT * whole).clamp_min(1e-6)

    def _views(self, dynamics: Dynamics, problem: Problem) -> list[Callable[[Tensor], Tensor]]:
        if not self.weights.regions:
            return []
        cells = dynamics.begin(problem.start, problem.history).state.shape[1]
        try:
            return [averages(cells, regions) for regions in self.weights.regions]
        except ValueError as error:
            raise LamdemoError(
                f"Costs by regions need a divisor of the grid's side: {error}; choose others."
            ) from error

    def objective(self, dynamics: Dynamics, problem: Problem) -> Callable[[Tensor], Tensor]:
        """Costs ``[1, K]`` of candidates ``[1, K, S, U]`` in standard coordinates."""
        cost, start = self.cost(dynamics, problem), dynamics.begin(problem.start, problem.history)

        def judged(u: Tensor) -> Tensor:
            # Judged as they are imagined: all states of all candidates together would not fit the cache.
            draws = dynamics.draws
            parts = self.space.decode(u).split(max(dynamics.chunk // draws, 1), 1)

            def mean_cost(some: Tensor) -> Tensor:
                each = some.repeat_interleave(draws, 1)
                return cost(dynamics.rollout(start, each), each).unflatten(1, (-1, draws)).mean(-1)

            return torch.cat(in_parallel(mean_cost, parts), 1)

        return judged

    # Plans.

    def plan(
        self,
        start: np.ndarray | Tensor | Problem,
        goal: np.ndarray | Tensor | None = None,
        *,
        history: np.ndarray | Tensor | None = None,
        seed: int = 0,
        warm: SolverState | None = None,
        callback: Callback | None = None,
    ) -> Plan:
        """Find a plan. The same arguments give the same plan.

        Args:
            start: see `problem`; or a problem itself, and then no goal and history.
            goal: see `problem`.
            history: see `problem`.
            seed: of the search's noise.
            warm: ``Plan.warm`` of an earlier plan, shifted by the steps taken since.
            callback: called after each iteration with candidates, mean, std and best in the actions' own units (in
                latent space, latents); returns False to stop.

        Raises:
            LamdemoError: see `problem`; or the earlier plan was of another horizon.
        """
        begun = time.perf_counter()
        if isinstance(start, Problem):
            problem = start
        elif goal is None:
            raise LamdemoError("A plan needs a goal; give a picture of what is to be seen at its end.")
        else:
            problem = self.problem(start, goal, history)
        shape = (1, self.horizon, self.space.width)
        if warm is not None:
            if warm.mean.shape != shape:
                raise LamdemoError("The earlier plan has another horizon or other actions; plan anew without it.")
            # Where an earlier search has closed down to one plan it would find nothing else.
            warm = warm.widened(_REOPENED)
        told = None if callback is None else self._telling(callback)
        search = self.distilled or self.judge
        found = self.solver.solve(
            self.objective(search, problem),
            shape,
            seed=seed,
            start=warm,
            callback=told,
            device=self.pipeline.model.device,
        )
        u, distilled_cost = found.u, None
        if self.distilled is not None:
            u, distilled_cost = self._refined(problem, found)
        imagined = self._imagine(problem, self.space.decode(u)[0], u[0])
        idle = self._imagine(problem, self.space.idle.expand(self.horizon, -1))
        return Plan(
            **{f.name: getattr(imagined, f.name) for f in dataclasses.fields(Imagined)},
            idle_cost=idle.cost,
            distilled_cost=distilled_cost,
            costs=found.best_costs[:, 0].float().cpu().numpy(),
            elite_costs=found.elite_costs[:, 0].float().cpu().numpy(),
            seed=seed,
            seconds=time.perf_counter() - begun,
            stopped=found.stopped,
            warm=dataclasses.replace(found.state, mean=u),
        )

    def imagine(self, problem: Problem, actions: np.ndarray | Tensor) -> Imagined:
        """What the full world model expects of given actions ``[S, A]`` (in latent space ``[S, Z]``), and their cost.

        Actions are taken as they are, even where a search would not go.

        Raises:
            LamdemoError: they are of another width.
        """
        if self.spec is not None:
            given = torch.from_numpy(self.spec.check(np.asarray(actions)))
        else:
            given = torch.as_tensor(actions, dtype=torch.float32)
            if given.ndim != 2 or given.shape[1] != len(self.space.idle):
                raise LamdemoError(
                    f"Latent actions of this checkpoint have {len(self.space.idle)} numbers a step; "
                    "use those made with it."
                )
        return self._imagine(problem, given.to(self.pipeline.model.device))

    def _imagine(self, problem: Problem, actions: Tensor, u: Tensor | None = None) -> Imagined:
        """Of actions ``[S, A]`` and, where they are known, their coordinates ``[S, U]``."""
        u = self.space.encode(actions) if u is None else u
        with torch.no_grad():
            start = self.judge.begin(problem.start, problem.history)
            latents, prediction = self.judge.imagine(start, actions[None])
            cost = self.cost(self.judge, problem)(prediction.states.flatten(2)[:, None], actions[None, None])
        return Imagined(
            actions.cpu().numpy() if self.spec is not None else None,
            latents[0].cpu().numpy(),
            prediction.states[0].float().cpu().numpy(),
            float(cost),
            u.cpu().numpy(),
            problem,
            prediction,
            self.pipeline,
        )

    def _telling(self, callback: Callback) -> Callback:
        def told(iteration: Iteration) -> bool | None:
            return callback(
                dataclasses.replace(
                    iteration,
                    candidates=self.space.decode(iteration.candidates),
                    mean=self.space.decode(iteration.mean),
                    std=self.space.spread(iteration.std),
                    best=self.space.decode(iteration.best),
                )
            )

        return told

    @torch.no_grad()
    def _refined(self, problem: Problem, found: Solution) -> tuple[Tensor, float]:
        """Of the distilled model's best, the full one's best ``[1, S, U]``, and what the former thought of it."""
        assert self.distilled is not None
        order = found.last.costs.argsort(dim=1, stable=True)[:, : max(self.refine - 2, 0)]
        tried = torch.cat([found.u[:, None], found.state.mean[:, None], take(found.last.candidates, order)], 1)
        tried = tried[:, : self.refine]
        costs = self.objective(self.judge, problem)(tried)
        chosen = take(tried, costs.nan_to_num(torch.inf).argmin(1, keepdim=True))
        return chosen[:, 0], float(self.objective(self.distilled, problem)(chosen))

    @torch.no_grad()
    def landscape(
        self,
        around: Imagined | Problem,
        *,
        axes: tuple[int, int] = (0, 1),
        points: int = 15,
        span: float = 2.5,
    ) -> Landscape:
        """The search's own cost (the distilled model's, where there is one) over two coordinates that all steps share.

        Args:
            around: a plan, whose other coordinates stay as they are; or a problem, and then nothing else is done.
            axes: which two coordinates.
            points: along each.
            span: how far to each side of zero, in standard coordinates, as far as actions go there.

        Raises:
            LamdemoError: there are no such coordinates, or fewer than two points.
        """
        if len(set(axes)) != 2 or not all(0 <= a < self.space.width for a in axes):
            raise LamdemoError(f"Choose two different ones of {', '.join(self.space.names)} for the landscape.")
        if not 2 <= points <= 101:
            raise LamdemoError(f"A landscape has 2 to 101 points along each side, not {points}.")
        device = self.pipeline.model.device
        if isinstance(around, Problem):
            problem = around
            base = self.space.encode(self.space.idle.to(device)).expand(self.horizon, -1)
        else:
            problem, base = around.problem, torch.from_numpy(around.u).to(device)
        ends = []
        for axis in axes:
            low, high = -span, span
            if self.spec is not None:
                bounds = self.space.encode(torch.from_numpy(np.stack([self.spec.low, self.spec.high])).to(device))
                low, high = max(low, float(bounds[0, axis])), min(high, float(bounds[1, axis]))
            ends.append(torch.linspace(low, max(high, low + 1e-3), points, device=device))
        u = base.expand(points, points, -1, -1).clone()
        u[..., axes[0]] = ends[0][None, :, None]
        u[..., axes[1]] = ends[1][:, None, None]
        costs = self.objective(self.distilled or self.judge, problem)(u.flatten(0, 1)[None])
        values = []
        for axis, end in zip(axes, ends, strict=True):
            along = torch.zeros(points, self.space.width, device=device)
            along[:, axis] = end
            values.append((self.space.decode(along)[:, axis] if self.spec is not None else end).cpu().numpy())
        names = self.space.names
        grid = costs.reshape(points, points).float().cpu().numpy()
        return Landscape(axes, (names[axes[0]], names[axes[1]]), values[0], values[1], grid)


def _is_picture(given: Any) -> bool:
    return isinstance(given, np.ndarray) and given.ndim == 3 and given.dtype == np.uint8
