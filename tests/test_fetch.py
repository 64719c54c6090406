"""The Fetch simulator: does a step do what it says, is a scene its seed's, and is a snapshot exact?"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lamdemo.core.errors import LamdemoError
from lamdemo.simulators import Simulator, make

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics")

from lamdemo.simulators import fetch_view
from lamdemo.simulators.fetch import STEP, Fetch, FetchConfig
from lamdemo.simulators.recording import record


@pytest.fixture(scope="module")
def sim():
    with Fetch(size=(96, 96), seed=0) as made:
        yield made


def to_middle(sim, seed, offset=(0.0, 0.0, 0.0)):
    """Reset, then go to the middle of the box (and a bit beside it), so that a step has room on all sides."""
    seen = sim.reset(seed)
    goal = (np.array(sim.config.low) + sim.config.high) / 2 + offset
    for _ in range(12):
        way = np.clip(goal - seen.truth["position"], -STEP, STEP)
        seen = sim.step(np.array([*way, 0.0]))
    return seen


def fingers(frame):
    """Centre (x, y) of the orange fingers in the picture, as parts of its width and height."""
    red, green, blue = (frame[..., i].astype(int) for i in range(3))
    there = (red > 110) & (green > 0.35 * red) & (green < 0.62 * red) & (blue < 0.25 * red)
    assert there.sum() > 10
    y, x = np.nonzero(there)
    return np.array([np.median(x) / frame.shape[1], np.median(y) / frame.shape[0]])


def test_is_a_simulator(sim):
    assert isinstance(sim, Simulator)
    with make("fetch", size=(64, 96), seed=4) as made:
        seen = made.observe()
        assert seen.frame.shape == (64, 96, 3) and seen.frame.dtype == np.uint8
        assert all(value.dtype == np.float32 for value in seen.truth.values())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("way", [STEP, -STEP, 0.012])
def test_step_arrives(sim, axis, way):
    before = to_middle(sim, 1).truth["position"]
    action = np.zeros(4)
    action[axis] = way
    after = sim.step(action)
    assert np.allclose(after.truth["position"], before + action[:3], atol=2e-3)
    assert after.truth["blocked"][0] < 0.1


def test_zero_keeps_still_and_errors_do_not_add_up(sim):
    seen = to_middle(sim, 2)
    begin = seen.truth["position"]
    for _ in range(8):
        seen = sim.step(np.zeros(4))
    assert np.allclose(seen.truth["position"], begin, atol=2e-3)
    rng = np.random.default_rng(0)
    ways = rng.uniform(-0.04, 0.04, (10, 4))
    ways[:, 3] = 0
    for way in [*ways, *-ways[::-1]]:
        seen = sim.step(way)
    assert np.allclose(seen.truth["position"], begin, atol=2e-3)


def test_gripper_opens_and_closes(sim):
    to_middle(sim, 3)
    for _ in range(4):
        closed = sim.step(np.array([0, 0, 0, -STEP])).truth["opening"][0]
    for _ in range(4):
        seen = sim.step(np.array([0, 0, 0, STEP]))
    assert closed < 0.005 and seen.truth["opening"][0] > 0.095
    half = sim.step(np.array([0, 0, 0, -STEP])).truth["opening"][0]
    assert half == pytest.approx(0.05, abs=0.02)


def test_box_ends_the_way_and_truth_says_so(sim):
    sim.reset(5)
    for _ in range(12):
        seen = sim.step(np.array([0.0, STEP, STEP, 0.0]))
    assert np.allclose(seen.truth["position"][1:], sim.config.high[1:], atol=3e-3)
    assert seen.truth["blocked"][0] > 0.9
    # What lies out of the spec's range is clipped to it.
    before = seen.truth["position"]
    after = sim.step(np.array([0.0, -1.0, 0.0, 0.0])).truth["position"]
    assert before[1] - after[1] == pytest.approx(STEP, abs=3e-3)


def test_motion_shows_in_the_picture():
    with Fetch(size=(192, 192), config=FetchConfig(things=(0, 0), camera_turn=(0.0, 0.0))) as sim:
        to_middle(sim, 14)
        for _ in range(3):
            seen = sim.step(np.array([0, 0, 0, -STEP]))  # the fingers together, as one spot
        here = fingers(seen.frame)
        now = sim.snapshot()
        right = fingers(sim.step(np.array([0, STEP, 0, 0])).frame) - here
        assert 0.055 < right[0] < 0.11 and abs(right[1]) < 0.02
        sim.restore(now)
        up = fingers(sim.step(np.array([0, 0, STEP, 0])).frame) - here
        assert up[1] < -0.04 and abs(up[0]) < 0.02
        sim.restore(now)
        nearer = fingers(sim.step(np.array([STEP, 0, 0, 0])).frame) - here
        assert nearer[1] > 0.015


def test_a_scene_is_its_seeds(sim):
    first = sim.reset(7).frame
    first_next = sim.step(np.full(4, 0.02)).frame
    other = sim.reset(8).frame
    with Fetch(size=(96, 96), seed=7) as again:
        assert np.array_equal(again.observe().frame, first)
        assert np.array_equal(again.step(np.full(4, 0.02)).frame, first_next)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_scenes_stay_within_the_config():
    with Fetch(size=(32, 32)) as sim:
        for seed in range(6):
            seen = sim.reset(seed)
            position = seen.truth["position"]
            assert np.all(position >= np.array(sim.config.low) - 2e-3)
            assert np.all(position <= np.array(sim.config.high) + 2e-3)
            things = sim.things()
            assert sim.config.things[0] <= len(things) <= sim.config.things[1]
            assert np.all(things[:, 2] > sim.config.table)  # on the table, none fell


def test_snapshot_is_exact_in_another_scene_and_in_contact(sim):
    sim.reset(10000)
    act = sim.scripted(np.random.default_rng(3))
    seen = sim.observe()
    for _ in range(9):
        seen = sim.step(act(seen))
    now = sim.snapshot()
    # Looking changes nothing of what comes.
    for _ in range(3):
        sim.observe()
    ways = np.random.default_rng(4).uniform(-STEP, STEP, (5, 4))
    ways[:, 2] = -STEP  # down to the table, among the things
    first = [sim.step(way) for way in ways]
    sim.reset(11)
    back = sim.restore(now)
    assert sim.seed == 10000
    assert np.array_equal(back.frame, seen.frame)
    again = [sim.step(way) for way in ways]
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.frame, b.frame)
        assert all(np.array_equal(a.truth[key], b.truth[key]) for key in a.truth)


def test_scripted_lifts_a_thing(sim):
    highest = 0.0
    for seed in (10000, 10001, 10003):
        seen = sim.reset(seed)
        act = sim.scripted(np.random.default_rng(seed))
        for _ in range(40):
            seen = sim.step(act(seen))
            highest = max(highest, sim.things()[:, 2].max())
        if highest > sim.config.table + 0.1:
            break
    assert highest > sim.config.table + 0.1


def test_recording_moves_as_its_actions_say(sim):
    episode = record(sim, "mixed", 12, seed=3)
    moved = np.diff(episode.truth["position"], axis=0)
    free = episode.truth["blocked"][1:, 0] < 0.1
    assert free.sum() > 3
    assert np.abs(moved - episode.actions[:, :3])[free].max() < 8e-3


def test_drawn_from_any_thread(sim):
    frame = sim.reset(6).frame
    seen = []
    thread = threading.Thread(target=lambda: seen.append(sim.observe().frame))
    thread.start()
    thread.join()
    assert np.array_equal(seen[0], frame)


def test_distance_and_reached(sim):
    a = {"position": np.zeros(3, np.float32), "opening": np.zeros(1, np.float32)}
    b = {"position": np.array([0.03, 0.0, 0.04], np.float32), "opening": np.array([0.02], np.float32)}
    distance = sim.distance(a, b)
    assert next(iter(distance)) == "metres"
    assert distance["metres"] == pytest.approx(0.05) and distance["opening"] == pytest.approx(0.02)
    assert not sim.reached(distance) and sim.reached(sim.distance(a, a))


def test_bad_input_is_said_in_one_sentence(sim, monkeypatch):
    with pytest.raises(LamdemoError, match="takes 4"):
        sim.step(np.zeros(2))
    with pytest.raises(LamdemoError, match="seed"):
        sim.reset(-1)
    monkeypatch.setattr(fetch_view, "_backend", lambda: "none_such")
    with pytest.raises(LamdemoError, match="without a screen; install"):
        Fetch(size=(32, 32))


def test_closing_when_the_process_ends_is_quiet(monkeypatch):
    sim = make("fetch", size=(64, 64), seed=3)
    view, over = sim._view, ThreadPoolExecutor(1)
    over.shutdown()
    real = fetch_view._painter
    monkeypatch.setattr(fetch_view, "_painter", lambda: over)
    gl, context = view._gl, view._context
    sim.close()
    assert view._gl is None and sim._view is None
    real().submit(fetch_view._free, gl, context).result()


def test_close_can_be_called_again():
    sim = Fetch(size=(32, 32))
    sim.close()
    sim.close()
    with pytest.raises(RuntimeError, match="was closed"):
        sim.observe()
