"""Scenes of things: what is said of a clip's layers is what its pictures show."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import (
    THING_KINDS,
    SceneBank,
    SceneClip,
    ThingKind,
    ThingSceneConfig,
    bundled_things,
    draw_pair,
    read_bank,
)
from lamdemo.data.scenes.depth import draw_depth_pair
from lamdemo.data.splits import held_out, pictures_in

CLEAN = ThingSceneConfig(degraded=False)
SIZE, FRAMES = 128, 4


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A picture with detail that is neither too fine to be moved by parts of a pixel nor flat anywhere."""
    coarse = rng.integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twenty-four cut-outs, one of them without alpha, and six photographs."""
    things, places = tmp_path_factory.mktemp("things"), tmp_path_factory.mktemp("places")
    rng = np.random.default_rng(0)
    rows = ["file\tcategory\twords\tsource"]
    for i in range(24):
        h, w = (160, 70) if i % 3 == 0 else (100, 140)
        y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
        alpha = 255 * (np.abs(x) ** 3 + np.abs(y) ** 3 < 0.95)
        name = f"{i:02d}.png"
        cv2.imwrite(str(things / name), np.dstack([texture(rng, h, w), alpha.astype(np.uint8)]))
        rows.append(f"{name}\t{'people' if i % 3 == 0 else 'toys'}\tthing {i}\trecording {i // 2}")
    cv2.imwrite(str(things / "opaque.png"), texture(rng, 60, 60))
    (things / "INDEX.tsv").write_text("\n".join(rows))
    for i in range(6):
        cv2.imwrite(str(places / f"{i}.png"), texture(rng, 240, 300))
    return things, places


@pytest.fixture(scope="module")
def bank(folders: tuple[Path, Path]) -> SceneBank:
    return read_bank([folders[0]], [folders[1]])


def fetched(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A picture's values at places from 0 to 1, and far off beyond its edge."""
    size = picture.shape[0]
    maps = [(v * size - 0.5).astype(np.float32) for v in (x, y)]
    return cv2.remap(picture.astype(np.float32), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = (np.arange(size) + 0.5) / size
    return np.broadcast_to(line, (size, size)), np.broadcast_to(line[:, None], (size, size))


def before(clip: SceneClip, t: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where places of the acting thing in frame t + 1 were in frame t."""
    mr, mi, kx, ky = clip.acting[t].astype(float)
    p = (x + 1j * y - (kx + 1j * ky)) / (mr + 1j * mi)
    return p.real, p.imag


def errors_of_acting(clip: SceneClip) -> tuple[float, float]:
    """Mean error on the acting thing's places seen in both frames: carried by the truth, and left where it was."""
    carried = left = 0.0
    x, y = grid(SIZE)
    for t in range(FRAMES - 1):
        seen = cv2.erode(clip.matte[t + 1], np.ones((3, 3))) - cv2.dilate(clip.entering[t], np.ones((3, 3))).astype(int)
        here = cv2.resize((seen > 200).astype(np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST) > 0
        later = clip.pictures[t + 1].astype(float)
        carried += np.abs(fetched(clip.pictures[t], *before(clip, t, x, y)) - later)[here].sum()
        left += np.abs(clip.pictures[t].astype(float) - later)[here].sum()
    return carried, left


def errors_of_ground(clip: SceneClip) -> tuple[float, float]:
    """The same of the places that are no part of the acting thing, in cells that are known throughout.

    The flow is interpolated between cells where all move alike, and taken as it is where another thing moves too.
    """
    way, reach = (cv2.INTER_NEAREST, 1) if clip.kind == "two" else (cv2.INTER_LINEAR, 3)
    carried = left = 0.0
    x, y = grid(SIZE)
    for t in range(FRAMES - 1):
        flow = [cv2.resize(f, (SIZE, SIZE), interpolation=way) for f in clip.ground[t]]
        cells = cv2.erode((clip.known[t, 0] > 0.999).astype(np.uint8), np.ones((reach, reach)), borderValue=0)
        here = cv2.resize(cells, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST) > 0
        here &= cv2.resize(cv2.dilate(clip.matte[t + 1], np.ones((5, 5))), (SIZE, SIZE)) == 0
        later = clip.pictures[t + 1].astype(float)
        carried += np.abs(fetched(clip.pictures[t], x + flow[0], y + flow[1]) - later)[here].sum()
        left += np.abs(clip.pictures[t].astype(float) - later)[here].sum()
    return carried, left


@pytest.mark.parametrize("kind", THING_KINDS)
def test_truth_explains_the_next_frame(bank: SceneBank, kind: ThingKind) -> None:
    rng = np.random.default_rng(1)
    clips = [c for _ in range(6) for c in draw_pair(rng, bank, FRAMES, SIZE, CLEAN, kind)]
    assert {c.kind for c in clips} == {kind}
    assert all(c.acts == (kind not in ("still", "pan", "zoom", "roll", "depth")) for c in clips)
    carried, left = np.sum([errors_of_ground(c) for c in clips], 0)
    share = {"pan": 0.1, "zoom": 0.1, "roll": 0.1, "both": 0.1, "depth": 0.1, "two": 0.6}.get(kind, 1.0)
    assert carried <= share * left
    carried, left = np.sum([errors_of_acting(c) for c in clips], 0)
    if clips[0].acts:
        assert carried < 0.35 * left
    else:
        assert left == 0


@pytest.mark.parametrize("kind", THING_KINDS)
def test_what_enters_is_part_of_the_matte(bank: SceneBank, kind: ThingKind) -> None:
    rng = np.random.default_rng(2)
    for clip in draw_pair(rng, bank, FRAMES, SIZE, CLEAN, kind):
        half = SIZE // 2
        assert clip.pictures.shape == (FRAMES, SIZE, SIZE, 3) and clip.pictures.dtype == np.uint8
        assert clip.matte.shape == (FRAMES, half, half) and clip.matte.dtype == np.uint8
        assert clip.entering.shape == (FRAMES - 1, half, half) and clip.entering.dtype == np.uint8
        assert clip.ground.shape == (FRAMES - 1, 2, 16, 16) and clip.ground.dtype == np.float32
        assert clip.known.shape == (FRAMES - 1, 1, 16, 16) and clip.known.min() >= 0 and clip.known.max() <= 1
        assert np.all(clip.entering <= clip.matte[1:])
        assert clip.acts or not clip.matte.any()
        assert clip.acts or np.all(clip.acting == np.float32([1, 0, 0, 0]))


def test_what_comes_from_beyond_the_edge_enters(bank: SceneBank) -> None:
    rng = np.random.default_rng(3)
    x, y = grid(SIZE // 2)
    amounts = []
    for _ in range(8):
        for clip in draw_pair(rng, bank, FRAMES, SIZE, CLEAN, "enter"):
            for t in range(FRAMES - 1):
                u, v = before(clip, t, x, y)
                outside = (np.minimum(u, v) < -0.01) | (np.maximum(u, v) > 1.01)
                assert np.all(clip.entering[t][outside] >= clip.matte[t + 1][outside].astype(int) - 1)
            amounts.append(clip.entering.sum() / clip.matte[1:].max(0).sum())
    assert np.mean(amounts) > 0.4


@pytest.mark.parametrize("kind", ["enter", "leave", "move", "both"])
def test_what_does_not_enter_was_seen_before(bank: SceneBank, kind: ThingKind) -> None:
    rng = np.random.default_rng(9)
    x, y = grid(SIZE // 2)
    covered = entered = 0
    for _ in range(12):
        for clip in draw_pair(rng, bank, FRAMES, SIZE, CLEAN, kind):
            for t in range(FRAMES - 1):
                u, v = before(clip, t, x, y)
                edge = np.minimum(np.minimum(u, v), 1 - np.maximum(u, v))
                seen = np.where(edge < 0, 0, fetched(clip.matte[t], u, v))
                stayed = clip.matte[t + 1].astype(float) - clip.entering[t]
                sharp = (edge < -0.02) | (edge > 0.02)
                off = np.abs(stayed - np.minimum(seen, clip.matte[t + 1]))[sharp]
                # Edges of small things are a pixel wide and differ by how they fall on the grid.
                assert off.sum() < 0.05 * clip.matte[t + 1].sum() + 255 * 3
                entered += clip.entering[t][edge > 0.02].sum() / 255
                covered += np.maximum(seen - stayed, 0)[edge > 0.02].sum() / 255
    # From behind something, in the middle of the picture; in the matte's pixels.
    assert entered > 200 or kind != "enter"
    assert covered > 200 or kind != "leave"


def test_what_enters_looks_alike_in_both(bank: SceneBank) -> None:
    rng = np.random.default_rng(4)
    for _ in range(4):
        first, second = draw_pair(rng, bank, FRAMES, SIZE, CLEAN, "enter")
        both = np.minimum(first.matte[-1], second.matte[-1]) > 250
        a, b = (c.pictures[-1].reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean((1, 3))[both] for c in (first, second))
        assert np.allclose(first.acting, second.acting)
        assert both.sum() > 20 and np.abs(a - b).mean() < 3


@pytest.mark.parametrize("kind", ["move", "turn", "grow"])
def test_both_clips_show_one_action(bank: SceneBank, kind: ThingKind) -> None:
    rng = np.random.default_rng(5)
    sizes = []
    for _ in range(5):
        first, second = draw_pair(rng, bank, FRAMES, SIZE, CLEAN, kind)
        compared = slice(None) if kind == "move" else slice(2)
        assert np.allclose(first.acting[:, compared], second.acting[:, compared], atol=1e-6)
        assert not np.array_equal(first.pictures[0], second.pictures[0])
        assert np.minimum(first.matte[0], second.matte[0]).any()
        sizes.append(second.matte[0].sum() / max(first.matte[0].sum(), 1))
    assert max(sizes) / min(sizes) > 1.5


@pytest.mark.parametrize("kind", ["turn", "grow"])
def test_things_turn_and_grow_about_their_own_middle(bank: SceneBank, kind: ThingKind) -> None:
    rng = np.random.default_rng(6)
    x, y = grid(SIZE // 2)
    inside = 0
    for _ in range(12):
        for clip in draw_pair(rng, bank, FRAMES, SIZE, CLEAN, kind):
            weight = clip.matte[0] / clip.matte[0].sum()
            rim = np.concatenate([clip.matte[0][[0, -1]].ravel(), clip.matte[0][:, [0, -1]].ravel()])
            mr, mi, kx, ky = clip.acting[0].astype(float)
            if rim.any() or abs(mr + 1j * mi - 1) < 0.02:
                continue
            fixed = (kx + 1j * ky) / (1 - (mr + 1j * mi))
            # Within 0.03 of the picture; something in front may hide a part.
            inside += abs(fixed - ((x + 1j * y) * weight).sum()) < 0.03
            inside -= abs(fixed - ((x + 1j * y) * weight).sum()) >= 0.06
    assert inside > 6


def test_the_same_generator_gives_the_same_bits(bank: SceneBank) -> None:
    for kind in THING_KINDS:
        once, again = (draw_pair(np.random.default_rng(7), bank, FRAMES, SIZE, ThingSceneConfig(), kind) for _ in "ab")
        for a, b in zip(once, again, strict=True):
            assert all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))


def test_ahead_is_another_flow_in_another_world(bank: SceneBank) -> None:
    motion = np.zeros((FRAMES, 4))
    motion[:, 1] = 0.3 * np.arange(FRAMES)
    first, second = draw_depth_pair(np.random.default_rng(8), bank, FRAMES, SIZE, motion)
    lengths = [np.linalg.norm(c.ground[0], axis=0) for c in (first, second)]
    assert np.abs(lengths[0] - lengths[1]).mean() > 0.1 * lengths[0].mean() > 0
    # The camera goes ahead: what is seen comes from nearer to the middle, the ground at the lower edge most of all.
    for clip, length in zip((first, second), lengths, strict=True):
        assert clip.ground[0, 1, -1].max() < 0
        assert length[-1].mean() > 2 * length[4].mean()


def test_parts_are_disjoint_and_keep_sources_together(folders: tuple[Path, Path]) -> None:
    parts = {p: {x.path.name for x in pictures_in(folders[0], (".png",), p)} for p in ("train", "test", "all")}
    assert parts["train"] | parts["test"] == parts["all"] and not parts["train"] & parts["test"]
    for i in range(0, 24, 2):
        kept = held_out(f"recording {i // 2}")
        assert all((f"{k:02d}.png" in parts["test"]) == kept for k in (i, i + 1))


def test_a_collection_is_divided_by_words(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(240)]
    rows = "\n".join(f"{n}\tword {i % 120}\tone collection" for i, n in enumerate(names))
    (tmp_path / "INDEX.tsv").write_text("file\twords\tsource\n" + rows)
    for n in names:
        (tmp_path / n).touch()
    test = {p.path.name for p in pictures_in(tmp_path, (".png",), "test")}
    assert 0.04 < len(test) / 240 < 0.25
    assert all((f"{i}.png" in test) == (f"{i + 120}.png" in test) for i in range(120))


def test_a_bank_comes_with_the_code() -> None:
    frame = np.zeros((90, 120, 3), np.uint8)
    train, test = read_bank(frames=[frame], part="train"), read_bank(frames=[frame], part="test")
    files = [p for p in bundled_things().rglob("*") if p.is_file()]
    assert len(train) + len(test) == sum(p.suffix == ".webp" for p in files) >= 150 and len(test) >= 15
    assert min(len(train.walkers), len(test.walkers)) > 5
    assert sum(p.stat().st_size for p in files) < 3e6
    assert "MIT" in (bundled_things() / "ATTRIBUTION.md").read_text()


def test_what_cannot_be_used_is_said(folders: tuple[Path, Path], bank: SceneBank, tmp_path: Path) -> None:
    (tmp_path / "INDEX.tsv").write_text("name\twords\na.png\tball")
    with pytest.raises(LamdemoError, match="columns file and source"):
        pictures_in(tmp_path, (".png",))
    assert len(bank) == 24 and len(bank.photographs) == 6
    with pytest.raises(LamdemoError, match="alpha"):
        read_bank([folders[1]], [folders[1]])
    with pytest.raises(LamdemoError, match="photograph"):
        read_bank([folders[0]])
    with pytest.raises(LamdemoError, match="missing"):
        read_bank([tmp_path / "missing"], [folders[1]])
    with pytest.raises(ValueError, match="multiple of 64"):
        draw_pair(np.random.default_rng(0), bank, 2, 100, CLEAN, "pan")
