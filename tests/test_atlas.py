"""Atlases: their file, neighbours and maps, and how they are built from videos and scenes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from atlas_files import PHOTOS, synthetic_atlas
from conftest import moving_square
from safetensors.numpy import load, save

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.data.known_actions import INDEX
from lamdemo.data.scenes import Cast, Photographs, SceneConfig, Script, draw_cast, render, write_script
from lamdemo.data.videos import photographs_in
from lamdemo.engine import TransferPipeline
from lamdemo.latent_space import building, drawn, recordings
from lamdemo.latent_space.atlas import ATLAS_NAME, Atlas
from lamdemo.latent_space.building import build_atlas, density
from lamdemo.latent_space.projection import (
    Principal,
    neighbours,
    place_between,
    smooth_weights,
    spread_equal,
    umap_maps,
)
from lamdemo.latent_space.recordings import ACTIONS, CAMERA, AtlasConfig, camera_motion
from lamdemo.latent_space.thumbnails import thumbnail, write_sheets
from lamdemo.video import optical_flow, read_image, write_image, write_video

FAST = AtlasConfig(umap=False, thumb=(32, 24), scene_steps=4)


def a_sentence(error: pytest.ExceptionInfo[LamdemoError], *words: str) -> None:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and "/" not in text.replace("and/or", ""), text
    for word in words:
        assert word in text


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return synthetic_atlas(600, 12, 40, 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the bundled photographs, made small, with the words of whose they are."""
    folder = tmp_path_factory.mktemp("bank") / "photos"
    for path in sorted(PHOTOS.glob("*.jpg"))[:3]:
        picture = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)[..., ::-1]
        folder.mkdir(exist_ok=True)
        write_image(folder / path.with_suffix(".png").name, np.ascontiguousarray(picture))
    rows = [
        {"file": f"photos/{p.name}", "title": p.stem, "author": "Somebody", "licence": "CC0"} for p in folder.iterdir()
    ]
    (folder.parent / "assets.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of a car with known steering, a longer one in a folder, one that is broken, one of a single frame."""
    folder = tmp_path_factory.mktemp("videos") / "some clips"
    (folder / "nav").mkdir(parents=True)
    write_video(folder / "nav" / "drive.mp4", moving_square(17, step=2), 8)
    write_video(folder / "long.mp4", np.concatenate([moving_square(36, step=1)] * 2)[:70], 4)
    write_video(folder / "one.mp4", moving_square(1), 4)
    (folder / "broken.mp4").write_bytes(b"this is no video at all")
    steering = np.linspace(-1, 1, 17)
    table = np.stack([steering, 0 * steering + 0.5, steering], 1)
    np.savez(folder / "nav" / "drive.npz", actions=table, names=["steering", "throttle", "other"])
    index = "file\tactions\tsource\tlicence\nnav/drive.mp4\tnav/drive.npz\tsomeone's car\tCC BY 4.0\n"
    (folder / "INDEX.tsv").write_text(index)
    return folder


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def built(
    pipeline: TransferPipeline, videos: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Atlas, Path, list[str]]:
    """An atlas with everything, its file, and what was said while it was made."""
    out, said = tmp_path_factory.mktemp("built") / "whole.safetensors", list[str]()
    config = replace(FAST, umap=True)
    atlas = build_atlas(pipeline, videos=videos, scenes=10, out=out, config=config, photos=photos, say=said.append)
    return atlas, out, said


def test_clips_that_may_not_be_shown_are_drawn_on_photographs(
    pipeline: TransferPipeline, videos: Path, photos: Path, tmp_path: Path
) -> None:
    atlas = build_atlas(pipeline, drawn=videos, scenes=0, out=tmp_path / "atlas", config=FAST, photos=photos)
    names = [r.name for r in atlas.recordings]
    assert names == ["long", "drive"] and {r.part for r in atlas.recordings} == {drawn.PART}
    assert "someone's car (CC BY 4.0), carried out on: " in atlas.recordings[1].credit
    # The actions are the clip's own, of the steps in which most happens, and the pictures are none of it.
    shown = build_atlas(pipeline, videos=videos, scenes=0, out=tmp_path / "shown", config=FAST, photos=photos)
    theirs = {r.name: shown.latents[shown.recording == k] for k, r in enumerate(shown.recordings)}
    for k, name in enumerate(("long.mp4", "nav/drive.mp4")):
        mine = atlas.recording == k
        assert np.array_equal(atlas.latents[mine], theirs[name][atlas.step[mine]])
        pictures = {_tone(photo) for photo in sorted(photos.iterdir())}
        first = atlas.thumbnail(int(atlas.frame[mine][0])).reshape(-1, 3).mean(0)
        assert min(np.abs(first - tone).max() for tone in pictures) < 12
        assert np.abs(first - moving_square(1).reshape(-1, 3).mean(0)).max() > 12


def _tone(photo: Path) -> tuple[float, ...]:
    return tuple(read_image(photo).reshape(-1, 3).mean(0))


def test_of_clips_that_may_not_be_shown_each_folder_gives_as_many_under_an_open_licence(tmp_path: Path) -> None:
    rows = [("a/1", "MIT (repo)"), ("a/2", "CC BY-NC 4.0"), ("a/3", "not stated"), ("b/1", "CC0 1.0")]
    rows += [("b/2", "CC BY 4.0"), ("b/3", "Apache-2.0 (repo)"), ("b/4", "page unmarked")]
    for name, _ in rows:
        path = tmp_path / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"0")
    index = "".join(f"{name}.mp4\tclip {name}\tsource\t{licence}\n" for name, licence in rows)
    (tmp_path / INDEX).write_text("file\tcontent\tsource\tlicence\n" + index)
    assert [c.title for c in drawn.chosen_clips(tmp_path, 9)] == ["clip a/1", "clip b/1", "clip b/2", "clip b/3"]
    assert [c.title for c in drawn.chosen_clips(tmp_path, 2)] == ["clip a/1", "clip b/1"]


# Maps.


def test_the_pca_has_no_action_in_its_middle_and_reverses_opposite() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(300, 6)) * [5, 3, 2, 1, 0.5, 0.1] + 1
    axes = Principal.fit(latents, 6)
    assert np.allclose(axes.axes @ axes.axes.T, np.eye(6), atol=1e-9)
    assert (np.diff(axes.shares) <= 0).all() and axes.shares.sum() == pytest.approx(1)
    assert not axes.place(np.zeros((1, 6)), 3).any()
    assert np.allclose(axes.place(-latents, 3), -axes.place(latents, 3))
    # All axes together only turn the space.
    assert np.allclose(np.linalg.norm(axes.place(latents, 6), axis=1), np.linalg.norm(latents, axis=1), rtol=1e-5)
    # No other plane holds more of the latents.
    other = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    assert np.square(latents @ other).sum() < np.square(axes.place(latents, 2)).sum()


def test_fewer_channels_than_axes_leave_the_rest_at_zero() -> None:
    places = Principal.fit(np.array([[1.0, 0], [2, 1]])).place(np.array([[1.0, 3]]), 3)
    assert places[0, 2] == 0 and np.linalg.norm(places) == pytest.approx(np.sqrt(10), rel=1e-6)


def test_neighbours_are_the_nearest_of_other_groups() -> None:
    rng = np.random.default_rng(1)
    latents, groups = rng.normal(size=(400, 5)), np.arange(400) // 4
    found, distances = neighbours(latents, groups, 7)
    every = np.linalg.norm(latents[:, None] - latents[None], axis=-1)
    every[groups[:, None] == groups[None]] = np.inf
    assert (found == np.argsort(every, axis=1)[:, :7]).all()
    assert np.allclose(distances, np.sort(every, axis=1)[:, :7])
    alone, far = neighbours(latents[:3], np.array([0, 0, 1]), 2)
    assert alone.tolist() == [[2, -1], [2, -1], alone[2].tolist()] and np.isinf(far[0, 1])


def test_weights_add_up_to_the_logarithm_of_their_number_at_any_scale() -> None:
    rng = np.random.default_rng(2)
    distances = np.sort(rng.uniform(1, 3, (50, 16)), axis=1)
    weights = smooth_weights(distances)
    assert np.allclose(weights.sum(1), 4, atol=1e-4)
    assert (np.diff(weights, axis=1) <= 0).all()
    assert np.allclose(smooth_weights(1e4 * distances), weights, atol=1e-6)


def test_places_agree_with_the_points_and_stay_among_them() -> None:
    rng = np.random.default_rng(3)
    distances, coordinates = rng.uniform(0.5, 2, (20, 8)), rng.normal(size=(20, 8, 2))
    places = place_between(distances, coordinates)
    assert (places >= coordinates.min(1) - 1e-5).all() and (places <= coordinates.max(1) + 1e-5).all()
    distances[:, 3] = 0
    assert np.allclose(place_between(distances, coordinates), coordinates[:, 3], atol=1e-5)
    distances[:, 3] = 1e-3  # and come there without a jump
    assert np.abs(place_between(distances, coordinates) - coordinates[:, 3]).max() < 1e-3
    assert np.isfinite(place_between(np.zeros((1, 8)), coordinates[:1])).all()


def test_steps_of_one_code_stand_apart_near_their_place() -> None:
    places, which = np.array([[0, 0], [3, 0], [3, 9]], np.float32), np.repeat([0, 1, 2], [40, 1, 5])
    spread = spread_equal(places, which)
    assert len(np.unique(spread, axis=0)) == len(which)
    # Each is nearest to its own place.
    assert (np.linalg.norm(spread[:, None] - places[None], axis=-1).argmin(1) == which).all()


def test_umap_keeps_groups_apart_and_new_points_fall_among_their_own() -> None:
    rng = np.random.default_rng(4)
    centres = 8 * np.eye(3, 6)
    group = np.repeat([0, 1, 2], 30)
    latents = (centres[group] + rng.normal(size=(90, 6))).astype(np.float32)
    places = umap_maps(latents, (2,), groups=np.arange(90) // 3, near=8)[2]
    middles = np.stack([places[group == g].mean(0) for g in range(3)])
    assert (np.linalg.norm(places[:, None] - middles[None], axis=-1).argmin(1) == group).all()
    assert np.abs(places.mean(0)).max() < 1e-3

    recording = np.arange(90) // 3
    some = synthetic_atlas(90, 6, 30, 0)
    made = replace(some, latents=latents, recording=recording, step=np.arange(90) % 3, coordinates={"umap2": places})
    new = made.place(centres[group] + rng.normal(size=(90, 6)), "umap2")
    assert (np.linalg.norm(new[:, None] - middles[None], axis=-1).argmin(1) == group).mean() > 0.95


def test_equal_codes_are_at_no_distance_and_equally_dense() -> None:
    codes = np.random.default_rng(8).normal(size=(5, 32)) * 10
    which = np.repeat(np.arange(5), 20)
    found, distances = neighbours(codes[which], np.arange(100) // 2, 12)
    assert (distances == 0).all() and (which[found] == which[:, None]).all()
    assert (density(codes[which], np.arange(100)) == 1).all()


def test_density_is_a_rank_among_other_recordings() -> None:
    rng = np.random.default_rng(5)
    latents = np.concatenate([rng.normal(size=(60, 3)), 40 + 5 * rng.normal(size=(20, 3))])
    # The last ten lie at one place, but are one recording: nobody else does what they do.
    latents[-10:] = 200
    recording = np.concatenate([np.arange(70), np.full(10, 70)])
    found = density(latents, recording)
    assert found.min() >= 0 and found.max() == 1
    assert found[:60].min() > found[60:70].max() > found[70:].max()
    assert density(latents[:1], recording[:1]).tolist() == [1]
    assert np.isfinite(density(latents[:9], np.zeros(9, int))).all()


# The atlas.


def test_an_atlas_is_read_as_it_was_saved(atlas: Atlas, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    assert Atlas.read(tmp_path / "tiny") is None
    path = atlas.save(tmp_path / "tiny" / ATLAS_NAME)
    again = Atlas.read(tmp_path / "tiny")
    assert again is not None
    for name in ("latents", "recording", "step", "seconds", "frame", "kind", "cluster", "density"):
        first, second = getattr(atlas, name), getattr(again, name)
        assert first.dtype == second.dtype and (first == second).all()
    assert (again.recordings, again.kinds, again.sheets) == (atlas.recordings, atlas.kinds, atlas.sheets)
    assert np.array_equal(again.known["pan right"], atlas.known["pan right"], equal_nan=True)
    assert list(again.coordinates) == ["pca2", "pca3", "umap2", "umap3"]
    assert all((again.coordinates[k] == v).all() for k, v in atlas.coordinates.items())
    assert again.to_bytes() == path.read_bytes() == synthetic_atlas(600, 12, 40, 1).to_bytes()
    assert (len(again), again.channels) == (600, 12)
    assert np.allclose(again.size, np.sqrt(np.square(again.latents).sum(1)))
    assert not list(path.parent.glob("*.part"))


def test_nearest_is_what_all_distances_say(atlas: Atlas) -> None:
    rng = np.random.default_rng(6)
    queries = atlas.latents[:300] + rng.normal(size=(300, 12)) * 0.1
    every = np.linalg.norm(queries[:, None] - atlas.latents[None], axis=-1)
    indices, distances = atlas.nearest(queries, 9, one_each=False)
    assert (indices == np.argsort(every, axis=1)[:, :9]).all()
    assert np.allclose(distances, np.sort(every, axis=1)[:, :9], rtol=1e-4)

    own = int(atlas.recording[0])
    indices, distances = atlas.nearest(queries, 50, other_than=[own, own + 2])
    assert indices.shape == (300, 38)  # of 40 recordings
    of = atlas.recording[indices]
    assert all(len(set(row)) == 38 for row in of.tolist()) and not np.isin(of, [own, own + 2]).any()
    assert (np.diff(distances, axis=1) >= 0).all()
    best = np.stack([every[:, atlas.recording == r].min(1) for r in of[0]])
    assert np.allclose(distances[0], best[:, 0], rtol=1e-4)


def test_a_step_is_its_own_nearest_and_one_query_has_one_answer(atlas: Atlas) -> None:
    index, distance = atlas.nearest(atlas.latents[17], 1)
    assert index.tolist() == [17] and distance.tolist() == [0]
    assert atlas.nearest(atlas.latents[17], 3, other_than=int(atlas.recording[17]))[0].shape == (3,)
    assert atlas.nearest(atlas.latents[:2], 4, other_than=list(range(40)))[0].shape == (2, 0)


def test_the_mean_of_a_selection(atlas: Atlas) -> None:
    assert np.allclose(atlas.mean([3, 5, 5]), (atlas.latents[3] + 2 * atlas.latents[5]) / 3)
    with pytest.raises(LamdemoError) as error:
        atlas.mean([])
    assert str(error.value) == "The selection is empty; draw around some points."
    for wrong in ([600], [-1], [0.5], ["1"], [[1, 2]], [None], [2**70], [True]):
        with pytest.raises(LamdemoError) as error:
            atlas.mean(wrong)  # type: ignore[arg-type]
        a_sentence(error, "select them anew")


def test_points_of_the_atlas_are_placed_where_they_are(atlas: Atlas) -> None:
    for projection, places in atlas.coordinates.items():
        assert np.allclose(atlas.place(atlas.latents[40:80], projection), places[40:80], atol=1e-3)
        assert atlas.place(np.zeros((0, 12)), projection).shape == (0, places.shape[1])
    assert not atlas.place(np.zeros((1, 12)), "pca3").any()
    with pytest.raises(LamdemoError) as error:
        atlas.place(atlas.latents[:1], "tsne")
    a_sentence(error, "umap3")


@pytest.mark.parametrize("use", [lambda a, z: a.nearest(z, 3), lambda a, z: a.place(z, "pca2")])
def test_latents_that_do_not_fit_are_told(atlas: Atlas, use: Callable[[Atlas, np.ndarray], object]) -> None:
    with pytest.raises(LamdemoError) as error:
        use(atlas, np.zeros((2, 16)))
    a_sentence(error, "16 channels", "12")
    with pytest.raises(LamdemoError) as error:
        use(atlas, np.full((1, 12), np.nan))
    a_sentence(error, "finite")


def test_an_atlas_of_another_checkpoint_is_refused(atlas: Atlas, pipeline: TransferPipeline) -> None:
    same_width = synthetic_atlas(30, 16, 5, 0)
    replace(same_width, checkpoint=pipeline.checkpoint).check(pipeline)
    for other in (same_width, replace(atlas, checkpoint=pipeline.checkpoint)):
        with pytest.raises(LamdemoError) as error:
            other.check(pipeline)
        a_sentence(error, "This atlas was made with another checkpoint")


def test_thumbnails_come_back_and_stay_in_their_recording(atlas: Atlas) -> None:
    rng = np.random.default_rng(7)
    flat = np.repeat(np.repeat(rng.integers(0, 256, (300, 1, 1, 3)), 48, 1), 64, 2).astype(np.uint8)
    some = replace(atlas, sheets=write_sheets(flat, 95) + atlas.sheets)
    assert len(write_sheets(flat, 95)) == 2
    for f in (0, 15, 16, 255, 256, 299):
        assert np.abs(some.thumbnail(f).astype(int)[8:-8, 8:-8] - flat[f, 8:-8, 8:-8]).mean() < 6
    for wrong in (-1, len(atlas.sheets) * 256):
        with pytest.raises(LamdemoError):
            atlas.thumbnail(wrong)
    steps = np.flatnonzero(atlas.recording == 7)
    first, last = int(atlas.frame[steps[0]]), int(atlas.frame[steps[-1]]) + 1
    assert atlas.frames_of(int(steps[0])) == list(range(first, first + 4))
    assert atlas.frames_of(int(steps[-1]), 1) == [last - 2, last - 1, last]
    middle = int(steps[len(steps) // 2])
    assert atlas.frames_of(middle, 0) == [int(atlas.frame[middle]), int(atlas.frame[middle]) + 1]
    # Another recording's thumbnails are never among them.
    assert max(atlas.frames_of(int(steps[-1]), 99)) < atlas.frame[steps[-1] + 1]


# What comes from elsewhere.


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict, dict], None]:
    def apply(tensors: dict, about: dict) -> None:
        tensors[name] = change(tensors[name])

    return apply


def at(index: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def put(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.reshape(-1)[index] = value
        return array

    return put


def told(**changes: object) -> Callable[[dict, dict], None]:
    return lambda tensors, about: about.update(changes)


def bomb(tensors: dict, about: dict) -> None:
    """A sheet that says it is 60,000 pixels wide."""
    data = tensors["sheets"].tobytes()
    where = data.index(b"\xff\xc0") + 7
    tensors["sheets"] = np.frombuffer(data[:where] + (60000).to_bytes(2) + data[where + 2 :], np.uint8)


@pytest.mark.parametrize(
    "spoil",
    [
        changed("latents", at(5, np.inf)),
        changed("latents", lambda x: x[:-1]),
        changed("latents", lambda x: x[:, :0]),
        changed("recording", at(0, -1)),
        changed("recording", at(-1, 40)),
        changed("recording", at(0, 3)),
        changed("recording", lambda x: x.astype(np.float32)),
        changed("recording", lambda x: x.astype(np.int64) + 2**40),
        changed("step", at(1, 0)),
        changed("frame", at(0, -1)),
        changed("frame", lambda x: x + 2000),
        changed("frame", at(0, 9)),
        changed("seconds", at(3, np.nan)),
        changed("seconds", at(3, -1)),
        changed("kind", at(2, 9)),
        changed("cluster", at(2, -2)),
        changed("density", at(2, 1.5)),
        changed("known", at(2, np.inf)),
        changed("known", lambda x: x[:, :-1]),
        changed("umap2", at(0, np.nan)),
        changed("umap2", lambda x: np.zeros((600, 3), np.float32)),
        changed("sheets", lambda x: x[:-9]),
        changed("sheets", lambda x: np.zeros_like(x)),
        changed("sheet_ends", lambda x: x[::-1].copy()),
        lambda tensors, about: tensors.pop("density"),
        bomb,
        told(thumb=[64, 50]),
        told(thumb=[1e9, 48]),
        told(recordings=[]),
        told(recordings=[["a", "b", "c", 0]] * 40),
        told(recordings=[["a", "b", 7, 4]] * 40),
        told(recordings=[["a\nb", "b", "", 4]] * 40),
        told(name="x" * 100_000),
        told(kinds=3),
        told(known=["a", "b"]),
        told(built=7),
        told(directions={"entries": 7}),
        told(format="lamdemo/1"),
        lambda tensors, about: about.pop("checkpoint"),
    ],
)
def test_an_atlas_that_says_the_impossible_is_refused(
    atlas: Atlas, tmp_path: Path, spoil: Callable[[dict, dict], object]
) -> None:
    data = atlas.to_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    tensors, about = load(data), json.loads(header["__metadata__"]["lamdemo"])
    spoil(tensors, about)
    path = tmp_path / "bad.safetensors"
    whole = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
    path.write_bytes(save(whole, metadata={"lamdemo": json.dumps(about)}))
    with pytest.raises(LamdemoError) as error:
        Atlas.load(path)
    a_sentence(error, "bad.safetensors is no atlas")


def test_files_that_are_no_atlas_are_told(atlas: Atlas, tiny_checkpoint: Path, tmp_path: Path) -> None:
    data = atlas.to_bytes()
    for name, contents in (
        ("cut", data[: len(data) // 2]),
        ("short", data[:5]),
        ("empty", b""),
        ("text", b"hello" * 100),
        ("weights", (tiny_checkpoint / "model.safetensors").read_bytes()),
        ("nonsense", save({"x": np.zeros(1)}, metadata={"lamdemo": "[" * 100_000})),
    ):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(LamdemoError) as error:
            Atlas.load(tmp_path / name)
        a_sentence(error, name)
    with pytest.raises(LamdemoError) as error:
        Atlas.load(tmp_path / "nowhere")
    a_sentence(error, "There is no atlas nowhere")
    later = save({"x": np.zeros(1)}, metadata={"lamdemo": json.dumps({"format": "lamdemo-atlas/2"})})
    (tmp_path / "later").write_bytes(later)
    with pytest.raises(LamdemoError) as error:
        Atlas.load(tmp_path / "later")
    a_sentence(error, "another version")


def test_a_damaged_sheet_is_told_when_it_is_looked_at(atlas: Atlas) -> None:
    sheet = atlas.sheets[0]
    start = sheet.index(b"\xff\xda")
    spoilt = replace(atlas, sheets=(sheet[: start - 60], *atlas.sheets[1:]))
    assert spoilt.thumbnail(300).shape == (48, 64, 3)
    with pytest.raises(LamdemoError) as error:
        spoilt.thumbnail(3)
    a_sentence(error, "damaged")


# Scenes.


def camera_script(motion: dict[int, float], start: tuple[float, ...] = (0, 0, 0, 0)) -> Script:
    camera = np.array([start, start], float)
    for axis, amount in motion.items():
        camera[1, axis] += amount
    return Script("pan", camera, np.zeros((0, 2, 4)))


def seen_flow(script: Script, photos: Path) -> np.ndarray:
    """How what is seen moves, forward, in pixels of 128, on the whole picture."""
    rng = np.random.default_rng(3)
    photographs = Photographs(photographs_in(photos, (288, 384)))
    cast = draw_cast(rng, script, len(photographs))
    cast = Cast(0, np.array([0.5, 0.5, -0.3, 0.3]), *(a[:0] for a in (cast.skins, cast.crops, cast.shapes)),
                cast.stretches[:0], np.zeros((0, 4)))  # fmt: skip
    clip = (render([script], [cast], photographs, 128)[0].permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    return -optical_flow(clip[0], clip[1])  # from the backward one, good enough for its sign


@pytest.mark.parametrize("axis,amount", [(0, 0.03), (1, 0.03), (2, -0.06), (3, 0.08)])
def test_names_of_camera_motions_say_what_one_sees(photos: Path, axis: int, amount: float) -> None:
    script = camera_script({axis: amount})
    known = camera_motion(script)
    assert tuple(known) == CAMERA
    assert known[CAMERA[axis]] == pytest.approx(abs(amount))
    assert sum(np.abs(v).sum() for v in known.values()) == pytest.approx(abs(amount))
    flow = seen_flow(script, photos)
    y, x = np.mgrid[:128, :128] - 63.5
    along = {
        0: -flow[..., 0],  # a camera that moves right: what is seen goes left
        1: -flow[..., 1],
        2: (flow[..., 0] * x + flow[..., 1] * y) / np.hypot(x, y),  # zooming in: away from the middle
        3: (flow[..., 0] * y - flow[..., 1] * x) / np.hypot(x, y),  # a camera rolling clockwise: anticlockwise
    }[axis]
    assert np.median(along[16:-16, 16:-16]) > 1
    assert (along[16:-16, 16:-16] > 0).mean() > 0.8


def test_a_pan_is_measured_along_the_picture_of_a_turned_camera(photos: Path) -> None:
    # A quarter turned, at half the scale: what is "down" in the world is "right" in the picture, twice as far.
    script = camera_script({1: 0.01}, (0, 0, np.log(0.5), np.pi / 2))
    known = camera_motion(script)
    assert known["pan right"] == pytest.approx(0.02) and known["pan down"] == pytest.approx(0, abs=1e-9)
    flow = seen_flow(script, photos)[16:-16, 16:-16]
    assert np.median(flow[..., 0]) == pytest.approx(-0.02 * 128, abs=0.6)
    assert abs(np.median(flow[..., 1])) < 0.6


@pytest.mark.parametrize("kind", ["move", "enter", "pan"])
def test_a_scene_shows_something_in_half_of_its_steps(kind: str) -> None:
    config = AtlasConfig(seed=3)
    for index in range(6):
        script, _, visible = recordings.visible_scene(index, kind, 5, config)  # type: ignore[arg-type]
        assert script.kind == kind and visible.shape == (8,) and visible.sum() >= 4
        first, _, same = recordings.visible_scene(index, kind, 5, config)  # type: ignore[arg-type]
        assert (first.camera == script.camera).all() and (same == visible).all()


def test_steps_in_which_nothing_moves_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(rng: np.random.Generator, frames: int, config: SceneConfig, kind: str) -> Script:
        script = write_script(rng, frames, config, "pan")
        script.camera[:, 0] = np.minimum(np.arange(frames), 5) * 0.05
        script.camera[:, 1:] = 0
        return script

    monkeypatch.setattr(recordings, "write_script", stops)
    visible = recordings.visible_scene(0, "pan", 5, AtlasConfig())[2]
    assert visible.tolist() == [True] * 5 + [False] * 3


def test_thumbnails_keep_the_aspect() -> None:
    wide = np.full((50, 200, 3), 200, np.uint8)
    wide[:, :100] = 100
    small = thumbnail(wide, (64, 48))
    assert small.shape == (48, 64, 3)
    assert (small[24, 4:28] == 100).all() and (small[24, -28:-4] == 200).all()
    assert (small[:14] == 150).all() and (small[-14:] == 150).all()  # the mean colour above and below
    filled = thumbnail(wide, (64, 48), stretch=True)
    assert (filled[:, :30] == 100).all() and (filled[:, -30:] == 200).all()


# Building.


def test_what_is_built(built: tuple[Atlas, Path, list[str]], pipeline: TransferPipeline, videos: Path) -> None:
    atlas, out, said = built
    assert Atlas.load(out).to_bytes() == atlas.to_bytes() == out.read_bytes()
    assert not out.with_name(out.name + ".parts").exists()
    atlas.check(pipeline)
    assert [r.part for r in atlas.recordings] == ["clips", "nav"] + ["scenes"] * 10
    assert [r.name for r in atlas.recordings[:3]] == ["long.mp4", "nav/drive.mp4", "scene_0000_pan"]
    assert len(said) == 2 and any("broken.mp4" in s for s in said) and any("one.mp4" in s for s in said)
    assert atlas.recordings[1].credit == "someone's car (CC BY 4.0)"
    assert all(r.credit.endswith("Somebody (CC0)") for r in atlas.recordings[2:])
    assert (np.bincount(atlas.recording)[:2] == [69, 8]).all()
    assert atlas.seconds[5] == pytest.approx(5 / 4)
    for r in range(2, 12):
        of = atlas.recording == r
        assert (atlas.kind[of] == (r - 2) % len(ACTIONS)).all() and atlas.kinds == ACTIONS
        assert atlas.recordings[r].name.endswith(ACTIONS[(r - 2) % len(ACTIONS)])
    pans, scenes = atlas.kind == ACTIONS.index("pan"), atlas.kind >= 0
    assert (atlas.known["zoom in"][pans] == 0).all() and (atlas.known["pan right"][pans] != 0).all()
    assert np.isfinite(atlas.known["pan right"][scenes]).all() and np.isnan(atlas.known["pan right"][~scenes]).all()
    assert set(atlas.coordinates) == {"pca2", "pca3", "umap2", "umap3"}
    assert len(np.unique(atlas.cluster)) > 1
    assert atlas.directions is not None and len(atlas.directions) > 3
    again = Atlas.load(out).directions
    assert again is not None and [d.key for d in again] == [d.key for d in atlas.directions]


def test_known_steering_belongs_to_the_steps(built: tuple[Atlas, Path, list[str]]) -> None:
    atlas = built[0]
    drive = atlas.recording == 1
    assert "other" not in atlas.known
    # The clip has 8 frames a second and the model 4: each step takes the mean of two commands.
    commands = np.linspace(-1, 1, 17)[:16].reshape(8, 2).mean(1)
    assert np.allclose(atlas.known["steering"][drive], commands, atol=1e-6)
    assert np.allclose(atlas.known["throttle"][drive], 0.5) and np.isnan(atlas.known["throttle"][~drive]).all()


def test_a_clip_read_in_pieces_is_as_one_read_at_once(
    built: tuple[Atlas, Path, list[str]], pipeline: TransferPipeline, videos: Path
) -> None:
    from lamdemo.video import read_clip

    atlas, frames = built[0], read_clip(videos / "long.mp4", fps=4).frames
    long = np.flatnonzero(atlas.recording == 0)
    assert len(frames) == 70
    assert np.abs(pipeline.infer(frames).z - atlas.latents[long]).max() < 2e-3 * atlas.size[long].max()
    assert atlas.frames_of(int(long[63]), 1) == [62, 63, 64, 65]
    for f in (0, 64, 69):
        assert np.abs(atlas.thumbnail(f).astype(int) - thumbnail(frames[f], (32, 24))).mean() < 12


def test_a_stopped_build_goes_on_and_gives_the_same_file(
    pipeline: TransferPipeline, videos: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str, **more: object) -> bytes:
        settings = {"config": FAST, "scenes": 2, **more}
        build_atlas(pipeline, videos=videos, photos=photos, out=tmp_path / name, **settings)  # type: ignore[arg-type]
        return (tmp_path / name).read_bytes()

    whole = build("whole.safetensors")
    calls = list[int]()
    infer = pipeline.infer

    def stopping(frames: np.ndarray, **how: int) -> object:
        calls.append(len(frames))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return infer(frames, **how)

    monkeypatch.setattr(pipeline, "infer", stopping)
    with pytest.raises(KeyboardInterrupt):
        build("cut.safetensors")
    assert not (tmp_path / "cut.safetensors").exists()
    parts = tmp_path / "cut.safetensors.parts"
    kept = sorted(parts.glob("*.npz"))
    assert len(kept) == 2  # both clips; the scene was cut short
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # and a disk that was full

    # Other settings do not mix with what was kept.
    with pytest.raises(LamdemoError) as error:
        build("cut.safetensors", config=replace(FAST, seed=5))
    a_sentence(error, "cut.safetensors.parts", "--again")

    calls.clear()
    monkeypatch.setattr(pipeline, "infer", lambda frames, **how: calls.append(len(frames)) or infer(frames, **how))
    assert build("cut.safetensors") == whole
    assert len(calls) in (3, 4) and not parts.exists()  # the part cut short (in one piece or two) and two scenes

    # What is finished is not made again, and what is of other settings is not replaced unasked.
    calls.clear()
    assert build("cut.safetensors") == whole and not calls
    for change in ({"config": replace(FAST, seed=5)}, {"scenes": 3}):
        with pytest.raises(LamdemoError) as error:
            build("cut.safetensors", **change)
        a_sentence(error, "cut.safetensors", "--again")
    assert build("cut.safetensors", scenes=0, resume=False) != whole
    assert not calls == []


def test_an_atlas_of_another_checkpoint_is_not_replaced(
    atlas: Atlas, pipeline: TransferPipeline, photos: Path, tmp_path: Path
) -> None:
    atlas.save(tmp_path / "other.safetensors")
    (tmp_path / "notes.txt").write_text("dear diary")
    for name in ("other.safetensors", "notes.txt"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(LamdemoError) as error:
            build_atlas(pipeline, scenes=1, out=tmp_path / name, config=FAST, photos=photos)
        a_sentence(error, name)
        assert (tmp_path / name).read_bytes() == before and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(LamdemoError):  # nor a file that is something else, even when asked to begin anew
        build_atlas(pipeline, scenes=1, out=tmp_path / "notes.txt", config=FAST, photos=photos, resume=False)


def test_without_the_libraries_there_is_a_pca_and_a_word(
    pipeline: TransferPipeline, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    said = list[str]()
    config = replace(FAST, umap=True)
    made = build_atlas(pipeline, scenes=1, out=tmp_path / "a", config=config, photos=photos, say=said.append)
    assert set(made.coordinates) == {"pca2", "pca3"} and (made.cluster == -1).all() and made.directions is None
    assert len(said) == 2 and "umap-learn" in said[0] and "lamdemo[atlas]" in said[0] and "scikit-learn" in said[1]


def test_what_cannot_be_an_atlas_is_told(pipeline: TransferPipeline, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(LamdemoError) as error:
        build_atlas(pipeline, videos=tmp_path / "empty", scenes=0, out=tmp_path / "a", config=FAST)
    a_sentence(error, "The folder empty holds no video")
    with pytest.raises(LamdemoError) as error:
        build_atlas(pipeline, scenes=0, out=tmp_path / "a", config=FAST)
    a_sentence(error, "folder of videos")
    (tmp_path / "empty" / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(LamdemoError) as error:
        build_atlas(pipeline, videos=tmp_path / "empty", scenes=0, out=tmp_path / "a", config=FAST)
    a_sentence(error, "No recording could be read")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty"]
    for wrong in ({"fps": 0.0}, {"steps": 0}, {"thumb": (4, 4)}, {"min_dist": 1.0}, {"near": 1}, {"recordings": 0}):
        with pytest.raises(LamdemoError):
            AtlasConfig(**wrong)  # type: ignore[arg-type]


def test_the_command_line(
    tiny_checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
    out = folder / ATLAS_NAME
    asked = ["atlas", "--checkpoint", folder, "--videos", videos, "--scenes", 0, "--steps", 5, "--max-recordings", 4]

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in (*asked, *arguments)])
        return int(left.value.code or 0), *capsys.readouterr()

    code, told, notes = run("--no-umap", "--out", out)
    assert code == 0 and told.strip().endswith("(10 steps of 2 recordings; maps pca2, pca3)")
    assert notes.count("note: ") == 2 and "broken.mp4" in notes
    mine = Atlas.read(folder)
    assert mine is not None and np.bincount(mine.recording).tolist() == [5, 5]
    mine.check(TransferPipeline.from_pretrained(folder))
    before = out.read_bytes()
    code, _, words = run("--no-umap", "--out", out, "--seed", 4)
    assert code == 2 and "--again" in words and str(tmp_path) not in words and out.read_bytes() == before
    assert run("--no-umap", "--out", out, "--seed", 4, "--again")[0] == 0
    code, _, words = run("--out", tmp_path)
    assert code == 2 and "is a folder" in words
