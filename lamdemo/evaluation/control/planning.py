"""One way of planning judged by itself: what ``lamdemo plan`` does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes.opening import open_episodes
from lamdemo.data.known_actions import INDEX
from lamdemo.data.splits import Part
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.control.held_out import of_episodes
from lamdemo.evaluation.control.planners import CLOSED, OPEN, Budget
from lamdemo.evaluation.control.suite import EmbodimentModels, closed_section, find_baseline, maker_of, open_section
from lamdemo.planning import SOLVERS
from lamdemo.simulators.tasks import TaskConfig


@dataclass(frozen=True)
class PlanningConfig:
    """What to plan, where and how long."""

    env: str | None = None  # a simulator; or None
    episodes: Path | None = None  # a folder of recorded episodes; or None
    # Of the checkpoint; the simulator's name, or that of the episodes' actions, without it.
    controller: str | None = None
    space: Literal["known", "latent"] = "known"  # what is searched
    plans: bool = True  # make plans; without them inverse dynamics reads what to do, in a simulator (`InversePolicy`)
    solver: str = "cem"  # what searches
    samples: int | None = None  # candidates an iteration; the evaluation's own without it
    iterations: int | None = None  # how often; the evaluation's own without it
    distilled: bool = True  # search with the distilled model
    horizon: int = 3  # steps of a plan
    tasks: int = 50  # how many goals
    steps: int = 6  # of the hidden commands that lead to a simulator's goal
    compound: bool = False  # whether a simulator's goals take more than one kind of action, see `TaskConfig`
    split: Path | None = None  # TOML file of which episodes are for what; all are taken without it
    part: Part | Literal["all"] = "test"  # of the split, or of the simulator's scenes
    futures: int = 0  # of each command, over which costs are averaged; 0 for the controller's one latent
    shared: float | None = None  # of CEM's noise, by all steps of a candidate; the solver's own share without it
    proposals: Literal["recorded", "normal"] = "normal"  # what a search of latents begins with
    ridge: float = 0.0  # of the commands that latent plans are turned into
    baseline: Path | None = None  # folder of the action-conditioned baseline; the checkpoint's own without it
    seed: int = 0  # of plans


def evaluate_planning(pipeline: TransferPipeline, config: PlanningConfig) -> dict[str, Any]:
    """Plan and measure.

    Args:
        pipeline: of the checkpoint.
        config: what to plan.

    Returns:
        ``evaluation`` ("closedloop" or "openloop"), ``settings``, ``headline`` (of the method against no action,
        random ones and the baseline), and what `evaluate_closed_loop` or `evaluate_open_loop` returns. The method is
        called "controller" where known actions are searched, "latent" where latents are, and "inverse" without
        plans.

    Raises:
        LamdemoError: there is no such simulator, controller, baseline, solver or episode.
    """
    method = "inverse" if not config.plans else "controller" if config.space == "known" else "latent"
    closed = config.env is not None
    budget = _budget(config)
    found = None
    if config.env is not None:
        from lamdemo.simulators import available

        missing = available().get(
            config.env, f"There is no simulator {config.env!r}; there are {_listed(available())}."
        )
        if missing:
            raise LamdemoError(missing)
        name = config.controller or config.env
    else:
        assert config.episodes is not None
        indexed = (config.episodes / INDEX).is_file()
        part = config.controller if indexed else None
        every = open_episodes(config.episodes, part=part)
        name = config.controller or every.spec.name
        found = of_episodes(name, every, config.split, config.part)
    embodiment = EmbodimentModels(
        config.env or name, pipeline.controller(name), None, *find_baseline(pipeline, name, config.baseline)
    )
    maker = maker_of(pipeline, embodiment, budget, config.horizon, config.episodes, config.split)
    methods = [method, *(["twin"] if embodiment.baseline is not None else [])] if config.plans else []
    if found is not None:
        section = open_section(pipeline, embodiment, found, maker, methods, config.tasks, config.seed)
    else:
        scenes: Part = "test" if config.part == "all" else config.part
        kind = TaskConfig(compound=config.compound)
        section = closed_section(
            embodiment, maker, methods, scenes, config.tasks, config.seed, steps=config.steps, kind=kind
        )
    bases = ("over_zero", "over_mean", "over_random", "over_twin")
    headline = {base: section[base].get(method) for base in bases if base in section}
    if "success" in section:
        headline["success"] = section["success"][method]
    settings = {"space": config.space, "controller": name, "horizon": config.horizon, **budget.told()}
    if closed:
        settings |= {"plans": config.plans, "steps": config.steps, "compound": config.compound}
    return {
        "evaluation": "closedloop" if closed else "openloop",
        "settings": settings | {"part": section["data"]["part"], "seed": config.seed, "tasks": config.tasks},
        "headline": headline,
        **section,
    }


def _budget(config: PlanningConfig) -> Budget:
    """How long to search: the evaluation's own budget, but for what is asked."""
    base = OPEN if config.env is None else CLOSED
    # Other solvers spend the same number of candidates otherwise, so that they keep their own numbers.
    own = base if config.solver == base.solver else Budget(refine=base.refine)
    samples = config.samples or own.samples
    elites = own.elites
    if samples is not None and elites is None and config.solver in SOLVERS:
        # The solver's own elites, but never more than there are candidates.
        elites = getattr(SOLVERS[config.solver][0], "elites", None)
    elites = elites if elites is None or samples is None else min(elites, samples)
    return Budget(
        samples,
        elites,
        config.iterations or own.iterations,
        base.refine,
        config.solver,
        config.distilled,
        base.along,
        base.rest,
        base.prior,
        config.futures,
        config.shared,
        config.proposals,
        config.ridge,
    )


def _listed(names: Any) -> str:
    return " and ".join(names)
