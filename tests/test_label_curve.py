"""The label curve: trainings that end when they are flat, figures by the number of labels, and the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from test_control_evaluation import toy_episode
from test_plan_cli import run  # noqa: F401 (a fixture)
from test_twins import traces
from toy_simulator import TOY, Toy

from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes.files import EpisodeWriter
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.control.held_out import held_out, stretches
from lamdemo.evaluation.control.label_curve import METHODS, POLICIES, copy_errors, one_step_errors, summarize_curve
from lamdemo.models import DistilledConfig, DistilledModel, LatentActionModel, WorldModelConfig, save_companion
from lamdemo.models.companion_files import DISTILLED
from lamdemo.models.labelled_inverse import LabelledInverse
from lamdemo.planning.execution import Constant, Policy, ShuffledGoal
from lamdemo.simulators.tasks import Task, make_task
from lamdemo.training.action_conditioned import BaselineTrainer, BaselineTrainingConfig
from lamdemo.training.early_stopping import EarlyStoppingConfig, train_until_flat
from lamdemo.training.labelled_inverse import LabelledInverseTrainer, LabelledInverseTrainingConfig

Run = Callable[..., tuple[int, str, str]]
SMALL = WorldModelConfig(width=16, depth=1, heads=2, patch=2, map_channels=8, head_width=8)


def trainer(steps: int = 12, rate: float = 1e-3) -> BaselineTrainer:
    torch.manual_seed(0)
    config = BaselineTrainingConfig(
        condition="latents", steps=steps, clips=2, frames=4, learning_rate=rate, warmup=0.01, motion=0.0, bf16=False
    )
    return BaselineTrainer(config, LatentActionModel(TINY).world_model, None, {"car": traces()})


class TestUntilFlat:
    def test_the_best_look_is_kept_and_not_the_last(self, tmp_path: Path) -> None:
        # At such a rate it only gets worse: the weights it began with are the best.
        one = trainer(rate=0.5)
        begun = {k: v.clone() for k, v in one.average.items()}
        told = train_until_flat(one, {"car": traces(seed=5)}, tmp_path, EarlyStoppingConfig(look=2, patience=2))
        assert told["step"] == 0 and told["stopped"] == "flat" and len(told["looks"]) == 3
        assert all(torch.equal(v, begun[k]) for k, v in one.average.items())

    def test_it_ends_with_the_schedule_while_it_gets_better(self, tmp_path: Path) -> None:
        one = trainer(rate=3e-3)
        told = train_until_flat(one, {"car": traces(seed=5)}, tmp_path, EarlyStoppingConfig(look=5, patience=9))
        assert [k["step"] for k in told["looks"]] == [0, 5, 10, 12] and told["stopped"] == "schedule"
        assert told["step"] == min(told["looks"], key=lambda k: k["error"])["step"] > 0

    def test_a_stopped_run_comes_to_the_same(self, tmp_path: Path) -> None:
        judged, config = {"car": traces(seed=5)}, EarlyStoppingConfig(look=4, patience=9)
        straight = trainer()
        first = train_until_flat(straight, judged, tmp_path / "straight", config)
        cut = tmp_path / "cut"

        def stop(words: str) -> None:
            if words.startswith("step 4"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_until_flat(trainer(), judged, cut, config, stop)
        again = trainer()
        assert train_until_flat(again, judged, cut, config) == first
        assert all(torch.equal(v, again.average[k]) for k, v in straight.average.items())

    def test_settings_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            EarlyStoppingConfig(look=0)


class TestLabelledInverse:
    @staticmethod
    def begun(steps: int) -> LabelledInverseTrainer:
        torch.manual_seed(0)
        model = LabelledInverse(TINY.inverse_dynamics, TINY.encoder.channels, TINY.encoder.grid, 2)
        config = LabelledInverseTrainingConfig(
            steps=steps, learning_rate=3e-3, pairs=16, noise=0.0, weight_decay=0.0, ema=0.9, bf16=False
        )
        return LabelledInverseTrainer(config, model, traces(24))

    def test_commands_are_learned_from_pairs(self, tmp_path: Path) -> None:
        trainer, others = self.begun(240), traces(6, seed=5)
        told = train_until_flat(trainer, others, tmp_path, EarlyStoppingConfig(look=40, patience=9))
        # Only the first of two commands moves anything; the second cannot be read, so that 0.5 is the best.
        errors = [k["error"] for k in told["looks"]]
        assert errors[0] > 0.95 and min(errors) < 0.7
        first, second, wanted = trainer._draw(others, 1)
        read = trainer.finish().read(first, second)
        assert read.shape == (16, 2)
        assert torch.corrcoef(torch.stack([read[:, 0], wanted[:, 0]]))[0, 1] > 0.7

    def test_a_stopped_run_comes_to_the_same(self, tmp_path: Path) -> None:
        straight, cut, again = (self.begun(12) for _ in range(3))
        straight.run(None)
        assert not cut.run(tmp_path, most=5)
        assert again.resume(tmp_path) and again.step == 5 and again.run(tmp_path)
        assert all(torch.equal(v, again.average[k]) for k, v in straight.average.items())


def row(method: str, episodes: int, seed: int, reached: list[bool], error: float) -> dict[str, Any]:
    tasks = [
        {"seed": 10 * seed + i, "start": 2.0, "distance": 0.5 if r else 1.5, "reached": r}
        for i, r in enumerate(reached)
    ]
    step = {"error": [error, error], "copy": [1.0, 1.0], "recordings": ["a", "b"]}
    return {"method": method, "episodes": episodes, "seed": seed, "tasks": tasks, "one_step": step}


class TestFigures:
    def test_seeds_are_taken_together(self) -> None:
        rows = [
            row("unlabelled", 5, 0, [True, True], 0.5),
            row("unlabelled", 5, 1, [False, True], 0.7),
            row("labelled", 5, 0, [False, False], 0.9),
            row("labelled", 40, 0, [True, False], 0.8),
            row("labelled", 40, 1, [True, True], 0.8),
        ]
        found = summarize_curve(rows)
        five = found["points"]["unlabelled"]["5"]
        assert five["seeds"] == [0, 1]
        assert five["success"]["value"] == 0.75 and five["success"]["low"] < 0.75
        assert five["one_step_over_copy"]["value"] == pytest.approx(0.6)
        assert five["distance"]["value"] == pytest.approx(0.75)
        assert five["distance_over_start"]["value"] == pytest.approx(0.375)
        assert [s["success"] for s in five["by_seed"]] == [1.0, 0.5]
        # Level with all labels, of the same tasks: 3 of 4 both.
        assert found["level"]["unlabelled"]["5"]["value"] == pytest.approx(1.0)

    def test_what_knows_no_labels_stands_beside(self) -> None:
        tasks = row("", 0, 0, [False, True], 1.0)["tasks"]
        others = {
            "method": POLICIES,
            "episodes": 0,
            "seed": 0,
            "one_step": {"inferred": [0.2, 0.4], "copy": [1.0, 1.0], "recordings": ["a", "b"]},
            "tasks": {"nothing": tasks, "hidden commands": tasks[1:]},
        }
        found = summarize_curve([others, row("unlabelled", 5, 0, [True], 0.5)])
        assert found["others"]["inferred"]["one_step_over_copy"]["value"] == pytest.approx(0.3)
        assert found["others"]["nothing"]["success"]["value"] == 0.5
        assert found["others"]["hidden commands"]["success"]["value"] == 1.0
        assert set(found["points"]) == {"unlabelled"} and found["level"] == {}


def with_draft(checkpoint: Path, folder: Path) -> Path:
    shutil.copytree(checkpoint, folder)
    sizes = TINY.encoder.channels, TINY.bottleneck.channels, TINY.encoder.grid
    torch.manual_seed(1)
    save_companion(DistilledModel(DistilledConfig(channels=8, world_model=SMALL), *sizes), folder, DISTILLED)
    return folder


def test_errors_one_step_ahead(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from toy_simulator import install

    install(monkeypatch)
    pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
    torch.manual_seed(1)
    sizes = TINY.encoder.channels, TINY.bottleneck.channels, TINY.encoder.grid
    model = DistilledModel(DistilledConfig(channels=8, world_model=SMALL), *sizes).eval()
    kind = held_out("toy", None, split=None, part="validation", count=2, first=3)
    assert kind is not None and kind.recordings == ("toy-10003", "toy-10004")
    cut = list(stretches(kind, pipeline.fps, 4, 2, 0, TINY.encoder.picture))
    with torch.no_grad():
        seen = [pipeline.encode(s.frames).float() for s in cut]
    copy = copy_errors(model, seen)
    # A world model begins by predicting that nothing changes.
    assert one_step_errors(pipeline, model, cut, seen, None) == pytest.approx(copy, rel=1e-3)
    with torch.no_grad():
        coarse = model.project(seen[0])
    assert copy[0] == pytest.approx(float((coarse[1:] - coarse[:-1]).abs().mean()), rel=1e-4)


def test_policies_that_look_at_nothing_or_at_another_goal() -> None:
    assert Constant(TOY, np.array([9.0, 0.1])).act(np.zeros(0), np.zeros(0)).tolist() == pytest.approx([0.15, 0.1])
    seen: list[Task] = []

    class Spy(Policy):
        def begin(self, task: Task, seed: int) -> None:
            seen.append(task)

        def act(self, frame: np.ndarray, before: np.ndarray) -> np.ndarray:
            return TOY.zero

    tasks = [make_task(Toy(), n) for n in (1, 2, 3)]
    policy = ShuffledGoal(Spy())
    for task in tasks:
        policy.begin(task, 0)
    assert np.array_equal(seen[1].goal_frame, tasks[0].goal_frame)
    assert np.array_equal(seen[2].goal_frame, tasks[1].goal_frame)
    assert [t.seed for t in seen] == [1, 2, 3]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Episodes to learn from, and others."""
    place = tmp_path_factory.mktemp("episodes")
    for name, seeds in (("train", range(4)), ("others", range(10, 12))):
        writer = EpisodeWriter(place / name, TOY)
        for seed in seeds:
            writer.add(toy_episode(seed))
    return place / "train", place / "others"


SETTINGS = ("--seeds", 1, "--steps", 2, "--controller-steps", 2, "--tasks", 2, "--labelled", 1)


def test_the_command(run: Run, tiny_checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:  # noqa: F811
    checkpoint, out, report = with_draft(tiny_checkpoint, tmp_path / "tiny"), tmp_path / "runs", tmp_path / "c.json"
    train, others = folders
    asked: tuple[object, ...] = (
        "label-curve",
        checkpoint,
        "--name",
        "toy",
        "--out",
        out,
        "--report",
        report,
        *SETTINGS,
        "--labelled",
        0,
    )
    given = ("--episodes", train, "--validation", others)
    code, said, _ = run(*asked, *given, "--stop-after", 0.0001)
    assert code == 0 and "not finished" in said
    assert [p.stem for p in sorted((out / "toy" / "rows").iterdir())] == ["policies"]
    assert run(*asked, *given, "--seed", 5)[0] == 0
    assert len(list((out / "toy" / "rows").iterdir())) == 1
    code, said, _ = run(*asked, *given)
    assert code == 0 and "not finished" not in said
    rows = sorted((out / "toy" / "rows").iterdir())
    assert len(rows) == 1 + 5 * 2
    told = json.loads(report.read_text())
    curve = told["results"]["curves"]["toy"]
    assert set(curve["points"]) == set(METHODS)
    # What no world model is asked for has no error of one.
    assert set(curve["points"]["inverse"]["4"]) == {"seeds", "success", "distance", "distance_over_start", "by_seed"}
    assert set(curve["level"]) == {"unlabelled", "inverse"} or curve["points"]["labelled"]["4"]["success"]["value"] == 0
    assert set(curve["points"]["labelled"]) == {"1", "4"}
    assert {"random", "nothing", "mean command", "hidden commands", "shuffled goal"} <= set(curve["others"])
    assert curve["others"]["hidden commands"]["success"]["value"] == 1.0
    assert "label-curve tiny" in told["command"] and str(tmp_path) not in report.read_text()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*.json")}
    assert run(*asked, *given)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*.json")} == before


def test_recordings_without_a_simulator_are_planned_on(
    run: Run,  # noqa: F811
    tiny_checkpoint: Path,
    tmp_path: Path,
) -> None:
    checkpoint, root = with_draft(tiny_checkpoint, tmp_path / "tiny"), tmp_path / "data"
    spec = replace(TOY, name="dot")
    writer = EpisodeWriter(root / "dot", spec)
    for seed in range(6):
        writer.add(toy_episode(seed, spec=spec))
    other = tmp_path / "others"
    writer = EpisodeWriter(other, spec)
    for seed in range(10, 12):
        writer.add(toy_episode(seed, spec=spec))
    out = tmp_path / "runs"
    code, _, err = run(
        *("label-curve", checkpoint, "--name", "dot", "--episodes", root / "dot", "--validation", other),
        *("--out", out, "--part", "validation", *SETTINGS),
    )
    assert code == 0, err
    assert not list((out / "dot" / "rows").glob("*inverse*"))  # nobody goes anywhere
    found = json.loads((out / "dot" / "rows" / "unlabelled-1-0.json").read_text())
    assert len(found["plans"]["error"]) == len(found["plans"]["zero"]) > 1
    beside = json.loads((out / "dot" / "rows" / "policies.json").read_text())["plans"]
    assert {"mean command", "last command", "random", "zero"} <= set(beside)


def test_bad_input(run: Run, tiny_checkpoint: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:  # noqa: F811
    train, others = folders
    asked = ("label-curve", tiny_checkpoint, "--name", "toy", "--out", tmp_path / "runs", *SETTINGS)
    for extra, words in (
        (("--episodes", train), "give --validation"),
        (("--episodes", train, "--validation", others), "no draft to begin with"),
        (("--episodes", tmp_path / "none", "--validation", others), "none"),
    ):
        code, _, err = run(*asked, *extra)
        assert code == 2 and words in err and "Traceback" not in err and str(tmp_path) not in err
    assert not (tmp_path / "runs").exists()
    with pytest.raises(LamdemoError, match="at least one seed"):
        from lamdemo.companions.label_models import LabelCurveConfig

        LabelCurveConfig(seeds=())
