"""What a browser keeps of the tab Transfer, and links."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdemo.core.errors import LamdemoError
from lamdemo.ui.memory import Kept


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Of clips and of pictures, with one in each."""
    clips, photos = tmp_path / "clips", tmp_path / "photos"
    for folder, name in ((clips, "walk.mp4"), (photos, "dog.jpg")):
        folder.mkdir()
        (folder / name).write_bytes(b"")
    return clips, photos


def test_a_link_says_what_is_made_again(folders: tuple[Path, Path]) -> None:
    clips, photos = folders
    kept = Kept(str(clips / "walk.mp4"), str(photos / "dog.jpg"), 3, 10, strength=-0.5, repeat=2)
    link = kept.link(*folders)
    assert link == "clip=walk&picture=dog&steps=3-10&strength=-0.5&repeat=2"
    assert Kept.of_link(link, *folders) == (kept, False)


def test_an_upload_is_no_part_of_a_link(folders: tuple[Path, Path], tmp_path: Path) -> None:
    clips, _ = folders
    own = Kept(str(clips / "walk.mp4"), str(tmp_path / "secret.jpg"), 1, 4)
    link = own.link(*folders)
    assert "secret" not in link
    read, missing = Kept.of_link(link, *folders)
    assert missing and read.picture == "" and read.clip == own.clip
    with pytest.raises(LamdemoError, match="own clip"):
        Kept(str(tmp_path / "secret.mp4"), own.picture, 1, 4).link(*folders)


@pytest.mark.parametrize(
    "link",
    ["clip=../photos/dog", "clip=%2Fetc%2Fpasswd", "clip=walk.mp4", "clip=&picture=..", "steps=a-b&clip=none", "%00"],
)
def test_no_name_leads_out_of_the_folders(link: str, folders: tuple[Path, Path]) -> None:
    read, _ = Kept.of_link(link, *folders)
    assert (read.clip, read.picture) == ("", "")


@pytest.mark.parametrize(
    "said", [None, [], "text", {"clip": 3, "first": "1", "strength": float("nan"), "repeat": True, "moment": 1e9}]
)
def test_a_browser_can_send_anything(said: object) -> None:
    assert Kept.read(said) == Kept()
