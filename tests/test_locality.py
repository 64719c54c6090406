"""Locality: which of two things moves."""

import json

import numpy as np
import pytest

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import Photographs
from lamdemo.data.videos import photographs_in
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation.locality import _Places, draw_layout, evaluate_locality, shares, where_it_moves
from lamdemo.video import read_image


@pytest.fixture(scope="module")
def layout(photos):
    bank = Photographs(photographs_in(photos, (192, 256)))
    return draw_layout(np.random.default_rng(0), 0, bank, 256)


def test_each_thing_moves_in_turn_and_the_other_stands(layout):
    assert [c.turn for c in layout] == [0, 1]
    for case in layout:
        assert (case.other == case.other[0]).all() and case.other[0].sum() > 500
        centres = [np.argwhere(m).mean(0) for m in case.moved]
        assert np.linalg.norm(centres[-1] - centres[0]) > 0.15 * 256
        assert not (case.moved & case.other).any()
        np.testing.assert_array_equal(case.truth[0][case.other[0]], case.truth[-1][case.other[0]])
    # What moves in one stands in the other, in the same two scenes.
    overlap = (layout[0].moved.any(0) & layout[1].other[0]).sum() / layout[1].other[0].sum()
    assert overlap > 0.5


def test_masks_are_where_the_truth_differs_from_the_plain_scene(layout):
    case = layout[0]
    differs = np.abs(case.truth[0].astype(int) - case.plain).max(-1) > 40
    inside = case.moved[0] | case.other[0]
    assert differs[inside].mean() > 0.8 and differs[~inside].mean() < 0.02


def test_the_truths_motion_lies_in_the_moved_things_mask(layout):
    for case in layout:
        places = _Places.of(case)
        assert not (places.moved & places.other).any()
        found = shares(where_it_moves(case.truth), places.moved, places.other, places.path)
        assert found["moved"] / found["all"] > 0.8
        assert found["other"] / found["all"] < 0.05
        assert found["moved"] + found["other"] + found["elsewhere"] == pytest.approx(found["all"])


def test_motion_below_the_floor_is_none():
    still = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), dtype=np.uint8)
    still[1] = still[0]
    assert where_it_moves(still).sum() == 0


def test_two_checkpoints_are_judged_on_the_same_cases(tiny_checkpoint, photos, tmp_path):
    two = {n: TransferPipeline.from_pretrained(tiny_checkpoint) for n in ("one", "two")}
    found = evaluate_locality(two, photos=photos, cases=3, figure=tmp_path / "sheet.png")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["one"] == found["two"]
    result = found["one"]
    assert sum(result["chance"][k] for k in ("moved", "other", "elsewhere")) == pytest.approx(1)
    things = result["targets"]["things"]
    assert set(things) == {"model", "zero", "shuffled", "copied_flow", "truth"}
    assert things["truth"]["moved"]["value"] > 0.8 > result["chance"]["moved"]
    assert things["truth"]["amount"]["value"] == pytest.approx(1)
    # Flow laid on the target moves what stands where the source's thing moved, and not the other.
    assert things["copied_flow"]["moved"]["value"] > 10 * things["copied_flow"]["other"]["value"]
    picture = read_image(tmp_path / "sheet.png", max_side=None)
    assert picture.shape[0] > 3 * 160 and picture.std() > 10
    assert (tmp_path / "sheet.gif").read_bytes()[:6] == b"GIF89a"


def test_a_figure_that_cannot_be_written_is_refused_at_once(tiny_checkpoint, photos, tmp_path):
    one = {"one": TransferPipeline.from_pretrained(tiny_checkpoint)}
    for place in (tmp_path / "sheet.svg", tmp_path / "missing" / "sheet.png"):
        with pytest.raises(LamdemoError, match="sheet"):
            evaluate_locality(one, photos=photos, cases=2, figure=place)
    with pytest.raises(LamdemoError, match="2 to 1000"):
        evaluate_locality(one, photos=photos, cases=1)
