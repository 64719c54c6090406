"""The tab of the latent space in a real browser: what a visitor does there, from a click to a shared link."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atlas_files import synthetic_atlas
from pages import WAIT, chromiums, served, toast, troubles
from space_files import space_checkpoint

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.engine import LatentActions
from lamdemo.latent_space.composition import Block, Composition
from lamdemo.latent_space.naming import NameBook
from lamdemo.models import checkpoint_hash, load_checkpoint, save_checkpoint
from lamdemo.video import probe

STAGE = "#lam-space-view"
PLAYED = f"{STAGE} video[data-lam-loop=space]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # WebGL by software: what a machine without a graphics card has.
    with chromiums() as launch:
        yield launch("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")


@pytest.fixture(scope="module")
def bundled(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of different weights: one with a latent space, one without, one to spoil."""
    folder = tmp_path_factory.mktemp("bundled")
    space_checkpoint(tiny_checkpoint, folder / DEFAULT_CHECKPOINT)
    another = replace(synthetic_atlas(200, 24, 30, 5), name="villa-X", checkpoint="1" * 64, plays=False)
    another.save(folder / DEFAULT_CHECKPOINT / "atlas-villa-x.safetensors")
    model = load_checkpoint(tiny_checkpoint)
    for parameter in model.world_model.parameters():
        parameter.data.mul_(1.01)
    for name in ("sparse", "other"):
        save_checkpoint(model, folder / name)
        for parameter in model.world_model.parameters():
            parameter.data.mul_(1.01)
    return folder


@pytest.fixture(scope="module")
def address(browser: Any, bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("scratch")
    with served(bundled, scratch) as url:
        yield url
        said = troubles(scratch)
        assert "Traceback" not in said, said


def opened(context: Any, url: str) -> Any:
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.errors = []
    page.strangers = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on(
        "request",
        lambda r: page.strangers.append(r.url) if not r.url.startswith((url.split("?")[0], "data:", "blob:")) else None,
    )
    page.goto(url)
    page.wait_for_selector("#lam-tabs")
    return page


def to_space(page: Any) -> None:
    page.get_by_role("tab", name="Action space").click()
    # The map is drawn when it is seen; on a phone it is further down, and what comes above it moves it.
    seen = "document.querySelector('#lam-space-plot').scrollIntoView({ block: 'nearest' })"
    page.wait_for_function(f"({seen}, window.lamMap && window.lamMap.state().ready)")
    page.evaluate("scrollTo(0, 0)")


def unfold(page: Any, name: str) -> None:
    """Open one of the folded parts."""
    fold = page.locator(f"#lam-space-fold-{name}")
    button = fold.locator("button").first
    button.wait_for()
    if fold.evaluate("e => e.getBoundingClientRect().height") < 80:
        button.press("Enter")


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    yield context
    context.close()


@pytest.fixture(scope="module")
def page(context: Any, address: str, photo: Path) -> Any:
    """One open page, which the tests below use one after the other, as a visitor would."""
    page = opened(context, address)
    to_space(page)
    upload(page, "#lam-space-target", photo)
    page.wait_for_selector(f"{STAGE} img")
    return page


def upload(page: Any, where: str, file: Path) -> None:
    # An upload button's input stands beside it.
    page.locator(f"{where}").locator("xpath=..").locator("input[type=file]").first.set_input_files(str(file))


def source_of(page: Any) -> str:
    return str(page.evaluate(f"document.querySelector('{PLAYED}')?.getAttribute('src') ?? ''"))


def wait_for_other(page: Any, before: str) -> None:
    page.wait_for_function(
        f"old => {{ const v = document.querySelector('{PLAYED}'); return v && v.getAttribute('src') !== old; }}",
        arg=before,
    )


def sentence(page: Any) -> str:
    words = toast(page)
    assert "Traceback" not in words and "/" not in words
    return words


def blocks(page: Any) -> list[str]:
    return [b.inner_text().split("\n")[0] for b in page.locator("#lam-space-timeline [data-block]").all()]


def press(page: Any, selector: str, count: int | None = None) -> None:
    """Press a button with the keyboard, and wait for so many blocks on the timeline."""
    page.locator(selector).press("Enter")
    if count is not None:
        page.wait_for_function(f"document.querySelectorAll('#lam-space-timeline [data-block]').length === {count}")


def click_point(page: Any, index: int) -> None:
    """Click the pixel where a step of the map is."""
    before = source_of(page)
    point_at(page, index)
    wait_for_other(page, before)


def point_at(page: Any, index: int) -> None:
    """See `click_point`, which waits until it plays."""
    page.evaluate("document.querySelector('.lam-map').scrollIntoView({block: 'center'})")
    page.wait_for_timeout(300)
    place = page.evaluate(f"window.lamMap.screen({index})")
    page.mouse.click(place["x"], place["y"])


def uncovered(page: Any) -> int:
    """A step of the map that is not hidden under another."""
    index = page.evaluate(
        """() => { for (let i = 0; i < 200; i++) { const s = window.lamMap.screen(i);
             if (!s || !s.inside) continue;
             const hit = window.lamMap.at(s.x, s.y);
             if (hit && (hit.index ?? hit) === i) return i; } return -1; }"""
    )
    assert index >= 0
    return int(index)


def test_a_click_on_the_map_plays_and_shows_the_same_elsewhere(page: Any) -> None:
    click_point(page, uncovered(page))
    page.wait_for_function(f"document.querySelector('{PLAYED}').currentTime > 0.2")
    assert page.inner_text(f"{STAGE} .lam-tag") == "8 steps"
    assert page.locator("#lam-space-timeline").count() == 0  # folded until it is wanted
    page.wait_for_selector("#lam-space-near-view [data-act=point]")
    near = page.locator("#lam-space-near-view [data-act=point]")
    assert near.count() == 8
    names = [re.search(r"(clip|scene) \d+", near.nth(k).get_attribute("aria-label")).group() for k in range(8)]
    own = re.search(r"(clip|scene) \d+", page.inner_text(f"{STAGE} .lam-caption b"))
    assert own is not None and own.group() not in names and len(set(names)) == 8
    # Its small clip is of pictures that are there.
    style = near.first.locator("i").first.get_attribute("style")
    sheet = re.search(r"url\(['\"]?([^'\")]+)", style).group(1)
    assert page.evaluate("async u => (await fetch(u)).headers.get('content-type')", sheet) == "image/jpeg"


def test_a_neighbour_plays_with_the_keyboard(page: Any) -> None:
    before = source_of(page)
    page.locator("#lam-space-near-view [data-act=point]").nth(2).press("Enter")
    wait_for_other(page, before)


def test_a_lasso_takes_the_mean_and_an_empty_one_is_a_sentence(page: Any) -> None:
    before = source_of(page)
    page.evaluate("window.lamMap.lasso([3, 4, 5])")
    wait_for_other(page, before)
    assert page.inner_text(f"{STAGE} .lam-caption b") == "mean of 3 steps"
    kept = source_of(page)
    page.evaluate("window.lamMap.lasso([])")
    assert "empty" in sentence(page)
    assert source_of(page) == kept


def test_arithmetic_on_the_timeline(page: Any) -> None:
    unfold(page, "timeline")
    page.wait_for_selector("#lam-space-then")
    assert "Zero means that nothing happens" in page.inner_text("#lam-space-zero")
    names = [page.inner_text(f"#lam-space-{key}") for key in ("then", "plus", "between")]
    assert names == ["Append", "Combine", "Append a blend"]
    press(page, "#lam-space-then", 1)
    before = source_of(page)
    page.locator("#lam-space-near-view [data-act=point]").first.click()
    wait_for_other(page, before)
    press(page, "#lam-space-plus")
    page.wait_for_function("document.querySelector('#lam-space-timeline [data-block]').innerText.includes(' + ')")
    press(page, "#lam-space-between", 2)
    press(page, "#lam-space-then", 3)
    first = blocks(page)
    page.locator("#lam-space-timeline [data-block='2']").press("Enter")
    page.wait_for_selector("#lam-space-timeline [data-block='2'][aria-pressed=true]")
    # The keyboard's place is kept where the part is drawn anew.
    page.wait_for_function("document.activeElement.dataset.block === '2'")
    press(page, "#lam-block-earlier")
    page.wait_for_function(
        "document.querySelector(\"#lam-space-timeline [data-block='1']\").getAttribute('aria-pressed') === 'true'"
    )
    assert [b[3:] for b in blocks(page)] == [first[0][3:], first[2][3:], first[1][3:]]
    page.locator("#lam-block-strength input[type=number]").fill("-2")
    page.locator("#lam-block-strength input[type=number]").press("Enter")
    page.wait_for_function(
        "document.querySelector(\"#lam-space-timeline [data-block='1']\").innerText.includes('strength -2')"
    )
    before = source_of(page)
    press(page, "#lam-space-apply")
    wait_for_other(page, before)
    assert page.inner_text(f"{STAGE} .lam-caption b") == "the timeline of 3 blocks"
    # Changed after it was played, it is said to be another; as it was, it is not.
    assert page.locator("#lam-space-old .lam-old").count() == 0
    page.locator("#lam-block-strength input[type=number]").fill("-1.5")
    page.locator("#lam-block-strength input[type=number]").press("Enter")
    page.wait_for_selector("#lam-space-old .lam-old")
    assert "Apply the timeline" in page.inner_text("#lam-space-old")
    before = source_of(page)
    press(page, "#lam-space-apply")
    wait_for_other(page, before)
    page.wait_for_selector("#lam-space-old .lam-old", state="detached")
    page.locator("#lam-block-strength input[type=number]").fill("-2")
    page.locator("#lam-block-strength input[type=number]").press("Enter")
    page.wait_for_selector("#lam-space-old .lam-old")


def test_what_is_on_the_stage_is_marked_when_its_settings_change(page: Any) -> None:
    before = source_of(page)
    page.locator("#lam-space-near-view [data-act=point]").nth(1).click()
    wait_for_other(page, before)
    assert page.locator("#lam-space-old .lam-old").count() == 0
    strength = page.locator("#lam-space-strength input[type=number]")
    for value, marked in (("0.5", True), ("1", False)):
        strength.fill(value)
        strength.press("Enter")
        page.wait_for_selector("#lam-space-old .lam-old", state="attached" if marked else "detached")
        if marked:
            assert "strength 1 and 8 steps" in page.inner_text("#lam-space-old")


def test_what_is_saved_can_be_loaded(page: Any, tmp_path: Path, bundled: Path) -> None:
    with page.expect_download() as download:
        page.click("#lam-space-save")
    file = tmp_path / "mine.npz"
    download.value.save_as(file)
    made = Composition.load(file)
    assert len(made.blocks) == 3 and made.blocks[1].strength == -2
    assert made.checkpoint == checkpoint_hash(bundled / DEFAULT_CHECKPOINT)
    labels = blocks(page)
    press(page, "#lam-space-clear", 0)
    upload(page, "#lam-space-load", file)
    page.wait_for_function("document.querySelectorAll('#lam-space-timeline [data-block]').length === 3")
    assert blocks(page) == labels


@pytest.mark.parametrize(
    ("width", "checkpoint", "words"), [(16, "f" * 64, "another checkpoint"), (8, "", "8 channels")]
)
def test_a_file_of_another_model_is_a_sentence_and_nothing_is_lost(
    page: Any, tmp_path: Path, width: int, checkpoint: str, words: str
) -> None:
    labels = blocks(page)
    upload(
        page,
        "#lam-space-load",
        LatentActions(np.ones((2, width), np.float32), 4.0, checkpoint).save(tmp_path / "odd.npz"),
    )
    assert words in sentence(page)
    assert blocks(page) == labels


def test_a_reload_keeps_the_timeline_and_the_settings(page: Any) -> None:
    labels = blocks(page)
    kept = "localStorage.getItem('lamdemo-space')"
    before = page.evaluate(kept)
    page.locator("#lam-space-steps input[type=number]").fill("5")
    page.locator("#lam-space-steps input[type=number]").press("Enter")
    page.wait_for_function(f"old => {kept} !== old", arg=before)
    page.reload()
    page.wait_for_function("document.querySelectorAll('#lam-space-timeline [data-block]').length === 3")
    assert blocks(page) == labels
    assert page.locator("#lam-space-steps input[type=number]").input_value() == "5"
    page.wait_for_function("window.lamMap && window.lamMap.state().ready")


def shared(page: Any) -> str:
    """The link to what is on the stage, and what is said of it."""
    press(page, "#lam-space-link")
    page.wait_for_function(
        "document.querySelector('#lam-space-link-text textarea, #lam-space-link-text input')?.value.includes('://')"
    )
    return str(page.locator("#lam-space-link-text").locator("textarea, input").first.input_value())


def test_nothing_on_the_stage_is_no_link(page: Any) -> None:
    press(page, "#lam-space-link")
    assert "no result to share" in sentence(page)


def test_a_link_opens_what_is_on_the_stage_elsewhere_and_plays_it(page: Any, browser: Any, address: str) -> None:
    page.locator("#lam-space-photos [data-photo='6']").press("Enter")
    page.wait_for_selector("#lam-space-photos [data-photo='6'].on")
    unfold(page, "timeline")
    before = source_of(page)
    press(page, "#lam-space-apply")
    wait_for_other(page, before)
    link = shared(page)
    assert link.startswith(address + "?actions=") and link.endswith("&picture=treadmill_person")
    other = browser.new_context(viewport={"width": 1280, "height": 900})
    guest = opened(other, link)
    # The tab, the timeline and the picture are there, and it plays without a click.
    guest.wait_for_selector(PLAYED)
    guest.wait_for_function("document.querySelectorAll('#lam-space-timeline [data-block]').length === 3")
    assert blocks(guest) == blocks(page)
    assert guest.inner_text(f"{STAGE} .lam-caption b") == "the timeline of 3 blocks"
    guest.wait_for_selector("#lam-space-photos [data-photo='6'].on")
    assert "actions=" not in guest.url and guest.locator(".toast-body").count() == 0
    guest.wait_for_function(f"document.querySelector('{PLAYED}').currentTime > 0.2")
    other.close()


def test_a_link_to_a_motion_restores_its_strength_and_steps_and_tells_of_a_private_picture(
    page: Any, browser: Any, address: str, photo: Path
) -> None:
    before = page.get_attribute(f"{STAGE} video", "src")
    upload(page, "#lam-space-target", photo)
    page.wait_for_selector("#lam-space-photos .on", state="detached")
    for control, value in (("strength", "-0.5"), ("steps", "3")):
        page.locator(f"#lam-space-{control} input[type=number]").fill(value)
        page.locator(f"#lam-space-{control} input[type=number]").press("Enter")
    page.evaluate("window.lamMap.select(11)")
    page.wait_for_function(
        f"old => document.querySelector('{PLAYED}') && document.querySelector('{PLAYED}').getAttribute('src') !== old",
        arg=before,
    )
    page.wait_for_function(f"document.querySelector('{STAGE} .lam-tag').innerText === '3 steps'")
    link = shared(page)
    assert link.endswith("&picture=own") and photo.stem not in link
    assert "not part of the link" in page.inner_text("#lam-space-link-text")
    other = browser.new_context(viewport={"width": 1280, "height": 900})
    guest = opened(other, link)
    assert "sender's own" in toast(guest)
    guest.wait_for_selector(PLAYED)
    assert guest.inner_text(f"{STAGE} .lam-tag") == "3 steps"
    for control, value in (("strength", "-0.5"), ("steps", "3")):
        assert guest.locator(f"#lam-space-{control} input[type=number]").input_value() == value
    # It is on the stage as if it had been clicked there.
    before = source_of(guest)
    press(guest, "#lam-space-again")
    wait_for_other(guest, before)
    other.close()
    for control, value in (("strength", "1"), ("steps", "8")):
        page.locator(f"#lam-space-{control} input[type=number]").fill(value)
        page.locator(f"#lam-space-{control} input[type=number]").press("Enter")


def test_a_reload_opens_the_same_tab_without_the_server_and_a_click_goes_before_it(browser: Any, address: str) -> None:
    other = browser.new_context(viewport={"width": 1280, "height": 900})
    guest = opened(other, address)
    to_space(guest)
    held: list[Any] = []
    holding = [True]  # the server says nothing for now
    guest.route("**/queue/join*", lambda route: held.append(route) if holding else route.continue_())
    guest.reload()
    guest.wait_for_selector("[data-tab-id=space][aria-selected=true]")
    guest.get_by_role("tab", name="Transfer").click()
    guest.wait_for_selector("[data-tab-id=transfer][aria-selected=true]")
    assert held
    holding.clear()
    for route in held:
        route.continue_()
    guest.wait_for_selector("#lam-go:not([disabled])")
    guest.wait_for_timeout(2000)  # whatever came of what was held
    assert guest.locator("[data-tab-id=transfer][aria-selected=true]").count() == 1
    other.close()


def test_a_link_of_nonsense_is_a_sentence(browser: Any, address: str) -> None:
    other = browser.new_context(viewport={"width": 1280, "height": 900})
    guest = opened(other, address + "?actions=1.nonsense")
    assert "link" in sentence(guest)
    to_space(guest)
    assert blocks(guest) == []
    other.close()


def test_links_do_not_cost_a_visitor_the_own_timeline(page: Any, address: str, bundled: Path) -> None:
    """Neither one of nonsense nor, as long as it is not edited, a good one."""
    own = blocks(page)
    z = np.eye(1, 16, dtype=np.float32)
    good = Composition((Block.of(z, "a friend's"),), 4.0, checkpoint_hash(bundled / DEFAULT_CHECKPOINT)).encode()
    for link, count in (("1.nonsense", len(own)), (good, 1)):
        page.goto(address + "?actions=" + link)
        page.wait_for_function(f"document.querySelectorAll('#lam-space-timeline [data-block]').length === {count}")
        if count > 1:
            assert "link" in sentence(page)
        else:
            page.wait_for_selector(PLAYED)
        page.wait_for_timeout(300)
        page.goto(address)
        page.wait_for_function(f"document.querySelectorAll('#lam-space-timeline [data-block]').length === {len(own)}")
        assert blocks(page) == own
    page.wait_for_function("window.lamMap && window.lamMap.state().ready")


def test_reversing_without_an_action_changes_nothing(page: Any) -> None:
    press(page, "#lam-space-reverse")
    assert "no action yet" in sentence(page)
    assert page.locator("#lam-space-strength input[type=number]").input_value() == "1"


def test_a_target_taken_again_is_shown_again(page: Any) -> None:
    pictures = []
    for number in (0, 1, 0):
        before = page.get_attribute(f"{STAGE} img", "src") if page.locator(f"{STAGE} img").count() else ""
        page.locator(f"#lam-space-photos [data-photo='{number}']").press("Enter")
        page.wait_for_selector(f"#lam-space-photos [data-photo='{number}'].on")
        page.wait_for_function(
            f"old => {{ const i = document.querySelector('{STAGE} img'); return i && i.getAttribute('src') !== old; }}",
            arg=before,
        )
        shown = page.evaluate(f"document.querySelector('{STAGE} img').naturalWidth")
        pictures.append((number, shown))
        if number == 0 and len(pictures) == 1:
            before = source_of(page)
            page.evaluate("window.lamMap.select(5)")
            wait_for_other(page, before)
    assert len(pictures) == 3


def test_play_by_keys_and_undo(page: Any, photo: Path) -> None:
    before = page.get_attribute(f"{STAGE} img", "src")
    upload(page, "#lam-space-target", photo)
    page.wait_for_function(
        f"old => {{ const i = document.querySelector('{STAGE} img'); return i && i.getAttribute('src') !== old; }}",
        arg=before,
    )
    page.get_by_role("tab", name="Steer", exact=True).click()
    page.locator("#lam-play-start").press("Enter")
    page.wait_for_selector("#lam-play-view img")
    tag = "document.querySelector('#lam-play-view .lam-tag').innerText"
    page.wait_for_function(f"{tag} === 'the target'")
    start = page.get_attribute("#lam-play-view [data-frames]", "data-frames")
    # The keys work at once, without another click; and where nothing has the focus.
    for count in (1, 2):
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(f"{tag} === 'after {count} step{'s' if count > 1 else ''}'")
        page.evaluate("document.activeElement.blur()")
    assert "camera pans left, camera pans left" in page.inner_text("#lam-play-view .lam-trail")
    moved = json.loads(page.get_attribute("#lam-play-view [data-frames]", "data-frames"))
    assert len(moved) == 4 and moved[-1] != json.loads(start)[-1]
    for words in ("after 1 step", "the target"):
        page.keyboard.press("u")
        page.wait_for_function(f"{tag} === '{words}'")
    assert json.loads(page.get_attribute("#lam-play-view [data-frames]", "data-frames"))[-1] == json.loads(start)[-1]
    assert page.locator("#lam-play-pad [data-act=undo]").is_disabled()
    # Where one types they are letters, and on another tab they are nobody's.
    gain = page.locator("#lam-play-gain input[type=number]")
    gain.focus()
    page.keyboard.press("ArrowUp")
    page.get_by_role("tab", name="Directions", exact=True).click()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowLeft")
    page.get_by_role("tab", name="Steer", exact=True).click()
    page.wait_for_timeout(500)
    assert page.evaluate(tag) == "the target"


def test_directions_play_and_can_be_renamed(page: Any, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Directions", exact=True).click()
    page.wait_for_selector("[data-act=direction][data-key=pan-right]")
    unfold(page, "names")
    for kind, key in (("cluster", "cluster0"), ("probe", "pan-right")):
        page.locator(f"#lam-directions-kind input[value={kind}]").check()
        page.wait_for_selector(f"[data-act=direction][data-key={key}]")
    assert "camera pans right" in page.inner_text("#lam-directions-view")
    before = source_of(page)
    page.locator("[data-act=direction][data-key=zoom-in]").press("Enter")
    wait_for_other(page, before)
    assert page.inner_text(f"{STAGE} .lam-caption b") == "zoom in"
    page.locator("#lam-direction-name input, #lam-direction-name textarea").fill("nearer <b>")
    page.locator("#lam-direction-rename").press("Enter")
    page.wait_for_function("document.querySelector('#lam-directions-view').innerText.includes('nearer <b>')")
    with page.expect_download() as download:
        page.click("#lam-names-save")
    download.value.save_as(tmp_path / "names.json")
    assert NameBook.load(tmp_path / "names.json").names["zoom-in"] == "nearer <b>"
    before = source_of(page)
    page.locator("[data-act=reverse][data-key=zoom-in]").click()
    wait_for_other(page, before)
    assert page.inner_text(f"{STAGE} .lam-caption b") == "zoom out"


def test_samples_lie_on_the_map_and_play(page: Any) -> None:
    unfold(page, "sampling")
    page.locator("#lam-sample-draw").press("Enter")
    page.wait_for_function("document.querySelectorAll('#lam-sample-view li').length === 2")
    told = page.inner_text("#lam-sample-view")
    assert told.count("times as far") == 2
    page.wait_for_function("window.lamMap.state().overlay && JSON.stringify(window.lamMap.state().overlay).length > 9")
    before = source_of(page)
    page.evaluate("window.lamMap.select({kind: 'sample', group: 1, index: 2})")
    wait_for_other(page, before)
    assert "learned, this picture, sample 3" in page.inner_text(f"{STAGE} .lam-caption b")
    # Of another picture they are said to be the one before's.
    page.locator("#lam-space-photos [data-photo='2']").press("Enter")
    page.wait_for_selector("#lam-sample-old .lam-old")


def test_the_state_is_shown_in_colours(page: Any) -> None:
    unfold(page, "sight")
    page.locator("#lam-sight-look").press("Enter")
    page.wait_for_function("document.querySelectorAll('#lam-sight-view img').length === 3")
    page.locator("#lam-space-photos [data-photo='3']").press("Enter")
    page.wait_for_function("document.querySelectorAll('#lam-sight-view img').length === 0")


def test_the_visitors_own_clip_is_a_path(page: Any, small_clip: Path) -> None:
    upload(page, "#lam-space-clip", small_clip)
    page.wait_for_function("document.querySelector('#lam-map-overlay [data-overlay]').dataset.overlay.includes('path')")
    page.wait_for_timeout(500)
    before = source_of(page)
    page.evaluate("window.lamMap.select({kind: 'path', index: 3})")
    wait_for_other(page, before)
    assert "your clip at 0.75 s" in page.inner_text(f"{STAGE} .lam-caption b")


def test_anothers_map_is_looked_at_and_not_played(page: Any) -> None:
    before = source_of(page)

    def choose(name: str) -> None:
        page.locator("#lam-space-map-of input").click()
        page.get_by_role("option", name=name).click()

    choose("villa-x")
    page.wait_for_selector("#lam-space-plot .lam-map[data-plays=no]")
    page.locator("#lam-space-plot").scroll_into_view_if_needed()
    page.wait_for_function("window.lamMap && window.lamMap.state().ready && window.lamMap.state().count === 200")
    point_at(page, uncovered(page))
    page.wait_for_selector("#lam-space-near-view [aria-label^='Look at']")
    near = page.locator("#lam-space-near-view [data-act=point]")
    assert near.count() == 8
    first = near.nth(1).get_attribute("data-index")
    near.nth(1).press("Enter")
    page.wait_for_function(
        "i => document.querySelector('#lam-space-near-view [data-act=point]').dataset.index === i", arg=first
    )
    assert source_of(page) == before
    # What is this checkpoint's own plays on, and leaves another's map as it is.
    page.locator("#lam-directions-view [data-act=direction]").first.click()
    wait_for_other(page, before)
    assert page.locator("#lam-space-near-view [aria-label^='Look at']").count() == 8
    choose("this checkpoint")
    page.wait_for_selector("#lam-space-plot .lam-map:not([data-plays])")
    page.locator("#lam-space-plot").scroll_into_view_if_needed()
    page.wait_for_function("window.lamMap && window.lamMap.state().ready && window.lamMap.state().count === 300")


def test_a_checkpoint_without_a_map_says_how_to_make_one(page: Any) -> None:
    page.locator("#lam-space-checkpoint input").click()
    page.get_by_role("option", name=re.compile("^sparse")).click()
    page.wait_for_function("document.querySelector('#lam-space-plot').innerText.includes('lamdemo atlas')")
    assert blocks(page) == []
    page.locator("#lam-space-checkpoint input").click()
    page.get_by_role("option", name="Standard model").click()
    # It is drawn when it is seen, and what chooses a checkpoint stands below it.
    page.locator("#lam-space-plot").scroll_into_view_if_needed()
    page.wait_for_function("window.lamMap && window.lamMap.state().ready")
    # Each checkpoint's timeline is kept for itself.
    page.wait_for_function("document.querySelectorAll('#lam-space-timeline [data-block]').length === 3")


def test_an_atlas_of_another_model_is_a_sentence_and_the_rest_works(page: Any, bundled: Path) -> None:
    shutil.copy(bundled / DEFAULT_CHECKPOINT / "atlas.safetensors", bundled / "other")
    page.locator("#lam-space-checkpoint input").click()
    page.get_by_role("option", name=re.compile("^other")).click()
    assert "another checkpoint" in sentence(page)
    page.wait_for_function("document.querySelector('#lam-space-plot').innerText.includes('another checkpoint')")
    unfold(page, "timeline")
    press(page, "#lam-space-apply")
    assert "empty" in sentence(page)
    page.locator("#lam-space-checkpoint input").click()
    page.get_by_role("option", name="Standard model").click()
    # It is drawn when it is seen, and what chooses a checkpoint stands below it.
    page.locator("#lam-space-plot").scroll_into_view_if_needed()
    page.wait_for_function("window.lamMap && window.lamMap.state().ready")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_the_picture_stays_in_sight(browser: Any, address: str, scheme: str) -> None:
    phone = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True
    )
    page = opened(phone, address)
    to_space(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 391
    assert shown_from_afar(page, 844)
    phone.close()


def shown_from_afar(page: Any, tall: int) -> bool:
    """Play a direction, then a step far down the page; whether the stage was in sight whole each time."""
    seen = []
    for button in ("[data-act=direction][data-key=zoom-in]", "#lam-space-near-view [data-act=point] >> nth=-1"):
        before = source_of(page)
        page.locator(button).scroll_into_view_if_needed()
        page.evaluate("s => document.querySelector(s.split(' >> ')[0]).scrollIntoView({block: 'center'})", button)
        page.locator(button).click()
        wait_for_other(page, before)
        box = page.locator(f"{STAGE} .lam-stage").first.bounding_box()
        seen.append(box["y"] >= -1 and box["y"] + box["height"] <= tall)
    return all(seen)


def test_what_plays_is_in_sight_beside_what_was_clicked(page: Any) -> None:
    page.set_viewport_size({"width": 1366, "height": 768})
    assert shown_from_afar(page, 768)
    # What a stranger sees first: the sentence, the named motions, the first dots, the stage.
    page.evaluate("scrollTo(0, 0)")
    for part in ("#lam-space-intro h2", "[data-act=direction][data-key=zoom-in]", f"{STAGE} .lam-stage >> nth=0"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 768, part
    assert page.locator(".lam-map-stage").bounding_box()["y"] < 768
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_programs_apply_actions_too(address: str, bundled: Path, photo: Path, page: Any, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(address, verbose=False, download_files=str(tmp_path), analytics_enabled=False)
    z = np.eye(2, 16, dtype=np.float32)
    made = Composition((Block.of(z, "both", repeat=2),), 4.0, checkpoint_hash(bundled / DEFAULT_CHECKPOINT))
    file = made.save(tmp_path / "actions.npz")
    for latents, link in ((handle_file(file), ""), (None, address + "?actions=" + made.encode())):
        video = client.predict(latents, link, handle_file(photo), api_name="/apply")
        assert probe(video).seconds == pytest.approx(13 / 12, abs=0.1)
    with pytest.raises(AppError, match="no actions"):
        client.predict(None, "", handle_file(photo), api_name="/apply")
    client.close()


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
