"""The page in a real browser: what a visitor does, from the upload to a playing result."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import ROOT, WAIT, chromiums, served, toast, violations
from PIL import Image

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, TransferPipeline, save_latents
from lamdemo.jobs.compare import Progress
from lamdemo.jobs.turns import PAUSE
from lamdemo.ui.inputs import BETWEEN, SourceView, look_at_source, read_target
from lamdemo.ui.models import Models, load
from lamdemo.ui.prepared import poster, read, write
from lamdemo.ui.sessions import Sessions
from lamdemo.ui.views import Example
from lamdemo.ui.work import Compared, Finished, Live, Order, Writing, make, make_comparison
from lamdemo.video import probe, read_clip, write_image, write_video

LEAD = "#lam-result-view video[data-lam-loop=lead]"


# What stands behind the page.


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


def _make(pipeline: TransferPipeline, order: Order, folder: Path, **more: Any) -> tuple[list[Live], Finished]:
    *told, done = (news for news in make(pipeline, order, folder, **more) if news is not PAUSE)
    frames = [news for news in told if not isinstance(news, Writing)]
    assert len(told) - len(frames) == 5 and told[-5:] == [news for news in told if isinstance(news, Writing)]
    assert isinstance(done, Finished) and all(isinstance(frame, Live) for frame in frames)
    return frames, done


def test_all_videos_of_a_result_play_in_step(
    pipeline: TransferPipeline, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    order = Order(str(small_clip), str(photo), first=2, last=5, repeat=2)
    frames, done = _make(pipeline, order, tmp_path)
    assert [frame.index for frame in frames] == list(range(7))
    assert (done.made, done.span, done.first) == (6, 3, 2)
    clips = [read_clip(p) for p in (done.transfer, done.source, done.idle, done.side_by_side)]
    assert {len(clip) for clip in clips} == {6 * (BETWEEN + 1) + 1}
    assert {clip.fps for clip in clips} == {pipeline.fps * (BETWEEN + 1)}
    # The source starts over where its actions do.
    source = clips[1].frames.astype(int)
    assert np.abs(source[4] - source[4 + 9]).mean() < 3
    assert np.abs(source[1] - source[9]).mean() > 3


def test_latents_of_a_result_are_those_of_the_chosen_steps(
    pipeline: TransferPipeline, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    view = look_at_source(pipeline, str(small_clip), 0.0, tmp_path)
    whole = pipeline.infer(read_clip(small_clip, fps=pipeline.fps).frames)
    assert view.sizes == pytest.approx(whole.size, rel=0.05)
    order = Order(str(small_clip), str(photo), first=1, last=4, strength=-2.0)
    _, done = _make(pipeline, order, tmp_path, latents=view.latents)
    assert view.latents is not None
    kept = LatentActions.load(done.latents)
    np.testing.assert_allclose(kept.z, -2 * view.latents.z[1:4], rtol=1e-5)
    assert kept.checkpoint == pipeline.checkpoint


def test_a_stopped_transfer_keeps_what_was_made(
    pipeline: TransferPipeline, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    seen: list[int] = []

    def should_stop() -> bool:
        seen.append(1)
        return len(seen) == 4  # after the target and three steps

    _, done = _make(pipeline, Order(str(small_clip), str(photo)), tmp_path, should_stop=should_stop)
    assert done.stopped and done.made == 3
    assert len(read_clip(done.transfer)) == 3 * (BETWEEN + 1) + 1
    assert len(LatentActions.load(done.latents)) == 3


def test_the_step_limit_holds_for_repeats(
    pipeline: TransferPipeline, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    _, done = _make(pipeline, Order(str(small_clip), str(photo), repeat=4, limit=10), tmp_path)
    assert done.made == 10 and done.asked == 4 * 8 and not done.stopped


def test_a_clip_as_target_brings_its_past(small_clip: Path) -> None:
    frames = read_clip(small_clip).frames  # 8 a second; the model's pace is 4
    target = read_target(str(small_clip), 1.5, 4.0)
    assert len(target) == 5
    np.testing.assert_array_equal(target, frames[[4, 6, 8, 10, 12]])
    assert len(read_target(str(small_clip), 0.0, 4.0)) == 1


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (None, "photo", "There is no source yet"),
        ("clip", None, "There is no target yet"),
        ("photo", "photo", "single picture"),
        ("one_frame", "photo", "less than one step"),
        ("cut_short", "photo", "bad.mp4"),
        ("clip", "tiny", "only 4×4 pixels"),
        ("gone", "photo", "removed from the server"),
    ],
)
def test_bad_input_is_one_sentence(
    pipeline: TransferPipeline,
    small_clip: Path,
    photo: Path,
    tmp_path: Path,
    source: str | None,
    target: str | None,
    sentence: str,
) -> None:
    files: dict[str | None, Path | None] = {
        None: None,
        "photo": photo,
        "clip": small_clip,
        "one_frame": write_video(tmp_path / "one.mp4", read_clip(small_clip).frames[:1], 8),
        "cut_short": tmp_path / "bad.mp4",
        "tiny": write_image(tmp_path / "tiny.png", np.zeros((4, 4, 3), np.uint8)),
        "gone": tmp_path / "gone.mp4",
    }
    (tmp_path / "bad.mp4").write_bytes(small_clip.read_bytes()[:900])
    paths = [str(files[name]) if name else None for name in (source, target)]
    with pytest.raises(LamdemoError) as error:
        list(make(pipeline, Order(*paths), tmp_path))
    assert sentence in str(error.value)
    assert str(tmp_path) not in str(error.value) and str(error.value).endswith(".")


def test_a_session_keeps_two_results_and_takes_all_with_it() -> None:
    sessions = Sessions()
    session = sessions.get("one")
    stops = [session.stop("result"), session.stop("plan")]
    for number in range(4):
        with session.place("result") as folder:
            (folder / "transfer.mp4").write_bytes(bytes([number]))

    def kept() -> list[int]:
        return [(k / "transfer.mp4").read_bytes()[0] for k in sorted(session.folder.iterdir())]

    assert kept() == [2, 3]
    # Making the next lets go of the older one; where it fails, the last one stays.
    with pytest.raises(LamdemoError), session.place("result"):
        raise LamdemoError("It failed.")
    assert kept() == [3]
    assert sessions.get("one") is session and sessions.get("two") is not session
    sessions.end("one")
    assert all(stop.is_set() for stop in stops) and not session.folder.exists()
    shutil.rmtree(sessions.root)


def test_what_still_runs_for_a_page_that_was_left_leaves_nothing_behind() -> None:
    sessions = Sessions()
    session = sessions.get("one")
    with session.place("result") as folder:
        sessions.end("one")
        folder.mkdir(parents=True)
        (folder / "transfer.mp4").write_bytes(b"0")
    with pytest.raises(LamdemoError, match="left"), session.place("result"):
        raise AssertionError("It must not be entered.")
    # An event that was under way asks for its session anew: no folder for that, and soon forgotten.
    late = sessions.get("one")
    assert late is not session and late.lives < sessions.get("two").lives
    assert not any(sessions.root.iterdir())
    shutil.rmtree(sessions.root)


def test_a_session_long_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions()
    old = sessions.get("old")
    with old.place("result"):
        pass
    now = time.monotonic()
    monkeypatch.setattr("lamdemo.ui.sessions.time.monotonic", lambda: now + 4000)
    sessions.get("new")
    assert len(sessions) == 1 and old.ended and not old.folder.exists()
    shutil.rmtree(sessions.root)


def test_a_model_is_loaded_once(pipeline: TransferPipeline) -> None:
    asked: list[str] = []

    def loader(name: str) -> TransferPipeline:
        asked.append(name)
        return pipeline

    models = Models(loader)
    for name in (DEFAULT_CHECKPOINT, "a/b", DEFAULT_CHECKPOINT, "a/b", "c/d", DEFAULT_CHECKPOINT):
        models.get(name)
    assert asked == [DEFAULT_CHECKPOINT, "a/b", "c/d"]
    models.get("a/b")  # two are kept, and the default is always one of them
    assert asked == [DEFAULT_CHECKPOINT, "a/b", "c/d", "a/b"]


def test_a_public_page_opens_no_folder(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMDEMO_HOST", raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert load(str(tiny_checkpoint)).checkpoint
    monkeypatch.setenv("SPACE_ID", "someone/space")
    for name in (str(tiny_checkpoint), "lamdemo/ui", "../x", "a/b/c"):
        monkeypatch.chdir(ROOT)
        with pytest.raises(LamdemoError, match="not folders"):
            load(name)


def test_a_comparison_goes_through_the_models_at_hand_and_keeps_few(
    pipeline: TransferPipeline, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    models = Models(lambda name: pipeline)
    held: list[int] = []
    order = Order(str(small_clip), str(photo), first=1, last=4)
    *news, done = make_comparison(
        models.get, ["a", "b", "c"], order, tmp_path, should_stop=lambda: held.append(len(models._loaded)) or False
    )
    assert isinstance(done, Compared) and all(isinstance(n, Progress) for n in news)
    assert max(held) <= 2
    assert done.made == 3 and [row["name"] for row in done.rows] == ["a", "b", "c"] and done.stopped == ()
    assert len(read_clip(done.video)) == 3 * (BETWEEN + 1) + 1
    assert (probe(done.video).width, probe(done.video).height) == done.size
    assert json.loads(done.report.read_text())["panels"] == ["source", "a", "b", "c"]


@pytest.mark.parametrize("after", [1, 2])
def test_a_stopped_comparison_keeps_two_or_says_there_is_nothing(
    pipeline: TransferPipeline, small_clip: Path, photo: Path, tmp_path: Path, after: int
) -> None:
    asked = {"a": 0}
    stopping = False

    def load(name: str) -> TransferPipeline:
        nonlocal stopping
        asked[name] = asked.get(name, 0) + 1
        # The second time is when its turn comes.
        stopping = asked[name] == 2 and name == "abc"[after]
        return pipeline

    order = Order(str(small_clip), str(photo), first=0, last=2)
    work = make_comparison(load, ["a", "b", "c"], order, tmp_path, should_stop=lambda: stopping)
    if after == 1:
        with pytest.raises(LamdemoError, match="stopped before two"):
            list(work)
        assert not list(tmp_path.iterdir())
    else:
        *_, done = work
        assert isinstance(done, Compared) and done.stopped == ("c",) and len(done.rows) == 2


def test_a_prepared_example_is_read_as_it_was_written(
    tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    pair = Example("square", tmp_path / "clips" / "square.mp4", tmp_path / "photos" / "scene.png")
    for file, original in ((pair.clip, small_clip), (pair.photo, photo)):
        file.parent.mkdir()
        shutil.copy(original, file)
    assert read(tmp_path, pair) is None and poster(tmp_path, pair) is None
    done = write(tmp_path, pair, str(tiny_checkpoint))
    prepared = read(tmp_path, pair)
    assert prepared is not None and prepared.done == done and poster(tmp_path, pair) is not None
    assert len(prepared.source.sizes) == 8 and prepared.source.path == str(pair.clip)
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "prepared").glob("*/*.json"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips", "photos", "prepared"]
    done.transfer.unlink()
    assert read(tmp_path, pair) is None


def test_the_range_begins_at_the_liveliest_steps(tmp_path: Path) -> None:
    quiet, lively = (0.1,) * 20, (5.0,) * 6
    view = SourceView("clip.mp4", 0.0, 10.0, 4.0, quiet + lively + quiet, 1.0, tmp_path, tmp_path)
    first, last = view.liveliest
    assert last - first == 16 and first <= 20 and last >= 26
    short = SourceView("clip.mp4", 0.0, 1.0, 4.0, (1.0, 2.0), 1.0, tmp_path, tmp_path)
    assert short.liveliest == (0, 2)


def test_a_result_can_be_kept_as_gif_and_card(
    pipeline: TransferPipeline, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    _, done = _make(pipeline, Order(str(small_clip), str(photo)), tmp_path)
    with Image.open(done.gif) as moving, Image.open(done.card) as card:
        assert moving.n_frames == 13  # every other of 25
        assert moving.info["loop"] == 0 and moving.info["duration"] == pytest.approx(1000 / 6, abs=10)
        assert card.width > 300 and card.height > 600


# The page itself.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromiums() as launch:
        yield launch("--disable-gpu")


@pytest.fixture(scope="module")
def address(
    browser: Any, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The page as ``python app.py`` opens it, with the folder that its temporary files are in."""
    bundled = tmp_path_factory.mktemp("bundled")
    for name in (DEFAULT_CHECKPOINT, "sparse"):
        shutil.copytree(tiny_checkpoint, bundled / name)
    # To this one all that moves is new.
    save_latents(bundled / "sparse", np.random.default_rng(0).normal(0, 1e-4, (200, 16)))
    scratch = tmp_path_factory.mktemp("scratch")
    with served(bundled, scratch) as url:
        yield url, scratch


@pytest.fixture(scope="module")
def page(browser: Any, address: tuple[str, Path]) -> Iterator[Any]:
    """One open page, which the tests below use one after the other, as a visitor would."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.strangers = []
    page.on(
        "request",
        lambda r: page.strangers.append(r.url) if not r.url.startswith((address[0], "data:", "blob:")) else None,
    )
    page.goto(address[0])
    page.wait_for_selector("#lam-go:not([disabled])")
    yield page
    context.close()


def _upload(page: Any, where: str, file: Path) -> None:
    page.locator(f"#lam-{where} .lam-own input[type=file]").set_input_files(str(file))


def _transfer(page: Any) -> None:
    """Press Transfer and wait for a result that was not there before."""
    before = page.evaluate(f"document.querySelector('{LEAD}')?.getAttribute('src') ?? ''")
    page.click("#lam-go")
    page.wait_for_function(
        f"old => {{ const v = document.querySelector('{LEAD}'); return v && v.getAttribute('src') !== old; }}",
        arg=before,
    )


def _advances(page: Any) -> bool:
    page.wait_for_function(f"document.querySelector('{LEAD}').currentTime > 0.2")
    first = page.evaluate(f"document.querySelector('{LEAD}').currentTime")
    page.wait_for_function(f"t => document.querySelector('{LEAD}').currentTime !== t", arg=first)
    return True


def test_from_upload_to_a_playing_result(
    page: Any, small_clip: Path, photo: Path, tmp_path: Path, address: tuple[str, Path]
) -> None:
    _upload(page, "source", small_clip)
    page.wait_for_function("document.querySelectorAll('.lam-bars span').length === 8")
    _upload(page, "target", photo)
    page.wait_for_function("!document.querySelector('#lam-target-view img').src.includes('prepared')")
    _transfer(page)
    assert _advances(page)
    loops = page.evaluate(
        "[...document.querySelectorAll('video[data-lam-loop]')]"
        ".map(v => [v.dataset.lamLoop, v.loop, v.muted, v.duration])"
    )
    assert {name for name, *_ in loops} == {"source", "lead", "idle"}
    assert all(loop and muted for _, loop, muted, _ in loops)
    durations = [seconds for *_, seconds in loops if seconds]
    assert max(durations) - min(durations) < 0.1
    page.click("#lam-measures summary")
    assert "mean length of the latent actions" in page.inner_text("#lam-measures")
    with page.expect_download() as download:
        page.click("#lam-get-side-by-side")
    download.value.save_as(tmp_path / "got.mp4")
    assert probe(tmp_path / "got.mp4").seconds == pytest.approx(durations[0], abs=0.1)


STALE = "#lam-result-view .lam-is-stale"
MADE = "#lam-result-view [data-lam-made]"


def _opened(browser: Any, url: str) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(WAIT)
    page.goto(url)
    page.wait_for_selector("#lam-go:not([disabled])")
    return page


def _wait_made(page: Any, made: str) -> None:
    page.wait_for_function(f"made => document.querySelector('{MADE}')?.dataset.lamMade === made", arg=made)
    page.wait_for_selector("#lam-go:not([disabled])")


def test_uploads_and_their_result_outlive_a_reload(
    browser: Any, address: tuple[str, Path], small_clip: Path, photo: Path
) -> None:
    page = _opened(browser, address[0])
    page.wait_for_function("window.lamBack")
    _upload(page, "source", small_clip)
    page.wait_for_function("document.querySelectorAll('.lam-bars span').length === 8")
    _upload(page, "target", photo)
    page.wait_for_function("!document.querySelector('#lam-target-view img').src.includes('prepared')")
    page.locator(".lam-handle[data-end=last]").press("ArrowLeft")
    page.wait_for_function(
        "document.querySelector('#lam-source-view [data-lam-input]').dataset.lamInput.endsWith(':7')"
    )
    _transfer(page)
    made = page.get_attribute(MADE, "data-lam-made")
    page.wait_for_timeout(500)  # what is kept is written by then
    page.reload()
    _wait_made(page, made)
    assert "prepared" not in page.get_attribute(LEAD, "src")
    assert page.locator(".lam-bars span.on").count() == 7 and page.locator(STALE).count() == 0
    # It is the visitor's alone.
    page.click("#lam-link")
    assert "Your own clip" in toast(page)
    page.context.close()


def test_a_link_makes_the_same_again_elsewhere(browser: Any, address: tuple[str, Path]) -> None:
    page = _opened(browser, address[0])
    page.wait_for_function("window.lamBack")
    before = page.get_attribute(LEAD, "src")
    page.click("button[data-example='1']")
    page.wait_for_function(f"old => document.querySelector('{LEAD}').getAttribute('src') !== old", arg=before)
    page.locator(".lam-handle[data-end=first]").press("ArrowRight")
    page.wait_for_selector(STALE)
    _transfer(page)
    made = page.get_attribute(MADE, "data-lam-made")
    page.click("#lam-link")
    place = "#lam-link-text textarea, #lam-link-text input"
    page.wait_for_function(f"document.querySelector('{place}')?.value.includes('/?clip=')")
    link = page.locator(place).first.input_value()
    guest = _opened(browser, link)
    _wait_made(guest, made)
    assert guest.url == address[0]
    page.context.close()
    guest.context.close()


def test_the_range_is_dragged_and_a_result_made_before_is_marked(page: Any) -> None:
    assert page.locator(STALE).count() == 0
    page.locator("#lam-source-view .lam-range").scroll_into_view_if_needed()
    box = page.locator("#lam-source-view .lam-range").bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 2.1 / 8, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    page.wait_for_function("document.querySelectorAll('.lam-bars span.on').length === 6")
    page.wait_for_selector(STALE)
    assert page.locator(".lam-stale").is_visible()
    # And with the keyboard alone.
    last = page.locator(".lam-handle[data-end=last]")
    for _ in range(3):
        last.press("ArrowLeft")
    page.wait_for_function(
        "document.querySelector('#lam-source-view [data-lam-input]').dataset.lamInput.endsWith(':2:5')"
    )
    _transfer(page)
    assert page.inner_text("#lam-result-view .lam-tag") == "3 steps"
    page.wait_for_selector(STALE, state="detached")


def test_strength_and_repeat_do_what_they_say(page: Any) -> None:
    page.locator("#lam-repeat input[type=number]").fill("4")
    page.locator("#lam-repeat input[type=number]").press("Enter")
    page.wait_for_selector(STALE)
    _transfer(page)
    assert page.inner_text("#lam-result-view .lam-tag") == "12 steps"
    page.locator("#lam-repeat input[type=number]").fill("1")
    page.locator("#lam-repeat input[type=number]").press("Enter")


def test_a_file_can_be_dropped_on_what_it_replaces(page: Any, small_clip: Path) -> None:
    import base64

    page.evaluate(
        """([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], name, { type: 'video/mp4' }));
            const stage = document.querySelector('#lam-source .lam-stage');
            for (const kind of ['dragover', 'drop']) {
              stage.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: carried }));
            }
        }""",
        [base64.b64encode(small_clip.read_bytes()).decode(), "dropped.mp4"],
    )
    page.wait_for_function("document.querySelectorAll('.lam-bars span.on').length === 8")
    assert page.locator(".lam-over").count() == 0


def test_a_bad_upload_is_a_sentence_and_nothing_is_lost(page: Any, small_clip: Path, tmp_path: Path) -> None:
    kept = page.get_attribute(LEAD, "src")
    bad = tmp_path / "broken <b>.mp4"
    bad.write_bytes(small_clip.read_bytes()[:900])
    _upload(page, "source", bad)
    words = toast(page)
    assert "broken" in words and "Traceback" not in words and str(tmp_path) not in words
    assert page.get_attribute(LEAD, "src") == kept
    assert page.locator("#lam-target-view img").count() == 1


def test_an_example_is_there_at_once(page: Any) -> None:
    before = page.get_attribute(LEAD, "src")
    page.click("button[data-example='0']")
    page.wait_for_function(
        f"old => {{ const v = document.querySelector('{LEAD}'); return v && v.getAttribute('src') !== old; }}",
        arg=before,
    )
    assert "made beforehand" in page.inner_text("#lam-result-view")
    assert page.locator("#lam-target-view img").count() == 1
    assert _advances(page)
    assert page.locator(STALE).count() == 0


def test_a_transfer_can_be_stopped(page: Any) -> None:
    before = page.get_attribute(LEAD, "src")
    page.click("#lam-go")
    page.wait_for_selector("#lam-stop:not([disabled])")
    page.wait_for_function("/^step/.test(document.querySelector('#lam-result-view .lam-tag')?.innerText ?? '')")
    page.click("#lam-stop")
    page.wait_for_function(
        f"old => {{ const v = document.querySelector('{LEAD}'); return v && v.getAttribute('src') !== old; }}",
        arg=before,
    )
    assert "stopped there" in page.inner_text("#lam-result-view .lam-tag")
    page.wait_for_selector("#lam-go:not([disabled])")


def test_checkpoints_are_compared_side_by_side(page: Any, small_clip: Path, photo: Path, tmp_path: Path) -> None:
    _upload(page, "source", small_clip)
    page.wait_for_function("document.querySelectorAll('.lam-bars span').length === 8")
    _upload(page, "target", photo)
    # With the keyboard alone: open it, see what there is, start.
    page.locator("#lam-compare > button").press("Enter")
    names = page.locator("#lam-compare-names label")
    names.nth(1).wait_for()
    assert names.count() == 2 and "noisy latents" in names.nth(0).inner_text()
    assert page.locator("#lam-compare-names input:checked").count() == 2
    page.locator("#lam-compare-go").press("Enter")
    page.wait_for_selector("#lam-compare-view video")
    page.wait_for_function("document.querySelector('#lam-compare-view video').currentTime > 0.2")
    table = page.inner_text("#lam-compare-view table")
    assert DEFAULT_CHECKPOINT in table and "sparse" in table and "8 of 8" in table and "not known" in table
    assert "not correctness" in table
    assert "sparse: 8 of 8 steps lie outside" in page.inner_text("#lam-compare-view .lam-warn")
    assert page.locator("#lam-compare-view thead th[scope=col]").count() == 3
    with page.expect_download() as download:
        page.click("#lam-get-compare-video")
    download.value.save_as(tmp_path / "grid.mp4")
    assert len(read_clip(tmp_path / "grid.mp4")) == 8 * (BETWEEN + 1) + 1
    # One alone is no comparison: a sentence, and the last one stays.
    page.wait_for_selector("#lam-compare-go:not([disabled])")
    names.nth(1).click()
    page.click("#lam-compare-go")
    assert "two different checkpoints" in toast(page)
    assert page.locator("#lam-compare-view video").count() == 1
    page.wait_for_selector("#lam-compare-go:not([disabled])")


def test_a_source_unlike_training_is_told_before_the_transfer(page: Any) -> None:
    page.click("#lam-more > button")
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name="sparse").click()
    page.wait_for_selector("#lam-source-view .lam-warn")
    assert "8 of 8 steps lie outside" in page.inner_text("#lam-source-view .lam-warn")
    assert page.locator(".lam-bars span.far").count() == 8
    _transfer(page)
    page.wait_for_selector("#lam-result-view .lam-warn")
    page.click("#lam-measures summary")
    assert "Unfamiliar steps" in page.inner_text("#lam-measures")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_is_accessible(browser: Any, address: tuple[str, Path], scheme: str) -> None:
    page = browser.new_context(viewport={"width": 1366, "height": 768}, color_scheme=scheme).new_page()
    page.set_default_timeout(WAIT)
    page.goto(address[0])
    page.wait_for_selector("#lam-go:not([disabled])")
    page.click("#lam-more > button")
    for tab, there in (
        ("Transfer", "#lam-go"),
        ("Action space", "#lam-space-view img"),
        ("Drive", "#lam-drive-view .lam-stage"),
        ("Plan", "#lam-plan-ends img"),
    ):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(there)
        assert violations(page) == [], tab
    page.context.close()


def test_nothing_is_fetched_from_elsewhere(page: Any) -> None:
    assert page.strangers == []


def test_a_phone_shows_all_at_once(browser: Any, address: tuple[str, Path]) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(address[0])
    page.wait_for_selector("#lam-go")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    source, target, result = (page.locator(f"#lam-{name}").bounding_box() for name in ("source", "target", "result"))
    assert source["y"] == target["y"] and source["x"] + source["width"] <= target["x"]
    assert max(b["y"] + b["height"] for b in (source, target)) <= result["y"]
    # All of them and the button are on the first screen.
    for part in ("#lam-go", "#lam-own-clip", "#lam-own-picture", "#lam-result-view .lam-stage"):
        box = page.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= 844, part
    # Every control has a name for those who do not see it.
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input:not([type=file])')].filter(e => e.offsetParent && "
        "!(e.innerText?.trim() || e.ariaLabel || e.labels?.length || e.title)).map(e => e.outerHTML.slice(0, 120))"
    )
    assert nameless == []
    context.close()


def test_a_program_can_call_it(
    page: Any, address: tuple[str, Path], small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(address[0], verbose=False, download_files=str(tmp_path), analytics_enabled=False)
    video = client.predict(handle_file(str(small_clip)), handle_file(str(photo)), 1.0, False, 2, api_name="/transfer")
    assert len(read_clip(video)) == 16 * (BETWEEN + 1) + 1
    with pytest.raises(AppError, match="single picture"):
        client.predict(handle_file(str(photo)), handle_file(str(photo)), api_name="/transfer")
    inputs = handle_file(str(small_clip)), handle_file(str(photo))
    video, report = client.predict(*inputs, f"{DEFAULT_CHECKPOINT}, sparse", 1.0, False, 1, api_name="/compare")
    assert len(read_clip(video)) == 8 * (BETWEEN + 1) + 1
    assert [c["name"] for c in report["checkpoints"]] == [DEFAULT_CHECKPOINT, "sparse"]
    with pytest.raises(AppError, match="two different"):
        client.predict(*inputs, DEFAULT_CHECKPOINT, 1.0, False, 1, api_name="/compare")
    assert client.predict(inputs[0], "sparse", api_name="/familiarity")["far_steps"] == 8
    assert client.predict(inputs[0], "", api_name="/familiarity") is None
    client.close()


def test_files_go_with_the_page(page: Any, address: tuple[str, Path]) -> None:
    """The last test: it leaves the page."""
    root = next(address[1].glob("lamdemo-page-*/tmp/lamdemo-*"))
    assert any(root.iterdir())
    results = [p for p in root.glob("*/result-*")]
    assert len(results) <= 4
    page.close()
    for _ in range(150):
        if not any(root.iterdir()):
            break
        time.sleep(0.2)
    assert not any(root.iterdir())
