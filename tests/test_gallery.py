"""The gallery's command on a tiny model, its limits, and the gallery that is committed."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import TINY
from PIL import Image, ImageSequence

from lamdemo.models import LatentActionModel, save_checkpoint
from lamdemo.models.bottleneck import BottleneckConfig

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)]+)\)")


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_gallery", ROOT / "docs/make_gallery.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    sys.modules["make_gallery"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def two_families(tiny_checkpoint, tmp_path_factory) -> Path:
    """A folder with a noisy and a discrete checkpoint."""
    folder = tmp_path_factory.mktemp("families")
    for family, capacity in (("noisy", 1e-3), ("discrete", 8)):
        bottleneck = BottleneckConfig(family=family, channels=16, capacity=capacity)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = LatentActionModel(replace(TINY, bottleneck=bottleneck))
        save_checkpoint(model, folder / family, about={})
    return folder


def frames_of(data: bytes | Path) -> tuple[list[np.ndarray], list[int], Image.Image]:
    picture = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
    shown, durations = [], []
    for frame in ImageSequence.Iterator(picture):
        durations.append(frame.info["duration"])
        shown.append(np.asarray(frame.convert("RGB")).astype(int))
    return shown, durations, picture


def test_one_item_is_made_whole(gallery, tiny_checkpoint, tmp_path):
    out = tmp_path / "shown"
    arguments = ["--checkpoints", str(tiny_checkpoint.parent), "--out", str(out), "--only", "failure_empty"]
    assert gallery.main(arguments) == 0
    report = json.loads((out / "gallery.json").read_text(encoding="utf-8"))
    (item,) = report["items"].values()

    file = out / item["file"]
    shown, durations, picture = frames_of(file)
    assert file.stat().st_size == item["bytes"] <= 1_200_000
    assert picture.info["loop"] == 0
    # Three panels of 256 pixels, under labels.
    assert item["panels"] == [["source", "target, no action", "transfer"]]
    assert shown[0].shape[1] == 3 * 256 + 2 * gallery.GAP
    assert shown[0].shape[0] > 192
    # It rests where it begins and where it ends.
    assert durations[0] >= 500 and max(durations[1:]) >= 700
    # The source moves, the target is the same picture in both panels at first.
    source, idle, made = (slice(i * (256 + gallery.GAP), i * (256 + gallery.GAP) + 256) for i in range(3))
    below = slice(shown[0].shape[0] - 192, None)
    assert np.abs(shown[0][below, idle] - shown[0][below, made]).max() == 0
    assert np.abs(shown[0][below, source] - shown[len(shown) // 2][below, source]).mean() > 1

    (figures,) = item["figures"]
    assert {"motion", "agreement", "cycle", "sharpness", "unfamiliar"} <= figures.keys()
    assert figures["steps"] == 7
    page = (tmp_path / "shown.md").read_text(encoding="utf-8")
    assert f"{figures['motion']:.2f}" in page and "**Why.**" in page
    assert (tmp_path / "shown" / item["file"]).is_file() and f"(shown/{item['file']})" in page
    assert str(tmp_path) not in page + json.dumps(report)
    assert str(ROOT) not in page + json.dumps(report)
    assert re.fullmatch("[0-9a-f]{64}", report["checkpoints"]["noisy"]["sha256"])

    # The page follows from the JSON alone.
    (tmp_path / "shown.md").unlink()
    assert gallery.main(["--out", str(out), "--page"]) == 0
    assert (tmp_path / "shown.md").read_text(encoding="utf-8") == page


def test_families_that_there_are_stand_side_by_side(gallery, two_families):
    studio = gallery.Studio(two_families)
    assert studio.families == ["noisy", "discrete"] and studio.default.family == "noisy"
    shown = gallery.entering_filmed(studio)
    assert [label for label, _ in shown.rows[0]] == ["source", "target, no action", "noisy", "discrete"]
    assert [f["checkpoint"] for f in shown.figures] == ["noisy", "discrete"]
    assert len({len(clip) for _, clip in shown.rows[0]}) == 1
    assert studio.used == {"clips/woman_passing_box.mp4", "photos/sunset_hills.jpg"}


def test_a_pixel_that_only_flickers_is_not_drawn_anew(gallery):
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(20, 230, 60)[:, None], (6, 40, 60, 3))
    clip = (ramp + rng.integers(-3, 4, (6, 40, 60, 1))).astype(np.uint8)
    for t in range(6):
        clip[t, 10:20, 5 * t : 5 * t + 10] = (250, 20, 20)
    data = gallery.as_gif(clip, 10, 64, 8)
    assert len(data) < 0.6 * len(gallery.as_gif(clip, 10, 64, 0))
    shown, durations, _ = frames_of(data)
    assert durations[1] == 100
    # What moves is where it should be, and what flickers holds still.
    for t in range(6):
        assert np.abs(shown[t] - clip[t]).max() <= 24
        assert (shown[t][25:] == shown[0][25:]).all()


def test_the_best_gif_that_is_small_enough_is_taken(gallery, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (4, 40, 60, 3), np.uint8)
    sizes = [len(gallery.as_gif(noise, 12, *rung)) for rung in gallery.LADDER]
    assert sizes[-1] < sizes[2] < sizes[1] < sizes[0]
    monkeypatch.setattr(gallery, "MOST_BYTES", sizes[1])
    assert len(gallery.small_gif(noise, 12, "noise")) == sizes[1]
    monkeypatch.setattr(gallery, "MOST_BYTES", min(sizes) - 1)
    with pytest.raises(gallery.LamdemoError, match="larger"):
        gallery.small_gif(noise, 12, "noise")


def test_entered_counts_what_the_truth_shows_and_nothing_else(gallery):
    ground = np.full((3, 20, 20, 3), 60, np.uint8)
    truth = ground.copy()
    truth[-1, 5:10, 5:10] = (200, 90, 60)
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:10] = True
    darker = ground.copy()
    darker[-1, 5:10, 5:10] = 20
    assert gallery.entered(truth, ground, truth, mask) == pytest.approx(1)
    assert gallery.entered(ground, ground, truth, mask) == 0
    assert gallery.entered(darker, ground, truth, mask) < 0


def test_motion_error_is_nothing_for_the_truth_and_one_for_a_still_picture(gallery):
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 256, (40, 60, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    truth = np.stack([wide[:256, 6 * t : 6 * t + 256] for t in range(3)])
    assert gallery.motion_error(truth, truth) == pytest.approx(0, abs=1e-6)
    assert gallery.motion_error(np.repeat(truth[:1], 3, 0), truth) == pytest.approx(1, abs=0.02)


def test_a_failure_that_no_longer_fails_is_told(gallery):
    report = json.loads((ROOT / "docs/gallery/gallery.json").read_text(encoding="utf-8"))
    report["items"]["failure_limbs"]["failing"] = False
    assert "this is no failure with these checkpoints" in gallery.page(report, "gallery")


def test_mistakes_are_told_in_a_sentence(gallery, tiny_checkpoint, tmp_path, capsys):
    assert gallery.main(["--checkpoints", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "holds no checkpoint" in capsys.readouterr().err
    arguments = ["--checkpoints", str(tiny_checkpoint.parent), "--out", str(tmp_path / "out"), "--only", "none"]
    assert gallery.main(arguments) == 1
    assert "no item 'none'" in capsys.readouterr().err
    assert gallery.main(["--out", str(tmp_path / "out"), "--page"]) == 1
    assert "no gallery.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_committed_gallery_is_whole_and_says_what_its_figures_say(gallery):
    folder = ROOT / "docs/gallery"
    report = json.loads((folder / "gallery.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    assert text == gallery.page(report, "gallery")
    for link in LINK.findall(text):
        assert (ROOT / "docs" / link).is_file(), link
    assert list(report["items"]) == list(gallery.ITEMS) == list(gallery.PROSE)
    assert sum(key in gallery.FAILS for key in report["items"]) >= 2
    assert all(gallery.PROSE[key].reason for key in gallery.FAILS)
    files = sorted(folder.glob("*.gif"))
    assert [f.name for f in files] == sorted(item["file"] for item in report["items"].values())
    assert all(f.stat().st_size <= 1_200_000 for f in files)
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 12_000_000
    for item in report["items"].values():
        picture = Image.open(folder / item["file"])
        assert picture.info["loop"] == 0 and list(picture.size) == item["size"]


def test_every_example_has_its_licence():
    examples = ROOT / "examples"
    listed = {a["file"]: a for a in json.loads((examples / "assets.json").read_text(encoding="utf-8"))}
    there = {
        p.relative_to(examples).as_posix() for d in ("clips", "photos", "gallery") for p in (examples / d).iterdir()
    }
    assert there == set(listed)
    text = (examples / "README.md").read_text(encoding="utf-8")
    for file, asset in listed.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{Path(file).name}`"))
        assert all(asset[k] in row for k in ("title", "author", "package", "licence"))
