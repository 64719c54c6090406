"""Entering: does something come into the target, where and when."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Photographs
from lamdemo.data.videos import photographs_in
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.entering import Region, centroid, draw_case, evaluate_entering, photometric_change
from lamdemo.evaluation.statistics import auc_interval


@pytest.fixture(scope="module")
def cases(photos):
    bank = Photographs(photographs_in(photos, (192, 256)))
    return [draw_case(np.random.default_rng(i), bank, 256) for i in range(4)]


def test_a_thing_enters_both_scenes_from_outside(cases):
    entries = set()
    for case in cases:
        area = case.mask.mean((1, 2))
        assert area[0] <= 0.002 and area[-1] >= 0.02
        assert 1 <= case.entry <= len(area) - 1
        entries.add(case.entry)
        # Nothing but the thing's way changes.
        differs = np.abs(case.truth.astype(int) - case.truth[0]).max(-1) > 30
        assert not differs[:, ~case.mask.any(0)].mean() > 0.02
        assert not differs[: case.entry].mean() > 0.01
        assert differs[-1][case.mask[-1]].mean() > 0.6
        # The same thing, at the same time, in the source.
        moved = np.abs(case.source.astype(int) - case.source[0]).max(-1) > 30
        assert moved[-1][case.mask[-1]].mean() > 0.6
    assert len(entries) > 1


def test_the_truth_scores_where_and_when_it_enters(cases):
    for case in cases:
        region = Region.of(case)
        change = photometric_change(case.truth[1:], case.truth[0])
        scores = region.scores(change)
        assert scores[-1] > 0.1
        assert np.abs(scores[: region.entry - 1]).max(initial=0) < 0.1 * scores[-1]
        at = centroid(change[-1])
        assert np.hypot(at[0] - region.place[0], at[1] - region.place[1]) < 0.12


def test_change_everywhere_does_not_score(cases):
    region = Region.of(cases[0])
    np.testing.assert_allclose(region.scores(np.full((len(region.mask), 64, 64), 0.3)), 0, atol=1e-6)


def test_the_centre_of_a_flat_map_is_not_known():
    assert centroid(np.zeros((8, 8))) is None
    spot = np.zeros((8, 8))
    spot[2, 6] = 1
    assert centroid(spot) == pytest.approx((6.5 / 8, 2.5 / 8))


def test_auc_counts_pairs():
    assert auc_interval(np.array([2.0, 3.0]), [np.array([0.0, 1.0])])["value"] == 1
    assert auc_interval(np.array([1.0]), [np.array([1.0])])["value"] == 0.5
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(1, 1, 30), rng.normal(0, 1, 30), rng.normal(0, 1, 30)
    found = auc_interval(a, [b, c])
    scores = (np.r_[a, other] for other in (b, c))
    expected = np.mean([roc_auc_score(np.r_[np.ones(30), np.zeros(30)], score) for score in scores])
    assert found["value"] == pytest.approx(expected)
    assert found["low"] < found["value"] < found["high"]


def test_two_checkpoints_are_judged_on_the_same_cases(tiny_checkpoint, photos, tmp_path):
    two = {n: TransferPipeline.from_pretrained(tiny_checkpoint) for n in ("one", "two")}
    found = evaluate_entering(two, photos=photos, cases=3, figure=tmp_path / "sheet.png")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["one"] == found["two"]
    methods = found["one"]["methods"]
    assert set(methods) == {"model", "zero", "copied_flow", "truth"}
    truth = methods["truth"]["photometric"]
    assert truth["shown"]["value"] == 1 and truth["right_place"]["value"] == 1
    assert truth["threshold"] == methods["model"]["photometric"]["threshold"]
    assert methods["truth"]["likeness"]["value"] == pytest.approx(1)
    assert all(methods[m]["likeness"]["value"] < 1 for m in ("model", "zero", "copied_flow"))
    assert truth["change"]["inside_after"] > 5 * truth["change"]["outside_after"]
    assert set(methods["model"]["perceptual"]["auc"]) == {"still", "pan", "shuffled", "all"}
    assert len(methods["model"]["perceptual"]["cases"]) == 3
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert (tmp_path / "sheet.gif").read_bytes()[:6] == b"GIF89a"


def test_wrong_numbers_are_refused(tiny_checkpoint, photos):
    one = {"one": TransferPipeline.from_pretrained(tiny_checkpoint)}
    with pytest.raises(LamdemoError, match="2 to 1000"):
        evaluate_entering(one, photos=photos, cases=0)
