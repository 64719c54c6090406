"""What of a plan is kept and told: its truth in the simulator, its futures, its files, its link, how often it works."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import pytest
import torch
from conftest import TINY
from controller_files import add_controller
from pages import WAIT, chromiums, running, troubles
from plan_page import PlanPage, ToySimulators
from toy_simulator import TOY, Toy

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.engine.out_of_distribution import save_latents
from lamdemo.jobs.turns import PAUSE
from lamdemo.models.prior import FlowPrior, FlowPriorConfig, futures_name, save_prior
from lamdemo.planning.futures import follow_futures, futures_missing
from lamdemo.ui import links, measured
from lamdemo.ui.plan import shared, views
from lamdemo.ui.plan.carrying import execute, find_truth, weights_of
from lamdemo.ui.plan.ends import OWN, TASKS, Ends, Origin, between, of_task
from lamdemo.ui.plan.files import files_of, files_of_run
from lamdemo.ui.plan.records import LATENT, PLANS, Found, Order, Ran
from lamdemo.ui.plan.settings import SOLVERS, success_told, ways_told
from lamdemo.ui.plan.work import Searcher
from lamdemo.video import read_clip

SMALL = Order(what="toy", samples=12, iterations=2, horizon=2, seed=3)
CLIP = "clip:walk.mp4"


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> TransferPipeline:
    """A checkpoint with a sample of latents, a controller for the toy, and futures of its commands."""
    folder = tmp_path_factory.mktemp("kept") / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    channels = TINY.bottleneck.channels
    save_latents(folder, np.random.default_rng(0).normal(size=(64, channels)).astype(np.float32))
    add_controller(folder, "toy", TOY)
    add_controller(folder, "other", TOY)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = FlowPriorConfig(channels=channels, state_channels=TINY.encoder.channels, pooled=4, commands=4)
        prior = FlowPrior(sizes)
        prior.fit_scales(torch.randn(100, channels), torch.randn(100, 4))
    save_prior(prior, folder, name=futures_name("toy"))
    return TransferPipeline.from_pretrained(folder)


@pytest.fixture(scope="module")
def simulators() -> Iterator[ToySimulators]:
    toys = ToySimulators()
    yield toys
    toys.close()


@pytest.fixture(scope="module")
def task(simulators: ToySimulators) -> Ends:
    return of_task(simulators, "toy", TASKS + 1, 2)


def found_by(searcher: Searcher, folder: Path) -> Found:
    *_, found = searcher.search(folder, threading.Event())
    assert isinstance(found, Found)
    return found


# The truth.


@pytest.mark.parametrize("what", ["toy", LATENT])
def test_the_truth_of_a_plan_is_what_its_commands_do_in_the_simulator(
    pipeline: TransferPipeline, simulators: ToySimulators, task: Ends, tmp_path: Path, what: str
) -> None:
    searcher = Searcher(pipeline, dataclasses.replace(SMALL, what=what), task)
    found = found_by(searcher, tmp_path)
    truth = find_truth(searcher, found, simulators, tmp_path)
    assert truth is not None and task.task is not None
    if what == "toy":
        np.testing.assert_array_equal(truth.actions, found.actions)
    with Toy() as toy:
        seen = [task.task.begin(toy), *(toy.step(np.clip(a, TOY.low, TOY.high)) for a in truth.actions)]
        assert truth.distances == [toy.distance(o.truth, task.task.goal_truth) for o in seen]
    np.testing.assert_array_equal(truth.frames, [o.frame for o in seen])
    # Both are shown in step.
    assert len(read_clip(truth.video)) == len(read_clip(truth.beside)) == len(read_clip(found.video))
    shown = views.plan(dataclasses.replace(found, truth=truth))
    assert shown.count("<video") == 2 and "the same commands" in shown
    assert views.plan(found).count("<video") == 1


def test_where_nobody_knows_the_truth_there_is_none(
    pipeline: TransferPipeline, simulators: ToySimulators, task: Ends, tmp_path: Path
) -> None:
    recorded = dataclasses.replace(task, simulator="", task=None)
    searcher = Searcher(pipeline, SMALL, recorded)
    assert find_truth(searcher, found_by(searcher, tmp_path), simulators, tmp_path) is None


def test_what_is_carried_out_is_searched_with_the_cost_that_success_is_measured_with() -> None:
    from lamdemo.evaluation.control.planners import CLOSED

    known, latent = weights_of("toy"), weights_of(LATENT)
    assert known.along == latent.along == CLOSED.along and known.goal == 1 - CLOSED.along
    assert latent.prior > 0 == known.prior


def test_an_execution_shows_what_was_imagined_beside_what_was_seen(
    pipeline: TransferPipeline, simulators: ToySimulators, task: Ends, tmp_path: Path
) -> None:
    order = Order("toy", "random", 8, 1, 1)
    *_, ran = execute(Searcher(pipeline, order, task), simulators, 3, tmp_path, threading.Event())
    assert isinstance(ran, Ran)
    assert len(read_clip(ran.imagined)) == len(read_clip(ran.video)) == len(read_clip(ran.beside))
    assert views.ran(ran).count("<video") == 2
    files = files_of_run(ran, PLANS, order, task, pipeline, tmp_path)
    said = json.loads(files["json"].read_text())
    assert said["each_step_by"] == "a new plan"
    np.testing.assert_array_equal(np.float32(said["actions"]), ran.actions)
    assert said["in_simulator"]["distance_to_goal_by_step"] == ran.distances
    assert said["between"]["simulator"] == "toy" and said["between"]["first"] == 1


# Several futures.


def test_futures_of_a_plans_commands_differ_and_are_the_same_again(
    pipeline: TransferPipeline, task: Ends, tmp_path: Path
) -> None:
    searcher = Searcher(pipeline, dataclasses.replace(SMALL, futures=3), task)
    found = found_by(searcher, tmp_path)
    ways = list(searcher.futures(found))
    assert len(ways) == 3 and len({way.cost for way in ways}) == 3
    assert not np.array_equal(ways[0].frame, ways[1].frame)
    assert [way.cost for way in searcher.futures(found)] == [way.cost for way in ways]
    shown = views.futures(dataclasses.replace(found, futures=tuple(ways)))
    assert shown.count("<img") == 4 and "3 futures of these commands" in shown
    # What is shown as imagined is what the planner imagined: one of the futures, not the controller's own.
    way = pipeline.begin(task.start, history=0)
    np.testing.assert_array_equal(found.frames[1], way.step(found.latents[0]).frame)
    # Without them there is nothing to show.
    alone = found_by(Searcher(pipeline, SMALL, task), tmp_path)
    assert list(Searcher(pipeline, SMALL, task).futures(alone)) == [] and views.futures(alone) == ""


def test_a_future_goes_on_from_where_its_last_step_led(pipeline: TransferPipeline, task: Ends) -> None:
    known = pipeline.controller("toy")
    commands = np.array([[0.1, 0.0], [0.0, 0.1]], np.float32)
    first, second = follow_futures(pipeline, known, task.start, commands, 2, seed=5)
    way = pipeline.begin(task.start, history=0)
    for t, z in enumerate(second.latents):
        np.testing.assert_array_equal(way.step(z).frame, second.frames[t + 1])
        np.testing.assert_array_equal(way.state, second.states[t])
    assert not np.array_equal(first.latents, second.latents)


def test_what_draws_no_futures_says_why(pipeline: TransferPipeline) -> None:
    assert futures_missing(pipeline, "toy") == ""
    assert "draws no futures of other; train them" in futures_missing(pipeline, "other")
    assert "a controller's commands only" in futures_missing(pipeline, None)


# Files.


@pytest.mark.parametrize("what", ["toy", LATENT])
def test_a_plans_files_say_what_was_found(
    pipeline: TransferPipeline, simulators: ToySimulators, task: Ends, tmp_path: Path, what: str
) -> None:
    searcher = Searcher(pipeline, dataclasses.replace(SMALL, what=what), task)
    found = found_by(searcher, tmp_path)
    found = dataclasses.replace(found, truth=find_truth(searcher, found, simulators, tmp_path))
    files = files_of(found, pipeline, tmp_path)
    assert set(files) == {"json", "csv", "video", "beside"} and all(path.parent == tmp_path for path in files.values())
    said = json.loads(files["json"].read_text())
    assert said["format"] == "lamdemo-plan/1" and said["checkpoint"]["sha256"] == pipeline.checkpoint
    assert said["search"]["samples"] == 12 and said["cost"] == found.cost
    np.testing.assert_array_equal(np.float32(said["latents"]), found.latents)
    with files["csv"].open(newline="") as stream:
        heads, *rows = csv.reader(stream)
    wanted = found.latents if found.actions is None else found.actions
    np.testing.assert_array_equal(np.float32([row[2:] for row in rows]), wanted)
    assert [row[:2] for row in rows] == [["1", "0"], ["2", "0.25"]]
    assert heads[2] == ("z0" if what == LATENT else "dx [m]")


# Links.


def words(searcher: Searcher, found: Found) -> str:
    return shared.query(found, searcher.pipeline, ["tiny"])


def read(link: str) -> shared.Shared:
    return shared.read(link, clips=[CLIP], simulators=["toy"], solvers=SOLVERS, offered=["tiny"])


@pytest.mark.parametrize(("what", "futures"), [("toy", 0), ("toy", 2), (LATENT, 0)])
def test_a_link_shows_the_same_plan_again(
    pipeline: TransferPipeline, task: Ends, tmp_path: Path, what: str, futures: int
) -> None:
    order = dataclasses.replace(SMALL, what=what, solver="mppi", futures=futures)
    searcher = Searcher(pipeline, order, task)
    found = found_by(searcher, tmp_path)
    link = words(searcher, found)
    given = read(link)
    assert given.order == order and given.origin == task.origin == Origin(simulator="toy", first=1, last=2)
    assert given.checkpoint == "tiny" and pipeline.checkpoint.startswith(given.weights) and len(given.weights) == 12
    again = Searcher(pipeline, given.order, task).replay(given.commands, tmp_path)
    np.testing.assert_array_equal(again.frames, found.frames)
    assert again.cost == pytest.approx(found.cost) and again.idle_cost == pytest.approx(found.idle_cost)
    assert again.progress is None and views.NO_SEARCH in views.searched(again)
    assert words(searcher, again) == link


def test_what_is_a_visitors_own_is_no_part_of_a_link(pipeline: TransferPipeline, task: Ends, tmp_path: Path) -> None:
    searcher = Searcher(pipeline, SMALL, task)
    found = found_by(searcher, tmp_path)
    with pytest.raises(LamdemoError, match="cannot be shared as a link"):
        words(searcher, dataclasses.replace(found, ends=dataclasses.replace(task, origin=None)))
    with pytest.raises(LamdemoError, match="did not come with the page"):
        shared.query(found, pipeline, ["layers"])
    frames = np.zeros((5, 32, 32, 3), np.uint8)
    of = SimpleNamespace(key=CLIP, frames=frames, actions=None, spec=None)
    assert between(of, 0, 2).origin == Origin(footage=CLIP, first=1, last=3)  # type: ignore[arg-type]
    assert between(of, 0, 2, frames[0]).origin is None  # type: ignore[arg-type]
    of.key = OWN
    assert between(of, 0, 2).origin is None  # type: ignore[arg-type]


GOOD = {
    **{"plan": "task", "of": "toy", "first": "1", "last": "2", "checkpoint": "tiny-0123456789ab", "what": "toy"},
    **{"solver": "cem", "samples": "64", "iterations": "4", "horizon": "2", "seed": "0", "commands": "0.1,0~0,-0.05"},
}


def test_a_written_link_is_read() -> None:
    given = read(urlencode(GOOD, safe="~,"))
    np.testing.assert_array_equal(given.commands, np.float32([[0.1, 0], [0, -0.05]]))
    clip = read(urlencode(GOOD | {"plan": "frames", "of": CLIP, "what": LATENT, "futures": "3"}))
    assert clip.origin.footage == CLIP and clip.order.futures == 0  # of latent actions there are none


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"plan": "other"}, "holds no plan"),
        ({"of": "doom"}, "not installed here"),
        ({"plan": "frames", "of": "clip:../../etc/passwd"}, "not among those"),
        ({"plan": "frames", "of": OWN}, "not among those"),
        ({"first": "10000"}, "its first is no number"),
        ({"first": "-1"}, "its first is no number"),
        ({"last": "9"}, "its last is no number"),
        ({"checkpoint": "owner/model-0123"}, "did not come with this page"),
        ({"checkpoint": ""}, "did not come with this page"),
        ({"solver": "exec"}, "solver of this link"),
        ({"samples": "1e9"}, "its samples is no number"),
        ({"samples": "99999"}, "its samples is no number"),
        ({"iterations": "0"}, "its iterations is no number"),
        ({"horizon": "400"}, "its horizon is no number"),
        ({"seed": "٣٣"}, "its seed is no number"),
        ({"futures": "9"}, "its futures is no number"),
        ({"commands": ""}, "no table of numbers"),
        ({"commands": "0.1,0~0"}, "no table of numbers"),
        ({"commands": "nan,0"}, "no table of numbers"),
        ({"commands": "1e60,0"}, "no table of numbers"),
        ({"commands": ",".join(["0"] * 65)}, "no table of numbers"),
        ({"commands": "~".join(["0,0"] * 9)}, "more than 8 steps"),
        ({"commands": "0" * 7000}, "longer than any"),
    ],
)
def test_a_link_that_was_tampered_with_is_one_sentence(changed: dict[str, str], told: str) -> None:
    with pytest.raises(LamdemoError, match=told) as said:
        read(urlencode(GOOD | changed))
    assert str(said.value).count(". ") == 0 and "Traceback" not in str(said.value)


def test_commands_are_written_as_short_as_they_are_exact() -> None:
    rng = np.random.default_rng(0)
    commands = np.concatenate([rng.normal(size=(3, 4)), [[0.7, -0.05, 1e-7, 0]]]).astype(np.float32)
    text = links.commands_word(commands)
    assert text.endswith("0.7,-0.05,1e-07,0.0")
    said = {name: values[0] for name, values in parse_qs(urlencode({"commands": text})).items()}
    np.testing.assert_array_equal(links.commands_in(said, 4), commands)


# How often plans get there.


def test_success_is_told_only_of_the_weights_that_it_was_measured_with(
    pipeline: TransferPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "shipped", lambda name: tmp_path / name)
    assert "stands in no report" in success_told(pipeline, "toy", SMALL)
    share = {"value": 0.38, "low": 0.24, "high": 0.52}
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    budget = {"solver": "cem", "samples": 64, "iterations": 4}
    section = {
        **{"tasks": 50, "steps": 8, "success": {"controller": share, "random": none | {"high": 0.06}, "zero": none}},
        "made_from": {"budget": budget | {"horizon": 3}},
    }

    def write(**more: Any) -> None:
        said = {"checkpoint": {"sha256": pipeline.checkpoint}, "results": {"closedloop": {"toy": section}}} | more
        path = tmp_path / "reports" / "tiny" / "control.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said))
        measured._read.cache_clear()

    write()
    told = success_told(pipeline, "toy", Order("toy", **budget, horizon=3))
    assert "reach 38 % (24 to 52) of 50 goals; random commands 0 % (0 to 6) and doing nothing 0 %." in told
    assert told.endswith("That is this budget.")
    assert "this budget was not measured" in success_told(pipeline, "toy", SMALL)
    # Latent plans were not measured there, nor another simulator.
    assert "no report" in success_told(pipeline, "toy", Order(LATENT)) and "no report" in success_told(
        pipeline, "moon", SMALL
    )
    for odd in ({"checkpoint": {"sha256": "another"}}, {"results": []}, {"results": {"closedloop": {"toy": "good"}}}):
        write(**odd)
        assert "stands in no report" in success_told(pipeline, "toy", SMALL)


def test_each_way_of_choosing_commands_is_told_beside_the_others(
    pipeline: TransferPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "shipped", lambda name: tmp_path / name)
    assert ways_told(pipeline, "toy") == ""
    ends = {"low": 0.2, "high": 1.0}
    rates = {"controller": 0.4, "closing": 0.9, "random": 0.25}
    success = {name: {"value": rate, **ends} for name, rate in rates.items()}
    path = tmp_path / "reports" / "tiny" / "acting-toy.json"
    path.parent.mkdir(parents=True)
    for results, words in (
        ({"success": success}, "a new plan 40 % (20 to 100); a new plan, near the goal inverse dynamics 90 %"),
        ({"success": {"controller": "good"}}, ""),
        ({"success": {"controller": {"value": "x", **ends}}}, ""),
        ({}, ""),
    ):
        path.write_text(json.dumps({"checkpoint": {"sha256": pipeline.checkpoint}, "results": results}))
        measured._read.cache_clear()
        assert words in ways_told(pipeline, "toy") and bool(words) == bool(ways_told(pipeline, "toy"))
    assert ways_told(pipeline, "moon") == ""


def test_the_report_of_the_bundled_checkpoint_is_found() -> None:
    pipeline = TransferPipeline.from_pretrained("noisy")
    known = measured.success_of(pipeline, "fetch", latent=False)
    report = json.loads((Path(__file__).parents[1] / "reports/noisy/control.json").read_text())
    section = report["results"]["closedloop"]["fetch"]
    assert known is not None and known.plans.value == section["success"]["controller"]["value"]
    assert known.tasks == section["tasks"] and known.random is not None and known.nothing is not None


# What the handlers do.


@pytest.fixture(scope="module")
def page(pipeline: TransferPipeline) -> Iterator[PlanPage]:
    page = PlanPage(pipeline)
    yield page
    page.plan.simulators.close()


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr("lamdemo.ui.notices.say", lambda sentence, **_: said.append(sentence))
    return said


def given(page: PlanPage, **more: Any) -> dict[Any, Any]:
    tab, search = page.plan, page.plan.settings
    data = {
        **{tab.source: "simulator", tab.clip: None, tab.first: 1, tab.last: 4, tab.simulator: "toy", tab.task: 1},
        **{search.what: "toy", search.solver: "cem", search.samples: 8, search.iterations: 2, search.futures: 0},
        **{search.horizon: 2, search.seed: 0, tab.task_steps: 2, tab.run.steps: 2, page.name: "tiny", page.hub: ""},
    }
    return data | {getattr(search if hasattr(search, key) else tab, key): value for key, value in more.items()}


def ask(name: str) -> Any:
    return SimpleNamespace(session_hash=name)


def test_futures_are_offered_where_there_are_some(page: PlanPage) -> None:
    tab, who = page.plan, ask("offered")
    tab._change_source(given(page), who)
    search = tab.settings
    assert tab._mark(given(page), who)[search.futures].visible
    for what, why in (("other", "draws no futures of other"), (LATENT, "commands only")):
        shown = tab._mark(given(page, what=what, futures=4), who)
        assert not shown[search.futures].visible and why in shown[search.told]
        # The slider that is hidden keeps its number, which no longer counts.
        assert page.session(who).plan.wanted.futures == 0  # type: ignore[union-attr]
    assert "stands in no report" in shown[search.told]


def test_a_plan_on_the_page_has_files_futures_and_a_link_that_shows_it_to_others(
    page: PlanPage, warned: list[str]
) -> None:
    tab, who = page.plan, ask("sharer")
    asked = given(page, futures=2)
    tab._change_source(asked, who)
    news = [n for n in tab._plan(asked, who) if n is not PAUSE]
    shown, later = (n for n in news if tab.plan_view in n)
    # Futures come after the plan, which need not wait for them.
    assert "2 futures" not in shown[tab.plan_view] and "2 futures" in later[tab.plan_view] and not warned
    root = page.session(who).folder
    for button in tab.files.buttons.values():
        assert button in shown and shown[button].interactive
    assert sorted(p.name for p in root.glob("plan-*/*")) == [
        *("plan-beside.mp4", "plan.csv", "plan.json", "plan.mp4", "true.mp4"),
    ]
    link = tab.link._share(who).value
    # Somebody else opens it: another task and the latent space stand in the controls there.
    other, arrival = ask("opener"), tab.arrival
    here = given(page, source="clip", what=LATENT, task=7) | {arrival.linked: link}
    put = arrival._open(here, other)
    assert put[tab.source] == "simulator" and put[tab.task] == 1 and put[tab.settings.what].value == "toy"
    assert put[tab.settings.futures].value == 2 and put[tab.settings.samples] == 8
    last: dict[Any, Any] = {}
    for one in arrival._replay(here, other):
        last |= {} if one is PAUSE else one
    mine, theirs = (page.session(each).plan.found for each in (who, other))  # type: ignore[union-attr]
    np.testing.assert_array_equal(mine.frames, theirs.frames)  # type: ignore[union-attr]
    assert [f.cost for f in mine.futures] == [f.cost for f in theirs.futures]  # type: ignore[union-attr]
    assert last[tab.old] == "" and "data-figure" in last[tab.energy.view] and not warned
    assert tab.link._share(other).value == link


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"commands": "0.1,9"}, "go beyond what toy takes"),
        ({"commands": "0.1"}, "The commands of this link"),
        ({"what": "boat"}, "no controller 'boat'"),
        ({"what": "other", "futures": "2"}, "draws no futures of other"),
        ({"last": "0"}, "its last is no number"),
    ],
)
def test_a_link_that_does_not_fit_shows_what_would_be_there_without_it(
    page: PlanPage, warned: list[str], changed: dict[str, str], told: str
) -> None:
    tab, who = page.plan, ask(f"odd {changed}")
    shown = tab.arrival._open(given(page) | {tab.arrival.linked: urlencode(GOOD | changed)}, who)
    assert len(warned) == 1 and told in warned[0] and tab.ends_view in shown
    assert page.session(who).plan.linked is None  # type: ignore[union-attr]


def test_a_latent_plan_of_another_width_is_one_sentence(page: PlanPage, warned: list[str]) -> None:
    tab, who = page.plan, ask("wide")
    data = given(page) | {tab.arrival.linked: urlencode(GOOD | {"what": LATENT, "commands": "0.1,0,3"})}
    tab.arrival._open(data, who)
    *_, last = tab.arrival._replay(data, who)
    assert len(warned) == 1 and "numbers a step" in warned[0] and last[tab.go].interactive


def test_without_a_plan_there_is_nothing_to_share(page: PlanPage, warned: list[str]) -> None:
    page.plan.link._share(ask("nobody"))
    assert warned == ["There is no plan to share yet; press Plan first."]


# A visitor.


def test_a_visitor_opens_a_link_and_takes_the_plan_along(pipeline: TransferPipeline, tmp_path: Path) -> None:
    query = urlencode(GOOD, safe="~,")
    with (
        chromiums() as launch,
        running(["tests/plan_page.py", "{port}", str(pipeline.folder)], tmp_path) as url,
    ):
        page = launch().new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(WAIT)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}?{query}")
        page.get_by_role("tab", name="Plan").click()
        page.wait_for_selector("#lam-plan-view video")
        assert page.url == url  # a reload does not come back to the link
        assert page.locator("#lam-plan-view video").count() == 2
        assert page.locator("#lam-plan-task input").input_value() == "1"
        assert page.locator("#lam-plan-actions tbody tr").count() == 2
        with page.expect_download() as download:
            page.click("#lam-plan-get-csv")
        rows = Path(download.value.path()).read_text().splitlines()
        assert rows[1].startswith("1,0,0.1,0.0")
        # The futures of the toy's commands are offered, and its success was not measured.
        assert page.locator("#lam-plan-futures").is_visible()
        assert "stands in no report" in page.locator("#lam-plan-known").inner_text()
        page.click("#lam-plan-link")
        page.wait_for_function("document.querySelector('#lam-plan-link-text textarea')?.value.startsWith('http')")
        link = page.locator("#lam-plan-link-text textarea").input_value()
        assert read(link.partition("?")[2]).order == read(query).order
        said = troubles(tmp_path)
        assert "Traceback" not in said, said
        assert not errors
