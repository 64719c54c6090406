"""The evaluation of known actions and plans: one report a checkpoint, made section by section.

A section is one part (rollouts, open loop, closed loop) of one embodiment (car, arm, a simulator). The report is
written after each, and one that is there already and was made from the same is kept: a run that was cut short goes on,
and two processes may judge different embodiments into one report.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lamdemo.core.actions import ActionSpec
from lamdemo.core.errors import LamdemoError
from lamdemo.data.splits import Part
from lamdemo.engine import TransferPipeline
from lamdemo.engine.controls import KnownController, fitting
from lamdemo.evaluation.control.adapters import BaselineAdapter, ControllerAdapter, check_names, commands_of
from lamdemo.evaluation.control.held_out import SIZE, HeldOut, Stretch, held_out, stretches
from lamdemo.evaluation.control.open_loop import HORIZON, evaluate_open_loop
from lamdemo.evaluation.control.planners import CLOSED, OPEN, Budget, Maker
from lamdemo.evaluation.control.rollouts import STEPS, evaluate_rollouts
from lamdemo.evaluation.report import code_hash, plain, split_hash, write_report
from lamdemo.models.action_conditioned import ActionConditioned
from lamdemo.models.checkpoint import fingerprint
from lamdemo.models.companion_files import load_action_conditioned, load_distilled
from lamdemo.models.controller import list_controllers, load_controller
from lamdemo.models.distilled import DistilledModel
from lamdemo.simulators.tasks import TaskConfig

PARTS = ("rollouts", "openloop", "closedloop")
EMBODIMENTS = ("car", "arm", "doom", "fetch")
STRETCHES = 60  # of each embodiment, for rollouts and for open loop
TASKS = 50  # of each simulator
REPORT = "control"
_SPANNING = 16  # training recordings of an embodiment that span its latent space
_ABLATION = "-mlp"  # ends the name of a controller that sees no state


@dataclass(frozen=True)
class ControlConfig:
    """What to judge on, and with what."""

    # Folder of the shared data (with an index), or one with a folder of episodes for each embodiment; without it only
    # simulators are judged.
    root: Path | None = None
    split: Path | None = None  # TOML file of which recordings are for what
    part: Part | Literal["all"] = "test"  # of the split, and of the simulators' seeds
    max_episodes: int | None = None  # stretches, or tasks, at most of each embodiment
    seed: int = 0  # of what is drawn at random
    only: tuple[str, ...] = ()  # these parts; all without it
    embodiments: tuple[str, ...] = ()  # these; all that the checkpoint has a controller for without it
    again: bool = False  # judge anew what is finished already
    baseline: Path | None = None  # folder with the action-conditioned baseline; the checkpoint's own without it
    ablations: Path | None = None  # folder with the controllers that see no state, where the checkpoint brings none
    open: Budget = OPEN  # how long a plan is searched for in open loop
    closed: Budget = CLOSED  # the same in closed loop, where one is made at every step


@dataclass(frozen=True)
class EmbodimentModels:
    """What one embodiment is judged with."""

    name: str  # "car", ...
    known: KnownController  # its controller
    ablation: KnownController | None  # the same that sees no state; None where there is none
    baseline: ActionConditioned | None  # that knows its actions; None where there is none
    distilled_baseline: DistilledModel | None  # distilled from it; None where there is none


def run_control(
    pipelines: Mapping[str, TransferPipeline],
    out: str | Path,
    config: ControlConfig,
    *,
    command: str | Sequence[str],
    say: Callable[[str], None] = lambda words: None,
) -> list[Path]:
    """Judge checkpoints and write ``<name>/control.json`` for each.

    Args:
        pipelines: to judge, by name.
        out: folder for the reports; is made.
        config: what to judge on.
        command: the command line, for the reports.
        say: is told what is kept, done or left out, and why.

    Returns:
        The reports. Their ``results`` hold ``settings``, ``headline`` and for each part each embodiment's section: what
        `evaluate_rollouts`, `evaluate_open_loop` or `evaluate_closed_loop` returns, with ``data``, ``made_from`` (all
        that it depends on), ``minutes`` and ``date``.

    Raises:
        LamdemoError: a part or embodiment is unknown, or has nothing to be judged on; or some sections could not be
            made, once all others have been.
    """
    _check(config)
    reports, failed = [], []
    for name, pipeline in pipelines.items():
        path = Path(out) / name / f"{REPORT}.json"
        results = _begun(path, pipeline)
        for embodiment_name in _embodiments(pipeline, config):
            try:
                embodiment = _models_of(pipeline, embodiment_name, config)
                _judge(pipeline, embodiment, config, results, path, command, say)
            except LamdemoError as error:
                failed.append(f"{embodiment_name}: {error}")
                say(f"{embodiment_name}: not judged, {error}")
        if results:
            reports.append(path)
    if failed:
        raise LamdemoError(f"Not everything could be judged; the rest is written. {' '.join(failed)}")
    return reports


def _check(config: ControlConfig) -> None:
    unknown = [n for n in config.only if n not in PARTS]
    if unknown:
        raise LamdemoError(f"There is no part {unknown[0]!r} of the suite; choose from {', '.join(PARTS)}.")
    if config.root is not None and (config.root / "INDEX.tsv").is_file():
        if config.split is None and config.part != "all":
            raise LamdemoError("Which of these recordings are held out is not known; give --split, or --part all.")


def _embodiments(pipeline: TransferPipeline, config: ControlConfig) -> list[str]:
    """Those of the checkpoint's controllers that are asked for."""
    has = [n for n in pipeline.controllers if not n.endswith(_ABLATION)]
    wanted = config.embodiments or has
    missing = [n for n in wanted if n not in has]
    if missing:
        raise LamdemoError(
            f"The checkpoint {pipeline.name} has no controller {missing[0]!r}; it has {', '.join(has) or 'none'}."
        )
    if not wanted:
        raise LamdemoError(
            f"The checkpoint {pipeline.name} has no controller; train one with lamdemo train-controller."
        )
    return sorted(wanted, key=lambda n: (EMBODIMENTS.index(n) if n in EMBODIMENTS else len(EMBODIMENTS), n))


def _models_of(pipeline: TransferPipeline, name: str, config: ControlConfig) -> EmbodimentModels:
    known = pipeline.controller(name)
    return EmbodimentModels(
        name, known, _ablation(pipeline, name, config.ablations), *find_baseline(pipeline, name, config.baseline)
    )


def find_baseline(
    pipeline: TransferPipeline, name: str, folder: Path | None
) -> tuple[ActionConditioned | None, DistilledModel | None]:
    """The baseline that knows an embodiment's actions, and what is distilled from it, of a folder or the checkpoint's.

    Raises:
        LamdemoError: a folder was given that holds none; or it is damaged, or of another checkpoint.
    """
    place = folder or pipeline.folder
    baseline = None if place is None else load_action_conditioned(place, pipeline.model.device, of=pipeline.folder)
    if baseline is None and folder is not None:
        raise LamdemoError(f"There is no twin in {folder.name}; give a folder with twin.json and twin.safetensors.")
    if baseline is None or place is None or name not in baseline.names:
        return None, None
    return baseline, load_distilled(place, pipeline.model.device, baseline=True, of=pipeline.folder)


def maker_of(
    pipeline: TransferPipeline,
    embodiment: EmbodimentModels,
    budget: Budget,
    horizon: int,
    root: Path | None,
    split: Path | None,
) -> Maker:
    """What makes the planners of an embodiment; the latent space is spanned by recordings that are for training."""
    return Maker(
        pipeline,
        embodiment.known,
        embodiment.baseline,
        budget,
        horizon,
        distilled_baseline=embodiment.distilled_baseline,
        latents=lambda: training_latents(pipeline, embodiment.name, root, split),
    )


def training_latents(pipeline: TransferPipeline, name: str, root: Path | None, split: Path | None) -> np.ndarray | None:
    """Latents ``[R, T, Z]`` inferred from some of an embodiment's training recordings; labels are not looked at.

    Returns:
        None where it has none; those of the checkpoint's own training then stand in.
    """
    try:
        found = held_out(name, root, split=split, part="train", count=_SPANNING)
    except LamdemoError:
        return None
    if found is None or (split is None and "simulator" not in found.about):
        return None
    side = pipeline.model.config.encoder.picture
    try:
        cut = list(stretches(found, pipeline.fps, STEPS, 2 * _SPANNING, 0, side))
    finally:
        found.close()
    return np.stack([pipeline.infer(s.frames, refinement=0).z for s in cut]) if cut else None


def _ablation(pipeline: TransferPipeline, name: str, folder: Path | None) -> KnownController | None:
    name = name + _ABLATION
    if name in pipeline.controllers:
        return pipeline.controller(name)
    if folder is None or name not in list_controllers(folder):
        return None
    controller, data = load_controller(folder, name, **fitting(pipeline), device=pipeline.model.device)
    if data["checkpoint"] != pipeline.checkpoint:
        raise LamdemoError(f"The controller {name} is of another checkpoint than {pipeline.name}; train it anew.")
    return KnownController(name, ActionSpec.from_json(data["spec"]), controller, data["about"])


def _judge(
    pipeline: TransferPipeline,
    embodiment: EmbodimentModels,
    config: ControlConfig,
    results: dict[str, Any],
    path: Path,
    command: str | Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Make the sections of one embodiment that are wanted and missing, and write the report after each."""
    from lamdemo import simulators

    for part in PARTS:
        if config.only and part not in config.only:
            continue
        if part == "closedloop" and embodiment.name not in simulators.names():
            continue
        key = plain(_made_from(pipeline, embodiment, config, part))
        where = f"{path.parent.name}/{REPORT}.json: {part} of {embodiment.name}"
        if not config.again and (results.get(part) or {}).get(embodiment.name, {}).get("made_from") == key:
            say(f"{where} kept, it is finished (--again judges anew)")
            continue
        begun = time.perf_counter()
        if part == "closedloop":
            maker = maker_of(pipeline, embodiment, config.closed, HORIZON, config.root, config.split)
            scenes: Part = "test" if config.part == "all" else config.part
            count = min(config.max_episodes or TASKS, TASKS)
            section = closed_section(embodiment, maker, maker.methods, scenes, count, config.seed)
        else:
            section = _on_stretches(part, pipeline, embodiment, config, say)
            if not section:
                continue
        section |= {
            "made_from": key,
            "minutes": (time.perf_counter() - begun) / 60,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }
        # Another process may have judged other embodiments meanwhile.
        for there, sections in _begun(path, pipeline).items():
            results[there] = {**sections, **{b: s for b, s in results.get(there, {}).items() if b not in sections}}
        results.setdefault(part, {})[embodiment.name] = plain(section)
        _write(path, results, pipeline, config, command)
        say(f"{where} done in {section['minutes']:.1f} minutes")


def _on_stretches(
    part: str,
    pipeline: TransferPipeline,
    embodiment: EmbodimentModels,
    config: ControlConfig,
    say: Callable[[str], None],
) -> dict[str, Any]:
    count = min(config.max_episodes or STRETCHES, STRETCHES)
    found = held_out(embodiment.name, config.root, split=config.split, part=config.part, count=count)
    if found is None:
        say(f"{part} of {embodiment.name}: left out, it needs --episodes-root with recordings of it")
        return {}
    if part == "openloop":
        maker = maker_of(pipeline, embodiment, config.open, HORIZON, config.root, config.split)
        return open_section(pipeline, embodiment, found, maker, maker.methods, count, config.seed)
    cut = _cut(pipeline, embodiment, found, STEPS, count, config.seed)
    adapters: dict[str, Any] = {"controller": ControllerAdapter(pipeline, embodiment.known)}
    if embodiment.ablation is not None:
        adapters["mlp"] = ControllerAdapter(pipeline, embodiment.ablation)
    if embodiment.baseline is not None:
        adapters["twin"] = BaselineAdapter(embodiment.baseline, embodiment.name)
    section = evaluate_rollouts(pipeline, cut, adapters, seed=config.seed)
    return section | {"data": found.about}


def _cut(
    pipeline: TransferPipeline, embodiment: EmbodimentModels, found: HeldOut, steps: int, count: int, seed: int
) -> list[Stretch]:
    """Stretches of held-out episodes, at the encoder's square.

    Raises:
        LamdemoError: the episodes are of other actions, or all too short.
    """
    try:
        check_names(embodiment.name, found.spec, embodiment.known)
        cut = list(stretches(found, pipeline.fps, steps, count, seed, pipeline.model.config.encoder.picture))
    finally:
        found.close()
    if not cut:
        raise LamdemoError(
            f"No episode of {embodiment.name} is {steps / pipeline.fps:g} seconds long; give longer ones."
        )
    return cut


def open_section(
    pipeline: TransferPipeline,
    embodiment: EmbodimentModels,
    found: HeldOut,
    maker: Maker,
    methods: Sequence[str],
    count: int,
    seed: int,
) -> dict[str, Any]:
    """Plans of some of a maker's methods on held-out episodes; see `evaluate_open_loop`.

    Raises:
        LamdemoError: the episodes are of other actions, or all too short.
    """
    cut = _cut(pipeline, embodiment, found, maker.horizon, count, seed)
    mean, spread = commands_of(embodiment.known)
    section = evaluate_open_loop(
        pipeline,
        cut,
        embodiment.known.spec,
        {m: maker.plan_many(m) for m in methods},
        mean=mean,
        spread=spread,
        seed=seed,
    )
    return section | {"data": found.about}


def closed_section(
    embodiment: EmbodimentModels,
    maker: Maker,
    methods: Sequence[str],
    part: Part,
    count: int,
    seed: int,
    *,
    steps: int = 6,
    kind: TaskConfig | None = None,
) -> dict[str, Any]:
    """Plans of some of a maker's methods carried out in the embodiment's simulator; see `evaluate_closed_loop`.

    Beside them stand what needs no plan, and inverse dynamics (`InversePolicy`): "inverse" by itself, and "closing"
    with plans through the controller, where those are asked for, while the goal is too far away to be read.

    Args:
        embodiment: what is judged.
        maker: of the plans.
        methods: of the maker.
        part: of the simulator's scenes.
        count: tasks.
        seed: of policies and the bootstrap.
        steps: of the hidden commands that lead to a goal.
        kind: what tasks are like.

    Raises:
        LamdemoError: the simulator is not installed, or has other actions.
    """
    from lamdemo.evaluation.control.closed_loop import evaluate_closed_loop
    from lamdemo.planning.execution import Constant, Hidden, Planned, Policy, RandomPolicy, Zero
    from lamdemo.planning.inverse import InversePolicy
    from lamdemo.simulators import make
    from lamdemo.simulators.recording import seeds
    from lamdemo.simulators.tasks import make_task

    spec = embodiment.known.spec
    numbers = list(seeds(part)[:count])
    with make(embodiment.name, size=SIZE, seed=numbers[0]) as sim:
        check_names(embodiment.name, sim.spec, embodiment.known)
        policies: dict[str, Policy] = {}
        for method in methods:
            decoder = embodiment.known if method == "latent" else None
            policies[method] = Planned(
                maker.planner(method), spec, controller=decoder, rest=maker.budget.rest, ridge=maker.budget.ridge
            )
        policies["inverse"] = InversePolicy(maker.pipeline, embodiment.known)
        if "controller" in methods:
            far = Planned(maker.planner("controller"), spec)  # never at rest: what is near it is not asked
            policies["closing"] = InversePolicy(maker.pipeline, embodiment.known, far=far)
        policies |= {
            "random": RandomPolicy(spec, *commands_of(embodiment.known)),
            "zero": Zero(spec),
            "mean": Constant(spec, commands_of(embodiment.known)[0]),
            "hidden": Hidden(spec),
        }
        tasks = (make_task(sim, n, steps, kind) for n in numbers)
        section = evaluate_closed_loop(sim, tasks, policies, seed=seed)
    return section | {"data": {"simulator": embodiment.name, "part": part, "seeds": [numbers[0], numbers[-1]]}}


def _made_from(
    pipeline: TransferPipeline, embodiment: EmbodimentModels, config: ControlConfig, part: str
) -> dict[str, Any]:
    """All that a section depends on, the checkpoint's weights apart: a section of other code is made anew."""
    key: dict[str, Any] = {
        "code": code_hash(),
        "controller": fingerprint(embodiment.known.controller),
        "twin": None if embodiment.baseline is None else fingerprint(embodiment.baseline),
        "part": config.part,
        "max_episodes": config.max_episodes,
        "seed": config.seed,
    }
    if part == "rollouts":
        key["ablation"] = None if embodiment.ablation is None else fingerprint(embodiment.ablation.controller)
    else:
        key["budget"] = (config.open if part == "openloop" else config.closed).told() | {"horizon": HORIZON}
        key["twin_draft"] = (
            None if embodiment.distilled_baseline is None else fingerprint(embodiment.distilled_baseline)
        )
        # It lies beside the weights and may be made anew without them.
        distilled = None if pipeline.folder is None else load_distilled(pipeline.folder)
        key["draft"] = None if distilled is None else fingerprint(distilled)
    if part != "closedloop":
        key["split"] = None if config.split is None else split_hash(config.split)[:16]
        key["root"] = None if config.root is None else config.root.resolve().name
    return key


def _begun(path: Path, pipeline: TransferPipeline) -> dict[str, Any]:
    """The sections of a report of the same checkpoint; none where there is no such report."""
    try:
        report = json.loads(path.read_text(encoding="utf-8-sig"))
        if not pipeline.checkpoint or report["checkpoint"]["sha256"] != pipeline.checkpoint:
            return {}
        return {p: dict(report["results"][p]) for p in PARTS if isinstance(report["results"].get(p), dict)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(
    path: Path,
    results: Mapping[str, Any],
    pipeline: TransferPipeline,
    config: ControlConfig,
    command: str | Sequence[str],
) -> None:
    data = {
        "root": None if config.root is None else config.root.resolve().name,
        "part": config.part,
        "split": None if config.split is None else {"file": config.split.name, "sha256": split_hash(config.split)[:16]},
        "max_episodes": config.max_episodes,
    }
    whole = {
        "evaluation": REPORT,
        "settings": {"part": config.part, "seed": config.seed, "steps": STEPS, "horizon": HORIZON},
        "headline": headline(results),
        **{p: results[p] for p in PARTS if p in results},
    }
    write_report(path, whole, command=command, pipeline=pipeline, seed=config.seed, data=data)


def headline(results: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that issue and paper ask for, by embodiment."""
    wanted: dict[str, tuple[tuple[str, ...], ...]] = {
        "rollouts": (("over_inferred", "controller"), ("over_inferred", "mlp"), ("mlp_over_controller",)),
        "openloop": (
            ("over_zero", "controller"),
            ("over_mean", "controller"),
            ("over_twin", "controller"),
            ("over_zero", "latent"),
        ),
        "closedloop": (
            ("success", "controller"),
            ("over_twin", "controller"),
            ("success_over_twin", "controller"),
            ("over_random", "controller"),
            ("over_zero", "latent"),
        ),
    }
    found: dict[str, Any] = {}
    for part, paths in wanted.items():
        for embodiment, section in (results.get(part) or {}).items():
            for keys in paths:
                value: Any = section
                for key in keys:
                    value = value.get(key) if isinstance(value, Mapping) else None
                if value is not None:
                    found.setdefault(embodiment, {})["_".join((part, *keys))] = value
    return found
