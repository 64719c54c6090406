"""What the plan's controls set going, apart from how they look: searching, and drawing what was found."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.background import in_background
from lamdemo.jobs.turns import PAUSE, Pause
from lamdemo.ui.inputs import BETWEEN
from lamdemo.ui.plan.ends import Ends
from lamdemo.ui.plan.records import LATENT, Found, Future, Order, Progress
from lamdemo.video import write_video

if TYPE_CHECKING:
    import torch

    from lamdemo.engine import TransferPipeline
    from lamdemo.engine.controls import KnownController
    from lamdemo.planning.dynamics import Dynamics
    from lamdemo.planning.planner import CostWeights, Planner
    from lamdemo.planning.plans import Imagined, Landscape, Plan, Problem
    from lamdemo.planning.solver import Iteration, Objective
    from lamdemo.ui.space.work import Place

_SKETCH = 160  # longest side in pixels of candidates' pictures
_SKETCHES = 4
_SKETCH_EVERY = 0.8  # seconds between two rounds of them: drawing takes time from the search
HELD = 2 * BETWEEN  # frames that the end is held before the loop begins anew
_POINTS, _POINTS_OF_FUTURES = 17, 9  # along each side of the energy landscape; of several futures each takes longer


class Sketcher:
    """Draws where candidates end, small and fast: one start, gone back to for each.

    Args:
        pipeline: the model.
        start: uint8 ``[H, W, 3]``.
        known: the controller whose actions are carried out; latent ones without it.
        before: known actions before the start.
    """

    def __init__(
        self, pipeline: TransferPipeline, start: np.ndarray, known: KnownController | None, before: np.ndarray | None
    ) -> None:
        height, width = start.shape[:2]
        scale = min(1.0, _SKETCH / max(height, width))
        small = start
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(start, size, interpolation=cv2.INTER_AREA)
        if known is None:
            self._way: Any = pipeline.begin(small, history=1)
        else:
            self._way = pipeline.drive(small, known, history=1, before=before)

    def draw(self, actions: np.ndarray) -> np.ndarray:
        """Where actions ``[S, A]`` end, uint8 ``[h, w, 3]``."""
        self._way.reset()
        for action in actions:
            self._way.step(action)
        return np.asarray(self._way.frame)


class Searcher:
    """A planner put together as ordered, and what the page asks of it.

    Args:
        pipeline: the model.
        order: what is asked for.
        ends: between which a way is searched.
        place: of the checkpoint's latent space, by whose named directions latent actions are described.
        weights: of the cost; the planner's own without them.

    Attributes:
        axes: names of the numbers that are searched, U of them.

    Raises:
        LamdemoError: the order or the pictures do not fit.
    """

    def __init__(
        self,
        pipeline: TransferPipeline,
        order: Order,
        ends: Ends,
        place: Place | None = None,
        weights: CostWeights | None = None,
    ) -> None:
        from lamdemo.planning.building import build_planner

        self.pipeline, self.order, self.ends = pipeline, order, ends
        self.known: KnownController | None = None if order.what == LATENT else pipeline.controller(order.what)
        given = settings(order)
        atlas = place.atlas if place is not None else None
        if order.what == LATENT and pipeline.training_latents is None and atlas is not None:
            given["latents"] = atlas.latents
        self.planner: Planner = build_planner(pipeline, weights=weights, **given)
        self._mine = threading.local()  # what this thread tells its news to, see `resting`
        self.planner.objective = self._in_parts(self.planner.objective)  # type: ignore[method-assign]
        self.space = self.planner.space
        self.axes: tuple[str, ...] = tuple(self.space.names)
        # What was done before the start counts only if it is of the same kind.
        same = self.known is not None and ends.spec is not None and ends.spec.names == self.known.spec.names
        self.before = ends.before if same else None
        self.true_latents = pipeline.infer(ends.frames, refinement=0).z if ends.frames is not None else None
        self.true: np.ndarray | None = self.true_latents if self.known is None else ends.actions if same else None
        self.problem: Problem = self.planner.problem(ends.start, ends.goal, self.before)
        self._named: list[tuple[str, np.ndarray]] = []  # unit vectors of the latent space, and what they do
        if self.known is None and atlas is not None and atlas.directions is not None:
            names = atlas.directions.names()
            for d in atlas.directions:
                for key, z in ((d.key, d.z), (f"-{d.key}", -d.z)):
                    if names.get(key) and np.linalg.norm(z) > 0:
                        self._named.append((names[key], z / np.linalg.norm(z)))

    def _meaning(self, z: np.ndarray) -> str:
        size = float(np.linalg.norm(z))
        if size < 0.1:
            return "nothing"
        name, alike = max(((name, float(z @ unit) / size) for name, unit in self._named), key=lambda found: found[1])
        return f"{name} ({alike:.2f})" if alike > 0.25 else "none that has a name"

    def _in_parts(self, objective: Callable[..., Objective]) -> Callable[..., Objective]:
        """The same, a part of the candidates at a time: between two parts others have their turns."""
        import torch

        def made(dynamics: Dynamics, problem: Problem) -> Objective:
            judged = objective(dynamics, problem)
            # Whole chunks for each thread, so that the figures are the same as without parts.
            size = dynamics.chunk * torch.get_num_threads()

            def in_parts(u: torch.Tensor) -> torch.Tensor:
                costs: list[torch.Tensor] = []
                for part in u.split(size, 1):
                    if costs:
                        self.rest()
                    costs.append(judged(part))
                return torch.cat(costs, 1)

            return in_parts

        return made

    @contextmanager
    def resting(self, tell: Callable[[Any], None]) -> Iterator[None]:
        """Within the block, and in its thread, `PAUSE` is told between two parts of the candidates."""
        self._mine.tell = tell
        try:
            yield
        finally:
            self._mine.tell = None

    def rest(self) -> None:
        """Tell a `PAUSE` where the thread is in `resting`."""
        tell = getattr(self._mine, "tell", None)
        if tell is not None:
            tell(PAUSE)

    # The search.

    def search(self, folder: Path, stop: threading.Event) -> Iterator[Progress | Found | Pause]:
        """Search, tell how it goes, and draw what was found.

        Args:
            folder: where the plan's video goes.
            stop: ends the search with what it has when it is set.

        Yields:
            A `Progress` for each iteration, then the `Found`, and a `PAUSE` wherever others may go first.

        Raises:
            LamdemoError: start and goal do not fit.
        """
        began = time.monotonic()
        sketcher = Sketcher(self.pipeline, self.ends.start, self.known, self.before)
        now: Progress | None = None
        drawn_at = 0.0
        try:
            for news in in_background(lambda tell: self._run(tell, stop)):
                if news is PAUSE:
                    yield PAUSE
                    continue
                if not isinstance(news, tuple):
                    plan = news
                    break
                now = self._told(now, *news, seconds=time.monotonic() - began)
                if now.index == 0 or time.monotonic() - drawn_at > _SKETCH_EVERY:
                    now = replace(now, pictures=self._sketches(sketcher, news[0]), drawn=now.index)
                    drawn_at = time.monotonic()
                last = news[0]
                yield now
            assert now is not None
            yield PAUSE
            now = replace(now, pictures=self._sketches(sketcher, last), drawn=now.index)
            yield self._found(plan, now, folder, time.monotonic() - began)
        finally:
            stop.set()

    def _run(self, tell: Callable[[Any], None], stop: threading.Event) -> Plan:
        with self.resting(tell):
            return self._searched(tell, stop)

    def _searched(self, tell: Callable[[Any], None], stop: threading.Event) -> Plan:
        import torch

        problem = self.problem
        objective = self.planner.objective(self.planner.distilled or self.planner.judge, problem)

        @torch.no_grad()
        def cost(actions: np.ndarray | None) -> float | None:
            """What actions cost as the search measures it."""
            return None if actions is None or not len(actions) else float(objective(self._encoded(actions)))

        idle, true = cost(self.space.idle.cpu().numpy()[None].repeat(self.order.horizon, 0)), cost(self.true)

        def told(iteration: Iteration) -> bool:
            tell((iteration, idle, true))
            return not stop.is_set()

        return self.planner.plan(problem, seed=self.order.seed, callback=told)

    def _told(
        self, before: Progress | None, it: Iteration, idle: float | None, true: float | None, *, seconds: float
    ) -> Progress:
        costs = it.costs[0].float().cpu().numpy()
        costs = costs[np.isfinite(costs)] if np.isfinite(costs).any() else np.zeros(1, np.float32)
        low, high = np.quantile(costs, [0.1, 0.9])
        was = before or Progress(0, 0, 0.0, (), (), (), ())
        return replace(
            was,
            index=it.index,
            of=it.of,
            seconds=seconds,
            best=(*was.best, float(it.best_cost[0])),
            elite=(*was.elite, float(it.elite_cost[0])),
            low=(*was.low, float(low)),
            high=(*was.high, float(high)),
            idle=idle,
            true=true,
        )

    def _sketches(self, sketcher: Sketcher, it: Iteration) -> tuple[tuple[np.ndarray, float], ...]:
        which = it.elites[0, :_SKETCHES]
        actions = it.candidates[0, which].detach().float().cpu().numpy()
        return tuple(
            (sketcher.draw(row), float(it.costs[0, k])) for row, k in zip(actions, which.tolist(), strict=True)
        )

    def _found(self, plan: Plan, now: Progress, folder: Path, seconds: float) -> Found:
        return self._shown(plan, plan.idle_cost, folder, progress=now, seconds=seconds, stopped=plan.stopped)

    def replay(self, given: np.ndarray, folder: Path) -> Found:
        """Show actions that were found before as a plan, without a search.

        Args:
            given: known actions ``[S, A]``; in the latent space standard coordinates ``[S, U]``.
            folder: where the plan's video goes.

        Raises:
            LamdemoError: they are of another width.
        """
        import torch

        began = time.monotonic()
        actions = given
        if self.known is None:
            u = torch.as_tensor(given, dtype=torch.float32, device=self.pipeline.model.device)
            if u.ndim != 2 or u.shape[1] != self.space.width:
                raise LamdemoError(f"A plan in this latent space has {self.space.width} numbers a step.")
            actions = self.space.decode(u).cpu().numpy()
        idle = self.space.idle[None].cpu().numpy().repeat(len(actions), 0)
        plan, still = (self.planner.imagine(self.problem, each) for each in (actions, idle))
        if self.known is None:
            plan = replace(plan, u=np.asarray(given, np.float32))  # there and back they would be rounded
        return self._shown(plan, still.cost, folder, progress=None, seconds=time.monotonic() - began, stopped=False)

    def _shown(self, plan: Imagined, idle: float, folder: Path, **how: Any) -> Found:
        """Draw a plan, and gather what the page shows of it."""
        # Of several futures the planner imagined one; its latents are no longer the controller's own.
        if plan.actions is None or self.order.futures:
            way: Any = self.pipeline.begin(self.ends.start, between=BETWEEN, history=0)
            given = plan.latents
        else:
            assert self.known is not None
            way = self.pipeline.drive(self.ends.start, self.known, between=BETWEEN, history=0, before=self.before)
            given = plan.actions
        frames, smooth = [self.ends.start], [self.ends.start]
        for action in given:
            step = way.step(action)
            frames.append(step.frame)
            smooth += [*step.between, step.frame]
        true = self.planner.imagine(self.problem, self.true).cost if self.true is not None and len(self.true) else None
        # The end is held for a moment before the loop begins anew.
        smooth += [smooth[-1]] * HELD
        video = write_video(folder / "plan.mp4", iter(smooth), self.pipeline.fps * (BETWEEN + 1))
        return Found(
            ends=self.ends,
            order=self.order,
            plan=plan,
            spec=None if self.known is None else self.known.spec,
            actions=plan.actions,
            latents=plan.latents,
            true_latents=self.true_latents,
            meanings=tuple(self._meaning(z) for z in plan.latents) if self._named else (),
            cost=plan.cost,
            idle_cost=idle,
            true_cost=true,
            frames=np.stack(frames),
            video=video,
            **how,
        )

    def futures(self, found: Found) -> Iterator[Future]:
        """The ways in which a plan's commands could go, as many as each command's costs were averaged over."""
        import torch

        from lamdemo.planning.futures import follow_futures

        if not found.order.futures or self.known is None or found.actions is None:
            return
        judge = self.planner.judge
        cost, device = self.planner.cost(judge, self.problem), self.pipeline.model.device
        given = torch.from_numpy(found.actions).to(device)[None, None]
        count, seed = found.order.futures, found.order.seed
        for one in follow_futures(
            self.pipeline, self.known, self.ends.start, found.actions, count, seed, before=self.before
        ):
            with torch.no_grad():
                states = torch.from_numpy(one.states).to(device).flatten(1)[None, None]
                yield Future(one.frames[-1], float(cost(states, given)))

    # The energy landscape.

    def first_axes(self, found: Found) -> tuple[int, int]:
        """The two numbers that a plan uses most, in their order."""
        if len(self.axes) < 2:
            return 0, 0
        used = np.abs(found.plan.u).mean(0)
        across, up = sorted(np.argsort(-used, kind="stable")[:2].tolist())
        return across, up

    def survey(self, found: Found, across: int, up: int) -> Iterator[Any]:
        """`landscape`, with a `PAUSE` before it wherever others may go first."""

        def work(tell: Callable[[Any], None]) -> Any:
            with self.resting(tell):
                return self.landscape(found, across, up)

        return in_background(work)

    def landscape(self, found: Found, across: int, up: int) -> tuple[Landscape, dict[str, tuple[float, float] | None]]:
        """The cost of holding two numbers at all steps, the others as the plan has them.

        Args:
            found: the plan.
            across: which number goes along ``x``.
            up: which along ``y``.

        Returns:
            It, and where on it lie, on average over their steps, the "plan", what was "true"ly done, and being "idle".
        """
        points = _POINTS_OF_FUTURES if self.order.futures else _POINTS
        land = self.planner.landscape(found.plan, axes=(across, up), points=points)

        def at(actions: np.ndarray | None) -> tuple[float, float] | None:
            if actions is None or not len(actions):
                return None
            shown = actions if self.known is not None else self._encoded(actions)[0, 0].cpu().numpy()
            place = shown.mean(0)
            return float(place[across]), float(place[up])

        done = found.latents if found.actions is None else found.actions
        idle = self.space.idle[None].cpu().numpy()
        return land, {"plan": at(done), "true": at(self.true), "idle": at(idle)}

    def _encoded(self, actions: np.ndarray) -> torch.Tensor:
        """Standard coordinates ``[1, 1, S, U]`` of actions ``[S, A]``."""
        import torch

        given = torch.as_tensor(np.asarray(actions, np.float32), device=self.pipeline.model.device)
        return self.space.encode(given)[None, None]


def settings(order: Order) -> dict[str, Any]:
    """An order as `lamdemo.planning.build_planner` takes it."""
    solver: dict[str, Any] = {"samples": order.samples, "iterations": order.iterations}
    if order.solver in ("cem", "icem", "mppi") and order.samples < 40:
        solver["elites"] = max(2, order.samples // 4)
    return {
        **({"space": "latent"} if order.what == LATENT else {"space": "known", "controller": order.what}),
        "futures": order.futures,
        "solver": order.solver,
        "horizon": order.horizon,
        **solver,
    }
