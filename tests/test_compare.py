"""One transfer through several checkpoints: the same for each, measured alike, and written as one video."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import ActionEdit, LatentActions, TransferPipeline, save_latents
from lamdemo.jobs.compare import (
    MEASURES,
    Entry,
    Progress,
    agreement,
    check_names,
    compare,
    cosine,
    flows,
    grid_columns,
    measure_result,
    write_grid,
)
from lamdemo.jobs.transfer import TransferRequest
from lamdemo.models import LatentActionModel, checkpoint_hash, load_checkpoint, save_checkpoint
from lamdemo.video import read_clip

KEYS = [m.key for m in MEASURES]
SOURCE = moving_square(9, step=2)  # four steps with a frame between each two
TARGET = moving_square(1, height=60, width=90)


@pytest.fixture(scope="module")
def folders(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three checkpoints: the tiny one, one of another size of latents, and one at another pace."""
    root = tmp_path_factory.mktemp("several")
    found = {"tiny": shutil.copytree(tiny_checkpoint, root / "tiny")}
    codes = replace(TINY, bottleneck=replace(TINY.bottleneck, family="discrete", channels=12, capacity=16))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, config in (("codes", codes), ("fast", replace(TINY, fps=8.0))):
            found[name] = root / name
            save_checkpoint(LatentActionModel(config), found[name])
    return found


@pytest.fixture(scope="module")
def trial() -> TransferRequest:
    return TransferRequest(SOURCE, TARGET, 4.0, between=1)


def entries(trial: TransferRequest, folders: dict[str, Path], names: list[str]) -> list[Entry]:
    return [
        news
        for news in compare(trial, names, lambda n: TransferPipeline.from_pretrained(folders[n]))
        if isinstance(news, Entry)
    ]


class TestCompare:
    def test_each_does_what_the_pipeline_alone_does(self, trial: TransferRequest, folders: dict[str, Path]) -> None:
        ours, other = entries(trial, folders, ["tiny", "codes"])
        assert (ours.name, other.name) == ("tiny", "codes")
        assert (ours.family, other.family, other.capacity) == ("noisy", "discrete", "16 codes")
        assert ours.checkpoint == checkpoint_hash(folders["tiny"])
        alone = TransferPipeline.from_pretrained(folders["tiny"]).transfer(SOURCE[::2], TARGET[0], between=1)
        np.testing.assert_array_equal(ours.latents.z, alone.latents.z)
        assert ours.measures["action_size"] == pytest.approx(alone.measures["action_size"])
        assert ours.measures["sharpness"] == pytest.approx(alone.measures["sharpness"])
        assert list(ours.measures) == list(other.measures) == KEYS
        # Panels are of one size and length, whatever the model.
        assert len(ours.panel) == len(alone.smooth) == 9
        assert ours.panel.shape == other.panel.shape

    def test_edits_repeats_and_the_limit_hold(self, folders: dict[str, Path]) -> None:
        edited = TransferRequest(SOURCE, TARGET, 4.0, ActionEdit(-2.0, repeat=3), between=1, limit=10)
        (entry, _) = entries(edited, folders, ["tiny", "codes"])
        z = TransferPipeline.from_pretrained(folders["tiny"]).infer(SOURCE[::2]).z
        np.testing.assert_allclose(entry.latents.z, -2 * np.tile(z, (3, 1))[:10], rtol=1e-5)
        assert edited.steps == 10 and len(entry.panel) == 21
        # The source on show starts over where its actions do.
        assert edited.looped().tolist() == [0, *range(1, 9), *range(1, 9), *range(1, 5)]

    def test_progress_grows_and_one_model_is_asked_for_at_a_time(
        self, trial: TransferRequest, folders: dict[str, Path]
    ) -> None:
        told: list[str] = []

        def load(name: str) -> TransferPipeline:
            told.append(f"load {name}")
            return TransferPipeline.from_pretrained(folders[name])

        shares = []
        for news in compare(trial, ["tiny", "codes"], load):
            if isinstance(news, Progress):
                shares.append(news.share)
            else:
                told.append(f"done {news.name}")
        assert told == ["load tiny", "done tiny", "load codes", "done codes"]
        assert shares == sorted(shares) and 0 <= shares[0] and shares[-1] < 1

    def test_stopping_keeps_what_is_done_and_drops_the_rest(
        self, trial: TransferRequest, folders: dict[str, Path]
    ) -> None:
        seen: list[Progress | Entry] = []
        names = ["tiny", "codes"]
        load = lambda n: TransferPipeline.from_pretrained(folders[n])  # noqa: E731
        stop = lambda: any(isinstance(s, Progress) and s.name == "codes" and s.step == 2 for s in seen)  # noqa: E731
        for news in compare(trial, names, load, should_stop=stop):
            seen.append(news)
        assert [s.name for s in seen if isinstance(s, Entry)] == ["tiny"]
        assert max(s.step or 0 for s in seen if isinstance(s, Progress) and s.name == "codes") == 2

    def test_checkpoints_of_another_pace_are_refused(self, trial: TransferRequest, folders: dict[str, Path]) -> None:
        with pytest.raises(LamdemoError, match="fast takes 8 steps a second and the first checkpoint 4"):
            entries(trial, folders, ["tiny", "fast"])

    def test_two_to_six_different_ones(self) -> None:
        assert check_names([" a", "b ", "a", ""]) == ["a", "b"]
        with pytest.raises(LamdemoError, match="two different"):
            check_names(["a", "a", " "])
        with pytest.raises(LamdemoError, match=r"At most 6 .* not 7"):
            check_names(list("abcdefg"))

    def test_unfamiliar_steps_are_counted_where_a_sample_says_what_is_familiar(
        self, trial: TransferRequest, folders: dict[str, Path], tmp_path: Path
    ) -> None:
        mine = dict(folders)
        mine["tiny"] = shutil.copytree(folders["tiny"], tmp_path / "tiny")
        save_latents(mine["tiny"], np.random.default_rng(0).normal(0, 1e-4, (200, 16)))
        first, second = entries(trial, mine, ["tiny", "codes"])
        assert first.measures["far_steps"] == 4 and second.measures["far_steps"] is None
        assert first.out_of_distribution is not None and first.out_of_distribution.warning.startswith("4 of 4 steps")
        assert first.as_dict()["familiarity"]["unfamiliarity"] == [1.0] * 4  # type: ignore[index]
        assert second.as_dict()["familiarity"] is None


def textured(dx: float = 0.0, dy: float = 0.0, height: int = 96, width: int = 128) -> np.ndarray:
    """A smooth pattern, moved by so many pixels."""
    y, x = np.mgrid[:height, :width].astype(float)
    x, y = x - dx, y - dy
    waves = [np.sin(0.19 * x + 0.07 * y), np.sin(0.11 * x - 0.17 * y), np.sin(0.05 * x + 0.23 * y)]
    return (128 + 100 * np.stack(waves, -1)).astype(np.uint8)


class TestMeasures:
    def test_a_pan_agrees_with_itself_whatever_the_size_of_the_picture(self) -> None:
        right = flows(np.stack([textured(dx=2.0 * t) for t in range(4)]))
        larger = flows(np.stack([textured(dx=4.0 * t, height=192, width=256) for t in range(4)]))
        left = flows(np.stack([textured(dx=-2.0 * t) for t in range(4)]))
        down = flows(np.stack([textured(dy=2.0 * t) for t in range(4)]))
        assert agreement(right, larger) == pytest.approx(1, abs=0.05)
        assert agreement(right, left) == pytest.approx(-1, abs=0.05)
        assert abs(agreement(right, down) or 0) < 0.15
        still = flows(np.stack([textured()] * 4))
        assert agreement(right, still) is None and agreement(still, right) is None

    @pytest.mark.parametrize("edit", [ActionEdit(), ActionEdit(negate=True), ActionEdit(-1.0), ActionEdit(0.0)])
    def test_motion_is_in_pixels_and_reversed_actions_should_move_back(
        self, edit: ActionEdit, folders: dict[str, Path]
    ) -> None:
        pipeline = TransferPipeline.from_pretrained(folders["tiny"])
        made = np.stack([textured(dx=6.0 * t, height=384, width=512) for t in range(4)])
        source = flows(np.stack([textured(dx=1.0 * t) for t in range(3)]))  # two steps, which repeat
        applied = LatentActions(np.ones((3, 16), np.float32), 4.0)
        found = measure_result(pipeline, made, applied, source, edit)
        assert found["motion_px"] == pytest.approx(6, abs=0.6)
        assert found["sharpness"] == pytest.approx(1, abs=0.1)
        assert found["action_size"] == pytest.approx(4)
        sign = {1.0: 1, -1.0: -1, 0.0: None}[edit.scale * (-1 if edit.negate else 1)]
        assert found["agreement"] == (None if sign is None else pytest.approx(sign, abs=0.1))

    def test_cycle_is_whether_the_model_reads_its_own_actions(self, folders: dict[str, Path]) -> None:
        pipeline = TransferPipeline.from_pretrained(folders["tiny"])
        frames = moving_square(5)
        own = pipeline.infer(frames)
        other = LatentActions(-own.z, own.fps, own.checkpoint)
        none = LatentActions(0 * own.z, own.fps, own.checkpoint)
        still = np.repeat(frames[:1], 5, 0)
        moved = flows(frames)
        found = [
            measure_result(pipeline, f, a, moved, ActionEdit())["cycle"]
            for f, a in ((frames, own), (frames, other), (frames, none), (still, own))
        ]
        assert found[0] == pytest.approx(1, abs=1e-5) and found[1] == pytest.approx(-1, abs=1e-5)
        assert found[2] is None and abs(found[3] or 0) < 0.9

    def test_cosine_of_nothing(self) -> None:
        one, none = np.ones(3), np.zeros(3)
        assert cosine(one, 2 * one) == pytest.approx(1)
        assert cosine(none, one) is None and cosine(one, none) == 0


class TestGrid:
    def test_all_panels_are_there_in_step(
        self, trial: TransferRequest, folders: dict[str, Path], tmp_path: Path
    ) -> None:
        found = entries(trial, folders, ["tiny", "codes"])
        clip = read_clip(write_grid(tmp_path / "grid.mp4", trial, found))
        assert len(clip) == 9 and clip.fps == 8
        _, h, w, _ = found[0].panel.shape
        columns = grid_columns(3, w / h)
        whole = clip.frames.astype(int)
        strip = whole.shape[1] // -(-3 // columns) - h
        assert strip >= 16
        for k, panel in enumerate((None, found[0].panel, found[1].panel)):
            top, left = (k // columns) * (h + strip) + strip, (k % columns) * (w + 8)
            place = whole[:, top : top + h, left : left + w]
            if panel is not None:
                assert np.abs(place - panel).mean() < 6
            assert whole[0, top - strip : top, left : left + w].min() < 120  # its label

    @pytest.mark.parametrize("count", range(3, 8))
    @pytest.mark.parametrize("aspect", [0.5, 1.0, 1.5, 2.4])
    def test_columns_leave_no_row_empty(self, count: int, aspect: float) -> None:
        columns = grid_columns(count, aspect)
        rows = -(-count // columns)
        assert 1 <= columns <= count and (rows - 1) * columns < count
        assert 0.4 < columns * aspect / rows < 8


class TestCommand:
    def test_it_writes_a_video_and_a_report(
        self,
        folders: dict[str, Path],
        small_clip: Path,
        photo: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        mine = shutil.copytree(folders["tiny"], tmp_path / "mine")
        save_latents(mine, np.random.default_rng(0).normal(0, 1e-4, (200, 16)))
        out = tmp_path / "out"
        names = ["--checkpoint", mine, "--checkpoint", folders["codes"]]
        arguments = ["compare", small_clip, photo, *names, "--out", out, "--max-steps", 4, "--smooth", 1]
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        said = capsys.readouterr().out
        assert left.value.code == 0
        assert "2 checkpoints, 4 steps" in said and "warning: mine: 4 of 4 steps lie outside" in said
        assert sorted(p.name for p in out.iterdir()) == ["compare.mp4", "report.json"]
        assert len(read_clip(out / "compare.mp4")) == 9
        text = (out / "report.json").read_text()
        report = json.loads(text)
        assert report["panels"] == ["source", "mine", "codes"] and report["steps"]["made"] == 4
        assert [c["sha256"] for c in report["checkpoints"]] == [checkpoint_hash(f) for f in (mine, folders["codes"])]
        assert all(list(c["measures"]) == KEYS for c in report["checkpoints"])
        assert list(report["meaning"]) == KEYS and str(tmp_path) not in text

    @pytest.mark.parametrize("how", ["one", "npz", "pace", "missing", "damaged"])
    def test_what_cannot_be_compared_is_told_and_leaves_nothing(
        self,
        how: str,
        folders: dict[str, Path],
        small_clip: Path,
        photo: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        second = {"pace": folders["fast"], "missing": "nowhere", "one": folders["tiny"]}.get(how, folders["codes"])
        if how == "damaged":
            second = shutil.copytree(folders["codes"], tmp_path / "bad")
            (second / "model.safetensors").write_bytes(b"no weights")
        source = tmp_path / "latents.npz" if how == "npz" else small_clip
        out = tmp_path / "out"
        names = ["--checkpoint", folders["tiny"], "--checkpoint", second]
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in ("compare", source, photo, *names, "--out", out, "--max-steps", 2)])
        said = capsys.readouterr()
        words = {
            "one": "two different",
            "npz": "latents.npz",
            "pace": "one pace",
            "missing": "nowhere",
            "damaged": "bad",
        }
        assert left.value.code == 2 and words[how] in said.err
        assert said.err.count("\n") == 1 and str(tmp_path) not in said.err and said.out == ""
        assert not out.exists() and not list(tmp_path.glob(".*"))


def test_the_same_checkpoint_twice_gives_the_same_figures(
    trial: TransferRequest, folders: dict[str, Path], tmp_path: Path
) -> None:
    both = dict(folders) | {"again": tmp_path / "again"}
    save_checkpoint(load_checkpoint(folders["tiny"]), both["again"])
    one, two = entries(trial, both, ["tiny", "again"])
    np.testing.assert_array_equal(one.panel, two.panel)
    assert {**one.measures, "seconds": 0} == {**two.measures, "seconds": 0}
