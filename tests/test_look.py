"""The sheet to look at, on a tiny model; and the sheet and the cases that are committed."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import moving_square

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.companions.shown import script
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline, bundled_checkpoints
from lamdemo.evaluation.look import MOST_BYTES, SHOWN, LookCase, look_sheet, read_cases, write_look
from lamdemo.models import checkpoint_hash
from lamdemo.video import write_image, write_video

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def case(tmp_path: Path) -> LookCase:
    clip = write_video(tmp_path / "square.mp4", moving_square(20), 8)
    picture = np.full((54, 80, 3), (30, 90, 200), np.uint8)
    return LookCase(Path(clip), 0.25, write_image(tmp_path / "blue.png", picture))


def test_a_sheet_shows_the_source_above_and_the_transfer_from_the_target_on_below(
    tiny_checkpoint: Path, case: LookCase, tmp_path: Path
) -> None:
    pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
    sheet = look_sheet(pipeline, [case, case, case])
    # A title, and two rows of blocks: a line of words and two rows of panels each, 4 pixels apart; 12 below a block.
    assert sheet.shape == (20 + 2 * (20 + 2 * 112 + 12), 2 * (len(SHOWN) * 164 + 12), 3)
    below = sheet[40 + 112 : 40 + 2 * 112 - 4]
    # The target at first, whole and undistorted; then it is the transfer's.
    assert np.abs(below[:, :160].astype(int) - (30, 90, 200)).max() == 0
    above = sheet[40 : 40 + 108]
    panels = [above[:, i * 164 : i * 164 + 160].astype(int) for i in range(len(SHOWN))]
    assert all(np.abs(a - b).mean() > 1 for a, b in zip(panels[1:], panels[:-1], strict=True))
    # The same case twice is the same picture, but for its number.
    half = sheet.shape[1] // 2
    assert np.array_equal(sheet[40:152, : half - 12], sheet[40:152, half:-12])

    file = write_look(sheet, tmp_path / "new" / "look.jpg")
    assert cv2.imread(str(file)).shape == sheet.shape


def test_what_cannot_be_shown_is_told(tiny_checkpoint: Path, case: LookCase, tmp_path: Path) -> None:
    pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
    with pytest.raises(LamdemoError, match="shorter than 6 steps from 2 s"):
        look_sheet(pipeline, [LookCase(case.clip, 2.0, case.photo)])
    with pytest.raises(LamdemoError, match=r"end in \.jpg"):
        write_look(np.zeros((9, 9, 3), np.uint8), tmp_path / "look.png")
    listed = tmp_path / "cases.json"
    listed.write_text(json.dumps([{"clip": "square.mp4", "start": 0, "photo": "none.jpg"}]))
    with pytest.raises(LamdemoError, match=r"names none\.jpg, which is not there"):
        read_cases(listed)
    listed.write_text("{}")
    with pytest.raises(LamdemoError):
        read_cases(listed)
    # Files that lie beside the list are found.
    listed.write_text(json.dumps([{"clip": "square.mp4", "start": 0, "photo": "blue.png"}]))
    assert read_cases(listed) == [LookCase(case.clip, 0.0, case.photo)]


def test_the_twelve_cases_may_be_shown_and_the_default_checkpoint_has_its_sheet() -> None:
    cases = read_cases(ROOT / "examples/look.json")
    assert len(cases) == 12 == len({case.photo for case in cases})
    rows = {a["file"]: a for a in json.loads((ROOT / "examples/assets.json").read_text(encoding="utf-8"))}
    page = (ROOT / "docs/looks.md").read_text(encoding="utf-8")
    for name in [f"{f.parent.name}/{f.name}" for case in cases for f in (case.clip, case.photo)]:
        # Under a share-alike licence the whole sheet would have to be.
        assert "SA" not in rows[name]["licence"] and f"`{name}`" in page and rows[name]["author"] in page
    own = checkpoint_hash(bundled_checkpoints()[DEFAULT_CHECKPOINT])[:8]
    sheets = list((ROOT / "docs/looks").glob("*.jpg"))
    assert own in [sheet.stem for sheet in sheets]
    assert all(sheet.stat().st_size <= MOST_BYTES and f"(looks/{sheet.name})" in page for sheet in sheets)


def test_the_gallery_can_make_its_fixed_cases_and_no_others() -> None:
    fixed = json.loads((ROOT / "docs/cases.json").read_text(encoding="utf-8"))
    gallery = script("make_gallery")
    assert list(gallery.ITEMS) == fixed and set(gallery.PROSE) == set(fixed)
    assert list(json.loads((ROOT / "docs/gallery/gallery.json").read_text(encoding="utf-8"))["items"]) == fixed
