"""Simulators: what holds for all of them, maps without the engine, and the engine where it is installed."""

import importlib.util
import math
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.simulators import Observation, Simulator, available, make, names
from lamdemo.simulators.doom_maps import RADIUS, DoomMap, build
from lamdemo.simulators.pool import SimulatorPool
from lamdemo.simulators.recording import BEHAVIOURS, noise, part_of, record, record_many, seeds
from lamdemo.simulators.tasks import TaskConfig, make_task

needs_vizdoom = pytest.mark.skipif(
    importlib.util.find_spec("vizdoom") is None, reason='ViZDoom is not installed: pip install "vizdoom==1.3.2"'
)


class Plane:
    """A point in a walled square, which is its own camera: enough to record in and to set tasks."""

    name = "plane"
    spec = ActionSpec("plane", (Channel("x", "change", -1, 1), Channel("y", "change", -0.5, 1)))
    fps = 4.0
    size = (8, 8)

    def __init__(self, step: float = 1.0):
        self.step_size = step
        self.reset(0)

    def reset(self, seed):
        self.seed = seed
        self.place = np.random.default_rng(seed).uniform(-2, 2, 2)
        self.blocked = 0.0
        return self.observe()

    def step(self, action):
        wanted = self.place + self.step_size * np.clip(self.spec.check(action)[0], self.spec.low, self.spec.high)
        self.place = np.clip(wanted, -6, 6)
        self.blocked = float(np.abs(wanted - self.place).max() > 0)
        return self.observe()

    def observe(self):
        frame = np.zeros((8, 8, 3), np.uint8)
        frame[..., :2] = np.round((self.place + 6) * 20).astype(np.uint8)
        truth = {"position": self.place.astype(np.float32), "blocked": np.float32([self.blocked])}
        return Observation(frame, truth)

    def snapshot(self):
        return self.seed, self.place.copy()

    def restore(self, snapshot):
        self.seed, self.place, self.blocked = snapshot[0], snapshot[1].copy(), 0.0
        return self.observe()

    def distance(self, a, b):
        return {"metres": float(np.hypot(*(a["position"] - b["position"])))}

    def reached(self, distance):
        return distance["metres"] <= 0.5

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


# --- By name -----------------------------------------------------------------------------------------------------


def test_every_name_says_whether_it_can_be_made():
    assert set(available()) == set(names()) >= {"doom", "fetch"}


def test_one_that_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert all("pip install" in text for text in available().values())
    with pytest.raises(LamdemoError, match=r'doom needs ViZDoom; install it with: pip install "vizdoom==1\.3\.2"'):
        make("doom")


def test_one_that_is_there_and_does_not_load_says_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "vizdoom", None)  # importing it raises ImportError
    with pytest.raises(
        LamdemoError, match=r"ViZDoom, which cannot be loaded here \(.*vizdoom.*\); install it anew with"
    ):
        make("doom")


def test_an_unknown_one_is_told_with_those_there_are():
    with pytest.raises(LamdemoError, match="no simulator 'chess'; there are doom and fetch"):
        make("chess")


@needs_vizdoom
@pytest.mark.parametrize("wrong", [{"size": (8, 192)}, {"size": (192, 5000)}, {"seed": -1}, {"seed": 2**31}])
def test_sizes_and_seeds_out_of_range_are_told(wrong):
    with pytest.raises(LamdemoError):
        make("doom", **wrong)


# --- Recording and tasks, in any simulator -------------------------------------------------------------------------


def test_a_pool_runs_one_engine_of_a_name_in_one_thread_and_tells_whose_it_was():
    made, first, second = [], object(), object()

    def one(name, seed):
        made.append((name, seed))
        return Plane()

    pool = SimulatorPool(one)
    lent = [pool.do(lambda who=who: pool.engine("plane", who, 3)[1]) for who in (first, first, second, first)]
    assert lent == [True, False, True, True] and made == [("plane", 3)]
    threads = {pool.using("plane", lambda _: threading.get_ident()) for _ in range(3)}
    assert len(threads) == 1 and threading.get_ident() not in threads
    with pytest.raises(ZeroDivisionError):
        pool.using("plane", lambda _: 1 / 0)  # what fails is the caller's, and the pool goes on
    assert pool.do(lambda: pool.look("plane").name) == "plane"
    # What is lent call by call goes on as if nobody had used the engine in between.
    alone, lent = Plane(), pool.lend("plane")
    alone.reset(5), lent.reset(5)
    for _ in range(3):
        pool.using("plane", lambda sim: sim.reset(9))
        np.testing.assert_array_equal(lent.step(np.full(2, 0.3)).frame, alone.step(np.full(2, 0.3)).frame)
    pool.close()
    assert pool.do(lambda: pool.engine("plane", first)[0].name) == "plane" and len(made) == 2
    pool.close()


def test_the_parts_share_no_scene():
    parts = [set(seeds(part)) for part in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert [part_of(s) for s in (0, 9_999, 10_000, 20_000)] == ["train", "train", "validation", "test"]
    with pytest.raises(LamdemoError, match="no part"):
        seeds("tests")


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_an_episode_is_what_was_done(behaviour):
    sim = Plane()
    assert isinstance(sim, Simulator)
    episode = record(sim, behaviour, 12, seed=3)
    assert episode.frames.shape == (13, 8, 8, 3)
    assert (episode.actions >= sim.spec.low).all() and (episode.actions <= sim.spec.high).all()
    # Doing it again shows the same.
    seen = sim.reset(3)
    for t, action in enumerate(episode.actions):
        np.testing.assert_array_equal(seen.frame, episode.frames[t])
        np.testing.assert_array_equal(seen.truth["position"], episode.truth["position"][t])
        seen = sim.step(action)
    np.testing.assert_array_equal(seen.frame, episode.frames[-1])


def test_an_episode_depends_on_its_seed_alone():
    sim = Plane()
    first, other, again = (record(sim, "random", 10, seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first.actions, again.actions)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert not np.array_equal(first.actions, other.actions)
    assert first.recording != other.recording


def test_recording_many_skips_what_is_there():
    assert [e.name for e in record_many(Plane(), "random", 2, 5, 3, {"plane-00006"}.__contains__)] == [
        "plane-00005",
        "plane-00007",
    ]


def test_bad_behaviours_and_lengths_are_told():
    with pytest.raises(LamdemoError, match="no behaviour 'asleep'"):
        record(Plane(), "asleep", 3, 0)
    with pytest.raises(LamdemoError, match="at least 1 step"):
        record(Plane(), "random", 0, 0)


def test_noise_covers_every_channel_and_moves_some_alone():
    spec = Plane.spec
    act = noise(spec, np.random.default_rng(0))
    seen = Observation(np.zeros((8, 8, 3), np.uint8), {})
    actions = np.stack([act(seen) for _ in range(600)])
    assert (actions.min(0) < spec.low * 0.8).all() and (actions.max(0) > spec.high * 0.8).all()
    quiet = np.abs(actions) < 0.02
    assert (quiet[:, 0] & ~quiet[:, 1]).any() and (quiet[:, 1] & ~quiet[:, 0]).any()
    # Smooth: neighbours are more alike than strangers.
    assert np.abs(np.diff(actions, axis=0)).mean() < 0.6 * np.abs(actions - np.roll(actions, 300, 0)).mean()


def test_noise_turns_away_from_what_blocks_it():
    spec = Plane.spec
    seen = Observation(np.zeros((8, 8, 3), np.uint8), {"blocked": np.ones(1, np.float32)})
    act, free = noise(spec, np.random.default_rng(0)), noise(spec, np.random.default_rng(0))
    clear = Observation(seen.frame, {})
    blocked, held = ([a(s)[0] for _ in range(200)] for a, s in ((act, seen), (free, clear)))
    assert np.abs(np.diff(blocked)).mean() > 1.3 * np.abs(np.diff(held)).mean()


def test_a_task_can_be_done_and_is_not_done_at_the_start():
    sim = Plane()
    for seed in range(8):
        task = make_task(sim, seed, steps=4)
        seen = task.begin(sim)
        np.testing.assert_array_equal(seen.frame, task.start_frame)
        gap = sim.distance(seen.truth, task.goal_truth)
        config = TaskConfig()
        assert not sim.reached({k: v / config.near for k, v in gap.items()})
        assert sim.reached({k: v / config.far for k, v in gap.items()})
        assert task.actions.shape == (4, 2)
        for action in task.actions:
            seen = sim.step(action)
        np.testing.assert_array_equal(seen.frame, task.goal_frame)
        assert sim.reached(sim.distance(seen.truth, task.goal_truth))


def test_a_task_depends_on_its_seed_alone_and_leaves_the_start():
    sim = Plane()
    task = make_task(sim, 5)
    np.testing.assert_array_equal(sim.observe().frame, task.start_frame)
    make_task(sim, 6)
    np.testing.assert_array_equal(make_task(sim, 5).actions, task.actions)


def test_a_compound_task_takes_more_than_one_kind_of_action():
    """With headings that count as places do, neither alone leads there."""

    class Turning(Plane):
        def distance(self, a, b):
            first, second = (np.asarray(t["position"], float) for t in (a, b))
            return {"across": float(abs(first[0] - second[0])), "down": float(abs(first[1] - second[1])), "of": 0.0}

        def reached(self, distance):
            return max(distance["across"], distance["down"]) <= 0.1

    sim = Turning()
    lazy = 0
    for seed in range(8):
        for compound in (False, True):
            task = make_task(sim, seed, 4, TaskConfig(near=1.0, far=1e6, compound=compound))
            gap = sim.distance(task.start_truth, task.goal_truth)
            one_is_enough = min(gap["across"], gap["down"]) <= 0.1
            assert not (compound and one_is_enough)
            lazy += one_is_enough
    assert lazy  # without being asked, some tasks need one of them alone


def test_where_nothing_moves_there_is_no_task():
    with pytest.raises(LamdemoError, match="Nothing can be moved"):
        make_task(Plane(step=0.0), 0, config=TaskConfig(tries=4))
    with pytest.raises(LamdemoError, match="at least 1 step"):
        make_task(Plane(), 0, steps=0)


# --- Doom's maps, without the engine -------------------------------------------------------------------------------


def test_a_map_depends_on_its_seed_alone():
    assert build(4).wad == build(4).wad != build(5).wad


@pytest.mark.parametrize("seed", range(6))
def test_wherever_one_walks_one_stays_clear_of_everything(seed):
    scene = build(seed)
    rng = np.random.default_rng(seed)
    assert scene.clearance(scene.start) >= 8
    place, moved = scene.start, 0.0
    for _ in range(150):
        heading = rng.random() * 2 * math.pi
        for _ in range(8):
            there = scene.slide(place, 5.0 * np.array([math.cos(heading), math.sin(heading)]))
            assert scene.clearance(there) >= 0
            moved += float(np.hypot(*(there - place)))
            place = there
    assert moved > 1000


def square() -> DoomMap:
    corners = [(0, 0), (400, 0), (400, 400), (0, 400)]
    walls = [(*a, *b) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
    return DoomMap(
        b"", "", np.zeros(2), 0.0, np.array(walls, float), np.array([[200.0, 200.0, 40.0]]), np.zeros((0, 2)), 1.0
    )


def test_free_moves_are_exact_and_walls_let_one_slide():
    scene = square()
    np.testing.assert_array_equal(scene.slide(np.array([100.0, 100.0]), np.array([3.0, -4.0])), [103, 96])
    slid = scene.slide(np.array([100.0, RADIUS + 1]), np.array([6.0, -6.0]))
    np.testing.assert_allclose(slid, [106, RADIUS], atol=1e-4)
    corner = scene.slide(np.array([RADIUS + 1, RADIUS + 1]), np.array([-6.0, -6.0]))
    np.testing.assert_allclose(corner, [RADIUS, RADIUS], atol=1e-4)
    # Straight into what is round: no further than its rim.
    np.testing.assert_allclose(scene.slide(np.array([158.0, 200.0]), np.array([6.0, 0.0])), [160, 200], atol=1e-4)


def test_places_in_sight_are_those_with_nothing_between():
    scene = square()
    assert scene.sees(np.array([100.0, 100.0]), np.array([300.0, 100.0]))
    assert not scene.sees(np.array([100.0, 200.0]), np.array([300.0, 200.0]))


# --- Doom itself ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def doom():
    with make("doom", size=(96, 96), seed=7) as sim:
        yield sim


def roomy(doom, seed=7):
    """The scene of a seed, looking to where one can walk some steps."""
    seen = doom.reset(seed)
    for _ in range(24):
        here = doom.snapshot()
        if max(doom.step([0, 64]).truth["blocked"].item(), doom.step([0, 64]).truth["blocked"].item()) == 0:
            return doom.restore(here)
        doom.restore(here)
        seen = doom.step([15, 0])
    return seen


@needs_vizdoom
def test_a_step_turns_and_walks_exactly(doom):
    assert isinstance(doom, Simulator)
    start = roomy(doom)
    heading, place = start.truth["heading"].item(), start.truth["position"]
    ahead = doom.step([0, 60]).truth
    expected = place + 60 * np.array([math.cos(math.radians(heading)), math.sin(math.radians(heading))])
    np.testing.assert_allclose(ahead["position"], expected, atol=1e-2)
    assert ahead["blocked"].item() == 0
    turned = doom.step([12.5, 0]).truth
    np.testing.assert_array_equal(turned["position"], ahead["position"])
    assert doom.distance(turned, ahead) == pytest.approx({"units": 0, "degrees": 12.5}, abs=1e-3)
    # To the right is clockwise.
    assert (heading - turned["heading"].item()) % 360 == pytest.approx(12.5, abs=1e-3)


@needs_vizdoom
def test_a_picture_depends_on_place_and_angle_alone(doom):
    # So there is no momentum, no hand that swings, no message and nothing that moves by itself.
    start = roomy(doom)
    for action in ([0, 30], [0, -30], [15, 0], [-15, 0]):
        seen = doom.step(action)
    np.testing.assert_allclose(seen.truth["position"], start.truth["position"], atol=1e-3)
    np.testing.assert_array_equal(seen.frame, start.frame)
    for _ in range(5):
        np.testing.assert_array_equal(doom.step([0, 0]).frame, start.frame)
    assert start.frame.shape == (96, 96, 3) and start.frame.dtype == np.uint8
    assert start.frame.std() > 10
    assert not np.array_equal(doom.step([5, 0]).frame, start.frame)


@needs_vizdoom
@pytest.mark.parametrize("seed", [7, 21, 22])
def test_nothing_in_the_scene_moves_by_itself(doom, seed):
    doom.reset(seed)
    start = doom.snapshot()
    turns = [[15, 0]] * 24
    first = [doom.step(a).frame for a in turns]
    doom.restore(start)
    for _ in range(40):  # more than a second of the engine's time
        doom.observe()
    for a, frame in zip(turns, first, strict=True):
        np.testing.assert_array_equal(doom.step(a).frame, frame)


@needs_vizdoom
def test_an_action_out_of_range_is_clipped_and_one_of_another_width_told(doom):
    start = roomy(doom)
    here = doom.snapshot()
    far = doom.step([1000, -1000])
    doom.restore(here)
    np.testing.assert_array_equal(doom.step([15, -32]).frame, far.frame)
    assert doom.distance(start.truth, far.truth)["degrees"] == pytest.approx(15, abs=1e-3)
    for wrong in ([1.0], [1.0, 2.0, 3.0], [math.nan, 0.0]):
        with pytest.raises(LamdemoError):
            doom.step(wrong)


@needs_vizdoom
def test_a_snapshot_restores_the_same_frames_even_from_another_scene(doom):
    roomy(doom)
    actions = [[10, 40], [-5, 60], [15, -20]]
    doom.step([7, 20])
    here = doom.snapshot()
    first = [doom.step(a) for a in actions]
    other = doom.reset(8)
    assert doom.seed == 8
    again = doom.restore(here)
    assert doom.seed == 7 and not np.array_equal(again.frame, other.frame)
    for a, seen in zip(actions, first, strict=True):
        repeated = doom.step(a)
        np.testing.assert_array_equal(repeated.frame, seen.frame)
        for key, value in seen.truth.items():
            np.testing.assert_array_equal(repeated.truth[key], value)
    with pytest.raises(TypeError):
        doom.restore(("plane", 0))


@needs_vizdoom
def test_walls_block_and_truth_tells(doom):
    doom.reset(3)
    blocked = [doom.step([0, 64]).truth["blocked"].item() for _ in range(40)]
    assert max(blocked) > 0.5 and min(blocked) == 0


@needs_vizdoom
def test_another_engine_shows_the_same_and_leaves_nothing_behind(doom, tmp_path, monkeypatch):
    import tempfile

    scratch = tmp_path / "scratch"
    work = tmp_path / "work"
    scratch.mkdir()
    work.mkdir()
    mine = doom.reset(11)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(work)
    with make("doom", size=(96, 96), seed=11) as sim:
        np.testing.assert_array_equal(sim.observe().frame, mine.frame)
        assert list(scratch.iterdir())
    assert not list(scratch.iterdir()) and not list(work.iterdir())
    sim.close()
    with pytest.raises(RuntimeError, match="closed"):
        sim.observe()
    assert Path.cwd() == work


@needs_vizdoom
def test_one_that_is_forgotten_ends_with_its_engine(tmp_path, monkeypatch):
    import gc
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sim = make("doom", size=(32, 32), seed=1)
    assert list(tmp_path.iterdir())
    del sim
    gc.collect()
    assert not list(tmp_path.iterdir())


@needs_vizdoom
def test_frames_are_of_the_size_asked_for_and_show_the_same_view():
    import cv2

    with make("doom", size=(120, 160), seed=2) as wide, make("doom", size=(120, 120), seed=2) as square:
        a, b = wide.observe().frame, square.observe().frame
    assert a.shape == (120, 160, 3) and b.shape == (120, 120, 3)
    # The square is the middle of the wide one.
    middle = a[:, 20:140].astype(float)
    assert np.abs(cv2.blur(middle, (5, 5)) - cv2.blur(b.astype(float), (5, 5))).mean() < 4


@needs_vizdoom
def test_distances_go_the_short_way_round(doom):
    a = {"position": np.zeros(2), "heading": np.array([359.0])}
    b = {"position": np.array([3.0, 4.0]), "heading": np.array([1.5])}
    assert doom.distance(a, b) == pytest.approx({"units": 5, "degrees": 2.5})
    assert next(iter(doom.distance(a, b))) == "units"
    assert doom.reached({"units": 5, "degrees": 2.5})
    assert not doom.reached({"units": 5, "degrees": 90}) and not doom.reached({"units": 90, "degrees": 0})


@needs_vizdoom
def test_its_own_behaviour_goes_to_places(doom):
    episode = record(doom, "scripted", 25, seed=2)
    steps = np.hypot(*np.diff(episode.truth["position"], axis=0).T)
    assert steps.sum() > 300
    assert np.abs(episode.actions[:, 0]).max() > 3
    assert (episode.truth["blocked"] > 0.5).mean() < 0.2
