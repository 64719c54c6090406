"""``lamdemo compose``: arithmetic on the command line, from items to a file that a transfer takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from space_files import space_checkpoint
from test_cli import Done, refused, run

from lamdemo.engine import LatentActions
from lamdemo.latent_space.atlas import Atlas
from lamdemo.latent_space.composition import Composition

__all__ = ["run"]  # a fixture

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return space_checkpoint(tiny_checkpoint, tmp_path_factory.mktemp("spaces") / "mine")


@pytest.fixture(scope="module")
def atlas(checkpoint: Path) -> Atlas:
    found = Atlas.read(checkpoint)
    assert found is not None and found.directions is not None
    return found


def composed(run: Run, checkpoint: Path, tmp_path: Path, *items: object) -> np.ndarray:
    out = tmp_path / "out.npz"
    done = run("compose", *items, "--checkpoint", checkpoint, "--out", out)
    assert done.code == 0, done.err
    return LatentActions.load(out).z


def test_there_and_back_comes_to_nothing(run: Run, checkpoint: Path, atlas: Atlas, tmp_path: Path) -> None:
    z = composed(run, checkpoint, tmp_path, "1.5*pan-right:3", "~1.5*pan-right:3")
    assert atlas.directions is not None
    np.testing.assert_allclose(z[:3], 1.5 * np.repeat(atlas.directions["pan-right"].z[None], 3, 0), rtol=1e-6)
    np.testing.assert_array_equal(z[3:], -z[:3])


def test_sums_and_what_lies_between(run: Run, checkpoint: Path, atlas: Atlas, tmp_path: Path) -> None:
    a, b = atlas.latents[7], atlas.latents[11]
    both = composed(run, checkpoint, tmp_path, "@7:2", "0.5*@11:2", "--how", "add")
    np.testing.assert_allclose(both, np.repeat((a + 0.5 * b)[None], 2, 0), rtol=1e-5)
    middle = composed(run, checkpoint, tmp_path, "@7", "@11", "--how", "between", "--share", "0.25")
    np.testing.assert_allclose(middle, (0.75 * a + 0.25 * b)[None], rtol=1e-5)


def test_all_of_it_is_changed_at_the_end(run: Run, checkpoint: Path, atlas: Atlas, tmp_path: Path) -> None:
    z = composed(run, checkpoint, tmp_path, "@7", "@11", "--strength", 2, "--reverse", "--repeat", 2)
    once = -2 * atlas.latents[[11, 7]]
    np.testing.assert_allclose(z, np.concatenate([once, once]), rtol=1e-5)


def test_what_is_written_goes_through_a_transfer_and_a_link(
    run: Run, checkpoint: Path, photo: Path, tmp_path: Path
) -> None:
    first = run("compose", "pan-right:2", "--checkpoint", checkpoint, "--out", tmp_path / "a.npz")
    link = next(line for line in first.out.splitlines() if line.startswith("?actions="))
    again = run("compose", "--link", link, "~pc1:1", "--checkpoint", checkpoint, "--out", tmp_path / "b.npz")
    assert again.code == 0, again.err
    a, b = (Composition.load(tmp_path / f"{name}.npz") for name in "ab")
    assert [x.label for x in b.blocks] == ["camera pans right", "pc1, reversed"]
    np.testing.assert_allclose(b.latents().z[:2], a.latents().z, rtol=0.02, atol=0.02)
    out = tmp_path / "made"
    done = run("transfer", tmp_path / "b.npz", photo, "--checkpoint", checkpoint, "--out", out)
    assert done.code == 0, done.err
    assert len(LatentActions.load(out / "latents.npz")) == 3


def test_a_minus_is_the_reverse_as_everywhere(run: Run, checkpoint: Path, atlas: Atlas, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    done = run("compose", "--checkpoint", checkpoint, "--out", out, "--", "-pan-right:2")
    assert done.code == 0 and "camera pans left" in done.out
    assert atlas.directions is not None
    np.testing.assert_array_equal(LatentActions.load(out).z, -np.repeat(atlas.directions["pan-right"].z[None], 2, 0))


def test_a_links_smoothing_stays_where_no_other_is_given(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    first = run(
        "compose", "pan-right:4", "zoom-in:4", "--smooth", 2, "--checkpoint", checkpoint, "--out", tmp_path / "a.npz"
    )
    link = next(line for line in first.out.splitlines() if line.startswith("?actions="))
    run("compose", "--link", link, "--checkpoint", checkpoint, "--out", tmp_path / "b.npz")
    a, b = (LatentActions.load(tmp_path / f"{name}.npz").z for name in "ab")
    np.testing.assert_allclose(b, a, atol=0.02)


def test_actions_of_another_width_or_rate_are_refused(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    for z, fps, words in ((np.ones((2, 5)), 4.0, "another checkpoint"), (np.ones((2, 16)), 8.0, "steps a second")):
        file = LatentActions(z.astype(np.float32), fps).save(tmp_path / "odd.npz")
        refused(run("compose", file, "--checkpoint", checkpoint, "--out", tmp_path / "out.npz"), words)
    assert not (tmp_path / "out.npz").exists()


def test_directions_are_listed_with_their_names(run: Run, checkpoint: Path) -> None:
    done = run("compose", "--list", "--checkpoint", checkpoint)
    assert done.code == 0
    assert "pan-right        camera pans right (reversed: camera pans left)" in done.out.splitlines()


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["nonsense"], ["nonsense"]),
        (["@100000"], ["100000"]),
        (["@x"], ["no step"]),
        (["missing.npz"], ["missing.npz"]),
        (["1..5*pc1"], ["no strength"]),
        (["pc1:400"], ["1 to 50"]),
        (["pc1", "--how", "between"], ["two"]),
        ([], ["empty"]),
        (["--link", "?actions=1.nonsense"], ["link"]),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(
    run: Run, checkpoint: Path, tmp_path: Path, items: list[str], words: list[str]
) -> None:
    refused(run("compose", *items, "--checkpoint", checkpoint, "--out", tmp_path / "out.npz"), *words)
    assert not list(tmp_path.iterdir())


def test_actions_of_another_checkpoint_are_refused(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    other = LatentActions(np.ones((2, 16), np.float32), 4.0, "f" * 64).save(tmp_path / "other.npz")
    refused(run("compose", other, "--checkpoint", checkpoint, "--out", tmp_path / "out.npz"), "another checkpoint")


def test_a_checkpoint_without_an_atlas_says_so(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    refused(run("compose", "pc1", "--checkpoint", tiny_checkpoint, "--out", tmp_path / "out.npz"), "atlas")
