"""``lamdemo plan``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lamdemo.cli.common import (
    Checkpoint,
    Device,
    checked_place,
    command_line,
    loaded,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.core.devices import AUTO
from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline

Simulator = Annotated[
    str | None, typer.Option(parser=some_text, metavar="NAME", help="Pursue goals in this simulator: doom, fetch.")
]
Recorded = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="Plan between frames of these recorded episodes."),
]
ControllerName = Annotated[
    str | None,
    typer.Option(
        parser=some_text, metavar="NAME", help="Of the checkpoint: car, arm, ... The simulator's name without it."
    ),
]
SearchSpace = Annotated[
    Literal["known", "latent"],
    typer.Option(help="Search known actions, through the controller, or latent actions themselves."),
]
MakePlans = Annotated[
    bool,
    typer.Option("--plans/--no-plans", help="Make plans. Without, inverse dynamics reads what to do, in a simulator."),
]
Draft = Annotated[
    bool, typer.Option("--draft/--no-draft", help="Search with the world model's draft, where there is one.")
]
Futures = Annotated[
    int, typer.Option(min=0, max=16, metavar="N", help="Futures of each command, whose costs are averaged; 0: one.")
]
EpisodeSplit = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="FILE", help="TOML file of which episodes are for what."),
]
TaskPart = Annotated[
    Literal["train", "validation", "test", "all"],
    typer.Option(help="Part of the split, or of the simulator's scenes."),
]
SharedNoise = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="SHARE",
        help="Of CEM's noise, common to all steps of a candidate; without it 0.5 with recorded proposals, else 0.",
    ),
]
Proposals = Annotated[
    Literal["recorded", "normal"],
    typer.Option(help="A search of latents begins with those of recordings, or with N(0, 1) around no action."),
]
Ridge = Annotated[
    float,
    typer.Option(
        min=0, max=1, metavar="WEIGHT", help="Of the commands' size where latent plans are turned into commands."
    ),
]
GoalSteps = Annotated[
    int, typer.Option(min=1, max=25, metavar="N", help="Hidden commands that lead to a simulator's goal.")
]
Compound = Annotated[
    bool, typer.Option("--compound", help="Goals of a simulator that take more than one kind of action: turn and walk.")
]
Baseline = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="Folder of the twin; the checkpoint's own without it."),
]


def plan(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(parser=some_path, metavar="FILE", help="Report to write, JSON.")],
    env: Simulator = None,
    episodes: Recorded = None,
    checkpoint: Checkpoint = None,
    controller: ControllerName = None,
    space: SearchSpace = "known",
    plans: MakePlans = True,
    solver: Annotated[str, typer.Option(metavar="NAME", help="cem, icem, mppi, gradient or random.")] = "cem",
    samples: Annotated[int | None, typer.Option(min=2, metavar="N", help="Candidates an iteration.")] = None,
    iterations: Annotated[int | None, typer.Option(min=1, metavar="N", help="How often to draw them.")] = None,
    draft: Draft = True,
    futures: Futures = 0,
    shared: SharedNoise = None,
    proposals: Proposals = "normal",
    ridge: Ridge = 0.0,
    horizon: Annotated[int, typer.Option(min=1, max=16, metavar="N", help="Steps of a plan.")] = 3,
    tasks: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Tasks, or pairs of frames.")] = 50,
    steps: GoalSteps = 6,
    compound: Compound = False,
    split: EpisodeSplit = None,
    part: TaskPart = "test",
    twin: Baseline = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of plans; the same seed gives the same plans.")] = 0,
    device: Device = AUTO,
) -> None:
    """Plan from pictures to pictures, and measure how near the plans come.

    In a simulator a plan is made at every step and its first action carried out; inverse dynamics, which needs no plan,
    stands beside. On recorded episodes the goal is the frame some steps later, and the plan is compared with what was
    done. The twin, where there is one, plans too; random and no actions stand beside.

    [bold]Examples[/]

    [cyan]lamdemo plan --env fetch --tasks 20 --out fetch.json[/]

    [cyan]lamdemo plan --episodes recordings --controller car --space latent --out car.json[/]
    """
    _check_sources(env, episodes, split, twin)
    if not plans and env is None:
        raise LamdemoError("Without plans goals are pursued in a simulator; give --env, or leave out --no-plans.")
    checked_place(out, folder=False)

    from lamdemo.evaluation.control.planning import PlanningConfig, evaluate_planning

    pipeline = loaded(checkpoint, device)
    config = PlanningConfig(
        env=env,
        episodes=episodes,
        controller=controller,
        space=space,
        plans=plans,
        solver=solver,
        samples=samples,
        iterations=iterations,
        distilled=draft,
        futures=futures,
        shared=shared,
        proposals=proposals,
        ridge=ridge,
        horizon=horizon,
        tasks=tasks,
        steps=steps,
        compound=compound,
        split=split,
        part=part,
        baseline=twin,
        seed=seed,
    )
    result = evaluate_planning(pipeline, config)
    _write(out, result, pipeline, ctx, seed)
    for line in _told(result):
        typer.echo(line)
    typer.echo(out)


def _write(out: Path, result: dict[str, Any], pipeline: TransferPipeline, ctx: typer.Context, seed: int) -> None:
    from lamdemo.evaluation.report import write_report

    made = [p for p in out.absolute().parents if not p.exists()]
    try:
        write_report(
            out, result, command=command_line(ctx.obj or []), pipeline=pipeline, seed=seed, data=result["data"]
        )
    finally:
        remove_if_empty(made)


def _told(result: dict[str, Any]) -> list[str]:
    """The result in a few lines, baselines beside."""

    def said(figure: dict[str, Any], digits: str) -> str:
        return "–" if figure["value"] is None else format(figure["value"], digits)

    if result["evaluation"] == "openloop":
        rows = ", ".join(f"{method} {said(figure, '.2f')}" for method, figure in result["over_zero"].items())
        return [f"error of the summed plan, over doing nothing: {rows}"]
    unit, distance = result["distance_is"], result["distance"]
    lines = [f"{result['tasks']} tasks, {said(result['start'], '.3g')} {unit} away at the start"]
    for policy, reached in result["success"].items():
        lines.append(f"{policy}: there {said(reached, '.2f')}, ends {said(distance[policy], '.3g')} {unit} away")
    return lines


def _check_sources(env: str | None, episodes: Path | None, split: Path | None, twin: Path | None) -> None:
    if (env is None) == (episodes is None):
        raise LamdemoError("Give either --env, a simulator, or --episodes, a folder of recorded episodes.")
    if env is not None and split is not None:
        raise LamdemoError("A split is of episodes; leave out --split, or give --episodes in place of --env.")
    for folder in (episodes, twin):
        if folder is not None and not folder.is_dir():
            raise LamdemoError(f"There is no folder {folder.name}; give one that is there.")
