"""The page in a real browser: what a visitor does, from the upload to a playing result."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import ROOT, WAIT, chromiums, served

from lamdemo.errors import LamdemoError
from lamdemo.pipeline import LatentActions, TransferPipeline, save_latents
from lamdemo.pipeline.compare import Progress
from lamdemo.ui.models import DEFAULT, Models, load
from lamdemo.ui.opening import read, write
from lamdemo.ui.sessions import Sessions
from lamdemo.ui.views import Example
from lamdemo.ui.work import (
    BETWEEN,
    Compared,
    Finished,
    Live,
    Order,
    look_at_source,
    make,
    make_comparison,
    read_target,
)
from lamdemo.video import probe, read_clip, write_image, write_video

LEAD = "#lam-result-view video[data-lam-loop=lead]"


# What stands behind the page.


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


def _make(pipeline: TransferPipeline, order: Order, folder: Path, **more: Any) -> tuple[list[Live], Finished]:
    *frames, done = make(pipeline, order, folder, **more)
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
    for number in range(4):
        with session.place("result") as folder:
            (folder / "transfer.mp4").write_bytes(bytes([number]))
    with pytest.raises(LamdemoError), session.place("result"):
        raise LamdemoError("It failed.")
    kept = sorted(session.folder.iterdir())
    assert [(k / "transfer.mp4").read_bytes()[0] for k in kept] == [3]
    assert sessions.get("one") is session and sessions.get("two") is not session
    sessions.end("one")
    assert session.stop.is_set() and not session.folder.exists()
    shutil.rmtree(sessions.root)


def test_a_session_long_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions()
    old = sessions.get("old")
    now = time.monotonic()
    monkeypatch.setattr("lamdemo.ui.sessions.time.monotonic", lambda: now + 4000)
    sessions.get("new")
    assert len(sessions) == 1 and not old.folder.exists()
    shutil.rmtree(sessions.root)


def test_a_model_is_loaded_once(pipeline: TransferPipeline) -> None:
    asked: list[str] = []

    def loader(name: str) -> TransferPipeline:
        asked.append(name)
        return pipeline

    models = Models(loader)
    for name in (DEFAULT, "a/b", DEFAULT, "a/b", "c/d", DEFAULT):
        models.get(name)
    assert asked == [DEFAULT, "a/b", "c/d"]
    models.get("a/b")  # two are kept, and the default is always one of them
    assert asked == [DEFAULT, "a/b", "c/d", "a/b"]


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


def test_the_opening_is_read_as_it_was_written(
    tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    pair = Example("square", tmp_path / "clips" / "square.mp4", tmp_path / "photos" / "scene.png")
    for file, original in ((pair.clip, small_clip), (pair.photo, photo)):
        file.parent.mkdir()
        shutil.copy(original, file)
    assert read(tmp_path) is None
    done = write(tmp_path, pair, str(tiny_checkpoint))
    opening = read(tmp_path)
    assert opening is not None and opening.done == done
    assert len(opening.source.sizes) == 8 and opening.source.path == str(pair.clip)
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "opening").glob("*.json"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips", "opening", "photos"]
    done.transfer.unlink()
    assert read(tmp_path) is None


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
    for name in (DEFAULT, "sparse"):
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
    clear = page.locator(f"#lam-{where}-file button[aria-label='Clear']")
    if clear.count():
        clear.first.click()
    box = page.locator(f"#lam-{where}-file input[type=file]")
    box.wait_for(state="attached")
    box.set_input_files(str(file))


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
    page.wait_for_selector("#lam-target-view img")
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
    assert "mean length of the latent actions" in page.inner_text("#lam-measures")
    with page.expect_download() as download:
        page.click("#lam-get-side-by-side")
    download.value.save_as(tmp_path / "got.mp4")
    assert probe(tmp_path / "got.mp4").seconds == pytest.approx(durations[0], abs=0.1)


def test_the_range_chooses_the_steps(page: Any) -> None:
    page.locator("#lam-first input[type=number]").fill("3")
    page.locator("#lam-last input[type=number]").fill("5")
    page.locator("#lam-last input[type=number]").press("Enter")
    page.wait_for_function("document.querySelectorAll('.lam-bars span.on').length === 3")
    _transfer(page)
    assert page.inner_text("#lam-result-view .lam-tag") == "3 steps"


def test_a_bad_upload_is_a_sentence_and_nothing_is_lost(page: Any, small_clip: Path, tmp_path: Path) -> None:
    kept = page.get_attribute(LEAD, "src")
    bad = tmp_path / "broken <b>.mp4"
    bad.write_bytes(small_clip.read_bytes()[:900])
    _upload(page, "source", bad)
    page.wait_for_selector(".toast-body")
    words = page.inner_text(".toast-body")
    assert "broken" in words and "Traceback" not in words and str(tmp_path) not in words
    assert page.get_attribute(LEAD, "src") == kept
    assert page.locator("#lam-target-view img").count() == 1
    page.locator(".toast-close").first.click()


def test_an_example_runs_with_one_click_and_can_be_stopped(page: Any, address: tuple[str, Path]) -> None:
    before = page.get_attribute(LEAD, "src")
    page.click("button[data-example='0']")
    page.wait_for_selector("#lam-stop:not([disabled])")
    page.wait_for_function("/^step/.test(document.querySelector('#lam-result-view .lam-tag')?.innerText ?? '')")
    page.click("#lam-stop")
    page.wait_for_function(
        f"old => {{ const v = document.querySelector('{LEAD}'); return v && v.getAttribute('src') !== old; }}",
        arg=before,
    )
    first = json.loads((Path(__file__).resolve().parents[1] / "examples" / "pairs.json").read_text())[0]
    assert page.inner_text("#lam-source-file").count(Path(first["clip"]).stem) == 1
    assert page.locator("#lam-target-view img").count() == 1
    assert "stopped there" in page.inner_text("#lam-result-view .lam-tag")
    assert _advances(page)
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
    assert "noisy" in table and "sparse" in table and "8 of 8" in table and "not known" in table
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
    page.wait_for_selector(".toast-body")
    assert "two different checkpoints" in page.inner_text(".toast-body")
    assert page.locator("#lam-compare-view video").count() == 1
    page.locator(".toast-close").first.click()
    page.wait_for_selector("#lam-compare-go:not([disabled])")


def test_a_source_unlike_training_is_told_before_the_transfer(page: Any) -> None:
    page.click("#lam-more > button")
    page.get_by_label("Checkpoint", exact=True).click()
    page.get_by_role("option", name="sparse").click()
    page.wait_for_selector("#lam-source-view .lam-warn")
    assert "8 of 8 steps lie outside" in page.inner_text("#lam-source-view .lam-warn")
    assert page.locator(".lam-bars span.far").count() == 8
    _transfer(page)
    page.wait_for_selector("#lam-result-view .lam-warn")
    assert "Unfamiliar steps" in page.inner_text("#lam-measures")


def test_nothing_is_fetched_from_elsewhere(page: Any) -> None:
    assert page.strangers == []


def test_columns_stack_on_a_phone(browser: Any, address: tuple[str, Path]) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(address[0])
    page.wait_for_selector("#lam-go")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tops = [page.locator(f"#lam-{name}").bounding_box() for name in ("source", "target", "result")]
    assert all(a["y"] + a["height"] <= b["y"] for a, b in itertools.pairwise(tops))
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
    video, report = client.predict(*inputs, "noisy, sparse", 1.0, False, 1, api_name="/compare")
    assert len(read_clip(video)) == 8 * (BETWEEN + 1) + 1
    assert [c["name"] for c in report["checkpoints"]] == ["noisy", "sparse"]
    with pytest.raises(AppError, match="two different"):
        client.predict(*inputs, "noisy", 1.0, False, 1, api_name="/compare")
    assert client.predict(inputs[0], "sparse", api_name="/familiarity")["far_steps"] == 8
    assert client.predict(inputs[0], "", api_name="/familiarity") is None
    client.close()


def test_files_go_with_the_page(page: Any, address: tuple[str, Path]) -> None:
    """The last test: it leaves the page."""
    root = next(address[1].glob("lamdemo-*"))
    assert any(root.iterdir())
    results = [p for p in root.glob("*/result-*")]
    assert len(results) <= 4
    page.close()
    for _ in range(150):
        if not any(root.iterdir()):
            break
        time.sleep(0.2)
    assert not any(root.iterdir())
