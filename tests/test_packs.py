"""A pack holds the clips it was made of, small, and can be trained on."""

import numpy as np
import pytest

from lamdemo.core.errors import LamdemoError
from lamdemo.data.packs import is_pack, read_pack, write_pack
from lamdemo.data.videos import Recording


def recordings():
    """Two clips whose frames can be told apart by their brightness."""
    shades = [np.full((6, 64, 96, 3), 20, np.uint8), np.full((4, 48, 48, 3), 200, np.uint8)]
    for clip in shades:
        clip += (np.arange(len(clip)) * 6).astype(np.uint8)[:, None, None, None]
    return [Recording("a/one.mp4", shades[0], 8.0), Recording("b/two.mp4", shades[1], 4.0)]


def test_a_pack_is_read_back_as_it_was_but_smaller(tmp_path):
    assert not is_pack(tmp_path)
    size = write_pack(recordings(), tmp_path / "pack", height=32)
    back, problems = read_pack(tmp_path / "pack")
    assert problems == []
    assert is_pack(tmp_path / "pack") and size == sum(p.stat().st_size for p in (tmp_path / "pack").iterdir())
    assert [(r.name, r.fps) for r in back] == [("a/one.mp4", 8.0), ("b/two.mp4", 4.0)]
    assert back[0].frames.shape == (6, 32, 48, 3) and back[1].frames.shape == (4, 32, 32, 3)
    for old, new in zip(recordings(), back, strict=True):
        means = new.frames.mean((1, 2, 3))
        assert np.abs(means - old.frames.mean((1, 2, 3))).max() < 4
        assert (np.diff(means) > 2).all()  # in order, none twice


def test_a_pack_does_not_overwrite_and_says_when_it_is_damaged(tmp_path):
    write_pack(recordings(), tmp_path / "pack", height=32)
    with pytest.raises(LamdemoError, match="not empty"):
        write_pack(recordings(), tmp_path / "pack")
    (tmp_path / "pack" / "00001.mp4").write_bytes(b"nothing")
    back, problems = read_pack(tmp_path / "pack")
    assert [r.name for r in back] == ["a/one.mp4"] and len(problems) == 1 and "00001.mp4" in problems[0]
    (tmp_path / "pack" / "00000.mp4").write_bytes(b"nothing")
    with pytest.raises(LamdemoError, match="is damaged"):
        read_pack(tmp_path / "pack")
    (tmp_path / "pack" / "pack.json").write_text("{}")
    with pytest.raises(LamdemoError, match="damaged"):
        read_pack(tmp_path / "pack")
