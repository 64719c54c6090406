"""``lamdemo plan`` and ``lamdemo evaluate --suite control`` from end to end, with a toy simulator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_control_evaluation import toy_episode, with_control
from toy_simulator import TOY, install

from lamdemo.cli import main
from lamdemo.cli.plan import _told
from lamdemo.data.episodes.files import EpisodeWriter

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, with the toy installed."""
    install(monkeypatch)

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_control(tiny_checkpoint, tmp_path_factory.mktemp("with") / "tiny")


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "recorded"
    writer = EpisodeWriter(folder, TOY)
    for seed in range(3):
        writer.add(toy_episode(seed))
    return folder


def test_without_plans(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "toy.json"
    code, said, _ = run("plan", "--env", "toy", "--no-plans", "--checkpoint", checkpoint, "--out", out, "--tasks", 2)
    assert code == 0 and "inverse: there" in said
    found = json.loads(out.read_text())["results"]
    assert set(found["success"]) == {"inverse", "random", "zero", "mean", "hidden"}
    assert found["headline"]["success"] == found["success"]["inverse"] and not found["settings"]["plans"]
    code, _, err = run("plan", "--episodes", tmp_path, "--no-plans", "--checkpoint", checkpoint, "--out", out)
    assert code == 2 and "give --env, or leave out --no-plans" in err


def test_in_a_simulator(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "toy.json"
    settings = ("--tasks", 2, "--samples", 6, "--iterations", 2, "--horizon", 2)
    assert run("plan", "--env", "toy", "--checkpoint", checkpoint, "--out", out, *settings)[0] == 0
    report = json.loads(out.read_text())
    assert "plan --env toy --checkpoint tiny" in report["command"] and str(tmp_path) not in out.read_text()
    found = report["results"]
    assert found["evaluation"] == "closedloop" and set(found["success"]) == {
        *("controller", "twin", "random", "inverse", "closing", "zero", "mean", "hidden")
    }
    assert (found["settings"]["samples"], found["settings"]["horizon"], found["tasks"]) == (6, 2, 2)
    assert set(found["headline"]) == {"over_zero", "over_random", "over_twin", "success"}


@pytest.mark.parametrize("value", [0.25, None])
def test_what_plans_came_to_is_told_beside_the_baselines(value: float | None) -> None:
    one, number = {"value": value}, "–" if value is None else "0.25"
    told = _told({"evaluation": "openloop", "over_zero": {"controller": one, "random": {"value": 1.5}}})
    assert told == [f"error of the summed plan, over doing nothing: controller {number}, random 1.50"]
    closed = {"evaluation": "closedloop", "tasks": 3, "distance_is": "metres", "start": {"value": 0.1}}
    told = _told(closed | {"success": {"zero": one}, "distance": {"zero": {"value": 0.1}}})
    assert told == ["3 tasks, 0.1 metres away at the start", f"zero: there {number}, ends 0.1 metres away"]


def test_the_same_seed_gives_the_same_plans(run: Run, checkpoint: Path, episodes: Path, tmp_path: Path) -> None:
    settings = ("--checkpoint", checkpoint, "--tasks", 3, "--samples", 6, "--iterations", 2, "--horizon", 2)
    found = []
    for i, seed in enumerate((4, 4, 5)):
        out = tmp_path / f"{i}.json"
        assert run("plan", "--episodes", episodes, "--out", out, "--seed", seed, *settings)[0] == 0
        found.append(json.loads(out.read_text())["results"])
    assert found[0]["evaluation"] == "openloop" and found[0]["pairs"] == 3
    assert found[0]["error"] == found[1]["error"] != found[2]["error"]
    assert {"controller", "twin", "zero", "random"} <= set(found[0]["error"]) and "latent" not in found[0]["error"]


@pytest.mark.parametrize("solver", ["icem", "mppi", "gradient", "random"])
def test_other_solvers(run: Run, checkpoint: Path, episodes: Path, tmp_path: Path, solver: str) -> None:
    out = tmp_path / "report.json"
    few = ("--tasks", 1, "--samples", 4, "--iterations", 2, "--horizon", 2, "--solver", solver)
    code, _, err = run("plan", "--episodes", episodes, "--checkpoint", checkpoint, "--out", out, *few)
    assert code == 0, err
    assert json.loads(out.read_text())["results"]["settings"]["solver"] == solver


def refused(done: tuple[int, str, str], *words: str) -> None:
    code, _, err = done
    assert code == 2 and err.count("\n") == 1 and "/" not in err.removeprefix("lamdemo: "), done
    assert all(w in err for w in words), err


def test_refusals(run: Run, checkpoint: Path, episodes: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "report.json")
    of = ("--checkpoint", checkpoint, *out)
    refused(run("plan", *of), "either --env", "or --episodes")
    refused(run("plan", "--env", "toy", "--episodes", episodes, *of), "either --env")
    refused(run("plan", "--env", "boat", *of), "no simulator 'boat'")
    refused(run("plan", "--env", "toy", "--controller", "car", *of), "no controller 'car'", "it has")
    refused(run("plan", "--env", "toy", "--solver", "magic", *of), "magic")
    refused(run("plan", "--env", "toy", "--twin", episodes, *of), "recorded")
    refused(run("plan", "--episodes", tmp_path / "none", *of), "no folder none")
    refused(run("plan", "--env", "toy", "--split", "a.toml", *of), "leave out --split")
    refused(run("plan", "--env", "toy", "--checkpoint", checkpoint, "--out", tmp_path), "is a folder")
    refused(run("evaluate", "--suite", "control", "--videos", episodes, *of), "--videos is not for the suite control")
    refused(run("evaluate", "--suite", "control", "--only", "pairs", *of), "no part 'pairs'")
    refused(run("evaluate", "--max-episodes", "3", *of), "--max-episodes is for the suite control")
    assert not list(tmp_path.iterdir())


def test_a_simulator_that_is_not_installed(run: Run, checkpoint: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from lamdemo.simulators import simulator

    entry = replace(simulator._ENTRIES["doom"], needs=("no_such_module",))
    monkeypatch.setitem(simulator._ENTRIES, "doom", entry)
    done = run("plan", "--env", "doom", "--checkpoint", checkpoint, "--out", tmp_path / "a.json")
    refused(done, "needs ViZDoom", "pip install")


def test_the_suite(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    few = ("--max-episodes", 2, "--only", "rollouts", "--body", "toy", "--part", "validation")
    arguments = ("evaluate", "--suite", "control", "--checkpoint", checkpoint, "--out", tmp_path / "reports", *few)
    code, _, err = run(*arguments)
    assert code == 0 and "rollouts of toy done" in err
    report = json.loads((tmp_path / "reports" / "tiny" / "control.json").read_text())
    assert report["results"]["rollouts"]["toy"]["data"]["seeds"] == [10000, 10001]
    assert "kept" in run(*arguments)[2]
