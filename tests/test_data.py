"""Real clips decoded once and cut, the split, and procedural scenes whose actions are known."""

import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import moving_square
from torch import Tensor
from video_files import LOSSLESS, counted, index_of

from lamdemo.core.errors import LamdemoError
from lamdemo.data import videos
from lamdemo.data.scenes import (
    KINDS,
    Cast,
    Kind,
    Photographs,
    SceneConfig,
    Script,
    combine,
    draw_cast,
    draw_pairs,
    render,
    true_motion,
    write_script,
)
from lamdemo.data.splits import Split
from lamdemo.data.videos import (
    AugmentConfig,
    CacheConfig,
    ClipSampler,
    Recording,
    decode_folder,
    photographs_from,
    photographs_in,
)
from lamdemo.models.warp import warp
from lamdemo.video import optical_flow, write_image, write_video

PLAIN = AugmentConfig(area=1.0, aspect=1.0, flip=0.0, reverse=0.0, colour=0.0, durations=(0.25,))


def recording(name: str, first: int, frames: int, fps: float = 8.0, size: tuple[int, int] = (20, 30)) -> Recording:
    """Frame ``i`` is all of brightness ``first + i``, so that a clip tells where each frame came from."""
    levels = np.arange(first, first + frames, dtype=np.uint8)
    return Recording(name, np.broadcast_to(levels[:, None, None, None], (frames, *size, 3)).copy(), fps)


def levels_of(clip: Tensor) -> list[int]:
    """The brightness of each frame of a clip ``[T, 3, H, W]``, all of whose pixels must be alike."""
    assert (clip - clip[:, :1, :1, :1]).abs().max() < 1e-5
    return (clip[:, 0, 0, 0] * 255).round().int().tolist()


class TestClipSampler:
    def test_shapes_range_and_repetition_by_seed(self) -> None:
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (12, 24, 40, 3), dtype=np.uint8)
        sampler = ClipSampler([Recording("a.mp4", noise, 8.0)], {}, AugmentConfig(colour=0.9))
        one, again, other = (sampler.draw(np.random.default_rng(s), 3, 5, 32) for s in (1, 1, 2))
        assert one.shape == (3, 5, 3, 32, 32)
        assert one.dtype == torch.float32
        assert one.min() >= 0
        assert one.max() <= 1
        assert torch.equal(one, again)
        assert not torch.equal(one, other)

    @pytest.mark.parametrize(
        ("seconds", "fps", "stride"),
        [(0.25, 8, 2), (0.125, 8, 1), (0.375, 8, 3), (0.25, 25, 6), (0.01, 8, 1)],
    )
    def test_frames_lie_as_far_apart_as_a_step_spans(self, seconds: float, fps: float, stride: int) -> None:
        sampler = ClipSampler([recording("a", 10, 60, fps)], {}, replace(PLAIN, durations=(seconds,)))
        for clip in sampler.draw(np.random.default_rng(0), 8, 5, 8):
            assert np.diff(levels_of(clip)).tolist() == [stride] * 4

    def test_a_clip_is_of_one_recording_forwards_or_backwards(self) -> None:
        sampler = ClipSampler([recording("a", 0, 20), recording("b", 100, 20)], {}, replace(PLAIN, reverse=0.5))
        starts, ways = set(), set()
        for clip in sampler.draw(np.random.default_rng(0), 60, 4, 8):
            levels = np.array(levels_of(clip))
            way = int(levels[1] - levels[0])
            assert np.diff(levels).tolist() == [way] * 3
            assert len(set(levels // 100)) == 1
            assert (levels % 100 < 20).all()
            starts.add(int(levels.min()))
            ways.add(way)
        assert ways == {2, -2}
        # All places where a clip of 7 frames fits in 20 are used, the last included.
        assert {s % 100 for s in starts} >= {0, 13}
        assert max(s % 100 for s in starts) == 13

    def test_a_recording_too_short_for_its_stride_is_taken_more_densely(self) -> None:
        sampler = ClipSampler([recording("a", 0, 6)], {}, replace(PLAIN, durations=(1.0,)))
        for clip in sampler.draw(np.random.default_rng(0), 4, 6, 8):
            assert levels_of(clip) == [0, 1, 2, 3, 4, 5]

    def test_one_too_short_altogether_holds_its_last_frame(self) -> None:
        forwards = ClipSampler([recording("a", 0, 3)], {}, PLAIN)
        assert levels_of(forwards.draw(np.random.default_rng(0), 1, 6, 8)[0]) == [0, 1, 2, 2, 2, 2]
        backwards = ClipSampler([recording("a", 0, 3)], {}, replace(PLAIN, reverse=1.0))
        assert levels_of(backwards.draw(np.random.default_rng(0), 1, 6, 8)[0]) == [2, 2, 2, 2, 1, 0]

    def test_one_crop_and_colour_hold_for_all_frames_of_a_clip(self) -> None:
        rng = np.random.default_rng(0)
        still = np.repeat(rng.integers(0, 256, (1, 32, 48, 3), dtype=np.uint8), 10, 0)
        clips = ClipSampler([Recording("a", still, 8.0)], {}, AugmentConfig()).draw(rng, 6, 4, 16)
        for clip in clips:
            assert torch.equal(clip, clip[:1].expand_as(clip))
        assert all(not torch.equal(clips[0], clip) for clip in clips[1:])

    def test_mirroring_mirrors(self) -> None:
        ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[:, None] * 4, (4, 32, 32, 3)).copy()
        plain, mirrored = (
            ClipSampler([Recording("a", ramp, 8.0)], {}, replace(PLAIN, flip=f)).draw(
                np.random.default_rng(0), 1, 2, 32
            )
            for f in (0.0, 1.0)
        )
        assert plain[0, 0, 0, 0, 0] < plain[0, 0, 0, 0, -1]
        assert torch.equal(mirrored, plain.flip(-1))

    def test_crops_keep_the_share_they_say(self) -> None:
        ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None], (3, 200, 200, 3)).copy()
        sampler = ClipSampler([Recording("a", ramp, 8.0)], {}, replace(PLAIN, area=0.25))
        spans = [
            float(clip[0, 0, 0, -1] - clip[0, 0, 0, 0]) * 255 / 200
            for clip in sampler.draw(np.random.default_rng(0), 40, 2, 200)
        ]
        # A quarter of the area is half of the width.
        assert 0.48 < min(spans) < 0.6
        assert 0.85 < max(spans) <= 1.0

    def test_groups_share_by_weight_and_members_by_root_of_length(self) -> None:
        recordings = [
            recording("wild/a", 0, 16),
            recording("wild/deep/b", 0, 64),
            recording("robot/c", 0, 9),
            recording("d", 0, 9),
        ]
        sampler = ClipSampler(recordings, {"wild": 3.0, "robot": 2.0}, PLAIN)
        np.testing.assert_allclose(sampler.chance, np.array([3 * 4 / 12, 3 * 8 / 12, 2, 1]) / 6)

    def test_weights_that_leave_nothing_are_refused(self) -> None:
        with pytest.raises(LamdemoError, match="no video to train on"):
            ClipSampler([recording("wild/a", 0, 9)], {"wild": 0.0}, PLAIN)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good clips, one of them nested, and one that is no video."""
    place = tmp_path / "my videos"
    (place / "wild").mkdir(parents=True)
    counted(place / "wild" / "one.mp4", 24, "12", LOSSLESS, size=(48, 64))
    counted(place / "two.mp4", 8, "4", LOSSLESS, size=(48, 64))
    (place / "broken.mp4").write_bytes(b"no video at all" * 50)
    return place


CACHE = CacheConfig(height=24, fps=6.0, seconds=1.5)


class TestDecodeFolder:
    def test_decodes_as_told(self, folder: Path, tmp_path: Path) -> None:
        found, problems = decode_folder(folder, tmp_path / "cache", CACHE)
        assert [r.name for r in found] == ["two.mp4", "wild/one.mp4"]
        two, one = found
        # 12 a second thinned to 6, a second and a half of it; 4 a second stay 4. Half as high, aspect kept.
        assert one.frames.shape == (9, 24, 32, 3)
        assert one.fps == pytest.approx(6)
        assert [index_of(f) for f in one.frames] == list(range(0, 18, 2))
        assert two.frames.shape == (6, 24, 32, 3)
        assert two.fps == pytest.approx(4)
        assert [index_of(f) for f in two.frames] == list(range(6))
        assert len(problems) == 1
        assert "broken.mp4" in problems[0]
        assert str(tmp_path) not in problems[0]

    def test_small_videos_are_not_enlarged(self, folder: Path, tmp_path: Path) -> None:
        found, _ = decode_folder(folder, tmp_path / "cache", replace(CACHE, height=500), names=["two.mp4"])
        assert found[0].frames.shape[1:3] == (48, 64)

    def test_decodes_once(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[str] = []

        def noted(path: Path, **options: object) -> object:
            read.append(Path(path).name)
            return original(path, **options)

        original = videos.read_clip
        monkeypatch.setattr(videos, "read_clip", noted)
        first, _ = decode_folder(folder, tmp_path / "cache", CACHE)
        assert sorted(read) == ["one.mp4", "two.mp4"]
        read.clear()
        second, _ = decode_folder(folder, tmp_path / "cache", CACHE)
        assert read == []
        for a, b in zip(first, second, strict=True):
            assert (a.name, a.fps) == (b.name, b.fps)
            np.testing.assert_array_equal(a.frames, b.frames)

        counted(folder / "two.mp4", 8, "4", LOSSLESS, size=(96, 64))
        os.utime(folder / "two.mp4", (time.time() + 5, time.time() + 5))
        third, _ = decode_folder(folder, tmp_path / "cache", CACHE)
        assert read == ["two.mp4"]
        assert third[0].frames.shape == (6, 24, 16, 3)
        read.clear()
        decode_folder(folder, tmp_path / "cache", replace(CACHE, height=16))
        assert sorted(read) == ["one.mp4", "two.mp4"]

    def test_a_cache_that_lost_its_frames_is_made_anew(self, folder: Path, tmp_path: Path) -> None:
        before, _ = decode_folder(folder, tmp_path / "cache", CACHE, names=["two.mp4"])
        (file,) = (tmp_path / "cache").glob("*.npy")
        file.unlink()
        after, _ = decode_folder(folder, tmp_path / "cache", CACHE, names=["two.mp4"])
        np.testing.assert_array_equal(before[0].frames, after[0].frames)

    def test_only_those_named(self, folder: Path, tmp_path: Path) -> None:
        found, problems = decode_folder(folder, tmp_path / "cache", CACHE, names=["wild/one.mp4"])
        assert [r.name for r in found] == ["wild/one.mp4"]
        assert problems == []

    @pytest.mark.parametrize("content", ["nothing", "a broken one", "one frame"])
    def test_a_folder_without_clips_is_refused(self, tmp_path: Path, content: str) -> None:
        place = tmp_path / "empty"
        place.mkdir()
        if content == "a broken one":
            (place / "a.mp4").write_bytes(b"nothing")
        elif content == "one frame":
            write_video(place / "a.mp4", moving_square(1), 8)
        with pytest.raises(LamdemoError, match="folder empty") as caught:
            decode_folder(place, tmp_path / "cache", CACHE)
        assert str(tmp_path) not in str(caught.value)

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LamdemoError, match="gone") as caught:
            decode_folder(tmp_path / "gone", tmp_path / "cache", CACHE)
        assert str(tmp_path) not in str(caught.value)


class TestPhotographs:
    def test_frames_serve_as_photographs_from_all_groups_in_turn(self) -> None:
        recordings = [recording("a/1", 0, 5), recording("a/2", 20, 5), recording("b/1", 200, 5)]
        pictures = photographs_from(recordings, 12, (16, 24), seed=3)
        assert pictures.shape == (12, 3, 16, 24)
        assert pictures.dtype == torch.uint8
        assert [int(p.max()) >= 200 for p in pictures] == [False, True] * 6
        assert torch.equal(pictures, photographs_from(recordings, 12, (16, 24), seed=3))
        assert not torch.equal(pictures, photographs_from(recordings, 12, (16, 24), seed=4))

    def test_pictures_of_a_folder_are_brought_to_one_size(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        write_image(tmp_path / "a.png", np.full((40, 90, 3), 50, np.uint8))
        write_image(tmp_path / "deep" / "b.png", np.full((9, 7, 3), 150, np.uint8))
        (tmp_path / "c.jpg").write_bytes(b"no picture")
        (tmp_path / "d.txt").write_text("nor this")
        pictures = photographs_in(tmp_path, (16, 24))
        assert pictures.shape == (2, 3, 16, 24)
        assert [int(p.float().mean()) for p in pictures] == [50, 150]

    def test_a_folder_without_pictures_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"")
        with pytest.raises(LamdemoError, match="no photograph") as caught:
            photographs_in(tmp_path, (16, 24))
        assert str(tmp_path) not in str(caught.value)


class TestSplit:
    SPLIT = Split(validation=("nav/b_*.mp4", "robot/*/lab1_*"), test=("wild/*", "nav/b_9.mp4"))
    PARTS = (
        ("nav/a_1.mp4", "train"),
        ("nav/b_1.mp4", "validation"),
        ("nav/b_9.mp4", "test"),
        ("robot/x/lab1_3.mp4", "validation"),
        ("robot/x/lab2_3.mp4", "train"),
        ("wild/deep/c.mp4", "test"),
        ("Wild/c.mp4", "train"),
    )

    def test_parts_by_pattern(self) -> None:
        assert [self.SPLIT.part(name) for name, _ in self.PARTS] == [part for _, part in self.PARTS]

    def test_every_clip_is_in_one_part(self) -> None:
        names = [name for name, _ in self.PARTS]
        parts = [self.SPLIT.select(names, part) for part in ("train", "validation", "test")]
        assert sorted(itertools.chain.from_iterable(parts)) == sorted(names)
        assert self.SPLIT.select(names, "all") == names

    def test_read_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "split.toml"
        path.write_text('validation = ["a/*"]\ntest = ["b.mp4"]\n')
        assert Split.read(path) == Split(("a/*",), ("b.mp4",))

    @pytest.mark.parametrize("text", ["validation = []", "validation = [", "validation = 3\ntest = []", None])
    def test_what_is_no_split_is_refused(self, tmp_path: Path, text: str | None) -> None:
        path = tmp_path / "split.toml"
        if text is not None:
            path.write_text(text)
        with pytest.raises(LamdemoError, match=r"split\.toml") as caught:
            Split.read(path)
        assert str(tmp_path) not in str(caught.value)

    def test_the_project_s_own_split_gives_no_clip_to_two_parts(self) -> None:
        split = Split.read(Path(__file__).parents[1] / "configs" / "shared-data-split.toml")
        assert split.validation
        assert split.test
        for part in ("validation", "test"):
            names = [pattern.replace("*", "x") for pattern in getattr(split, part)]
            assert {split.part(name) for name in names} == {part}


def texture(count: int = 4, height: int = 96, width: int = 144, seed: int = 0) -> Photographs:
    """Photographs with detail at all sizes, so that motion can be seen everywhere."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(count, 3, height, width)
    for cell in (3, 6, 12, 24, 48):
        noise = torch.rand(count, 3, height // cell + 2, width // cell + 2, generator=generator) - 0.5
        total += (
            torch.nn.functional.interpolate(noise, (height, width), mode="bicubic", align_corners=False) * cell**0.5
        )
    total = (total - total.amin((1, 2, 3), keepdim=True)) / (
        total.amax((1, 2, 3), keepdim=True) - total.amin((1, 2, 3), keepdim=True)
    )
    return Photographs((total * 255).round().to(torch.uint8))


def plain_cast(photograph: int = 0, things: int = 0, mirrored: bool = False) -> Cast:
    """The middle of a photograph, things as plain discs."""
    return Cast(
        photograph=photograph,
        frame=np.array([0.5, 0.5, -0.35 if mirrored else 0.35, 0.35]),
        skins=np.full(things, 3),
        crops=np.tile([0.5, 0.5, 0.2], (things, 1)),
        shapes=np.zeros((things, 2, 4)),
        stretches=np.ones(things),
        extras=np.zeros((0, 4)),
    )


def camera_script(kind: Kind, frames: int, velocity: list[float]) -> Script:
    return Script(kind, np.arange(frames)[:, None] * np.array(velocity), np.zeros((0, frames, 4)))


def shown(frame: Tensor) -> np.ndarray:
    return (frame * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


SIZE, PHOTOS = 64, texture()


class TestScenes:
    @pytest.mark.parametrize("mirrored", [False, True])
    @pytest.mark.parametrize(("right", "down"), [(4, 0), (0, -6), (3, 2)])
    def test_a_pan_shifts_the_picture_by_so_many_pixels(self, right: int, down: int, mirrored: bool) -> None:
        script = camera_script("pan", 3, [right / SIZE, down / SIZE, 0, 0])
        clip = render([script], [plain_cast(mirrored=mirrored)], PHOTOS, SIZE)[0]
        for t in (1, 2):
            # The camera went right: what was there is now further left by as much.
            dx, dy = right * t, down * t
            now = clip[t][:, max(-dy, 0) : SIZE - max(dy, 0), : SIZE - dx]
            then = clip[0][:, max(dy, 0) : SIZE + min(dy, 0), dx:]
            torch.testing.assert_close(now, then, rtol=0, atol=1e-4)
        assert (clip[1] - clip[0]).abs().mean() > 0.02

    def test_zooming_in_makes_things_larger_about_the_middle(self) -> None:
        # The camera sees half as much of the world: each pixel lies half as far from the middle.
        script = camera_script("zoom", 2, [0, 0, -np.log(2), 0])
        first, second = render([script], [plain_cast()], PHOTOS, SIZE)[0]
        small = torch.nn.functional.avg_pool2d(second, 2)
        inside = first[:, SIZE // 4 : -SIZE // 4, SIZE // 4 : -SIZE // 4]
        assert (small - inside).abs().mean() < 0.02
        assert (small - torch.nn.functional.avg_pool2d(first, 2)).abs().mean() > 0.05

    def test_a_quarter_turn_of_the_camera_turns_the_picture_the_other_way(self) -> None:
        cast = replace(plain_cast(), frame=np.array([0.5, 0.5, 0.25, 0.375]))  # square in pixels
        first, second = render([camera_script("roll", 2, [0, 0, 0, np.pi / 2])], [cast], PHOTOS, SIZE)[0]
        # The camera turned right, as seen with y down; what was to its right is now above.
        torch.testing.assert_close(second, first.rot90(1, (1, 2)), rtol=0, atol=1e-3)

    def test_a_moving_thing_moves_by_so_many_pixels_and_the_rest_stays(self) -> None:
        path = np.zeros((1, 3, 4))
        path[0, :, 0] = np.arange(3) * 8 / SIZE - 0.2
        path[0, :, 2] = np.log(0.15)
        script = Script("move", np.zeros((3, 4)), path)
        background = render([camera_script("still", 3, [0, 0, 0, 0])], [plain_cast()], PHOTOS, SIZE)[0]
        clip = render([script], [plain_cast(things=1)], PHOTOS, SIZE)[0]
        changed = (clip - background).abs().amax(1) > 0.02
        x = torch.arange(SIZE) + 0.5
        centres = [float((m.float().sum(0) * x).sum() / m.sum()) for m in changed]
        assert np.diff(centres) == pytest.approx([8, 8], abs=1)
        assert centres[0] == pytest.approx((0.5 - 0.2) * SIZE, abs=1)
        # A disc that fills 0.72 of its radius, as wide as high.
        for mask in changed:
            area = float(mask.sum())
            assert area == pytest.approx(np.pi * (0.72 * 0.15 * SIZE) ** 2, rel=0.2)
            rows, columns = mask.any(1).sum(), mask.any(0).sum()
            assert abs(int(rows) - int(columns)) <= 2

    def test_a_camera_carries_things_along(self) -> None:
        pose = np.zeros((1, 2, 4))
        pose[..., 2] = np.log(0.15)
        script = Script("pan", np.array([[0.0, 0, 0, 0], [10 / SIZE, 0, 0, 0]]), pose)
        first, second = render([script], [plain_cast(things=1)], PHOTOS, SIZE)[0]
        torch.testing.assert_close(second[..., :-10], first[..., 10:], rtol=0, atol=1e-3)

    def test_still_is_still(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(5):
            script = write_script(rng, 4, SceneConfig(), "still")
            clip = render([script], [draw_cast(rng, script, len(PHOTOS))], PHOTOS, SIZE)[0]
            assert torch.equal(clip, clip[:1].expand_as(clip))

    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_draws_pictures_and_something_happens(self, kind: Kind) -> None:
        rng = np.random.default_rng(KINDS.index(kind))
        scripts = [write_script(rng, 6, SceneConfig(), kind) for _ in range(6)]
        clips = render(scripts, [draw_cast(rng, s, len(PHOTOS)) for s in scripts], PHOTOS, 32)
        assert all(s.kind == kind for s in scripts)
        assert clips.shape == (6, 6, 3, 32, 32)
        assert clips.isfinite().all()
        assert clips.min() >= -1e-6
        assert clips.max() <= 1 + 1e-6
        moving = (clips.diff(dim=1).abs().amax((1, 2, 3, 4)) > 0.02).sum()
        assert moving == (0 if kind == "still" else 6)

    @pytest.mark.parametrize(("kind", "seen"), [("enter", -1), ("leave", 0)])
    def test_what_enters_appears_and_what_leaves_is_gone(self, kind: Kind, seen: int) -> None:
        rng = np.random.default_rng(1)
        for _ in range(8):
            script = write_script(rng, 6, SceneConfig(), kind)
            clip = render([script], [plain_cast(things=1)], PHOTOS, SIZE)[0]
            empty = render([camera_script("still", 6, [0, 0, 0, 0])], [plain_cast()], PHOTOS, SIZE)[0]
            covered = ((clip - empty).abs().amax(1) > 0.02).flatten(1).sum(1)
            assert covered[-1 - seen] == 0
            assert covered[seen] > 20
            growing = covered.flip(0) if kind == "leave" else covered
            # What happens to look like the ground behind it is not counted, so a little may be lost.
            assert (growing.diff() >= -0.1 * covered.max()).all()

    def test_speeds_lie_between_their_bounds(self) -> None:
        config = SceneConfig(pan=(0.02, 0.03))
        rng = np.random.default_rng(0)
        for _ in range(30):
            camera = write_script(rng, 2, config, "pan").camera
            step = np.abs(np.diff(camera[:, :2], axis=0))
            assert np.hypot(*step.T).max() <= 0.03 * 1.6 + 1e-9
            assert not camera[:, 2:].any()

    def test_kinds_are_drawn_by_their_weights(self) -> None:
        weights = tuple(float(k in ("pan", "move")) * (3 if k == "pan" else 1) for k in KINDS)
        rng = np.random.default_rng(0)
        kinds = [write_script(rng, 3, SceneConfig(weights=weights)).kind for _ in range(400)]
        assert set(kinds) == {"pan", "move"}
        assert kinds.count("pan") / 400 == pytest.approx(0.75, abs=0.07)

    def test_same_seed_same_pixels(self) -> None:
        one, again, other = (
            draw_pairs(np.random.default_rng(s), 3, 4, PHOTOS, 32, SceneConfig())[0] for s in (1, 1, 2)
        )
        assert one.shape == (6, 4, 3, 32, 32)
        assert torch.equal(one, again)
        assert not torch.equal(one, other)

    @pytest.mark.parametrize("kind", ["pan", "zoom", "roll"])
    def test_pairs_show_the_same_action_in_two_scenes(self, kind: Kind) -> None:
        weights = tuple(float(k == kind) for k in KINDS)
        config = SceneConfig(weights=weights, pan=(0.03, 0.05), zoom=(0.05, 0.08), roll=(0.06, 0.1), size=(0.08, 0.1))
        clips, _ = draw_pairs(np.random.default_rng(3), 3, 3, PHOTOS, 96, config)
        for a, b in zip(clips[::2], clips[1::2], strict=True):
            assert (a[0] - b[0]).abs().mean() > 0.05
            flows = [optical_flow(shown(clip[0]), shown(clip[1]))[16:-16, 16:-16] for clip in (a, b)]
            # The camera's motion is seen wherever no thing stands in front; the median ignores the rest.
            apart = np.median(np.linalg.norm(flows[0] - flows[1], axis=-1))
            size = np.median([np.linalg.norm(f, axis=-1) for f in flows])
            assert apart < 0.25 * size

    @pytest.mark.parametrize("kind", ["pan", "zoom", "roll", "move", "turn", "grow", "leave", "both"])
    def test_true_motion_takes_each_frame_to_the_next(self, kind: Kind) -> None:
        weights = tuple(float(k == kind) for k in KINDS)
        config = SceneConfig(weights=weights, size=(0.2, 0.3))
        clips, motion = draw_pairs(np.random.default_rng(5), 3, 3, PHOTOS, 128, config, grid=64)
        before, after = clips[:, :-1].flatten(0, 1), clips[:, 1:].flatten(0, 1)
        flow, acting, known = (F.interpolate(m.flatten(0, 1), (128, 128), mode="bilinear") for m in motion)
        moved = (warp(before, flow) - after).abs().mean(1, keepdim=True)
        still = (before - after).abs().mean(1, keepdim=True)
        where = (known > 0.99) & (acting > 0.99 if kind not in ("pan", "zoom", "roll") else acting < 0.01)
        assert where.any()
        assert (moved * where).sum() < 0.35 * (still * where).sum()

    @pytest.mark.parametrize("kinds", [("pan", "zoom"), ("zoom", "roll"), ("pan", "pan"), ("pan", "move")])
    def test_both_of_two_actions_move_as_their_sum(self, kinds: tuple[Kind, Kind]) -> None:
        rng = np.random.default_rng(4)
        slow = SceneConfig(pan=(0.004, 0.006), zoom=(0.004, 0.006), roll=(0.004, 0.006), move=(0.004, 0.006))
        a, b = (write_script(rng, 5, slow, k) for k in kinds)
        both = combine(a, b)
        cast = draw_cast(rng, both, len(PHOTOS))

        def flow(script: Script) -> Tensor:
            return true_motion([script], [cast], 32, fine=1).flow

        # Where nothing moves by much, what one action does to a place does not depend on the other, but at edges.
        waits = replace(a, camera=0 * a.camera, things=b.things) if len(b.things) else b
        still = replace(b, camera=0 * b.camera, things=np.repeat(b.things[:, :1], 5, 1))
        alone = flow(combine(a, still)), flow(waits)
        size = min(float(f.norm(dim=2).max()) for f in alone)
        assert size > 0.002
        off = (flow(both) - alone[0] - alone[1]).norm(dim=2)
        assert (off > 0.1 * size).float().mean() < 0.03

    def test_both_of_two_cameras_have_no_first(self) -> None:
        rng = np.random.default_rng(6)
        a, b = (write_script(rng, 6, SceneConfig(), k) for k in ("pan", "roll"))
        np.testing.assert_allclose(combine(a, b).camera, combine(b, a).camera, atol=1e-12)
        nothing = replace(a, camera=0 * a.camera)
        np.testing.assert_allclose(combine(a, nothing).camera, a.camera, atol=1e-12)
        assert np.abs(combine(a, b, share=0.0).camera).max() == 0
        # Half of an action done twice is the whole of it: velocities are shared out, not places.
        half = combine(a, b, share=0.5)
        np.testing.assert_allclose(combine(half, half).camera, combine(a, b).camera, atol=1e-12)

    def test_both_of_two_actions_that_cannot_be(self) -> None:
        rng = np.random.default_rng(7)
        moving = write_script(rng, 5, SceneConfig(), "move")
        with pytest.raises(ValueError, match="only one thing"):
            combine(moving, moving)
        with pytest.raises(ValueError, match="at once"):
            combine(moving, write_script(rng, 6, SceneConfig(), "pan"))

    def test_true_motion_is_nothing_where_nothing_happens(self) -> None:
        weights = tuple(float(k == "still") for k in KINDS)
        _, motion = draw_pairs(np.random.default_rng(0), 2, 3, PHOTOS, 32, SceneConfig(weights=weights), grid=8)
        assert motion.flow.abs().max() < 1e-6
        assert not motion.acting.any()
        assert motion.known.all()

    def test_what_enters_looks_the_same_in_both_of_a_pair(self) -> None:
        rng = np.random.default_rng(0)
        script = write_script(rng, 4, SceneConfig(), "enter")
        first = draw_cast(rng, script, 100)
        second = draw_cast(rng, script, 100, like=first)
        for name in ("skins", "crops", "shapes", "stretches"):
            np.testing.assert_array_equal(getattr(second, name)[0], getattr(first, name)[0])
        assert (second.photograph, *second.frame) != (first.photograph, *first.frame)
        moving = write_script(rng, 4, SceneConfig(), "move")
        third = draw_cast(rng, moving, 100)
        fourth = draw_cast(rng, moving, 100, like=third)
        assert (fourth.crops[0] != third.crops[0]).all()
        assert abs(np.log(fourth.stretches[0] / third.stretches[0])) <= 0.2
