"""The plan's tab: where start and goal come from, the search as it is told, the execution; then a visitor's clicks."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from pages import WAIT, chromiums, running, troubles
from plan_page import PlanPage, ToySimulators
from toy_simulator import TOY, Toy

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.engine.out_of_distribution import save_latents
from lamdemo.jobs.background import in_background
from lamdemo.jobs.turns import PAUSE
from lamdemo.models import checkpoint_hash
from lamdemo.models.controller import Controller, ControllerConfig, save_controller
from lamdemo.simulators.tasks import make_task
from lamdemo.ui.plan import figures, views
from lamdemo.ui.plan.carrying import execute
from lamdemo.ui.plan.ends import OWN, Ends, Footage, Library, between, of_task, own_goal
from lamdemo.ui.plan.records import LATENT, PLANS, WAYS, Found, Order, Progress, Ran, Step
from lamdemo.ui.plan.work import Searcher
from lamdemo.video import read_clip, write_image, write_video

SMALL = Order(what="toy", samples=12, iterations=3, horizon=2, seed=3)


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a sample of latents and a controller for the toy."""
    folder = tmp_path_factory.mktemp("plan") / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    rng = np.random.default_rng(0)
    save_latents(folder, rng.normal(size=(64, TINY.bottleneck.channels)).astype(np.float32))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = ControllerConfig(actions=2, history=2, width=16, heads=2, depth=1, patch=2, hidden=16)
        made = Controller(config, TINY.encoder.channels, TINY.bottleneck.channels, TINY.encoder.grid)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        made.fit_scales(torch.tensor([[0.1, 0.1], [-0.1, -0.1]]))
    save_controller(made.eval(), folder, "toy", checkpoint=checkpoint_hash(folder), spec=TOY.to_json())
    return folder


@pytest.fixture(scope="module")
def pipeline(checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def simulators() -> Iterator[ToySimulators]:
    toys = ToySimulators()
    yield toys
    toys.close()


@pytest.fixture(scope="module")
def task(simulators: ToySimulators) -> Ends:
    return of_task(simulators, "toy", 10_001, 2)


def news_of(work: Iterator[Any]) -> list[Any]:
    """What a handler tells, without the pauses in which others have their turns."""
    return [news for news in work if news is not PAUSE]


def search(pipeline: TransferPipeline, order: Order, ends: Ends, folder: Path) -> tuple[list[Progress], Found]:
    *told, found = news_of(Searcher(pipeline, order, ends).search(folder, threading.Event()))
    assert isinstance(found, Found) and all(isinstance(news, Progress) for news in told)
    return told, found


# Start and goal.


def test_start_and_goal_are_the_frames_that_were_chosen_with_what_was_done_between_them() -> None:
    frames = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 48, 3), np.uint8)
    actions = np.arange(10, dtype=np.float32).reshape(5, 2)
    footage = Footage("x", "x", frames, 4.0, actions, TOY)
    ends = between(footage, 2, 4)
    assert (ends.start[0, 0, 0], ends.goal[0, 0, 0]) == (2, 4)
    assert ends.frames is not None and len(ends.frames) == 3
    np.testing.assert_array_equal(ends.actions, actions[2:4])
    np.testing.assert_array_equal(ends.before, actions[:2])
    # Backwards, or to a picture of one's own, nobody knows what leads there.
    for other in (between(footage, 4, 2), between(footage, 2, 4, frames[0])):
        assert other.actions is None and other.frames is None
    # A browser may send frames that are not there.
    assert between(footage, -3, 99).goal[0, 0, 0] == 5


def test_a_task_of_a_simulator_is_the_same_each_time_and_its_actions_lead_to_its_goal(
    simulators: ToySimulators, task: Ends
) -> None:
    again = of_task(simulators, "toy", 10_001, 2)
    np.testing.assert_array_equal(task.goal, again.goal)
    assert task.frames is not None and task.actions is not None and len(task.actions) == 2
    np.testing.assert_array_equal(task.frames[0], task.start)
    np.testing.assert_array_equal(task.frames[-1], task.goal)
    assert task.simulator == "toy" and task.spec == TOY


def test_all_work_of_a_simulator_is_done_in_one_thread(simulators: ToySimulators) -> None:
    threads = {simulators.using("toy", lambda _: threading.get_ident()) for _ in range(3)}
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_the_library_reads_at_the_models_pace_and_only_what_it_offers(small_clip: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    shutil.copy(small_clip, tmp_path / "clips" / "two_words.mp4")
    library = Library(tmp_path)
    assert library.choices() == [("two words", "clip:two_words.mp4")]
    footage = library.get("clip:two_words.mp4", 4.0)
    np.testing.assert_array_equal(footage.frames, read_clip(small_clip, fps=4.0).frames)
    assert library.get("clip:two_words.mp4", 4.0) is footage
    for key in ("clip:../secret.mp4", f"clip:{small_clip}", "episode:none/none", None, OWN):
        with pytest.raises(LamdemoError, match="choose one of"):
            library.get(key, 4.0)


def test_bundled_episodes_bring_their_actions() -> None:
    from lamdemo.ui.prepared import EXAMPLES

    library = Library(EXAMPLES)
    keys = [key for _, key in library.choices() if key.startswith("episode:")]
    assert keys, "episodes come with the page"
    footage = library.get(keys[0], 4.0)
    assert footage.spec is not None and footage.actions is not None
    assert footage.actions.shape == (len(footage.frames) - 1, footage.spec.width)


def test_a_clip_that_is_too_short_or_gone_is_one_sentence(tmp_path: Path) -> None:
    library = Library(tmp_path)
    short = write_video(tmp_path / "short.mp4", np.zeros((1, 32, 32, 3), np.uint8), 8)
    with pytest.raises(LamdemoError, match="less than one step") as said:
        library.get(OWN, 4.0, str(short))
    assert "/" not in str(said.value)
    with pytest.raises(LamdemoError, match="removed from the server"):
        library.get(OWN, 4.0, str(tmp_path / "gone.mp4"))


# The search.


@pytest.mark.parametrize("solver", ["cem", "icem", "mppi", "gradient", "random"])
@pytest.mark.parametrize("what", ["toy", LATENT])
def test_a_search_tells_every_iteration_and_ends_in_a_plan(
    pipeline: TransferPipeline, task: Ends, tmp_path: Path, solver: str, what: str
) -> None:
    order = Order(what=what, solver=solver, samples=8, iterations=2, horizon=2)
    told, found = search(pipeline, order, task, tmp_path)
    assert [news.index for news in told] == [0, 1] and {news.of for news in told} == {2}
    last = found.progress
    assert len(last.best) == len(last.elite) == len(last.low) == 2
    assert last.best[1] <= last.best[0] and last.low[1] <= last.high[1]
    assert 1 <= len(last.pictures) <= 4
    assert found.latents.shape == (2, TINY.bottleneck.channels)
    assert (found.actions is None) == (what == LATENT)
    assert found.frames.shape == (3, 64, 64, 3) and found.video.is_file()
    assert last.idle is not None and last.true is not None and found.true_cost is not None
    np.testing.assert_array_equal(found.frames[0], task.start)


def test_the_same_seed_gives_the_same_plan_and_another_another(
    pipeline: TransferPipeline, task: Ends, tmp_path: Path
) -> None:
    plans = []
    for seed in (3, 4, 3):
        plans.append(search(pipeline, Order("toy", "cem", 12, 3, 2, seed), task, tmp_path)[1].actions)
    np.testing.assert_array_equal(plans[0], plans[2])
    assert not np.array_equal(plans[0], plans[1])


def test_what_is_known_to_have_been_done_is_judged_as_candidates_are(
    pipeline: TransferPipeline, task: Ends, tmp_path: Path
) -> None:
    searcher = Searcher(pipeline, SMALL, task)
    told, *_ = searcher.search(tmp_path, threading.Event())
    assert isinstance(told, Progress) and told.true is not None and task.actions is not None
    objective = searcher.planner.objective(searcher.planner.judge, searcher.problem)
    u = searcher.space.encode(torch.from_numpy(task.actions))[None, None]
    with torch.no_grad():
        assert told.true == pytest.approx(float(objective(u)), rel=1e-4)
    # A recording of another body says nothing about this one's actions, and its commands are no history.
    other = ActionSpec("other", (Channel("a", "rate", -1, 1), Channel("b", "rate", -1, 1)))
    foreign = Ends(task.start, task.goal, task.frames, task.actions, task.actions, other)
    assert Searcher(pipeline, SMALL, foreign).true is None and Searcher(pipeline, SMALL, foreign).before is None


def test_stop_ends_a_search_with_the_best_so_far(pipeline: TransferPipeline, task: Ends, tmp_path: Path) -> None:
    stop = threading.Event()
    told = []
    for news in Searcher(pipeline, Order("toy", "cem", 12, 1000, 2), task).search(tmp_path, stop):
        if news is PAUSE:
            continue
        told.append(news)
        if len(told) == 2:
            stop.set()
    found = told[-1]
    assert isinstance(found, Found) and found.stopped and len(told) < 60
    assert "stopped after iteration" in views.searched(found)


def test_who_leaves_ends_the_search(pipeline: TransferPipeline, task: Ends, tmp_path: Path) -> None:
    stop = threading.Event()
    searching = Searcher(pipeline, Order("toy", "cem", 12, 1000, 2), task).search(tmp_path, stop)
    next(searching)
    searching.close()
    assert stop.is_set()
    for _ in range(100):
        if not any(thread.name == "lamdemo-plan" for thread in threading.enumerate()):
            break
        time.sleep(0.1)
    assert not any(thread.name == "lamdemo-plan" for thread in threading.enumerate())


def test_the_background_goes_on_only_while_it_is_waited_for() -> None:
    done: list[int] = []

    def counts(tell: Any) -> str:
        for k in range(3):
            done.append(k)
            tell(k)
        return "the end"

    news = in_background(counts)
    assert next(news) == 0 and next(news) == 1
    for _ in range(3):
        time.sleep(0.02)
        assert done == [0, 1]
    assert list(news) == [2, "the end"]


def test_a_search_lets_others_go_between_parts_of_its_candidates(
    pipeline: TransferPipeline, task: Ends, tmp_path: Path
) -> None:
    small, large = (Searcher(pipeline, Order("toy", "cem", count, 2, 1), task) for count in (8, 100))
    # Chunks are of 16 or 75 candidates, and the figures do not depend on the parts.
    size = (large.planner.distilled or large.planner.judge).chunk * torch.get_num_threads()
    told = list(large.search(tmp_path, threading.Event()))
    pauses = [k for k, news in enumerate(told) if news is PAUSE]
    assert len(pauses) >= 2 * ((100 - 1) // size)
    assert sum(news is PAUSE for news in small.search(tmp_path, threading.Event())) <= 1
    whole = type(large.planner).objective(large.planner, large.planner.judge, large.problem)
    u = torch.randn(1, 3 * size + 1, 1, large.space.width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts = large.planner.objective(large.planner.judge, large.problem)(u)
        torch.testing.assert_close(parts, whole(u), rtol=1e-4, atol=1e-5)


def test_an_error_in_the_background_comes_to_who_waits() -> None:
    def fails(tell: Any) -> None:
        tell("begun")
        raise LamdemoError("It failed.")

    news = in_background(fails)
    assert next(news) == "begun"
    with pytest.raises(LamdemoError, match="It failed"):
        next(news)


def test_what_does_not_fit_is_one_sentence(pipeline: TransferPipeline, task: Ends, tmp_path: Path) -> None:
    wide = own_goal(str(write_image(tmp_path / "wide.png", np.zeros((40, 120, 3), np.uint8))))
    with pytest.raises(LamdemoError, match="The goal is 120x40 and the start 64x64"):
        Searcher(pipeline, SMALL, Ends(task.start, wide))
    with pytest.raises(LamdemoError, match="no controller 'car'"):
        Searcher(pipeline, Order("car"), task)


def test_the_landscape_marks_plan_truth_and_idleness_in_the_actions_units(
    pipeline: TransferPipeline, task: Ends, tmp_path: Path
) -> None:
    searcher = Searcher(pipeline, SMALL, task)
    *_, found = searcher.search(tmp_path, threading.Event())
    assert isinstance(found, Found) and found.actions is not None and task.actions is not None
    land, places = searcher.landscape(found, 0, 1)
    assert land.names == ("dx", "dy") and land.costs.shape == (len(land.y), len(land.x))
    assert land.x.min() >= -0.151 and land.x.max() <= 0.151
    assert places["plan"] == pytest.approx(tuple(found.actions.mean(0)), abs=1e-5)
    assert places["true"] == pytest.approx(tuple(task.actions.mean(0)), abs=1e-5)
    assert places["idle"] == (0, 0)
    figure = figures.landscape(land.x, land.y, land.costs, land.names, **places)
    assert figure["data"][0]["z"][2][5] == pytest.approx(float(land.costs[2, 5]), rel=1e-4)
    assert [mark["name"] for mark in figure["data"][1:]] == ["the plan", "what was really done", "do nothing"]


def test_candidates_that_flew_off_leave_a_gap_in_the_chart() -> None:
    chart = figures.chart(figures.costs([1.0, np.nan], [2.0, np.inf], [1, 1], [3, 3], 5, idle=1.0), "p.js", "told")
    assert "null" in chart and "NaN" not in chart and "Infinity" not in chart


# Words.


@pytest.mark.parametrize(
    ("channel", "value", "words"),
    [
        (Channel("steering", "rate", -1, 1, words=("left", "right")), -0.3, "left 0.30"),
        (Channel("steering", "rate", -1, 1, words=("left", "right")), 0.005, "nothing"),
        (Channel("turn", "change", -15, 15, "degrees", ("left", "right")), 7.5, "right 7.5 degrees"),
        (Channel("dx", "change", -0.05, 0.05, "m"), -0.02, "−0.020 m"),
        (Channel("grip", "target", 0, 1, words=("open", "close")), 0.0, "0.00"),
    ],
)
def test_actions_are_said_in_words(channel: Channel, value: float, words: str) -> None:
    assert views.in_words(channel, value) == words


def test_an_execution_is_told_in_one_sentence() -> None:
    way = [{"metres": 0.2}, {"metres": 0.1}, {"metres": 0.02}]
    told = "Reached after 2 steps: 0.02 metres from the goal, from 0.2 metres at the start."
    assert views.outcome(way, True, False) == told
    assert views.outcome(way[:2], False, False).startswith("Not reached in 1 step: 0.1 metres")
    assert views.outcome(way[:2], False, True).startswith("Stopped after 1 step")
    assert "no nearer" in views.outcome(way[::-1], False, False)
    # Turned the right way, but walked off: neither nearer nor not.
    two = views.outcome([{"units": 0.0, "degrees": 40.0}, {"units": 15.0, "degrees": 3.0}], False, False)
    assert (
        two == "Not reached in 1 step: 15 units and 3 degrees from the goal, from 0 units and 40 degrees at the start."
    )


def test_each_unit_of_a_distance_has_an_axis_of_its_own() -> None:
    figure = figures.distances([{"units": 0.0, "degrees": 40.0}, {"units": 15.0, "degrees": 3.0}], 8)
    assert [(line["name"], line["y"], line["yaxis"]) for line in figure["data"]] == [
        ("units", [0.0, 15.0], "y"),
        ("degrees", [40.0, 3.0], "y2"),
    ]
    assert figure["layout"]["yaxis2"]["overlaying"] == "y" and len(figures.distances([{"metres": 1.0}], 8)["data"]) == 1


# The execution.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["toy", LATENT])
def test_an_execution_shows_what_happened_and_how_far_the_goal_is(
    pipeline: TransferPipeline, simulators: ToySimulators, task: Ends, tmp_path: Path, what: str, way: str
) -> None:
    searcher = Searcher(pipeline, Order(what, "random", 8, 1, 1), task)
    *steps, ran = news_of(execute(searcher, simulators, 3, tmp_path, threading.Event(), way))
    assert isinstance(ran, Ran) and all(isinstance(step, Step) for step in steps)
    assert [step.index for step in steps] == list(range(len(ran.distances)))
    assert [step.distance for step in steps] == ran.distances
    assert steps[0].imagined is None and all(step.imagined is not None for step in steps[1:])
    np.testing.assert_array_equal(steps[0].frame, task.start)
    assert len(read_clip(ran.video)) == len(ran.distances) + 2
    # It begins where the task does.
    with Toy() as toy:
        made = make_task(toy, 10_001, steps=2)
        assert steps[0].distance == toy.distance(made.start_truth, made.goal_truth)


def test_others_use_the_simulator_between_two_steps_of_an_execution(simulators: ToySimulators, task: Ends) -> None:
    made = simulators.using("toy", lambda toy: make_task(toy, 10_001, steps=2))
    alone = simulators.lend("toy")
    action = np.array([0.1, 0.0, 0.0], np.float32)[: alone.spec.width]
    seen = [alone.restore(made.start), alone.step(action), alone.step(action)]
    beside = simulators.lend("toy")
    beside.restore(made.start)
    for k in (1, 2):
        of_task(simulators, "toy", 10_002, 1)  # another visitor opens a task
        np.testing.assert_array_equal(beside.step(action).frame, seen[k].frame)


def test_an_execution_stops_when_it_is_told(
    pipeline: TransferPipeline, simulators: ToySimulators, task: Ends, tmp_path: Path
) -> None:
    stop = threading.Event()
    searcher = Searcher(pipeline, Order("toy", "random", 8, 1, 1), task)
    ran = None
    for news in execute(searcher, simulators, 400, tmp_path, stop):
        if isinstance(news, Ran):
            ran = news
        elif isinstance(news, Step) and news.index == 1:
            stop.set()
    assert ran is not None and ran.stopped and len(ran.distances) < 60


def test_a_body_that_is_not_the_simulators_cannot_carry_a_plan_out(
    pipeline: TransferPipeline, simulators: ToySimulators, task: Ends, tmp_path: Path
) -> None:
    other = ActionSpec("other", (Channel("a", "rate", -1, 1),))
    ends = Ends(task.start, task.goal, spec=other, simulator="other", seed=1)
    with pytest.raises(LamdemoError, match="commands that other does not take"):
        list(execute(Searcher(pipeline, SMALL, ends), simulators, 2, tmp_path, threading.Event()))
    with pytest.raises(LamdemoError, match="no controller for other"):
        list(execute(Searcher(pipeline, Order(samples=8), ends), simulators, 2, tmp_path, threading.Event()))


# What the handlers do.


@pytest.fixture(scope="module")
def page(pipeline: TransferPipeline) -> Iterator[PlanPage]:
    page = PlanPage(pipeline)
    yield page
    page.plan.simulators.close()


def given(page: PlanPage, **more: Any) -> dict[Any, Any]:
    tab, search = page.plan, page.plan.settings
    data = {
        **{tab.source: "clip", tab.clip: OWN, tab.first: 1, tab.last: 4, tab.simulator: "toy", tab.task: 1},
        **{search.what: LATENT, search.solver: "cem", search.samples: 8, search.iterations: 2, search.futures: 0},
        **{search.horizon: 2, search.seed: 0, tab.task_steps: 2, tab.run.steps: 2, tab.run.way: PLANS},
        **{page.name: "tiny", page.hub: ""},
    }
    return data | {getattr(search if hasattr(search, key) else tab, key): value for key, value in more.items()}


def ask(name: str) -> Any:
    return SimpleNamespace(session_hash=name)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr("lamdemo.ui.notices.say", lambda sentence, **_: said.append(sentence))
    return said


def test_a_visitors_clip_becomes_start_and_goal(page: PlanPage, small_clip: Path, warned: list[str]) -> None:
    tab, who = page.plan, ask("own")
    # A controller that was chosen for the clip before says nothing of this one.
    shown = tab._take_own(given(page, what="toy") | {tab.own: str(small_clip)}, who)
    assert shown[tab.settings.what].value == LATENT
    assert shown[tab.last].value == 4 and shown[tab.settings.horizon] == 3 and not warned
    assert "frame 4, 0.75 s" in shown[tab.ends_view]
    frames = read_clip(small_clip, fps=4.0).frames
    np.testing.assert_array_equal(page.session(who).plan.ends.goal, frames[3])  # type: ignore[union-attr]
    # What cannot be read leaves what was there.
    assert tab.ends_view not in tab._take_own(given(page) | {tab.own: "/nowhere/secret.mp4"}, who)
    assert warned and "/nowhere" not in warned[0]
    assert page.session(who).plan.own == str(small_clip)  # type: ignore[union-attr]


def test_a_task_chooses_the_controller_of_its_body_and_can_be_carried_out(page: PlanPage) -> None:
    tab = page.plan
    shown = tab._change_source(given(page, source="simulator"), ask("task"))
    assert shown[tab.settings.what].value == "toy" and shown[tab.settings.horizon] == 2
    assert shown[tab.run.column].visible and not shown[tab.of_clip].visible


def test_a_plan_of_another_start_and_goal_is_told_to_be_one(
    page: PlanPage, small_clip: Path, warned: list[str]
) -> None:
    tab, who = page.plan, ask("old")
    assert tab._take_own(given(page) | {tab.own: str(small_clip)}, who)[tab.old] == ""  # there is no plan yet
    same = given(page, horizon=3)
    *_, shown, _ = news_of(tab._plan(same, who))
    assert shown[tab.old] == ""
    moved = tab._change_frames(given(page, first=2), who)
    assert "start and goal before" in moved[tab.old] and moved[tab.run.view] == views.run_empty()
    # Back at the plan's own ends, or when the tab is opened again there, it is no other's.
    assert tab._change_frames(same, who)[tab.old] == ""
    opened = tab._open(same, who)
    assert opened[tab.old] == "" and tab.run.view not in opened
    tab._change_frames(given(page, first=2), who)
    *_, shown, _ = news_of(tab._plan(given(page, first=2), who))
    assert shown[tab.old] == "" and not warned


def test_a_plan_of_other_settings_or_of_another_checkpoint_is_told_to_be_one(
    page: PlanPage, small_clip: Path, warned: list[str]
) -> None:
    tab, who = page.plan, ask("settings")
    same = given(page, horizon=3)
    tab._take_own(same | {tab.own: str(small_clip)}, who)
    assert tab._mark(given(page, seed=1), who)[tab.old] == ""  # there is no plan yet
    tab._mark(same, who)
    *_, shown, _ = news_of(tab._plan(same, who))
    assert shown[tab.old] == ""
    for key, value in (("seed", 1), ("samples", 12), ("solver", "random"), ("horizon", 2), ("what", "toy")):
        assert "other settings" in tab._mark(given(page, **{"horizon": 3, key: value}), who)[tab.old]
        assert tab._mark(same, who)[tab.old] == ""
    page.session(who).plan.checkpoint = "of another"  # type: ignore[union-attr]
    assert "checkpoint before" in tab._mark(same, who)[tab.old]
    # What was changed while it was searched is told when it is there.
    search = (news for news in tab._plan(same, who) if news is not PAUSE)
    next(search)
    next(search)
    tab._mark(given(page, horizon=3, seed=5), who)
    *_, shown, _ = search
    assert "other settings" in shown[tab.old] and not warned


def test_a_controller_stays_for_other_frames_of_a_clip(page: PlanPage, small_clip: Path) -> None:
    tab, who = page.plan, ask("stays")
    tab._take_own(given(page) | {tab.own: str(small_clip)}, who)
    assert tab._change_frames(given(page, what="toy", first=2), who)[tab.settings.what].value == "toy"
    # Of a clip that is chosen next it does not.
    clip = next(key for _, key in tab.library.choices() if key.startswith("clip:"))
    assert tab._change_clip(given(page, what="toy", clip=clip), who)[tab.settings.what].value == LATENT


def test_a_place_of_the_clip_before_is_let_go(page: PlanPage, small_clip: Path, warned: list[str]) -> None:
    tab, who = page.plan, ask("shorter")
    tab._take_own(given(page) | {tab.own: str(small_clip)}, who)
    ends = page.session(who).plan.ends  # type: ignore[union-attr]
    far = tab.last.preprocess(500)
    assert tab.ends_view not in tab._change_frames(given(page, last=far), who)
    assert page.session(who).plan.ends is ends and not warned  # type: ignore[union-attr]
    assert tab.ends_view in tab._change_frames(given(page, last=3), who)


def test_a_search_on_the_page_leaves_its_buttons_as_they_were(
    page: PlanPage, small_clip: Path, warned: list[str]
) -> None:
    tab, who = page.plan, ask("search")
    tab._take_own(given(page) | {tab.own: str(small_clip)}, who)
    *_, shown, last = news_of(tab._plan(given(page), who))
    assert "<video" in shown[tab.plan_view] and "data-figure" in last[tab.energy.view] and not warned
    assert last[tab.go].interactive and not last[tab.stop].interactive
    # An error puts back what was there, and the buttons.
    *_, last = tab._plan(given(page, what="car"), who)
    assert len(warned) == 1 and last[tab.go].interactive and "<img" in last[tab.tries_view]


def test_only_a_simulators_task_is_carried_out(page: PlanPage, small_clip: Path, warned: list[str]) -> None:
    tab, who = page.plan, ask("run")
    tab._take_own(given(page) | {tab.own: str(small_clip)}, who)
    *_, last = tab.run._execute(given(page), who)
    assert "Only a simulator's task" in warned[0] and last[tab.run.go].interactive
    tab._change_source(given(page, source="simulator"), who)
    *_, last = tab.run._execute(given(page, source="simulator", what="toy"), who)
    assert len(warned) == 1 and "lam-plan-told" in last[tab.run.view]


def test_presets_are_the_budgets_of_the_chosen_solver(page: PlanPage) -> None:
    tab = page.plan
    assert tab.settings._choose_budget("cem", "paper") == [300, 15]
    assert tab.settings._choose_budget("gradient", "paper") == [12, 30]
    assert tab.settings._own_budget("cem", 300, 15) == "paper" and tab.settings._own_budget("cem", 301, 15) is None


# A visitor.


@pytest.fixture(scope="module")
def open_page(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    scratch = tmp_path_factory.mktemp("scratch")
    with chromiums() as launch, running(["tests/plan_page.py", "{port}", str(checkpoint)], scratch) as url:
        page = launch().new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(WAIT)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(url)
        page.get_by_role("tab", name="Plan").click()
        page.wait_for_selector("#lam-plan-ends img")
        yield page
        said = troubles(scratch)
        assert "Traceback" not in said, said
        assert not page.errors


def test_a_visitor_plans_between_frames_of_a_clip(open_page: Any, small_clip: Path) -> None:
    page = open_page
    page.locator("#lam-plan-own").locator("xpath=..").locator("input[type=file]").first.set_input_files(str(small_clip))
    page.wait_for_function("document.querySelector('#lam-plan-clip input').value.startsWith('yours')")
    page.get_by_label("quick").check()
    page.wait_for_function("document.querySelector('#lam-plan-samples input').value === '64'")
    page.click("#lam-plan-go")
    page.wait_for_selector("#lam-plan-tries img")
    page.wait_for_selector("#lam-plan-view video")
    page.wait_for_selector("#lam-plan-go:not([disabled])")
    # Both charts are Plotly's, and the first has a line over all iterations.
    page.wait_for_selector(
        "#lam-plan-energy [data-drawn] .js-plotly-plot, #lam-plan-energy [data-drawn] .plot-container"
    )
    points = page.evaluate(
        "document.querySelector('#lam-plan-costs .lam-plan-chart').data.find(d => d.name === 'best so far').y.length"
    )
    assert points == 4
    # A window that changes its width changes theirs, and not their height.
    page.set_viewport_size({"width": 900, "height": 1000})
    page.wait_for_timeout(500)
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.wait_for_timeout(500)
    tall = "document.querySelector('#lam-plan-energy .lam-plan-chart').clientHeight"
    assert page.evaluate(tall) == 360
    assert page.locator("#lam-plan-actions tbody tr").count() == 3
    # Another plan's landscape takes the place of this one's, and of the words between them.
    words = page.evaluate(
        """() => new Promise((done) => {
          const place = document.querySelector('#lam-plan-energy'), seen = [];
          new MutationObserver(() => {
            seen.push(place.innerText.includes('is computed'));
            if (seen.some((x) => x) && !seen.at(-1) && place.querySelector('[data-drawn]')) done(place.innerText);
          }).observe(place, { childList: true, subtree: true, attributes: true, characterData: true });
          document.querySelector('#lam-plan-go').click();
          setTimeout(() => done('timeout: ' + place.innerText), 60000);
        })"""
    )
    assert "timeout" not in words and "the plan" in words
    assert page.locator("#lam-plan-energy .lam-empty").count() == 0


def test_a_visitor_sees_a_simulator_carry_it_out_and_stops_a_search(open_page: Any) -> None:
    page = open_page
    page.get_by_label("of a simulator").check()
    page.wait_for_selector("#lam-plan-execute:visible")
    page.wait_for_function("document.querySelector('#lam-plan-what input').value.startsWith('toy')")
    page.click("#lam-plan-execute")
    page.wait_for_selector("#lam-plan-run-view video")
    page.wait_for_selector("#lam-plan-distance [data-drawn]")
    assert page.locator("#lam-plan-run-view .lam-plan-told").inner_text().split()[0] in ("Reached", "Not")

    page.locator("#lam-plan-samples input[type=number]").fill("512")
    page.locator("#lam-plan-iterations input[type=number]").fill("30")
    page.locator("#lam-plan-iterations input[type=number]").press("Enter")
    page.wait_for_selector("#lam-plan-go:not([disabled])")
    page.click("#lam-plan-go")
    page.wait_for_function("document.querySelector('#lam-plan-tries').innerText.includes('of 30')")
    page.click("#lam-plan-stop")
    page.wait_for_function("document.querySelector('#lam-plan-tries').innerText.includes('stopped after')")
