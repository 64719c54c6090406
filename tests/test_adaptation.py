"""Adaptation to one clip: what changes, what it may see, the way back, and its place on the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from conftest import TINY, moving_square

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.models import LatentActionModel
from lamdemo.training.adaptation import TUNED, AdaptationConfig, Adapted, Adapting, Parts, adapt, tuned_names
from lamdemo.ui import adapting, sessions
from lamdemo.ui.models import Models
from lamdemo.ui.page import Page
from lamdemo.video import write_video

FEW = AdaptationConfig(steps=6, looks=3)
CLIP = moving_square(18, width=96, step=3)


@pytest.fixture(scope="module", params=["one layer", "layers"])
def pipeline(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> TransferPipeline:
    if request.param == "one layer":
        return TransferPipeline.from_pretrained(tiny_checkpoint, device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LatentActionModel(replace(TINY, world_model=replace(TINY.world_model, layers=True)))
        model.encoder.fit_whitening(torch.rand(16, 3, 64, 64))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if not name.startswith("encoder."):
                    parameter.add_(0.05 * torch.randn_like(parameter))
    return TransferPipeline(model, checkpoint="of layers")


def adapted(
    pipeline: TransferPipeline, clip: np.ndarray = CLIP, config: AdaptationConfig = FEW, **more: Any
) -> Adapted:
    *news, done = adapt(pipeline, clip, config, **more)
    assert all(isinstance(n, Adapting) for n in news) and isinstance(done, Adapted)
    return done


def same(one: Adapted, other: Adapted) -> bool:
    return one.delta.keys() == other.delta.keys() and all(torch.equal(t, other.delta[n]) for n, t in one.delta.items())


@pytest.mark.parametrize("steps", [12, 13, 17, 80, 160])
def test_parts_share_no_frame_and_hold_the_whole_clip(steps: int) -> None:
    parts = Parts.of(steps, AdaptationConfig())
    frames = [list(range(steps + 1))[some] for some in parts.frames().values()]
    assert [t for some in frames for t in some] == list(range(steps + 1))
    assert [len(f) - 1 for f in frames] == [parts.training, parts.watched, parts.held_out]
    assert min(parts.watched, parts.held_out) >= 2 and parts.training >= 4


def test_only_what_is_named_changes_and_the_model_stays_as_it_was(pipeline: TransferPipeline) -> None:
    before = {n: t.clone() for n, t in pipeline.model.state_dict().items()}
    flags = [p.requires_grad for p in pipeline.model.parameters()]
    done = adapted(pipeline)
    assert done.kept and set(done.delta) == set(tuned_names(pipeline.model))
    assert all(name.startswith(TUNED) for name in done.delta)
    assert all(torch.equal(t, before[n]) for n, t in pipeline.model.state_dict().items())
    assert [p.requires_grad for p in pipeline.model.parameters()] == flags and not pipeline.model.training
    mine = done.pipeline(pipeline)
    assert all(torch.equal(t, done.delta.get(n, before[n])) for n, t in mine.model.state_dict().items())
    assert any(not torch.equal(t, before[n]) for n, t in done.delta.items())
    # What it does not change it shares, so that a visitor's model takes no more than what it differs in.
    shared = {n: p.data_ptr() for n, p in pipeline.model.named_parameters()}
    assert all((p.data_ptr() == shared[n]) == (n not in done.delta) for n, p in mine.model.named_parameters())
    assert done.bytes == sum(4 * t.numel() for t in done.delta.values())


def test_what_is_held_out_has_no_influence(pipeline: TransferPipeline) -> None:
    held_out = Parts.of(len(CLIP) - 1, FEW).frames()["held_out"]
    other = CLIP.copy()
    other[held_out] = np.random.default_rng(0).integers(0, 256, other[held_out].shape, np.uint8)
    one, two = adapted(pipeline), adapted(pipeline, other)
    assert one.kept and same(one, two) and one.watched == two.watched
    assert one.before != two.before


def test_the_seed_decides(pipeline: TransferPipeline) -> None:
    one = adapted(pipeline)
    assert same(one, adapted(pipeline)) and one.after == adapted(pipeline).after
    assert not same(one, adapted(pipeline, config=replace(FEW, seed=1)))


def test_what_is_kept_is_never_worse_on_the_watched_steps(pipeline: TransferPipeline) -> None:
    done = adapted(pipeline)
    assert done.watched[1] < done.watched[0] == 1
    still = adapted(pipeline, config=replace(FEW, learning_rate=0.0))
    assert not still.kept and not still.delta and still.after == still.before and still.watched == (1, 1)


def test_its_figures_are_those_of_the_model_it_makes(pipeline: TransferPipeline) -> None:
    done = adapted(pipeline)
    states = pipeline.encode(CLIP[Parts.of(len(CLIP) - 1, FEW).frames()["held_out"]])
    mine = done.pipeline(pipeline).model
    for model, told in ((pipeline.model, done.before), (mine, done.after)):
        cache, errors = model.world_model.new_cache(), []
        for t, z in enumerate(model.infer(states[None])[0]):
            with torch.no_grad():
                made = model.world_model(states[None, t : t + 1], z[None, None], cache).states[0, 0]
            errors.append(float((made - states[t + 1]).abs().mean()))
        assert np.mean(errors) == pytest.approx(told.state, rel=1e-4)
    assert float(states.diff(dim=0).abs().mean()) == pytest.approx(done.before.state_copy, rel=1e-4)


def test_it_says_that_it_is_another_model(tiny_checkpoint: Path) -> None:
    base = TransferPipeline.from_pretrained(tiny_checkpoint, device="cpu")
    mine = adapted(base).pipeline(base)
    assert mine.checkpoint not in ("", base.checkpoint) and mine.controllers == []
    assert mine.training_latents is None and mine.verdict_rule is None
    with pytest.raises(LamdemoError, match="another checkpoint"):
        mine.check(base.infer(CLIP[:4]))
    mine.check(LatentActions(mine.infer(CLIP[:4]).z, 4.0, mine.checkpoint))
    with pytest.raises(LamdemoError, match="another checkpoint"):
        adapted(base).pipeline(mine)


def test_a_stop_keeps_what_is_there(pipeline: TransferPipeline) -> None:
    done = adapted(pipeline, should_stop=lambda: True)
    assert done.stopped and not done.steps and not done.delta


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (CLIP[:12], "11 steps of 0.25 seconds, and adapting takes 12; give a clip of 3.25 seconds or more"),
        (np.repeat(CLIP[:1], 18, 0), "Part of this clip is still; choose"),
        (np.concatenate([CLIP[:13], np.repeat(CLIP[:1], 5, 0)]), "Part of this clip is still; choose"),
        (np.repeat(CLIP[:1], 200, 0), "40 seconds at most; give a part"),
    ],
)
def test_what_cannot_be_used_is_told_in_a_sentence(tiny_checkpoint: Path, clip: np.ndarray, words: str) -> None:
    base = TransferPipeline.from_pretrained(tiny_checkpoint, device="cpu")
    with pytest.raises(LamdemoError, match=words):
        adapted(base, clip)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("long") / "mine.mp4", CLIP, 4)


class TestCommand:
    def test_its_folder_is_a_checkpoint(
        self, tiny_checkpoint: Path, long_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out, report = tmp_path / "walk", tmp_path / "adaptation.json"
        words = ["adapt", long_clip, "--checkpoint", tiny_checkpoint, "--out", out, "--report", report, "--steps", 6]
        with pytest.raises(SystemExit) as end:
            main([*map(str, words), "--device", "cpu"])
        assert end.value.code == 0
        printed = capsys.readouterr().out
        assert "mine.mp4: error of one step on 4 held-out steps" in printed and "no action" in printed
        assert sorted(p.name for p in out.iterdir()) == ["config.json", "model.safetensors"]
        base = TransferPipeline.from_pretrained(tiny_checkpoint, device="cpu")
        about = json.loads((out / "config.json").read_text())["about"]
        assert about["began_with"] == {"name": "tiny", "sha256": base.checkpoint}
        assert about["adapted"]["on_steps_of_a_clip"] == 8 and "mine" not in (out / "config.json").read_text()
        mine = TransferPipeline.from_pretrained(out, device="cpu")
        assert mine.checkpoint != base.checkpoint and len(mine.infer(CLIP[:4])) == 3
        told = json.loads(report.read_text())
        assert told["checkpoint"]["sha256"] == base.checkpoint and told["data"]["files"] == 1
        figures = told["results"]["clips"]["mine.mp4"]
        assert figures["state_fall"] == pytest.approx(1 - figures["after"]["state"] / figures["before"]["state"])

    @pytest.mark.parametrize(
        ("more", "words"),
        [([], "Give --out"), (["mine.mp4", "--out", "walk"], "One checkpoint is adapted to one clip")],
    )
    def test_what_it_needs_is_told(
        self, long_clip: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as end:
            main(["adapt", str(long_clip), *more])
        assert end.value.code == 2 and words in capsys.readouterr().err


class TestPage:
    @pytest.fixture(autouse=True)
    def _brief(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(adapting, "SECONDS", 4)

    @pytest.fixture(scope="class")
    def page(self, tiny_checkpoint: Path) -> Page:
        return Page(Models.of(TransferPipeline.from_pretrained(tiny_checkpoint, device="cpu")))

    @staticmethod
    def pressed(page: Page, clip: Path, visitor: str) -> Iterator[dict[Any, Any]]:
        does = page.adaptation.line.does(page.adaptation._adapt, [], [], None)
        given = {page.transfer.source: str(clip), page.transfer.begin: 0, page.name: None, page.hub: ""}
        yield from does["fn"](given, gr.Request(session_hash=visitor))

    def test_an_adapted_model_is_its_visitors_alone_and_there_is_a_way_back(self, page: Page, long_clip: Path) -> None:
        news = list(self.pressed(page, long_clip, "one"))
        shown = [n[page.adaptation.view] for n in news if page.adaptation.view in n]
        assert any("progressbar" in html for html in shown) and "Error before and after" in shown[-1]
        assert "which it did not practise on" in shown[-1]
        one, other = (page.session(gr.Request(session_hash=name)) for name in ("one", "other"))
        base = page.pipeline(None, None)
        assert one.adapted is not None and other.adapted is None
        assert page.pipeline(None, None, one).checkpoint != base.checkpoint
        assert page.pipeline(None, None, other) is base and page.models.get() is base
        html, _ = page.adaptation._put_back(gr.Request(session_hash="one"))
        assert "as it was" in html and page.pipeline(None, None, one) is base

    def test_it_goes_with_the_session(self, page: Page, long_clip: Path) -> None:
        list(self.pressed(page, long_clip, "leaving"))
        session = page.session(gr.Request(session_hash="leaving"))
        assert session.adapted is not None
        page.sessions.end("leaving")
        assert session.adapted is None

    def test_no_more_are_kept_than_there_is_room_for(
        self, page: Page, long_clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said: list[str] = []
        monkeypatch.setattr("lamdemo.ui.notices.say", lambda words, **_: said.append(words))
        monkeypatch.setattr(sessions, "MOST_ADAPTED", 1)
        list(self.pressed(page, long_clip, "first"))
        list(self.pressed(page, long_clip, "second"))
        assert len(said) == 1 and "as there is room for" in said[0]
        list(self.pressed(page, long_clip, "first"))  # which takes the place of its own
        assert len(said) == 1 and page.session(gr.Request(session_hash="second")).adapted is None

    def test_a_clip_that_is_too_short_is_told_and_changes_nothing(
        self, page: Page, small_clip: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said: list[str] = []
        monkeypatch.setattr("lamdemo.ui.notices.say", lambda words, **_: said.append(words))
        *_, last = self.pressed(page, small_clip, "short")
        assert said == [said[0]] and "give a clip of 3.25 seconds or more" in said[0]
        assert last[page.adaptation.go].interactive and not last[page.adaptation.back].interactive
        *_, last = self.pressed(page, photo, "short")
        assert "an action needs a video" in said[1]
