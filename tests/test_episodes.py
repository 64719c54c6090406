"""Episodes: what they are, their files, other people's files, and the command that makes them."""

import json

import numpy as np
import pytest

from lamdemo.data.episodes import ActionSpec, Channel, Episode
from lamdemo.errors import LamdemoError

SPEC = ActionSpec(
    "cart",
    (
        Channel("steering", "rate", -1, 1, words=("left", "right"), mirror=-1),
        Channel("dx", "change", -0.1, 0.1, "m", mirror=None),
        Channel("gripper", "target", 0, 1, mirror=1),
    ),
)


def an_episode(frames=9, name="one", fps=8.0, spec=SPEC, size=(32, 48), seed=0, **rest):
    """An episode of smooth pictures that drift to the right."""
    rng = np.random.default_rng(seed)
    across = np.linspace(0, 4, size[1] + 4 * frames)
    row = 120 + 80 * np.sin(across + rng.uniform(0, 6))
    pictures = np.stack([np.tile(row[4 * t : 4 * t + size[1], None], (size[0], 1, 3)) for t in range(frames)])
    actions = rng.uniform(spec.low, spec.high, (frames - 1, spec.width))
    return Episode(name, pictures.astype(np.uint8), actions, fps, spec, **rest)


def test_kinds_are_combined_each_in_its_way():
    actions = np.array([[0.2, 0.01, 0], [0.4, 0.02, 1], [1, 0.05, 0.3], [0, -0.01, 0.6], [9, 9, 9]], np.float32)
    got = SPEC.combine(actions, 2)
    np.testing.assert_allclose(got, [[0.3, 0.03, 1], [0.5, 0.04, 0.6]], atol=1e-7)


def test_a_slower_rate_keeps_frames_actions_and_truth_in_step():
    # A place that is the sum of its changes stays so at any rate.
    changes = np.random.default_rng(1).normal(0, 1, (20, 1)).astype(np.float32)
    place = np.concatenate([np.zeros((1, 1)), np.cumsum(changes, 0)])
    spec = ActionSpec("slide", (Channel("dx", "change", -9, 9),))
    frames = np.arange(21, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    episode = Episode("a", frames, changes, 15, spec, {"position": place})
    slow = episode.at(5)
    assert slow.fps == 5 and len(slow) == 7 and len(slow.actions) == 6
    assert slow.frames[:, 0, 0, 0].tolist() == [0, 3, 6, 9, 12, 15, 18]
    np.testing.assert_allclose(np.diff(slow.truth["position"], axis=0), slow.actions, atol=1e-5)
    assert episode.at(14) is episode and episode.at(99) is episode
    assert episode.at(0.1).frames.shape[0] == 1 and episode.at(0.1).actions.shape == (0, 1)


def test_a_part_keeps_frames_actions_and_truth_in_step():
    episode = an_episode(9, truth={"place": np.arange(9.0)})
    part = episode.part(2, 6)
    np.testing.assert_array_equal(part.frames, episode.frames[2:6])
    np.testing.assert_array_equal(part.actions, episode.actions[2:5])
    assert part.truth["place"].tolist() == [2, 3, 4, 5]
    with pytest.raises(LamdemoError, match="none in the part"):
        episode.part(5, 5)


def test_lengths_that_do_not_fit_are_told_in_one_sentence():
    frames = np.zeros((40, 4, 4, 3), np.uint8)
    with pytest.raises(LamdemoError, match=r"^Episode x has 40 frames and 38 actions; there must be one action fewer"):
        Episode("x", frames, np.zeros((38, 3)), 4, SPEC)
    with pytest.raises(LamdemoError, match="39 rows of place"):
        Episode("x", frames, np.zeros((39, 3)), 4, SPEC, {"place": np.zeros((39, 2))})
    with pytest.raises(LamdemoError, match="above zero"):
        Episode("x", frames, np.zeros((39, 3)), 0, SPEC)


def test_actions_of_another_width_and_holes_are_told():
    with pytest.raises(LamdemoError, match=r"^These actions have 2 numbers a step where cart takes 3 \(steering, dx, "):
        SPEC.check(np.zeros((5, 2)))
    with pytest.raises(LamdemoError, match=r"^Yours hold no number for dx at step 1;"):
        SPEC.check([[0, 0, 0], [0, np.nan, 0]], "Yours")
    with pytest.raises(LamdemoError, match="no table of numbers"):
        SPEC.check([["a", "b", "c"]])
    assert SPEC.check([0, 0, 1]).shape == (1, 3)


def test_a_spec_survives_json():
    assert ActionSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC
    for damaged in ({}, {"name": "x", "channels": [{"name": "a"}]}, None, {"name": "x", "channels": []}):
        with pytest.raises(LamdemoError):
            ActionSpec.from_json(damaged)


def test_nothing_done_and_flipping():
    spec = ActionSpec("s", (Channel("go", "rate", 0.2, 1, mirror=1), Channel("turn", "rate", -1, 1, mirror=-1)))
    assert spec.zero.tolist() == pytest.approx([0.2, 0])
    assert spec.mirror.tolist() == [1, -1]
    assert SPEC.mirror is None  # one channel does not say


def test_channels_that_make_no_sense_are_refused():
    with pytest.raises(LamdemoError, match="low must be below high"):
        Channel("a", "rate", 1, 1)
    with pytest.raises(LamdemoError, match="must be one of rate, change, target"):
        Channel("a", "speed", 0, 1)
    with pytest.raises(LamdemoError, match="two channels of one name"):
        ActionSpec("x", (Channel("a", "rate", 0, 1), Channel("a", "rate", 0, 1)))
