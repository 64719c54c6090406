"""Cases by the second hand, and what is measured on their layers: what truth and doing nothing must score."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation import evaluate_pairs, find_cases, second_hand, write_second_hand
from lamdemo.evaluation.case_folder import Layers
from lamdemo.evaluation.entrances import entrance
from lamdemo.evaluation.on_layers import layer_errors, thing_iou
from lamdemo.evaluation.pictures import psnr
from lamdemo.evaluation.second_hand import CAMERAS, KINDS, laws
from lamdemo.evaluation.second_hand.bank import to_linear, to_srgb
from lamdemo.evaluation.second_hand.flat import seen_from
from lamdemo.evaluation.statistics import mean_of_kinds
from lamdemo.video import read_clip, read_image, write_image

ACTING = [k for k in KINDS if k not in CAMERAS]


def texture(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for cells in (3, 8, 20):
        noise = rng.uniform(-1, 1, (cells, cells, 3)).astype(np.float32)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 60 * total, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of 60 cut-outs (ellipses with textures of their own) and of 40 backgrounds."""
    things, places = tmp_path_factory.mktemp("things"), tmp_path_factory.mktemp("places")
    rng = np.random.default_rng(0)
    for i in range(60):
        h, w = rng.integers(60, 120, 2)
        y, x = np.mgrid[:h, :w]
        alpha = ((2 * y / h - 1) ** 2 + (2 * x / w - 1) ** 2 < 0.9).astype(np.uint8) * 255
        rgba = np.concatenate(
            [texture(h, w, 100 + i) // 2 + rng.integers(0, 127, 3).astype(np.uint8), alpha[..., None]], 2
        )
        folder = things / ("people" if i % 2 else "toys")
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"t{i}.png"), rgba[..., [2, 1, 0, 3]])
    for i in range(40):
        write_image(places / f"b{i}.png", texture(144, 192, i))
    return things, places


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, pictures: tuple[Path, Path]) -> list[Path]:
    out = tmp_path_factory.mktemp("w") / "cases"
    return write_second_hand(out, len(KINDS), 3, things=pictures[:1], backgrounds=pictures[1:], size=96)


JUDGED = ("move", "turn", "enter", "pan")


@pytest.fixture(scope="module")
def judged(written: list[Path], tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("judged")
    for case in (f for f in written if f.name[5:] in JUDGED):
        (folder / case.name).symlink_to(case)
    return evaluate_pairs(TransferPipeline.from_pretrained(tiny_checkpoint), folder)


def read(folder: Path) -> tuple[np.ndarray, np.ndarray, Layers | None]:
    """Target, truth, and its layers."""
    truth = read_clip(folder / "truth.mp4").frames
    return read_image(folder / "target.png", max_side=None), truth, Layers.read(folder, len(truth))


def at_full_size(layers: Layers, frame: int, target: np.ndarray) -> np.ndarray:
    """Where the truth's thing is, float32 ``[H, W]``."""
    there = (layers.matte[frame] > 127).astype(np.float32)
    return cv2.resize(there, target.shape[1::-1], interpolation=cv2.INTER_NEAREST)


class TestCases:
    def test_shares_nothing_with_the_trainings_scenes(self) -> None:
        for file in Path(second_hand.__file__).parent.glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names.append(str(node.module))
                assert not [n for n in names if "scenes" in n], file.name

    def test_every_kind_in_turn(self, written: list[Path]) -> None:
        assert [c.kind for c in find_cases(written[0].parent)] == list(KINDS)
        for folder in written:
            source, (target, truth, layers) = read_clip(folder / "source.mp4").frames, read(folder)
            assert len(source) == len(truth) == 8 and source.shape[1] == 96
            assert psnr(truth[0], target) > 30
            assert (layers is not None) == (folder.name[5:] in ACTING)

    def test_same_seed_same_bytes(self, written: list[Path], pictures: tuple[Path, Path], tmp_path: Path) -> None:
        arguments = {"things": pictures[:1], "backgrounds": pictures[1:], "size": 96}
        again = write_second_hand(tmp_path / "again", 2, 3, **arguments)
        for one, other in zip(written[:2], again, strict=True):
            assert {f.name for f in one.iterdir()} == {f.name for f in other.iterdir()}
            for file in one.iterdir():
                assert file.read_bytes() == (other / file.name).read_bytes(), file.name
        different = write_second_hand(tmp_path / "different", 1, 4, **arguments)
        assert (different[0] / "target.png").read_bytes() != (written[0] / "target.png").read_bytes()

    def test_pictures_are_of_the_part_and_named(
        self, written: list[Path], pictures: tuple[Path, Path], tmp_path: Path
    ) -> None:
        def used(folders: list[Path]) -> set[str]:
            names = set()
            for folder in folders:
                about = json.loads((folder / "case.json").read_text())
                assert about["hand"] == "other"
                for told in about["files"].values():
                    names |= {told["background"]["file"], *(t["file"] for t in told["things"])}
            return names

        train = write_second_hand(
            tmp_path / "c", 3, 3, things=pictures[:1], backgrounds=pictures[1:], part="train", size=64
        )
        tested, trained = used(written), used(train)
        assert tested and trained and not tested & trained
        assert all((pictures[0].parent / n).is_file() or (pictures[1].parent / n).is_file() for n in tested | trained)

    def test_the_targets_thing_is_another_in_its_place(self, written: list[Path]) -> None:
        for folder in written:
            files = json.loads((folder / "case.json").read_text())["files"]
            kind = folder.name[5:]
            if kind in ACTING:
                assert (files["source"]["acting"] == files["truth"]["acting"]) == (kind == "enter")
            assert files["source"]["background"]["source"] != files["truth"]["background"]["source"]

    def test_layers_say_where_pictures_change(self, written: list[Path]) -> None:
        # Before a camera that stands still nothing changes but where the thing is, was, or has its shadow.
        for folder in written:
            if folder.name[5:] not in ("move", "turn", "grow", "one_of_two", "leave", "enter"):
                continue
            target, truth, layers = read(folder)
            assert layers is not None
            size = layers.matte.shape[2], layers.matte.shape[1]
            change = cv2.resize(cv2.absdiff(truth[-1], target).astype(np.float32).mean(-1), size)
            now, hole = layers.matte[-1] > 127, layers.hole[-1] > 0
            there = now | hole | (layers.matte[0] > 127)
            assert change[there].mean() > 4 * change[~there].mean()
            assert not (now & hole).any()
            if hole.any():
                assert (layers.matte[0][hole] > 127).mean() > 0.9

    def test_entering_and_leaving(self, written: list[Path]) -> None:
        mattes = {f.name[5:]: read(f)[2].matte / 255 for f in written if f.name[5:] in ("enter", "leave")}
        assert mattes["enter"][0].max() == 0 and mattes["enter"][-1].mean() > 0.01
        assert mattes["leave"][-1].mean() < 0.4 * mattes["leave"][0].mean()

    def test_by_the_command(
        self, pictures: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folders = ["--things", str(pictures[0]), "--backgrounds", str(pictures[1])]
        settings = ["--cases", "2", "--steps", "1", "--size", "64", "--kind", "enter"]
        with pytest.raises(SystemExit) as left:
            main(["scenes", "--hand", "other", "--out", str(tmp_path / "cases"), *folders, *settings])
        assert not left.value.code and capsys.readouterr().out == f"{tmp_path / 'cases'} (2 cases)\n"
        assert all(c.kind == "enter" and len(read(c.folder)[1]) == 2 for c in find_cases(tmp_path / "cases"))

    def test_needs_no_folders(self, tmp_path: Path) -> None:
        (case,) = write_second_hand(tmp_path / "cases", 1, 0, steps=1, size=64, kind="one_of_two")
        told = json.loads((case / "case.json").read_text())["files"]["truth"]
        assert told["background"]["file"].startswith("photos/") and told["acting"].startswith("bundled/")

    def test_refusals(self, pictures: tuple[Path, Path], tmp_path: Path) -> None:
        things, places = pictures
        with pytest.raises(LamdemoError, match="no kind of action 'both'"):
            write_second_hand(tmp_path / "x", 1, 0, things=[things], backgrounds=[places], kind="both")
        with pytest.raises(LamdemoError, match="no folder nowhere"):
            write_second_hand(tmp_path / "x", 1, 0, things=[tmp_path / "nowhere"], backgrounds=[places])
        one = tmp_path / "one"
        one.mkdir()
        write_image(one / "a.png", texture(40, 40, 0))
        with pytest.raises(LamdemoError, match="four cut-outs and two backgrounds"):
            write_second_hand(tmp_path / "x", 1, 0, things=[one], backgrounds=[places])
        assert not (tmp_path / "x").exists()


class TestLaws:
    @pytest.mark.parametrize("seed", range(12))
    def test_motions_begin_where_things_are(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        made = [f(rng, 7) for f in (laws.move, laws.turn, laws.grow, laws.pan, laws.zoom, laws.roll)]
        made += [laws.walk(rng, 7, 0.2), laws.flight(rng, 7, "turn")]
        for motion in made:
            assert motion.shape == (8, 4) and not motion[0].any() and np.abs(motion).max() > 0.05

    @pytest.mark.parametrize("seed", range(12))
    def test_progress_goes_on_and_ends(self, seed: int) -> None:
        done = laws.progress(np.random.default_rng(seed), 7)
        assert done[0] == 0 and done[-1] == pytest.approx(1) and (np.diff(done) > 0).all()

    def test_a_camera_that_goes_right_sees_the_world_go_left(self) -> None:
        there = seen_from(np.array([0.1, 0, 0, 0]), (100, 200)) @ np.array([50, 30, 1])
        assert there[:2] == pytest.approx([30, 30])
        # Turned clockwise by a quarter, what was on top is at the left.
        there = seen_from(np.array([0, 0, 0, np.pi / 2]), (100, 100)) @ np.array([50, 0, 1])
        assert there[:2] == pytest.approx([0, 50])

    def test_light_and_back(self) -> None:
        values = np.arange(256, dtype=np.uint8)
        assert (to_srgb(to_linear(values)) == values).all()


class TestMeasures:
    def test_truth_makes_no_error_and_copying_does(self, written: list[Path]) -> None:
        for folder in written:
            target, truth, layers = read(folder)
            if layers is None:
                continue
            perfect = layer_errors(truth, truth, layers)
            copied = layer_errors(np.repeat(target[None], len(truth), 0), truth, layers)
            for measure, value in copied.items():
                assert perfect[measure] == 0 or np.isnan(perfect[measure])
                assert value > 0.02 or np.isnan(value)
            assert not np.isnan(copied["on_thing"])

    def test_iou(self, written: list[Path]) -> None:
        for folder in written:
            target, _, layers = read(folder)
            if layers is None or (layers.matte[6] > 127).mean() < 0.003:
                continue
            true = cv2.resize(
                (layers.matte[6] > 127).astype(np.float32), target.shape[1::-1], interpolation=cv2.INTER_NEAREST
            )
            assert thing_iou(true, layers) == pytest.approx(1)
            assert thing_iou(np.zeros(target.shape[:2], np.float32), layers) == 0
            assert thing_iou(np.ones(target.shape[:2], np.float32), layers) < 0.5
            assert np.isnan(thing_iou(None, layers))

    def test_entrances(self, written: list[Path]) -> None:
        target, truth, layers = read(next(f for f in written if f.name.endswith("enter")))
        assert layers is not None and layers.enters
        perfect = entrance(truth, target, truth, layers)
        assert perfect == pytest.approx({"likeness": 1, "likeness_last": 1, "place": 1, "appears": 1, "time": 0})
        nothing = entrance(np.repeat(target[None], len(truth), 0), target, truth, layers)
        time = nothing.pop("time")
        assert np.isnan(time) and nothing == {"likeness": 0, "likeness_last": 0, "place": 0, "appears": 0}
        # The same in another place is no likeness, and held back by two steps it is late.
        aside = entrance(truth[:, ::-1, ::-1].copy(), target[::-1, ::-1], truth, layers)
        assert aside["likeness"] < 0.5 and aside["place"] < 0.5
        late = entrance(truth[[0, 0, 0, *range(1, len(truth) - 2)]], target, truth, layers)
        assert late["likeness"] < 1

    def test_a_kind_counts_once(self) -> None:
        over, under = np.array([1.0, 3.0, 9.0, np.nan]), np.array([2.0, 2.0, 10.0, 1.0])
        got = mean_of_kinds(over, under, ["a", "a", "b", "b"])
        assert got["value"] == pytest.approx((4 / 4 + 9 / 10) / 2)
        assert got["low"] < got["value"] < got["high"]
        assert mean_of_kinds(np.array([np.nan]), np.ones(1), ["a"])["value"] is None


class TestJudged:
    def test_by_kind_and_as_their_mean(self, judged: dict) -> None:
        for method in ("model", "zero", "shuffled", "copied_flow", "true_flow"):
            each = [judged["kinds"][k]["motion_over_copy"][method]["value"] for k in JUDGED]
            assert judged["mean_of_kinds"]["motion_over_copy"][method]["value"] == pytest.approx(np.mean(each))
        assert judged["headline"]["motion"] == judged["mean_of_kinds"]["motion_over_copy"]["model"]
        assert judged["all"]["motion_over_copy"]["model"]["value"] != judged["headline"]["motion"]["value"]

    def test_layers_where_something_acts(self, judged: dict) -> None:
        for kind in JUDGED:
            assert ("layers" in judged["kinds"][kind]) == (kind in ACTING)
        moved = judged["kinds"]["move"]["layers"]
        assert moved["on_thing"]["true_flow"]["value"] < 1 and moved["in_hole"]["model"]["value"] > 0
        assert set(judged["kinds"]["enter"]["entering"]) == {
            "model", "copy", "zero", "shuffled", "copied_flow", "true_flow",
        }  # fmt: skip
        nothing = judged["kinds"]["enter"]["entering"]["copy"]
        assert nothing["likeness"]["value"] == 0 and nothing["time"]["value"] is None

    def test_the_models_matte_is_judged(
        self, written: list[Path], tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        # Whatever the model's steps say acts is compared with the truth: here the truth's own matte.
        case = next(f for f in written if f.name.endswith("move"))
        (tmp_path / "cases").mkdir()
        (tmp_path / "cases" / case.name).symlink_to(case)
        target, _, layers = read(case)
        pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
        stream = pipeline.stream

        def matted(*arguments: object, **named: object) -> object:
            for step in stream(*arguments, **named):  # type: ignore[arg-type]
                if step.index < len(layers.matte):
                    matte = (layers.matte[step.index] > 127).astype(np.float32)
                    object.__setattr__(
                        step, "matte", cv2.resize(matte, target.shape[1::-1], interpolation=cv2.INTER_NEAREST)
                    )
                yield step

        monkeypatch.setattr(pipeline, "stream", matted)
        found = evaluate_pairs(pipeline, tmp_path / "cases")
        assert found["headline"]["iou"]["value"] == pytest.approx(1)
