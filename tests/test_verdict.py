"""Verdicts: what the indicators measure, that the rule keeps its marks, and whose rule it is."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import Indicators, LatentActions, TransferPipeline, TransferStep, VerdictRule
from lamdemo.engine.verdict import RIGHT, VERDICT_NAME, WRONG, Read, _affine, measure_indicators
from lamdemo.evaluation import calibration, evaluate_pairs, write_cases
from lamdemo.evaluation.calibration import (
    AGAINST,
    FAILED_MARK,
    FOR,
    GOOD_MARK,
    Measured,
    calibrate,
    check_rule,
    fit_rule,
    measure_cases,
    threshold,
)
from lamdemo.models import LatentActionModel, save_checkpoint

FRAMES = moving_square(5, 64, 64)
PERFECT = Indicators(
    explained=1.0,
    read_back=0.0,
    imagined=0.0,
    shown=1.0,
    camera=1.0,
    moved=1.0,
    alike=1.0,
    reach=0.0,
    invented=0.0,
    stretched=0.0,
    clip_motion=0.02,
    clip_thing=0.1,
    thing=0.1,
)


def synthetic(count: int, seed: int, noise: float = 0.15) -> list[Measured]:
    """Cases whose indicators follow their error, and have noise."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        error = rng.uniform(0.1, 1.5)
        bad = np.clip(error / 1.5 + rng.normal(0, noise, len(FOR) + len(AGAINST)), 0, 1)
        values = dict(zip((*FOR, *AGAINST), np.where([n in FOR for n in (*FOR, *AGAINST)], 1 - bad, bad), strict=True))
        found = dataclasses.replace(PERFECT, **{n: float(v) for n, v in values.items()})
        cases.append(Measured(str(i), "pan", float(error), found))
    return cases


@pytest.fixture(scope="module")
def fitted() -> VerdictRule:
    return calibrate(synthetic(120, 0))[0]


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


class TestIndicators:
    def test_a_transfer_that_is_its_source_is_read_back_at_no_distance(self, pipeline: TransferPipeline) -> None:
        states = pipeline.encode(FRAMES).numpy()
        right = np.full((64, 64, 2), (-3.0, 0.0), np.float32)
        none = np.zeros((0, 64, 64, 3), np.uint8)
        steps = [
            TransferStep(t, 4, frame, frame, right if t else None, 0.0, none, state)
            for t, (frame, state) in enumerate(zip(FRAMES, states, strict=True))
        ]
        same = measure_indicators(pipeline, FRAMES, steps, pipeline.infer(FRAMES))
        assert same.read_back == pytest.approx(0, abs=1e-4) and same.imagined == pytest.approx(0, abs=1e-4)
        assert same.stretched == 0 and same.alike == pytest.approx(same.moved if same.moved < 1 else 1 / same.moved)
        assert same.reach == pytest.approx(4 * 3 / 64, rel=1e-3)
        # The opposite action is twice as far off as none; a state that stayed is as far off as all that happened.
        other = LatentActions(-pipeline.infer(FRAMES).z, 4.0, pipeline.checkpoint)
        still = [dataclasses.replace(s, state=states[0]) for s in steps]
        far = measure_indicators(pipeline, FRAMES, still, other)
        assert far.read_back == pytest.approx(2, rel=1e-3) and far.imagined > 100

    def test_a_camera_is_told_from_a_thing(self, pipeline: TransferPipeline) -> None:
        rng = np.random.default_rng(0)
        wide = np.kron(rng.integers(0, 255, (16, 32, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        panned = np.stack([wide[:, 4 * t : 4 * t + 128] for t in range(4)])
        actions = pipeline.infer(panned)
        steps = list(pipeline.stream(actions, panned[0]))
        assert measure_indicators(pipeline, panned, steps, actions).camera > 0.8
        alone = moving_square(4, 64, 64)
        assert measure_indicators(pipeline, alone, steps, actions).camera < 0.5

    def test_an_affine_flow_is_found_among_places_that_go_their_own_way(self) -> None:
        y, x = np.mgrid[:16, :16] / 16
        flow = np.stack([0.02 + 0.05 * x - 0.03 * y, 0.01 * x + 0.04 * y], -1).astype(np.float32)
        mixed = flow.copy()
        mixed[3:8, 4:9] += 0.2
        np.testing.assert_allclose(_affine(mixed[None])[0], flow, atol=2e-3)

    def test_what_was_read_before_need_not_be_read_again(self, pipeline: TransferPipeline) -> None:
        actions = pipeline.infer(FRAMES)
        steps = list(pipeline.stream(actions, FRAMES[0]))
        read = Read(pipeline.encode(FRAMES), pipeline.infer(FRAMES, refinement=0).z)
        given = measure_indicators(pipeline, FRAMES, steps, actions, read)
        assert given == measure_indicators(pipeline, FRAMES, steps, actions)
        other = measure_indicators(pipeline, FRAMES, steps, actions, read._replace(z=-read.z))
        assert other.explained < given.explained and other.read_back == given.read_back

    def test_lightened_steps_are_measured_alike(self, pipeline: TransferPipeline) -> None:
        actions = pipeline.infer(FRAMES)
        steps = list(pipeline.stream(actions, FRAMES[0]))
        whole = measure_indicators(pipeline, FRAMES, steps, actions)
        light = measure_indicators(pipeline, FRAMES, [s.lightened() for s in steps], actions)
        for name, value in dataclasses.asdict(whole).items():
            assert getattr(light, name) == pytest.approx(value, rel=0.05, abs=1e-3), name


class TestRule:
    def test_both_labels_keep_their_marks_on_cases_it_has_not_seen(self, fitted: VerdictRule) -> None:
        rule, figures = calibrate(synthetic(120, 0))
        assert rule == fitted
        for label, mark in (("good", GOOD_MARK), ("failed", FAILED_MARK)):
            assert figures["labels"][label]["kept"] and figures["labels"][label]["precision"] >= mark
            found = check_rule(rule, synthetic(600, 1))[label]
            # An interval of three standard errors about the mark.
            assert found["given"] > 60
            assert found["precision"] > mark - 3 * np.sqrt(mark * (1 - mark) / found["given"])

    def test_a_perfect_result_is_good_and_a_better_one_never_worse(self, fitted: VerdictRule) -> None:
        assert fitted.judge(PERFECT).label == "good"
        for case in synthetic(40, 2):
            before = fitted.chances(case.indicators)
            for name in fitted.scales:
                better = dataclasses.replace(case.indicators, **{name: getattr(PERFECT, name)})
                assert all(b >= a for a, b in zip(before, fitted.chances(better), strict=True))
            assert before[0] <= before[1]

    @pytest.mark.parametrize("seed", range(2))
    def test_a_perfect_result_is_never_failed_however_bad_the_others_are(self, seed: int) -> None:
        bad = [dataclasses.replace(c, error=c.error + 0.5) for c in synthetic(60, seed)]
        assert calibrate(bad, seed=seed)[0].label(PERFECT) != "failed"

    def test_a_label_that_cannot_keep_its_mark_is_never_given(self) -> None:
        rng = np.random.default_rng(3)
        cases = synthetic(120, 0)
        errors = rng.permutation([c.error for c in cases])
        guessed = [dataclasses.replace(c, error=float(e)) for c, e in zip(cases, errors, strict=True)]
        rule, figures = calibrate(guessed)
        assert rule.good is None and not figures["labels"]["good"]["kept"]
        assert {rule.label(c.indicators) for c in cases} <= {"doubtful", "failed"}

    def test_the_threshold_is_the_last_that_keeps_the_mark(self) -> None:
        rng = np.random.default_rng(4)
        scores, true = rng.integers(0, 30, 200) / 30, rng.random(200) < 0.7
        true[scores < 0.4] = True
        found = threshold(scores, true, 0.9, 4)
        assert found is not None and true[scores <= found].mean() >= 0.9
        assert all(true[scores <= s].mean() < 0.9 for s in np.unique(scores) if s > found)
        assert threshold(scores, np.zeros(200, bool), 0.9, 4) is None
        assert threshold(np.array([0.0, 1.0]), np.array([True, False]), 0.9, 2) is None

    def test_the_sentence_names_what_speaks_most_against_it(self, fitted: VerdictRule) -> None:
        worst = fit_rule([c for c in synthetic(60, 5)])
        heaviest = max(worst.scales, key=lambda name: worst.scales[name].weight)
        bad = dataclasses.replace(PERFECT, **{heaviest: worst.scales[heaviest].worst})
        strict = dataclasses.replace(worst, good=None, failed=1.0)
        assert strict.judge(bad).sentence != strict.judge(PERFECT).sentence
        nothing = dataclasses.replace(PERFECT, camera=0.0, moved=0.0, thing=0.0)
        assert "Nothing that moves was found in your picture" in strict.judge(nothing).sentence
        assert (
            "Hardly anything moves in this clip" in strict.judge(dataclasses.replace(nothing, clip_motion=0)).sentence
        )

    def test_what_is_no_number_speaks_against_a_result(self, fitted: VerdictRule) -> None:
        odd = dataclasses.replace(PERFECT, **{n: float("nan") for n in fitted.scales})
        assert fitted.chances(odd)[0] < fitted.chances(PERFECT)[0]


class TestFile:
    def test_it_is_read_as_written_and_refused_beside_other_weights(
        self, tiny_checkpoint: Path, fitted: VerdictRule, tmp_path: Path
    ) -> None:
        mine = Path(shutil.copytree(tiny_checkpoint, tmp_path / "mine"))
        assert VerdictRule.read(mine) is None
        fitted.write(mine, {"seed": 0})
        assert VerdictRule.read(mine) == fitted
        pipeline = TransferPipeline.from_pretrained(mine)
        result = pipeline.transfer(FRAMES, FRAMES[0])
        assert result.verdict is not None and result.verdict.label == fitted.label(result.verdict.indicators)
        # Without the clip nobody knows how well it was explained.
        assert pipeline.transfer(pipeline.infer(FRAMES), FRAMES[0]).verdict is None
        torch.manual_seed(7)
        save_checkpoint(LatentActionModel(TINY), mine)
        with pytest.raises(LamdemoError, match="other weights"):
            TransferPipeline.from_pretrained(mine)

    @pytest.mark.parametrize("change", [{"format": "x"}, {"rule": {}}, {"rule": {"scales": {"luck": 1}}}])
    def test_a_damaged_one_is_one_sentence(
        self, tiny_checkpoint: Path, fitted: VerdictRule, tmp_path: Path, change: dict[str, object]
    ) -> None:
        mine = Path(shutil.copytree(tiny_checkpoint, tmp_path / "mine"))
        path = fitted.write(mine, {})
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(LamdemoError, match=f"{VERDICT_NAME}.* is damaged"):
            VerdictRule.read(mine)


def test_a_case_is_measured_against_its_truth(pipeline: TransferPipeline, tmp_path: Path) -> None:
    write_cases(tmp_path, 1, 0, steps=2, size=48, kind="pan")
    (case,) = measure_cases(pipeline, tmp_path)
    (judged,) = evaluate_pairs(pipeline, tmp_path)["cases"]
    assert (case.name, case.kind) == (judged["name"], "pan")
    assert case.error == pytest.approx(judged["motion"]["model"] / judged["motion"]["copy"], rel=1e-4)


def test_the_command_fits_a_rule_and_transfers_tell_its_verdict(
    tiny_checkpoint: Path,
    small_clip: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine, report = Path(shutil.copytree(tiny_checkpoint, tmp_path / "mine")), tmp_path / "report.json"
    known = {"fit": synthetic(60, 0), "more": synthetic(30, 1), "few": synthetic(20, 2)}
    monkeypatch.setattr(calibration, "measure_cases", lambda pipeline, pairs: known[Path(pairs).name])
    for name in known:
        (tmp_path / name).mkdir()

    def run(*arguments: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        return int(ended.value.code or 0)

    (mine / VERDICT_NAME).write_text("{}")  # a damaged one does not stand in the way
    assert run("verdict", mine, "--pairs", tmp_path / "fit", "--test", tmp_path / "more", "--out", report) == 0
    told = json.loads(report.read_text())["results"]
    errors = [c.error for c in known["fit"]]
    assert list(told["errors"].values()) == [sum(e < RIGHT for e in errors), sum(e > WRONG for e in errors)]
    assert told["kinds"] == {"pan": 60} and told["test"]["cases"] == 30
    about = json.loads((mine / VERDICT_NAME).read_text())["about"]
    assert about["labels"] == told["labels"] and "--pairs" in about["command"] and about["data"]["folder"] == "fit"
    capsys.readouterr()
    assert run("transfer", small_clip, photo, "--out", tmp_path / "t", "--checkpoint", mine, "--max-steps", 2) == 0
    verdict = json.loads((tmp_path / "t" / "report.json").read_text())["verdict"]
    assert verdict["label"] in ("good", "doubtful", "failed") and verdict["sentence"] in capsys.readouterr().out
    assert run("verdict", mine, "--pairs", tmp_path / "few", "--out", report) == 2
    assert "24 cases or more" in capsys.readouterr().err
