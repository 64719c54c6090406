"""The map: what the browser gets of an atlas, and what a visitor does with it, in a real browser."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from atlas_files import synthetic_atlas
from pages import ROOT, WAIT, chromiums, running

from lamdemo.core.config import toml_in
from lamdemo.latent_space.atlas import Atlas, Recording
from lamdemo.ui.map import (
    MAP_CSS,
    MAP_JS,
    MapChosen,
    MapPath,
    MapSamples,
    map_data,
    map_html,
    overlay_html,
    write_map,
    write_plotly,
)

POINTS = 300
GLASS = ".lam-map-glass"
READY = ".lam-map[data-state=ready]"


# What the browser gets.


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    """The one that ``map_page.py`` shows."""
    return synthetic_atlas(POINTS, 16, POINTS // 40, seed=0)


def _unpacked(packed: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), np.dtype(packed["type"]).newbyteorder("<"))


def test_the_browser_gets_what_the_atlas_says(atlas: Atlas) -> None:
    data = json.loads(json.dumps(map_data(atlas), allow_nan=False))
    for key, places in atlas.coordinates.items():
        packed = data["projections"][key]
        steps = _unpacked(packed).reshape(places.shape).astype(float)
        # Half a step of 65535 over each axis, and the rounding of single precision.
        room = np.ptp(places, axis=0) / 65535 / 2 + 1e-5
        assert (np.abs(steps * packed["scale"] + packed["offset"] - places) <= room).all()
    for key in ("size", "seconds", "density", "recording", "step", "frame", "kind", "cluster"):
        np.testing.assert_array_equal(_unpacked(data["arrays"][key]), getattr(atlas, key))
    np.testing.assert_array_equal(_unpacked(data["known"]["pan right"]), atlas.known["pan right"])
    assert data["known"]["pan right"]["unit"] == "widths of the picture a step"
    assert data["checkpoint"] == atlas.checkpoint and data["count"] == len(atlas)


def test_an_axis_without_width_is_one_place(atlas: Atlas) -> None:
    flat = atlas.coordinates["umap3"].copy()
    flat[:, 2] = 7
    packed = map_data(replace(atlas, coordinates={"umap3": flat}))["projections"]["umap3"]
    steps = _unpacked(packed).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(steps[:, 2] * packed["scale"][2] + packed["offset"][2], 7)


def test_many_recordings_of_a_part_are_one_source(atlas: Atlas) -> None:
    wide = synthetic_atlas(120, 8, 30, seed=0)  # twenty scenes and ten clips
    data = map_data(wide)
    assert data["sources"][0] == "scenes" and len(data["sources"]) == 11
    source = [data["sources"][k] for k in _unpacked(data["arrays"]["source"])]
    for got, r in zip(source, wide.recording, strict=True):
        recording = wide.recordings[r]
        assert got == ("scenes" if recording.part == "scenes" else recording.name)
    # Where there is but one part, it would say nothing.
    alike = tuple(Recording(r.name, "videos", "", r.fps) for r in wide.recordings)
    assert len(map_data(replace(wide, recordings=alike))["sources"]) == 30


def test_files_of_another_atlas_go(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "sheet-007.jpg").write_bytes(b"old")
    path = write_map(atlas, tmp_path)
    assert json.loads(path.read_text())["format"] == "lamdemo-map/1"
    assert [p.read_bytes() for p in sorted(tmp_path.glob("sheet-*.jpg"))] == list(atlas.sheets)
    first, second = write_plotly(tmp_path), write_plotly(tmp_path)
    assert first == second and first.stat().st_size > 1_000_000
    assert "cdn" not in map_html("a", "b")


def test_an_overlay_survives_any_name() -> None:
    name = "\"><script>alert('1')</script>&amp;.mp4"
    text = overlay_html(
        MapPath({"pca2": np.ones((2, 2), np.float32) / 3}, [0, 0.25], np.float32([1, 2]), name),
        [MapSamples("prior", {"pca2": np.zeros((1, 2))})],
        MapChosen(np.int64([3, 4]), {"pca2": np.float32([1, 2])}),
        {np.int16(2): name},
    )
    assert "<script" not in text
    found = re.fullmatch(r'<div class="lam-map-overlay" data-overlay="([^"]*)"></div>', text)
    assert found
    content = json.loads(html.unescape(found[1]))
    assert content["path"]["name"] == name and content["names"]["clusters"] == {"2": name}
    assert content["path"]["coordinates"]["pca2"] == [[0.333333, 0.333333]] * 2
    assert content["chosen"]["indices"] == [3, 4] and content["samples"][0]["label"] == "prior"
    assert overlay_html() == '<div class="lam-map-overlay" data-overlay="{}"></div>'


def test_the_package_takes_its_script_along() -> None:
    told = toml_in(ROOT / "pyproject.toml")["tool"]["setuptools"]["package-data"]["lamdemo"]
    package = ROOT / "lamdemo"
    matched = [{p for p in package.glob(pattern) if p.is_file()} for pattern in told]
    assert all(matched)  # no pattern is left over
    tracked = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert set().union(*matched) == tracked
    # Whatever it needs comes with it.
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", MAP_JS + MAP_CSS)


# The map in a browser.


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    with chromiums() as launch:
        yield lambda *more: launch("--disable-gpu", *more)


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Any:
    return launch()


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("scratch")
    command = ["tests/map_page.py", "{port}", str(POINTS), str(scratch / "maps")]
    with running(command, scratch, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")])) as url:
        yield url


def _open(browser: Any, address: str, **context: Any) -> Any:
    """A page with the map in view; ``page.asked`` has the addresses it fetched, ``page.wrong`` its errors."""
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}).new_page()
    page.set_default_timeout(WAIT)
    page.asked, page.wrong = [], []
    page.on("request", lambda r: page.asked.append(r.url))
    page.on("pageerror", lambda e: page.wrong.append(str(e)))
    page.on("console", lambda m: page.wrong.append(m.text) if "map could not" in m.text else None)
    page.goto(address)
    page.wait_for_selector("button[role=tab]")
    page.before = list(page.asked)
    page.get_by_role("tab", name="Map").click()
    page.wait_for_selector(READY)
    return page


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    page = _open(browser, address)
    yield page
    assert page.wrong == []
    page.context.close()


def _last(page: Any, kind: str) -> dict[str, Any]:
    """What the last event of a kind told Python."""
    page.wait_for_function(
        f"""document.querySelector('#last textarea, #last input').value.includes('"kind": "{kind}"')"""
    )
    return json.loads(page.input_value("#last textarea, #last input"))


def _settled(page: Any) -> None:
    page.evaluate("lamMap.settled()")


def _set(page: Any, **settings: Any) -> None:
    page.evaluate("settings => lamMap.set(settings)", settings)
    _settled(page)


def _picture(page: Any) -> np.ndarray:
    data = np.frombuffer(page.screenshot(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR).astype(int)


def _alone(page: Any) -> int:
    """A point with nothing else near it on the screen."""
    spots = np.array([[s["x"], s["y"]] for s in (page.evaluate(f"lamMap.screen({i})") for i in range(POINTS))])
    apart = np.linalg.norm(spots[:, None] - spots, axis=-1) + 1e6 * np.eye(POINTS)
    return int(apart.min(1).argmax())


def test_nothing_is_loaded_before_it_is_seen_and_nothing_from_elsewhere(page: Any, address: str) -> None:
    assert not [u for u in page.before if "map.json" in u or "plotly-" in u]
    assert len([u for u in page.asked if "plotly-" in u]) == 1
    _set(page, dims=3)
    assert not [u for u in page.asked if not u.startswith((address, "data:", "blob:"))]


def test_a_click_on_a_pixel_tells_python_which_point(page: Any, atlas: Atlas) -> None:
    i = _alone(page)
    spot = page.evaluate(f"lamMap.screen({i})")
    # It is drawn where it is said to be.
    picture = _picture(page)
    there = picture[round(spot["y"]), round(spot["x"])]
    assert np.abs(there - 255).max() > 40
    page.mouse.click(spot["x"], spot["y"])
    assert _last(page, "point") == {"kind": "point", "index": i}
    assert page.evaluate("lamMap.state().chosen.index") == i
    # Beside all points nothing is played, and the choice is given up.
    box = page.locator(GLASS).bounding_box()
    page.mouse.click(box["x"] + 8, box["y"] + 8)
    assert page.evaluate("lamMap.state().chosen") is None


def test_in_three_dimensions_points_are_where_they_are_drawn(page: Any) -> None:
    _set(page, dims=3, colour="cluster")
    for turn in ((0, 0), (140, -60)):
        page.evaluate("([x, y]) => lamMap.pan(x, y)", list(turn))
        _settled(page)
        page.wait_for_timeout(400)
        picture = _picture(page)
        spots = [page.evaluate(f"lamMap.screen({i})") for i in range(0, POINTS, 10)]
        drawn = [np.abs(picture[round(s["y"]), round(s["x"])] - 255).max() > 40 for s in spots]
        assert np.mean(drawn) > 0.95
    i = _alone(page)
    spot = page.evaluate(f"lamMap.screen({i})")
    page.mouse.click(spot["x"], spot["y"])
    assert _last(page, "point")["index"] == i


@pytest.mark.parametrize("dims", [2, 3])
def test_a_lasso_takes_what_is_inside(page: Any, dims: int) -> None:
    _set(page, dims=dims)
    page.click("[data-lam=mode-lasso]")
    assert page.get_attribute("[data-lam=mode-lasso]", "aria-pressed") == "true"
    spots = [page.evaluate(f"lamMap.screen({i})") for i in range(POINTS)]
    x, y = np.median([[s["x"], s["y"]] for s in spots], axis=0)
    corners = [(x - 170, y - 120), (x + 170, y - 120), (x + 170, y + 120), (x - 170, y + 120)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in (*corners[1:], corners[0]):
        page.mouse.move(*corner, steps=6)
    page.mouse.up()
    got = _last(page, "lasso")["indices"]
    inside = [i for i, s in enumerate(spots) if abs(s["x"] - x) < 165 and abs(s["y"] - y) < 115]
    touched = [i for i, s in enumerate(spots) if abs(s["x"] - x) < 175 and abs(s["y"] - y) < 125]
    assert 0 < len(inside) and set(inside) <= set(got) <= set(touched)
    # Around nothing it says so, and Python hears it too.
    box = page.locator(GLASS).bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.down()
    for to in ((30, 4), (30, 30), (4, 30)):
        page.mouse.move(box["x"] + to[0], box["y"] + to[1])
    page.mouse.up()
    page.wait_for_function("""document.querySelector('#last textarea, #last input').value.includes('"indices": []')""")
    page.wait_for_function("document.querySelector('.lam-map-live').textContent === 'No action is inside.'")


def test_the_card_shows_both_frames_and_stays_in_the_window(page: Any, atlas: Atlas) -> None:
    _set(page, projection="umap")
    spots = {i: page.evaluate(f"lamMap.screen({i})") for i in range(POINTS)}
    ends = {
        *(pick(spots, key=lambda i, a=a: spots[i][a]) for a in "xy" for pick in (min, max)),
        _alone(page),
    }
    for i in ends:
        page.mouse.move(2, 2)
        page.mouse.move(spots[i]["x"] - 1, spots[i]["y"])
        page.mouse.move(spots[i]["x"], spots[i]["y"])
        page.wait_for_selector(".lam-map-card:not([hidden])")
        card = page.locator(".lam-map-card").bounding_box()
        assert card["x"] >= 0 and card["y"] >= 0
        assert card["x"] + card["width"] <= 1280 and card["y"] + card["height"] <= 900
    i = _alone(page)
    page.mouse.move(2, 2)
    page.mouse.move(spots[i]["x"], spots[i]["y"])
    page.wait_for_function(
        "name => document.querySelector('.lam-map-card strong').textContent === name",
        arg=atlas.recordings[atlas.recording[i]].name,
    )
    facts = page.inner_text(".lam-map-facts")
    assert f"{atlas.seconds[i]:.2f} s" in facts
    # The pictures in it are the step's thumbnails.
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(200)
    picture = _picture(page)
    for k in (0, 1):
        box = page.locator(".lam-map-frame").nth(k).bounding_box()
        y, x, h, w = (round(box[a]) for a in ("y", "x", "height", "width"))
        seen = picture[y : y + h, x : x + w, ::-1][6:-6, 6:-6]
        off = [
            np.abs(seen - cv2.resize(atlas.thumbnail(f), (w, h)).astype(int)[6:-6, 6:-6]).mean()
            for f in (atlas.frame[i] + k, atlas.frame[i] + (1 - k), (atlas.frame[i] + 150) % 300)
        ]
        assert off[0] < 12 and off[0] < min(off[1:])


@pytest.mark.parametrize("dims", [2, 3])
def test_all_of_it_works_with_the_keyboard(page: Any, dims: int) -> None:
    _set(page, dims=dims)
    page.locator(".lam-map-bar button").last.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.matches('.lam-map-glass')")
    assert page.get_attribute(GLASS, "role") == "application" and page.get_attribute(GLASS, "aria-label")
    page.keyboard.press("ArrowRight")  # to the middle
    places = []
    for k in range(4):
        if k:
            page.keyboard.press("ArrowRight")
        places.append(page.evaluate("lamMap.screen(lamMap.state().cursor)")["x"])
    assert places == sorted(set(places)) and len(places) == 4
    cursor = page.evaluate("lamMap.state().cursor.index")
    page.wait_for_function("document.querySelector('.lam-map-live').textContent.includes('size')")
    page.keyboard.press("Enter")
    assert _last(page, "point")["index"] == cursor
    page.keyboard.press("Space")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    other = page.evaluate("lamMap.state().cursor.index")
    page.keyboard.press("Shift+Enter")
    assert set(_last(page, "lasso")["indices"]) == {cursor, other}
    before = page.evaluate("lamMap.state().view")
    page.keyboard.press("+")
    after = page.evaluate("lamMap.state().view")
    assert after["k"] > before["k"] if dims == 2 else after["far"] < before["far"]
    page.keyboard.press("Escape")
    assert page.evaluate("!document.activeElement.matches('.lam-map-glass') && !lamMap.state().cursor")
    assert page.locator(".lam-map-card:not([hidden])").count() == 0


def test_what_is_laid_over_changes_without_losing_the_view(page: Any, atlas: Atlas) -> None:
    page.mouse.move(*(page.evaluate("[innerWidth / 2, innerHeight / 2]")))
    page.mouse.wheel(0, -400)
    _settled(page)
    view = page.evaluate("lamMap.state().view")
    page.evaluate("lamMap.reset()")
    _settled(page)
    assert page.evaluate("lamMap.state().view.k") < view["k"]
    page.evaluate("lamMap.zoom(1.5)")
    _settled(page)
    view = page.evaluate("lamMap.state().view")
    drawings = "document.querySelector('.lam-map-plot').querySelector('canvas')"
    page.evaluate(f"window.kept = {drawings}")
    page.click("#lay")
    page.wait_for_function("lamMap.state().overlay.path")
    assert page.evaluate("lamMap.state().view") == view
    assert page.evaluate(f"window.kept === {drawings}")
    labels = page.locator(".lam-map-chips").inner_text()
    assert "<b>my</b>.mp4" in labels and "Fixed prior" in labels and "Learned prior" in labels
    # Its step lies on the step of the atlas that it was made of.
    steps = np.flatnonzero(atlas.recording == 2)[:7]
    page.evaluate("lamMap.reset()")
    _settled(page)
    for k, i in enumerate(steps):
        one, other = (page.evaluate("t => lamMap.screen(t)", t) for t in ({"kind": "path", "index": k}, int(i)))
        assert abs(one["x"] - other["x"]) < 0.5 and abs(one["y"] - other["y"]) < 0.5
    page.evaluate("lamMap.select({ kind: 'path', index: 3 })")
    assert _last(page, "path") == {"kind": "path", "step": 3}
    spot = page.evaluate("lamMap.screen({ kind: 'path', index: 5 })")
    page.mouse.click(spot["x"], spot["y"])
    page.wait_for_function("""document.querySelector('#last textarea, #last input').value.includes('"step": 5')""")
    page.evaluate("lamMap.select({ kind: 'sample', index: 2, group: 1 })")
    assert _last(page, "sample") == {"kind": "sample", "index": 2, "group": 1}
    _set(page, colour="cluster")
    assert "camera pans left" in page.locator(".lam-map-chips").inner_text()
    page.click("#clear")
    page.wait_for_function("!lamMap.state().overlay.path")
    assert "prior" not in page.locator(".lam-map-chips").inner_text()


def test_choices_survive_a_reload_and_a_change_of_theme(page: Any) -> None:
    page.select_option("[data-lam=projection]", "pca")
    page.select_option("[data-lam=colour]", "kind")
    page.click("[data-lam=mode-lasso]")
    first = page.locator(".lam-map-chips button").first
    name = first.inner_text()
    shown = page.evaluate("lamMap.state().shown")
    first.press("Enter")
    page.wait_for_function("n => lamMap.state().shown < n", arg=shown)
    hidden = page.evaluate("lamMap.state().shown")
    _settled(page)
    page.evaluate("lamMap.zoom(1.7)")
    _settled(page)
    view = page.evaluate("lamMap.state().view")
    light = _picture(page)
    page.evaluate("document.body.classList.add('dark')")
    _settled(page)
    dark = _picture(page)
    assert page.evaluate("lamMap.state().view") == view
    box = page.locator(GLASS).bounding_box()
    corner = round(box["y"]) + 12, round(box["x"]) + 12
    assert light[corner].min() > 240 and dark[corner].max() < 60
    page.reload()
    page.get_by_role("tab", name="Map").click()
    page.wait_for_selector(READY)
    state = page.evaluate("lamMap.state()")
    assert (state["settings"]["projection"], state["settings"]["colour"]) == ("pca", "kind")
    assert state["settings"]["mode"] == "lasso" and state["shown"] == hidden
    first = page.locator(".lam-map-chips button").first
    assert first.inner_text() == name and first.get_attribute("aria-pressed") == "false"


def test_filmed_clips_stand_out_among_drawn_scenes(page: Any, atlas: Atlas) -> None:
    _set(page, colour="kind", projection="umap")
    assert "filmed clips" in page.inner_text(".lam-map-chips")
    picture = _picture(page)
    spots = [page.evaluate(f"lamMap.screen({i})") for i in np.flatnonzero(atlas.kind < 0)]
    dark = [picture[round(s["y"]), round(s["x"])].max() < 110 for s in spots if s["inside"]]
    assert len(dark) > 5 and np.mean(dark) > 0.9


def test_what_is_hidden_is_not_hit(page: Any, atlas: Atlas) -> None:
    _set(page, colour="kind")
    known = int(np.flatnonzero(atlas.kind >= 0)[0])
    name = atlas.kinds[atlas.kind[known]]
    spot = page.evaluate(f"lamMap.screen({known})")
    assert page.evaluate("s => lamMap.at(s.x, s.y)", spot)["kind"] == "point"
    page.locator(".lam-map-chips button", has_text=name).click()
    found = page.evaluate("s => lamMap.at(s.x, s.y)", spot)
    assert found is None or atlas.kind[found["index"]] != atlas.kind[known]


def test_every_colour_has_a_legend(page: Any) -> None:
    options = page.eval_on_selector_all("[data-lam=colour] option", "all => all.map(o => o.value)")
    assert options == ["size", "source", "kind", "cluster", "density", "known:pan right"]
    for option in options:
        page.select_option("[data-lam=colour]", option)
        _settled(page)
        if option in ("source", "kind", "cluster"):
            assert 2 <= page.locator(".lam-map-chips button").count() <= 12
        else:
            assert page.locator(".lam-map-ramp").count() == 1
    assert "widths of the picture a step" in page.inner_text(".lam-map-unit")
    assert page.locator(".lam-map-chips").inner_text() == "not known"


def test_another_atlas_takes_its_place(page: Any) -> None:
    page.click("#lay")
    page.wait_for_function("lamMap.state().overlay.path")
    page.click("#swap")
    page.wait_for_function("window.lamMap?.state().ready && lamMap.state().count === 60")
    page.evaluate("lamMap.select(59)")
    assert _last(page, "point")["index"] == 59
    assert page.locator(".lam-map-glass").count() == 1 and page.locator(".lam-map-bar select").count() == 2


def test_a_phone_shows_the_card_under_the_map(browser: Any, address: str, atlas: Atlas) -> None:
    page = _open(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    i = _alone(page)
    spot = page.evaluate(f"lamMap.screen({i})")
    page.touchscreen.tap(spot["x"], spot["y"])
    assert _last(page, "point")["index"] == i
    stage, card = (page.locator(f".lam-map-{part}").bounding_box() for part in ("stage", "card"))
    assert card["y"] >= stage["y"] + stage["height"] and card["x"] + card["width"] <= 390
    assert page.inner_text(".lam-map-card strong") == atlas.recordings[atlas.recording[i]].name
    nameless = page.evaluate(
        "[...document.querySelectorAll('.lam-map button, .lam-map select')].filter(e => "
        "!(e.innerText?.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert nameless == [] and page.wrong == []
    page.context.close()


def test_without_webgl_there_is_still_a_map(launch: Callable[..., Any], address: str) -> None:
    page = _open(launch("--disable-3d-apis"), address)
    assert page.get_attribute(READY, "data-renderer") == "svg"
    assert page.locator("[data-lam=dims-3]").is_disabled()
    assert page.locator(".lam-map-plot .scatterlayer path.point").count() == POINTS
    i = _alone(page)
    spot = page.evaluate(f"lamMap.screen({i})")
    page.mouse.click(spot["x"], spot["y"])
    assert _last(page, "point")["index"] == i
    assert page.wrong == []
    page.context.close()


def test_a_map_that_cannot_be_loaded_says_so_and_can_be_tried_again(browser: Any, address: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.route("**/map.json", lambda route: route.fulfill(status=500, body="no"))
    page.goto(address)
    page.get_by_role("tab", name="Map").click()
    page.wait_for_selector(".lam-map[data-state=failed]")
    assert "could not be loaded" in page.inner_text(".lam-map-wait")
    page.unroute("**/map.json")
    page.click("[data-lam=again]")
    page.wait_for_selector(READY)
    context.close()
