"""The tab Drive: commands become steps, keys and stick become commands, and all of it can be taken back."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest
import torch
import toy_simulator
from controller_files import CAR, add_controller
from pages import WAIT, chromiums, served, troubles
from toy_simulator import TOY, Toy

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.engine.controls import find_controller
from lamdemo.latent_space.composition import Composition
from lamdemo.models import load_checkpoint, save_checkpoint
from lamdemo.models.prior import FlowPrior, FlowPriorConfig, futures_name, save_prior
from lamdemo.simulators.pool import SimulatorPool
from lamdemo.ui.drive import views, work
from lamdemo.ui.drive.futures import FUTURES
from lamdemo.ui.drive.tab import DriveTab
from lamdemo.ui.drive.work import DriveSession, Reel, Scene, Start, data_url
from lamdemo.ui.models import Models
from lamdemo.ui.sessions import Sessions
from lamdemo.video import read_clip, read_image

DOOM = ActionSpec(
    "doom",
    (
        Channel("turn", "change", -15, 15, "degrees", ("left", "right"), -1),
        Channel("forward", "change", -32, 64, "map units", ("back", "forward"), 1),
    ),
)
HAS_DOOM = importlib.util.find_spec("vizdoom") is not None


@pytest.fixture(scope="module")
def folder(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that can drive a car and the toy simulator's dot."""
    place = tmp_path_factory.mktemp("driven") / "tiny"
    shutil.copytree(tiny_checkpoint, place)
    add_controller(place, "car", CAR)
    add_controller(place, "toy", TOY)
    return place


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(folder)


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorPool]:
    toy_simulator.install(monkeypatch)
    made = SimulatorPool()
    yield made
    made.close()


def begun(
    pipeline: TransferPipeline, folder: Path, name: str = "car", photo: Path | None = None, scene: Scene | None = None
) -> DriveSession:
    """A drive on a photograph, or in a scene."""
    driving = DriveSession()
    target = scene.start.frame if scene is not None else read_image(photo)
    folder.mkdir(parents=True, exist_ok=True)
    driving.begin(pipeline, pipeline.controller(name), Start("own", "mine"), target, folder, scene)
    return driving


# A drive.


def counted(module: Any) -> list[None]:
    """Grows with each time a module's `latents` is called."""
    calls: list[None] = []
    original = module.latents

    def latents(*given: Any) -> Any:
        calls.append(None)
        return original(*given)

    module.latents = latents
    return calls


def test_steps_are_those_of_the_pipeline_and_undo_takes_back_every_bit(
    pipeline: TransferPipeline, photo: Path, tmp_path: Path
) -> None:
    driving = begun(pipeline, tmp_path, photo=photo)
    # With a controller of its own: a checkpoint's is read once, and that one's runs are counted here.
    plain = pipeline.drive(read_image(photo), find_controller(pipeline, pipeline.folder, "car"))
    first = driving.newest()
    seen = [first]
    asked = counted(driving.drive.controller.controller)
    for action in ([1, 0.5], [0, 1], [-1, -1]):
        jpegs = driving.step(np.array(action))
        assert jpegs[-1] == driving.newest() and len(jpegs) == 3
        # Beside a row without action, matrix products may round in another order on some processors.
        alone = plain.step(np.array(action)).frame
        assert np.abs(driving.drive.frame.astype(int) - alone).max() <= 1
        seen.append(jpegs[-1])
    assert len(set(seen)) == 4 and len(asked) == 3  # the controller runs once a step
    again = driving.latents[-1].copy()
    assert driving.undo() and driving.newest() == seen[2] and len(driving.latents) == 2
    assert driving.step(np.array([-1, -1]))[-1] == seen[3]
    np.testing.assert_array_equal(driving.latents[-1], again)
    driving.reset()
    assert driving.newest() == first and driving.latents == [] and not driving.undo()
    assert len(list(tmp_path.iterdir())) == 2  # nothing of the way is left but the start and what stands beside it


def test_no_action_stands_beside_a_photograph(pipeline: TransferPipeline, photo: Path, tmp_path: Path) -> None:
    driving = begun(pipeline, tmp_path, photo=photo)
    beside = [driving.reel.beside]
    for action in ([1, 1], [-1, 1]):
        driving.step(np.array(action))
        beside.append(driving.reel.beside)
    rollout = pipeline.begin(read_image(photo))
    for jpeg in beside[1:]:
        shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        idle = rollout.step(np.zeros(16)).frame.astype(float)
        # Two rollouts side by side are rounded otherwise than one, and the JPEG loses a little.
        assert np.abs(shown - idle).mean() < 3 < np.abs(driving.drive.frame - idle).mean()
    driving.undo()
    assert driving.reel.beside == beside[1]


def test_the_truth_goes_along_and_comes_back(
    pipeline: TransferPipeline, worlds: SimulatorPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driving = begun(pipeline, tmp_path, "toy", scene=Scene.open(worlds, "toy", 3))
    start = driving.scene.now.truth["position"].copy()
    action = np.array([0.1, -0.05], np.float32)
    driving.step(action)
    after = driving.scene.now
    np.testing.assert_allclose(after.truth["position"], start + action, atol=1e-6)
    assert driving.reel.beside == work.encoded(after.frame)
    assert driving.likeness.moved["metres"] == pytest.approx(np.hypot(0.1, 0.05), abs=1e-5)
    still = np.abs(after.frame.astype(float) - driving.first).mean()
    assert driving.likeness.still == pytest.approx(still, abs=1e-4) and still > 0
    driving.step(action)
    driving.undo()
    np.testing.assert_array_equal(driving.scene.now.frame, after.frame)
    # What goes wrong in the simulator leaves both where they were.
    here = driving.newest()

    def broken(*_: object) -> None:
        raise RuntimeError("engine")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="engine"):
        patch.setattr(Toy, "step", broken)
        driving.step(action)
    assert driving.newest() == here and driving.drive.count == 1 == len(driving.reel)
    driving.reset()
    np.testing.assert_array_equal(driving.scene.now.truth["position"], start)
    assert driving.likeness.off == 0 == driving.likeness.still


def test_scenes_of_two_visitors_take_turns_in_one_engine(worlds: SimulatorPool) -> None:
    alone = Scene.open(worlds, "toy", 1)
    ways = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 5, 2))
    expected = [alone.step(a).frame for a in ways[0]]
    one, other = Scene.open(worlds, "toy", 1), Scene.open(worlds, "toy", 2)
    for k in range(5):
        np.testing.assert_array_equal(one.step(ways[0][k]).frame, expected[k])
        other.step(ways[1][k])
    one.back_to(2)
    np.testing.assert_array_equal(one.now.frame, expected[1])
    np.testing.assert_array_equal(one.step(ways[0][2]).frame, expected[2])
    assert len(worlds._engines) == 1


def test_what_fails_in_a_simulator_is_the_callers(worlds: SimulatorPool, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LamdemoError, match="no simulator 'moon'"):
        Scene.open(worlds, "moon", 0)
    with pytest.raises(LamdemoError, match="seed"):
        Scene.open(worlds, "toy", -1)
    assert worlds.missing("toy") == "" and worlds.missing("moon") is None
    assert Scene.open(worlds, "toy", 0).now.frame.shape == (192, 192, 3)  # it still works


def test_a_drive_has_an_end(
    pipeline: TransferPipeline, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "MOST_STEPS", 2)
    driving = begun(pipeline, tmp_path, photo=photo)
    for _ in range(2):
        driving.step(np.zeros(2))
    with pytest.raises(LamdemoError, match="at most"):
        driving.step(np.zeros(2))
    assert driving.drive.count == 2


def test_what_a_long_drive_holds_is_bounded(
    pipeline: TransferPipeline, worlds: SimulatorPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "MOST_UNDONE", 3)
    driving = begun(pipeline, tmp_path, "toy", scene=Scene.open(worlds, "toy", 3))
    start, seen = driving.scene.start.frame, []
    for _ in range(14):
        driving.step(np.array([0.02, -0.01], np.float32))
        seen.append(driving.scene.now.frame)
    kept = [n for n, moment in enumerate(driving.scene._moments) if moment is not None]
    assert kept == [0, 11, 12, 13, 14]
    assert len(driving.drive.rollout._done) <= 3 + 8 and all(z.base is None for z in driving.latents)
    assert [driving.undo() for _ in range(4)] == [True, True, True, False]
    np.testing.assert_array_equal(driving.scene.now.frame, seen[10])
    assert driving.drive.count == 11 == len(driving.reel)
    driving.step(np.zeros(2, np.float32))
    driving.reset()
    np.testing.assert_array_equal(driving.scene.now.frame, start)


def test_nothing_is_driven_before_a_picture_is_chosen(tmp_path: Path) -> None:
    for act in (lambda d: d.step(np.zeros(2)), DriveSession.undo, DriveSession.reset, DriveSession.newest):
        with pytest.raises(LamdemoError, match="choose a picture"):
            act(DriveSession())


def test_files_of_a_drive(pipeline: TransferPipeline, photo: Path, tmp_path: Path) -> None:
    driving = begun(pipeline, tmp_path / "reel", photo=photo)
    for save in (driving.film, driving.save):
        with pytest.raises(LamdemoError, match="Nothing was driven"):
            save(tmp_path / "x.mp4", 4.0)
    actions = np.array([[1, 0.5], [0, -1], [0.25, 0.25]], np.float32)
    for action in actions:
        driving.step(action)
    clip = read_clip(driving.film(tmp_path / "drive.mp4", 4.0))
    assert len(clip.frames) == 1 + 3 * 3 and clip.fps == pytest.approx(12)
    assert clip.frames.shape[2] > 2 * 80  # both pictures, side by side
    file = driving.save(tmp_path / "drive.npz", 4.0)
    with np.load(file) as data:
        np.testing.assert_array_equal(data["actions"], actions)
        assert list(data["channels"]) == ["steering", "throttle"] and str(data["controller"]) == "car"
    # Its latent actions are those that were carried out, and the timeline takes them.
    latents = LatentActions.load(file)
    done = pipeline.transfer(latents, read_image(photo))
    np.testing.assert_array_equal(done.frames[-1], driving.drive.frame)
    assert len(Composition.load(file)) == 3


def test_a_reel_whose_files_are_gone_is_a_sentence(photo: Path, tmp_path: Path) -> None:
    picture = read_image(photo)
    reel = Reel(tmp_path, picture, picture)
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(LamdemoError, match="gone"):
        _ = reel.last
    with pytest.raises(LamdemoError, match="gone"):
        reel.write(tmp_path / "x.mp4", ("a", "b"), 4.0)


# What is on the page.


def keys_of(spec: ActionSpec) -> dict[str, tuple[str, int, str]]:
    return {k["key"]: (spec.channels[k["channel"]].name, k["sign"], k["word"]) for k in views._steered(spec)}


def test_arrows_do_what_their_words_say() -> None:
    car = keys_of(CAR)
    assert car["ArrowLeft"] == ("steering", -1, "left") and car["ArrowUp"] == ("throttle", 1, "forward")
    arm = ActionSpec(
        "arm",
        (
            Channel("dx", "change", -1, 1, "m", ("back", "forward")),
            Channel("dy", "change", -1, 1, "m", ("right", "left")),
            Channel("dz", "change", -1, 1, "m", ("down", "up")),
            Channel("droll", "change", -1, 1),
        ),
    )
    keys = keys_of(arm)
    assert keys["ArrowLeft"] == ("dy", 1, "left") and keys["ArrowRight"] == ("dy", -1, "right")
    assert keys["ArrowUp"] == ("dx", 1, "forward") and keys["ArrowDown"] == ("dx", -1, "back")
    assert keys["q"] == ("dz", -1, "down") and keys["d"] == ("droll", 1, "droll +")
    toy = keys_of(TOY)  # where "up" is the lower side
    assert toy["ArrowUp"] == ("dy", -1, "up") and toy["ArrowDown"] == ("dy", 1, "down")
    away = replace(DOOM.channels[1], words=("away from you", "towards you"))
    assert keys_of(ActionSpec("x", (away, DOOM.channels[0])))["ArrowUp"] == ("forward", -1, "away from you")
    # No key does two things, and none of them is taken by undo, reset or hold.
    many = ActionSpec("many", tuple(Channel(f"c{i}", "rate", -1, 1) for i in range(14)))
    taken = list(keys_of(many))
    assert len(taken) == len({k["key"] for k in views._steered(many)}) and not set(taken) & set("urh ")
    assert keys_of(ActionSpec("one", CAR.channels[:1])).keys() == {"ArrowLeft", "ArrowRight"}


def test_commands_are_told_in_words() -> None:
    assert views.spoken(np.array([-0.7, 0.5]), CAR) == "left 0.7, forward 0.5"
    assert views.spoken(np.zeros(2), CAR) == "nothing"
    assert views.spoken(np.array([10, -32]), DOOM) == "right 10 degrees, back 32 map units"


def test_what_is_known_of_a_controller(pipeline: TransferPipeline) -> None:
    known = pipeline.controller("car")
    assert "was not measured" in views.known_well(known) and "model cars" in views.known_well(known)
    figures = {"validation": {"r2": 0.613, "steps": 1200}}
    told = views.known_well(replace(known, about={"figures": figures}))
    assert "61 %" in told and "1200 steps" in told
    for odd in (None, 3, {"validation": "good"}, {"validation": {"r2": "high"}}, {"validation": {"r2": float("nan")}}):
        assert "was not measured" in views.known_well(replace(known, about={"figures": odd}))


# Handlers, as Gradio calls them.


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sentences: list[str] = []
    monkeypatch.setattr("lamdemo.ui.notices.say", lambda sentence, **_: sentences.append(sentence))
    return sentences


@pytest.fixture
def tab(pipeline: TransferPipeline, worlds: SimulatorPool, photo: Path, tmp_path: Path) -> DriveTab:
    """A tab with one photograph, on a page that is never shown."""
    examples = tmp_path / "examples"
    (examples / "photos").mkdir(parents=True)
    shutil.copy(photo, examples / "photos" / "palace_square.jpg")
    sessions, models = Sessions(), Models.of(pipeline)
    page = SimpleNamespace(
        sessions=sessions,
        session=lambda request: sessions.get(request.session_hash),
        pipeline=lambda name, hub: models.get(hub or name),
    )
    return DriveTab(page, examples, worlds)


REQUEST: Any = SimpleNamespace(session_hash="visitor")


def event(**data: Any) -> Any:
    return SimpleNamespace(_data=data)


def test_opening_the_tab_begins_a_drive_and_coming_back_keeps_it(tab: DriveTab, said: list[str]) -> None:
    assert all(u.get("__type__") == "update" for u in tab._follow(None, None, None, REQUEST))
    assert not tab.driving(REQUEST)[1].opened  # who never opens the tab needs no drive
    name, told, console, scenes, _, _, view, picks, moment = tab._open(None, None, None, REQUEST)
    assert name.value == "car" and [c[1] for c in name.choices] == ["car", "toy"]
    assert "model cars" in told and 'data-press="ArrowUp"' in console and not scenes.visible and not moment.visible
    assert 'data-count="0"' in view and "No action" in view and picks.count("data-pick=") == 1
    answer = tab._order(event(act="step", n=1, action=[0.5, 1]), REQUEST)
    assert 'data-ack="1"' in answer and 'data-count="1"' in answer and "right 0.5, forward 1" in answer
    assert 'data-count="1"' in tab._open("car", None, None, REQUEST)[6]
    assert said == []


def test_a_controller_with_a_simulator_drives_in_its_scene(tab: DriveTab, said: list[str]) -> None:
    *_, view, _, _ = tab._choose("toy", None, None, REQUEST)
    assert "In truth" in view and "seed 10000" in view
    view = tab._order(event(act="step", n=1, action=[0.1, 0]), REQUEST)
    assert "0.10 metres from its start" in view and "sideways" not in view
    *_, seed = tab._open_next(10_000, "toy", None, None, REQUEST)
    assert seed == 10_001 and tab.driving(REQUEST)[1].scene.seed == 10_001
    # Chosen anew it is in its first scene, and the field says so.
    tab._choose("car", None, None, REQUEST)
    assert tab._choose("toy", None, None, REQUEST)[5] == 10_000
    # On a photograph the same controller has no truth; a car has no simulator.
    view, picks, _ = tab._pick("toy", None, None, event(pick="0"), REQUEST)
    assert "No action" in view and 'aria-pressed="true"' in picks
    assert said == []
    assert len(tab._open_scene(5, "car", None, None, REQUEST)) == 4
    assert said == ["There is no simulator 'car'; there are doom and fetch and toy."]
    assert tab.driving(REQUEST)[1].scene is None  # the drive before goes on


@pytest.mark.parametrize(
    ("action", "words"),
    [([1, 2, 3], "3 numbers"), ([1, float("nan")], "no number"), ("left", "no table"), (None, "number")],
)
def test_odd_commands_are_a_sentence_and_are_answered(tab: DriveTab, said: list[str], action: Any, words: str) -> None:
    tab._open("car", None, None, REQUEST)
    answer = tab._order(event(act="step", n=7, action=action), REQUEST)
    assert 'data-ack="7"' in answer and 'data-count="0"' in answer and "data-frames" in answer
    assert len(said) == 1 and words in said[0]


def test_commands_out_of_range_are_brought_into_it(tab: DriveTab, said: list[str]) -> None:
    tab._open("car", None, None, REQUEST)
    tab._order(event(act="step", n=1, action=[9, -9]), REQUEST)
    np.testing.assert_array_equal(tab.driving(REQUEST)[1].drive.actions, [[1, -1]])


def test_an_order_without_a_drive_is_answered(tab: DriveTab, said: list[str]) -> None:
    for act in ("step", "undo", "reset", "nonsense"):
        assert 'data-ack="2"' in tab._order(event(act=act, n=2, action=[0, 0]), REQUEST)
    assert set(said) == {"There is no drive yet; choose a picture below."}


def test_several_futures_of_the_last_command(
    tab: DriveTab, pipeline: TransferPipeline, said: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn() -> str:
        return "".join(v for v in tab.futures._draw(None, None, REQUEST) if isinstance(v, str))

    assert drawn() == "" and said.pop() == "There is no command yet; drive a step first."
    tab._open("car", None, None, REQUEST)
    tab._order(event(act="step", n=1, action=[0.5, 1]), REQUEST)
    assert drawn() == "" and "draws no futures of car" in said.pop()
    config = pipeline.model.config
    sizes = FlowPriorConfig(
        channels=config.bottleneck.channels, state_channels=config.encoder.channels, pooled=4, commands=4
    )
    prior = FlowPrior(sizes)
    prior.fit_scales(torch.randn(100, sizes.channels), torch.randn(100, 4))
    save_prior(prior, folder, name=futures_name("car"))
    try:
        before = tab.driving(REQUEST)[1].newest()
        view = drawn()
        assert view.count("<img") == FUTURES and "right 0.5, forward 1" in view and said == []
        pictures = set(re.findall(r'src="([^"]+)"', view))
        assert len(pictures) == FUTURES  # one command, several futures
        assert drawn() == view  # the same whenever they are asked for
        assert tab.driving(REQUEST)[1].newest() == before  # the drive stays where it is
    finally:
        for ending in ("json", "safetensors"):
            (folder / f"{futures_name('car')}.{ending}").unlink()


# Links.


@pytest.fixture
def shared_tab(tab: DriveTab) -> DriveTab:
    """The same on a page whose checkpoint everybody has."""
    tab.page.models = SimpleNamespace(default="tiny")
    return tab


@pytest.mark.parametrize("name", ["car", "toy"])
def test_a_link_drives_the_same_again(shared_tab: DriveTab, said: list[str], name: str) -> None:
    tab, other = shared_tab, SimpleNamespace(session_hash="other")
    tab._choose(name, None, None, REQUEST)
    if name == "toy":
        tab._open_next(10_000, "toy", None, None, REQUEST)
    for k, action in enumerate(([0.1, 0.05], [0, 0.1], [-0.1, 0])):
        tab._order(event(act="step", n=k, action=action), REQUEST)
    tab._order(event(act="undo", n=4), REQUEST)
    link = tab.sharing._share(None, None, REQUEST).value
    assert ("drive=scene&seed=10001" if name == "toy" else "drive=photo:palace_square") in link
    assert "commands=0.1,0.05~0.0,0.1" in link
    shown = tab.sharing._open(link, "car", None, None, other)
    assert shown[0].value == name and shown[-2:] == ["tiny", ""] and 'data-count="0"' in shown[6]
    views_of = [v for v in tab.sharing._drive_again(other) if isinstance(v, str)]
    assert len(views_of) == 2 and 'data-count="2"' in views_of[-1] and said == []
    mine, theirs = (tab.driving(each)[1] for each in (REQUEST, other))
    np.testing.assert_array_equal(mine.drive.frame, theirs.drive.frame)
    if name == "toy":
        np.testing.assert_array_equal(mine.scene.now.frame, theirs.scene.now.frame)
    # It is driven once, and coming back keeps it.
    assert [v for v in tab.sharing._drive_again(other) if isinstance(v, str)] == []
    assert 'data-count="2"' in tab.sharing._open("", name, None, None, other)[6]
    assert tab.sharing._share(None, None, other).value == link


def test_who_takes_over_ends_what_a_link_drives(shared_tab: DriveTab, said: list[str]) -> None:
    tab = shared_tab
    link = "drive=photo:palace_square&controller=car&checkpoint=tiny-0&commands=1,0~1,0~1,0"
    tab.sharing._open(link, None, None, None, REQUEST)
    again = tab.sharing._drive_again(REQUEST)
    next(again), next(again)
    tab._order(event(act="step", n=1, action=[-1, 1]), REQUEST)
    assert list(again) == [] and said == []
    np.testing.assert_array_equal(tab.driving(REQUEST)[1].drive.actions, [[1, 0], [-1, 1]])


def test_what_cannot_be_shared_is_one_sentence(shared_tab: DriveTab, said: list[str], photo: Path) -> None:
    tab = shared_tab
    tab._open("car", None, None, REQUEST)
    tab.sharing._share(None, None, REQUEST)
    assert said.pop() == "Nothing was driven yet; press an arrow first."
    tab._take_own(str(photo), "car", None, None, REQUEST)
    tab._order(event(act="step", n=1, action=[1, 1]), REQUEST)
    tab.sharing._share(None, None, REQUEST)
    assert "picture of your own" in said.pop()
    tab._pick("car", None, None, event(pick="0"), REQUEST)
    tab._order(event(act="step", n=1, action=[1, 1]), REQUEST)
    tab.page.models.default = "another"
    tab.sharing._share(None, None, REQUEST)
    assert "did not come with the page" in said.pop()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"drive": "own:secret"}, "not among those"),
        ({"drive": "photo:../photos/palace_square"}, "not among those"),
        ({"drive": "scene", "controller": "toy", "seed": "-1"}, "its seed is no number"),
        ({"drive": "scene", "commands": "0.1,0"}, "no simulator 'car'"),
        ({"moment": "nan"}, "its moment"),
        ({"moment": "-3"}, "its moment"),
        ({"controller": "boat"}, "no controller 'boat'"),
        ({"checkpoint": "owner/name-0"}, "did not come with this page"),
        ({"commands": "2,0"}, "go beyond what car takes"),
        ({"commands": "1"}, "The commands of this link"),
        ({"commands": "1,inf"}, "no table of numbers"),
        ({"commands": "~".join(["1,0"] * 241)}, "more than 240 steps"),
    ],
)
def test_a_link_that_was_tampered_with_is_one_sentence(
    shared_tab: DriveTab, said: list[str], changed: dict[str, str], told: str
) -> None:
    good = {"drive": "photo:palace_square", "seed": "3", "controller": "car", "checkpoint": "tiny-0", "commands": "1,0"}
    shown = shared_tab.sharing._open(urlencode(good | changed), "car", None, None, REQUEST)
    assert len(said) == 1 and told in said[0] and len(shown) == 11
    assert 'data-count="0"' in shown[6]  # what would be there without it
    assert shared_tab.driving(REQUEST)[1].linked is None


def test_a_picture_that_cannot_be_read_leaves_the_drive(tab: DriveTab, said: list[str], tmp_path: Path) -> None:
    tab._open("car", None, None, REQUEST)
    tab._order(event(act="step", n=1, action=[1, 1]), REQUEST)
    (tmp_path / "odd.png").write_bytes(b"no picture")
    tab._take_own(str(tmp_path / "odd.png"), "car", None, None, REQUEST)
    assert len(said) == 1 and "odd.png" in said[0]
    assert 'data-count="1"' in tab._open("car", None, None, REQUEST)[6]
    tab._pick("car", None, None, event(pick="99"), REQUEST)
    assert len(said) == 1


def test_a_controller_begins_in_its_own_picture_and_keeps_the_visitors(
    tab: DriveTab, said: list[str], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cup = shutil.copy(photo, tmp_path / "coffee_cup.jpg")
    tab.starts.append(Start("photo", "coffee cup", str(cup)))
    monkeypatch.setattr("lamdemo.simulators.available", lambda: {"toy": "The simulator toy is not here."})
    monkeypatch.setattr("lamdemo.ui.drive.tab._FIRST", {"toy": "coffee_cup"})
    tab._open("car", None, None, REQUEST)
    driving = tab.driving(REQUEST)[1]
    begun = [driving.start.title]
    for name in ("toy", "car"):
        tab._choose(name, None, None, REQUEST)
        begun.append(driving.start.title)
    assert begun == ["palace square", "coffee cup", "palace square"]
    # What the visitor chose is driven by whatever controller is chosen then.
    tab._pick("car", None, None, event(pick="0"), REQUEST)
    tab._choose("toy", None, None, REQUEST)
    assert driving.start.title == "palace square" and said == []


def test_a_key_pressed_while_the_controller_changes_is_answered_without_a_word(tab: DriveTab, said: list[str]) -> None:
    tab._open("car", None, None, REQUEST)
    driving = tab.driving(REQUEST)[1]
    before = driving.number
    tab._choose("toy", None, None, REQUEST)
    # Of the controller before, with as many numbers as that one took.
    answer = tab._order(event(act="step", n=3, action=[1, 0, 1], drive=str(before)), REQUEST)
    assert 'data-ack="3"' in answer and 'data-count="0"' in answer and "data-frames" in answer and said == []
    answer = tab._order(event(act="step", n=4, action=[0.1, 0], drive=str(driving.number)), REQUEST)
    assert 'data-ack="4"' in answer and 'data-count="1"' in answer and said == []


def test_a_simulator_that_is_not_installed_says_how(
    tab: DriveTab, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = 'The simulator toy needs Toy; install it with: pip install "toy==1"'
    monkeypatch.setattr("lamdemo.simulators.available", lambda: {"toy": sentence})
    _, _, _, scenes, note, _, view, *_ = tab._choose("toy", None, None, REQUEST)
    assert not scenes.visible and note.visible and sentence in note.value
    assert "No action" in view and said == []


def test_a_checkpoint_without_controllers_says_so(
    tiny_checkpoint: Path, tab: DriveTab, said: list[str], folder: Path
) -> None:
    tab._open("car", None, None, REQUEST)
    models = Models()
    models._loaded["bare"] = TransferPipeline.from_pretrained(tiny_checkpoint)
    models._loaded["tiny"] = tab.page.pipeline(None, None)
    tab.page.pipeline = lambda name, hub: models.get(name)
    name, told, console, scenes, note, _, view, *_ = tab._follow("car", "bare", None, REQUEST)
    assert "has no controller" in view and "train-controller" in view and str(folder.parent) not in view
    assert name.value is None and told == console == "" and not scenes.visible and not note.visible
    assert 'data-ack="1"' in tab._order(event(act="step", n=1, action=[0, 0]), REQUEST)
    assert 'data-count="0"' in tab._follow("car", "tiny", None, REQUEST)[6]


# In a browser.

VIEW = "#lam-drive-view"
COUNT = f"Number(document.querySelector('{VIEW} .lam-drive').dataset.count)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromiums() as launch:
        yield launch()


@pytest.fixture(scope="module")
def address(browser: Any, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bundled = tmp_path_factory.mktemp("bundled")
    shutil.copytree(tiny_checkpoint, bundled / DEFAULT_CHECKPOINT)
    add_controller(bundled / DEFAULT_CHECKPOINT, "car", CAR)
    add_controller(bundled / DEFAULT_CHECKPOINT, "doom", DOOM)
    model = load_checkpoint(tiny_checkpoint)
    for parameter in model.world_model.parameters():
        parameter.data.mul_(1.01)
    save_checkpoint(model, bundled / "sparse")
    scratch = tmp_path_factory.mktemp("scratch")
    with served(bundled, scratch) as url:
        yield url
        said = troubles(scratch)
        assert "Traceback" not in said, said


def opened(context: Any, url: str) -> Any:
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.errors, page.strangers = [], []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on(
        "request",
        lambda r: page.strangers.append(r.url) if not r.url.startswith((url, "data:", "blob:")) else None,
    )
    page.goto(url)
    page.get_by_role("tab", name="Drive").click()
    page.wait_for_selector(f"{VIEW} [data-frames]")
    page.wait_for_selector(".lam-console")
    return page


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Iterator[Any]:
    """One open page, which the tests below use one after the other, as a visitor would."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    yield opened(context, address)
    context.close()


def wait_count(page: Any, count: int) -> None:
    page.wait_for_function(f"{COUNT} === {count} && lamDrive.state().done === lamDrive.state().sent")


def rest(page: Any) -> int:
    """Wait until nothing is under way, and count the steps."""
    page.wait_for_function(
        "(s => s.done === s.sent && !s.queue && !s.held.length && !s.hold && !s.stick)(lamDrive.state())"
    )
    page.wait_for_timeout(300)
    return int(page.evaluate(COUNT))


def newest(page: Any) -> str:
    return str(json.loads(page.get_attribute(f"{VIEW} [data-frames]", "data-frames"))[-1])


def reset(page: Any) -> None:
    rest(page)
    if page.evaluate(COUNT):
        page.locator("[data-do=reset]").click()
        wait_count(page, 0)
        rest(page)  # the console is drawn anew too, under who types or drags already


def test_an_arrow_key_is_a_step_and_u_takes_it_back(page: Any) -> None:
    assert page.evaluate(COUNT) == 0
    start = newest(page)
    page.keyboard.press("ArrowUp")
    wait_count(page, 1)
    frames = json.loads(page.get_attribute(f"{VIEW} [data-frames]", "data-frames"))
    assert len(frames) == 4 and frames[0] == start != frames[-1]  # smoothly, from what was there before
    assert "forward 0.7" in page.inner_text(f"{VIEW} figcaption >> nth=0")
    page.keyboard.press("ArrowLeft")
    wait_count(page, 2)
    assert "forward 0.7; left 0.7" in page.inner_text(f"{VIEW} figcaption >> nth=0")
    assert page.locator(f"{VIEW} .lam-drive-strip li").count() == 3
    # The picture on show ends as the newest frame.
    page.wait_for_function(f"s => document.querySelector('{VIEW} [data-frames] img').src === s", arg=newest(page))
    page.keyboard.press("u")
    wait_count(page, 1)
    assert newest(page) == frames[-1]
    page.keyboard.press("Backspace")
    wait_count(page, 0)
    assert newest(page) == start
    assert page.locator("[data-do=undo]").is_disabled() and page.locator("[data-do=reset]").is_disabled()


def test_a_tap_is_one_step_and_a_held_key_many(page: Any) -> None:
    reset(page)
    for count in (1, 2):
        page.keyboard.press("ArrowRight", delay=60)
        assert rest(page) == count
    page.keyboard.down("ArrowUp")
    page.keyboard.down("ArrowLeft")
    page.wait_for_function(f"{COUNT} >= 5")
    page.keyboard.up("ArrowUp")
    page.keyboard.up("ArrowLeft")
    stopped = rest(page)
    assert "left 0.7, forward 0.7" in page.inner_text(f"{VIEW} figcaption >> nth=0")
    page.wait_for_timeout(500)
    assert page.evaluate(COUNT) == stopped


def test_keys_are_not_taken_from_who_types(page: Any) -> None:
    reset(page)
    page.get_by_text("More settings").click()
    field = page.get_by_label("Or another model")
    # What is folded away is mounted when it is first opened; what is typed before that is lost.
    for _ in range(20):
        field.fill("hur")
        page.wait_for_timeout(500)
        if field.input_value() == "hur":
            break
    field.press("ArrowLeft")
    field.press("u")
    assert field.input_value() == "huur"
    assert rest(page) == 0
    slider = page.locator("#lam-drive-console [data-channel='0']")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert rest(page) == 0 and float(slider.input_value()) == pytest.approx(0.05)
    slider.fill("0")
    field.fill("")
    page.get_by_text("More settings").click()
    page.evaluate("document.activeElement.blur()")
    # Nor where there is another tab, or the page is scrolled away with control keys.
    page.keyboard.press("Control+ArrowUp")
    page.get_by_role("tab", name="Transfer").click()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowUp")
    page.get_by_role("tab", name="Drive").click()
    assert rest(page) == 0


def test_sliders_are_carried_out_by_step_and_by_hold(page: Any) -> None:
    reset(page)
    page.locator("#lam-drive-console [data-channel='1']").fill("0.5")
    page.locator("#lam-drive-console [data-channel='1']").blur()
    page.locator("[data-do=once]").click()
    wait_count(page, 1)
    assert "forward 0.5" in page.inner_text(f"{VIEW} figcaption >> nth=0")
    # Keys add to what the sliders say.
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    wait_count(page, 2)
    assert "left 0.7, forward 0.5" in page.inner_text(f"{VIEW} figcaption >> nth=0")
    page.keyboard.press("h")
    page.wait_for_function(f"{COUNT} >= 5")
    assert page.get_attribute("[data-do=hold]", "aria-pressed") == "true"
    page.locator("[data-do=hold]").click()
    stopped = rest(page)
    page.wait_for_timeout(500)
    assert page.evaluate(COUNT) == stopped
    page.locator("#lam-drive-console .lam-slide:has([data-channel='1']) span").first.dblclick()
    assert page.evaluate("lamDrive.state().base") == [0, 0]


def test_the_stick_and_the_buttons_drive(page: Any) -> None:
    reset(page)
    page.locator(".lam-stick").scroll_into_view_if_needed()
    box = page.locator(".lam-stick").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.wait_for_timeout(300)
    assert page.evaluate(COUNT) == 0  # in the middle it says nothing
    page.mouse.move(x + 25, y - 25)
    page.wait_for_function(f"{COUNT} >= 2")
    page.mouse.up()
    stopped = rest(page)
    words = page.inner_text(f"{VIEW} figcaption >> nth=0")
    assert "right 0." in words and "forward 0." in words
    assert page.evaluate("lamDrive.state().stick") is None
    page.locator("[data-press=ArrowDown]").click()
    assert rest(page) == stopped + 1
    assert "back 0.7" in page.inner_text(f"{VIEW} figcaption >> nth=0")
    page.locator("[data-press=ArrowRight]").press("Enter")  # as a screen reader does
    assert rest(page) == stopped + 2


def test_what_was_driven_can_be_kept(page: Any, tmp_path: Path) -> None:
    count = rest(page)
    assert count
    for button, name in (("#lam-drive-video", "drive.mp4"), ("#lam-drive-actions", "drive.npz")):
        with page.expect_download() as download:
            page.click(button)
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    assert len(read_clip(tmp_path / "drive.mp4").frames) == 3 * count + 1
    assert len(LatentActions.load(tmp_path / "drive.npz")) == count


def test_other_pictures_and_an_own_one(page: Any, photo: Path, small_clip: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 600})
    page.locator("#lam-drive-picks [data-pick='0']").press("Enter")
    page.wait_for_selector("#lam-drive-picks [data-pick='0'].on")
    wait_count(page, 0)
    shown = newest(page)
    page.wait_for_function(
        f"(b => b.top >= 0 && b.top < innerHeight / 2)(document.querySelector('{VIEW}').getBoundingClientRect())"
    )
    # Keys are the page's own again where the picture is out of sight.
    page.evaluate("document.activeElement.blur(); scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function(f"document.querySelector('{VIEW} .lam-stage').getBoundingClientRect().bottom < 0")
    page.keyboard.press("ArrowUp")
    assert rest(page) == 0
    page.evaluate("scrollTo(0, 0)")
    page.set_viewport_size({"width": 1280, "height": 1000})
    where = page.locator("#lam-drive-own").locator("xpath=..").locator("input[type=file]").first
    where.set_input_files(str(photo))
    page.wait_for_function(
        f"s => JSON.parse(document.querySelector('{VIEW} [data-frames]').dataset.frames).at(-1) !== s", arg=shown
    )
    assert newest(page) == data_url(work.encoded(read_image(photo)))
    assert page.locator("#lam-drive-picks .on").count() == 0
    where.set_input_files(str(small_clip))
    page.wait_for_selector("#lam-drive-moment input[type=number]")
    page.locator("#lam-drive-moment input[type=number]").fill("1")
    before = newest(page)
    page.locator("#lam-drive-moment input[type=number]").press("Enter")
    page.wait_for_function(
        f"s => JSON.parse(document.querySelector('{VIEW} [data-frames]').dataset.frames).at(-1) !== s", arg=before
    )
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowUp")
    wait_count(page, 1)


def test_keys_wait_while_the_controller_changes(page: Any) -> None:
    for name, word in (("Doom", "turn"), ("Car", "steering")):
        page.locator("#lam-drive-controller input").click()
        page.get_by_role("option", name=name).click()
        page.evaluate("document.activeElement.blur()")
        for _ in range(3):
            page.keyboard.press("ArrowUp")
        page.wait_for_function(
            "w => document.querySelector('.lam-console fieldset').innerText.includes(w) && "
            "!document.querySelector('#lam-drive-console .lam-paused, #lam-drive-console.lam-paused')",
            arg=word,
        )
        assert rest(page) == 0 and page.locator(".toast-body").count() == 0
        page.keyboard.press("ArrowUp")
        wait_count(page, 1)


@pytest.mark.skipif(not HAS_DOOM, reason="ViZDoom is not installed.")
def test_the_simulators_truth_is_beside_and_is_undone_too(page: Any) -> None:
    page.locator("#lam-drive-controller input").click()
    page.get_by_role("option", name="Doom").click()
    page.wait_for_function(f"document.querySelector('{VIEW}').innerText.includes('In truth')")
    wait_count(page, 0)
    page.wait_for_function("!document.querySelector('#lam-drive-console .lam-paused, #lam-drive-console.lam-paused')")
    beside = f"{VIEW} figure >> nth=1 >> img"
    start = page.get_attribute(beside, "src")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    wait_count(page, 1)
    assert page.get_attribute(beside, "src") != start
    told = page.inner_text(f"{VIEW} figure >> nth=1")
    assert "degrees from its start" in told and "grey levels" in told
    page.keyboard.press("u")
    wait_count(page, 0)
    assert page.get_attribute(beside, "src") == start
    page.locator("#lam-drive-next").click()
    page.wait_for_function(f"document.querySelector('{VIEW}').innerText.includes('seed 10001')")
    assert page.locator("#lam-drive-seed input").input_value() == "10001"
    page.locator("#lam-drive-controller input").click()
    page.get_by_role("option", name="Car").click()
    page.wait_for_function(f"document.querySelector('{VIEW}').innerText.includes('No action')")
    assert not page.locator("#lam-drive-next").is_visible()


def test_a_checkpoint_without_controllers_is_a_sentence_and_the_way_back_works(page: Any) -> None:
    def choose(name: str) -> None:
        page.get_by_label("Model", exact=True).last.click()
        # Of a family all are called noisy; its own name comes first.
        page.get_by_role("option", name=re.compile(rf"^\W*{name}")).last.click()

    page.get_by_text("More settings").click()
    choose("sparse")
    page.wait_for_function(f"document.querySelector('{VIEW}').innerText.includes('has no controller')")
    assert page.locator(".lam-console").count() == 0
    choose("Standard")
    page.wait_for_selector(".lam-console")
    wait_count(page, 0)
    page.get_by_text("More settings").click()


def test_a_reload_comes_back_to_the_tab(page: Any) -> None:
    page.reload()
    page.wait_for_selector(f"{VIEW} [data-frames]")
    page.wait_for_selector(".lam-console")
    page.keyboard.press("ArrowUp")
    wait_count(page, 1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_drives_by_touch(browser: Any, address: str, scheme: str) -> None:
    phone = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True
    )
    page = opened(phone, address)
    page.locator("[data-press=ArrowUp]").tap()
    assert rest(page) == 1
    # From the picture's top to the last arrow: all of it is in sight at once.
    top, bottom = (page.locator(w).bounding_box() for w in (f"{VIEW} .lam-stage >> nth=0", "[data-press=ArrowDown]"))
    assert bottom["y"] + bottom["height"] - top["y"] < 844
    assert top["y"] < page.locator("#lam-drive-controller").bounding_box()["y"] < bottom["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 391
    phone.close()


def test_every_control_has_a_name(page: Any) -> None:
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea')]
             .filter((e) => e.offsetParent && e.type !== 'hidden' && e.type !== 'file')
             .filter((e) => !(e.innerText || '').trim() && !e.ariaLabel && !e.title && !e.labels?.length
               && !e.closest('label') && !e.getAttribute('aria-labelledby') && !e.placeholder)
             .map((e) => e.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []


def test_nothing_was_fetched_from_elsewhere_and_nothing_failed(page: Any) -> None:
    assert page.strangers == []
    assert page.errors == []
