"""What is on the stage of the action space: what a link says of it, when it is old, and what is like it elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from atlas_files import synthetic_atlas

from lamdemo.latent_space.composition import Block, Composition
from lamdemo.ui import links
from lamdemo.ui.space import views
from lamdemo.ui.space.work import SpaceSession, elsewhere


@pytest.fixture
def made() -> Composition:
    return Composition((Block.of(np.eye(1, 16, dtype=np.float32), "zoom in", repeat=3),), 4.0, "a" * 64)


@pytest.fixture
def photos(tmp_path: Path, photo: Path) -> Path:
    """A folder with one picture in it, and one beside it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for place in (folder / "a dog & more.jpg", tmp_path / "secret.jpg"):
        place.write_bytes(photo.read_bytes())
    return folder


def test_a_link_brings_the_actions_and_a_picture_of_the_page(made: Composition, photos: Path) -> None:
    link = links.query(made, links.picture_of(str(photos / "a dog & more.jpg"), photos))
    there = Composition.decode(link, checkpoint="a" * 64, channels=16)
    assert there.blocks[0].label == "zoom in" and there.blocks[0].repeat == 3
    assert links.picture_in(link, photos) == (photos / "a dog & more.jpg", False)
    # Without a target, and as links were before, it names no picture and misses none.
    for older in (links.query(made, links.picture_of(None, photos)), "actions=" + made.encode()):
        assert links.picture_in(older, photos) == (None, False)


@pytest.mark.parametrize("name", ["own", "../secret", "..%2Fsecret", "gone", "*", "/etc/passwd"])
def test_a_picture_that_is_not_the_pages_is_missed(name: str, photos: Path) -> None:
    assert links.picture_in(f"actions=1.x&picture={name}", photos) == (None, True)


def test_a_visitors_own_picture_is_not_named_in_a_link(made: Composition, photos: Path) -> None:
    for path in (photos.parent / "secret.jpg", photos / "gone.jpg"):
        picture = links.picture_of(str(path), photos)
        assert picture == links.OWN and path.stem not in links.query(made, picture)


def test_what_is_on_the_stage_is_old_when_what_it_depends_on_is_another(made: Composition) -> None:
    space = SpaceSession()
    space.knobs = 2.0, 8
    assert views.old(space) == ""  # nothing is there
    space.show(made, (1.0, 8))
    assert "strength 1 and 8 steps" in views.old(space)
    space.knobs = 1.0, 8
    assert views.old(space) == ""
    # The timeline's result depends on the timeline, and not on the controls of the stage.
    space.timeline = made
    space.show(made)
    space.knobs = 3.0, 1
    assert views.old(space) == ""
    space.timeline = made.append(made.blocks[0])
    assert "Apply the timeline" in views.old(space)
    # What lies between two motions is neither's.
    space.show(Composition(made.blocks, 4.0, "a" * 64))
    assert views.old(space) == ""
    space.foreign = True
    assert "checkpoint before" in views.old(space)
    space.show(None)
    assert views.old(space) == ""


def test_samples_for_the_picture_are_old_when_that_is_another() -> None:
    space = SpaceSession(samples={"fixed": np.zeros((2, 16))}, sampled=("a.jpg", 0.0))
    assert views.old_samples(space, ("b.jpg", 0.0)) == ""
    space.samples["here"] = np.zeros((2, 16))
    assert "Draw" in views.old_samples(space, ("b.jpg", 0.0)) and views.old_samples(space, ("a.jpg", 0.0)) == ""


def test_filmed_steps_are_among_those_elsewhere() -> None:
    atlas = synthetic_atlas(300, 16, 40, seed=0)
    filmed = set(atlas.recording[atlas.kind < 0].tolist())
    assert filmed and len(filmed) < 40
    own = min(filmed)
    for k in (0, 17, 150, 299):
        near, distances = elsewhere(atlas, atlas.latents[k], own, 8)
        recordings = [int(atlas.recording[i]) for i in near]
        assert len(near) == 8 == len(set(recordings)) and own not in recordings
        assert {*recordings[-2:]} <= filmed
        np.testing.assert_allclose(distances, np.linalg.norm(atlas.latents[near] - atlas.latents[k], axis=1), atol=1e-5)
        # The others are the nearest there are.
        first, _ = atlas.nearest(atlas.latents[k], 8, other_than=own)
        assert near[:-2] == [int(i) for i in first if int(i) not in near[-2:]][:6]
