"""Real clips for training: a folder of videos, decoded once into a cache, cut and turned when drawn."""

from __future__ import annotations

import contextlib
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lamdemo.core.errors import LamdemoError, reason, shown_name
from lamdemo.core.files import UNREADABLE, write_safely, writing_safely
from lamdemo.core.places import shipped
from lamdemo.video import find_videos, probe, read_clip, read_image


@dataclass(frozen=True)
class CacheConfig:
    """How videos are decoded."""

    height: int = 160  # frames are scaled down to at most this many rows, aspect kept
    fps: float = 8.0  # frames a second are thinned to at most this
    seconds: float = 30.0  # at most this much of each file is taken, from its start


@dataclass(frozen=True)
class AugmentConfig:
    """How clips are varied; one draw holds for all frames of a clip."""

    area: float = 0.5  # smallest share of the picture that a crop keeps
    aspect: float = 1.25  # largest change of aspect, as a factor
    flip: float = 0.5  # chance of mirroring
    reverse: float = 0.5  # chance of running backwards
    colour: float = 0.15  # largest change of brightness, contrast and each channel's gain
    # Seconds that one step may span; the nearest whole number of frames is taken.
    durations: tuple[float, ...] = (0.125, 0.25, 0.25, 0.375)


@dataclass(frozen=True)
class Recording:
    """One clip: where it was found, frames ``[T, H, W, 3]`` (decoded, or read when asked for), frames a second."""

    name: str
    frames: np.ndarray | Tensor
    fps: float


def decode_folder(
    folder: str | Path,
    cache: str | Path,
    config: CacheConfig,
    *,
    names: list[str] | None = None,
) -> tuple[list[Recording], list[str]]:
    """Decode all videos below a folder into a cache, once; later calls read the cache.

    A video is decoded anew when its size or time of change differs. Frames are memory-mapped, so
    the result takes hardly any memory until it is read.

    Args:
        folder: videos, nested as they may be.
        cache: folder for the decoded frames; is made.
        config: how to decode.
        names: relative paths to take; all by default.

    Returns:
        The recordings, and one sentence for each video that could not be read.

    Raises:
        LamdemoError: the folder holds no readable video, or the cache cannot be written.
    """
    folder, cache = Path(folder), Path(cache)
    wanted = [folder / n for n in names] if names is not None else find_videos(folder)
    problems: list[str] = []

    def one(path: Path) -> Recording | None:
        name = path.relative_to(folder).as_posix()
        try:
            stat = path.stat()
        except OSError as error:
            problems.append(f"{shown_name(path)} cannot be read: {reason(error).lower()}.")
            return None
        key = hashlib.sha256(json.dumps([name, stat.st_size, stat.st_mtime_ns, asdict(config)]).encode()).hexdigest()
        frames_file, about_file = cache / f"{key[:24]}.npy", cache / f"{key[:24]}.json"
        if (kept := _kept(frames_file, about_file, name)) is not None:
            return kept
        try:
            info = probe(path)
            fps = min(info.fps or config.fps, config.fps)
            height = min(config.height, info.height)
            width = max(round(info.width * height / info.height), 16)
            span = min(config.seconds, info.seconds) if info.seconds else config.seconds
            clip = read_clip(path, fps=fps, seconds=span, size=(height, width))
        except LamdemoError as error:
            problems.append(str(error))
            return None
        # The description is written last, so that a cache cut short is not taken for whole.
        writing_safely(frames_file, lambda stream: np.save(stream, clip.frames))
        write_safely(about_file, json.dumps({"name": name, "fps": clip.fps}).encode())
        return Recording(name, np.load(frames_file, mmap_mode="r"), clip.fps)

    try:
        cache.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(2) as pool:
            found = list(tqdm(pool.map(one, wanted), total=len(wanted), desc="decoding", disable=None))
    except OSError as error:
        raise LamdemoError(
            f"Decoded frames cannot be kept in {shown_name(cache)} ({reason(error).lower()}); make room, or give "
            "another folder for the cache."
        ) from error
    recordings = [r for r in found if r is not None and len(r.frames) >= 2]
    if not recordings:
        raise LamdemoError(f"The folder {folder.name} holds no video that can be read; give one with clips in it.")
    return recordings, problems


def _kept(frames: Path, about: Path, name: str) -> Recording | None:
    """What a cache holds of a video; None where that is not there, or damaged by a crash of the machine."""
    try:
        fps = float(json.loads(about.read_text(encoding="utf-8"))["fps"])
        return Recording(name, np.load(frames, mmap_mode="r"), fps)
    except UNREADABLE:
        return None


class ClipSampler:
    """Draws short training clips from recordings, balanced between groups.

    Each group (the first folder of a recording's name) has a weight; within a group every recording is as
    likely as its square root of length, so that long ones do not drown the rest.
    """

    def __init__(
        self,
        recordings: list[Recording],
        weights: dict[str, float],
        config: AugmentConfig,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        """Args: recordings; weight of each group (1 where none is given); augmentation; device of clips."""
        self.config, self.device = config, torch.device(device)
        self.recordings = recordings
        if self.device.type != "cpu":
            self.recordings = [
                Recording(r.name, torch.as_tensor(np.array(r.frames)).to(self.device), r.fps) for r in recordings
            ]
        groups: dict[str, list[int]] = {}
        for i, r in enumerate(recordings):
            groups.setdefault(r.name.split("/")[0] if "/" in r.name else "", []).append(i)
        chance = np.zeros(len(recordings))
        for group, members in groups.items():
            lengths = np.sqrt([len(recordings[i].frames) for i in members])
            chance[members] = weights.get(group, 1.0) * lengths / lengths.sum()
        if chance.sum() <= 0:
            raise LamdemoError("The weights of the training config leave no video to train on; raise one above zero.")
        self.chance = chance / chance.sum()

    def draw(self, rng: np.random.Generator, clips: int, frames: int, size: int) -> Tensor:
        """Draw clips ``[clips, frames, 3, size, size]`` in [0, 1]."""
        return torch.stack([self._one(rng, frames, size) for _ in range(clips)])

    def _one(self, rng: np.random.Generator, frames: int, size: int) -> Tensor:
        c = self.config
        recording = self.recordings[rng.choice(len(self.recordings), p=self.chance)]
        length, height, width = recording.frames.shape[:3]
        stride = max(round(rng.choice(c.durations) * recording.fps), 1)
        stride = max(min(stride, (length - 1) // (frames - 1)), 1)
        first = int(rng.integers(max(length - stride * (frames - 1), 1)))
        # A clip shorter than asked for holds its last frame.
        index = np.minimum(first + stride * np.arange(frames), length - 1)
        if rng.random() < c.reverse:
            index = index[::-1]
        area, ratio = rng.uniform(c.area, 1), np.exp(rng.uniform(-1, 1) * np.log(c.aspect))
        h = max(int(height * min(np.sqrt(area / ratio), 1)), 8)
        w = max(int(width * min(np.sqrt(area * ratio), 1)), 8)
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        if isinstance(recording.frames, Tensor):
            piece = recording.frames[torch.as_tensor(index.copy(), device=self.device), y : y + h, x : x + w]
        else:
            piece = torch.from_numpy(np.ascontiguousarray(recording.frames[index, y : y + h, x : x + w]))
        picture = piece.permute(0, 3, 1, 2).float() / 255
        picture = F.interpolate(picture, (size, size), mode="bilinear", align_corners=False)
        if rng.random() < c.flip:
            picture = picture.flip(-1)
        if c.colour > 0:
            gain = torch.as_tensor(1 + rng.uniform(-1, 1, (3, 1, 1)) * c.colour * 0.5, device=self.device).float()
            contrast, lift = 1 + rng.uniform(-1, 1) * c.colour, rng.uniform(-1, 1) * c.colour * 0.5
            picture = (((picture - 0.5) * contrast + 0.5 + lift) * gain).clamp(0, 1)
        return picture


def photographs_from(recordings: list[Recording], count: int, size: tuple[int, int], seed: int) -> Tensor:
    """One frame of each of ``count`` recordings, uint8 ``[P, 3, H, W]``, as photographs for scenes."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[Recording]] = {}
    for r in recordings:
        groups.setdefault(r.name.split("/")[0], []).append(r)
    pictures = []
    names = sorted(groups)
    for i in range(count):
        group = groups[names[i % len(names)]]
        r = group[rng.integers(len(group))]
        frame = np.array(r.frames[rng.integers(len(r.frames))])
        # Frames of small videos are soft and photographs are not: sharpened by chance, from not at all to a
        # lot.
        pictures.append(_sharpened(_resized(frame, size), rng.uniform(0, 1.5)))
    return torch.stack(pictures)


def _sharpened(picture: Tensor, amount: float) -> Tensor:
    values = picture[None].float()
    soft = F.avg_pool2d(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (values + amount * (values - soft))[0].round().clamp(0, 255).to(torch.uint8)


def bundled_photographs() -> Path:
    """The folder of pictures that come with the code and are never trained on.

    Raises:
        LamdemoError: it is missing.
    """
    folder = shipped("examples") / "photos"
    if not folder.is_dir():
        raise LamdemoError("The bundled photographs are missing; give a folder of photographs of your own.")
    return folder


def photographs_in(folder: str | Path, size: tuple[int, int]) -> Tensor:
    """All pictures below a folder, uint8 ``[P, 3, H, W]``, scaled to one size.

    Raises:
        LamdemoError: there is none that can be read.
    """
    return torch.stack(list(named_photographs(folder, size).values()))


def named_photographs(folder: str | Path, size: tuple[int, int]) -> dict[str, Tensor]:
    """The pictures of `photographs_in`, in the same order, each by its path in the folder.

    Raises:
        LamdemoError: there is none that can be read.
    """
    folder = Path(folder)
    pictures = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")):
        with contextlib.suppress(LamdemoError):
            picture = _resized(read_image(path, max_side=2 * max(size)), size)
            pictures[path.relative_to(folder).as_posix()] = picture
    if not pictures:
        raise LamdemoError(f"The folder {folder.name} holds no photograph that can be read; give one with JPEG or PNG.")
    return pictures


def _resized(picture: np.ndarray, size: tuple[int, int]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    shrinking = picture.shape[0] > size[0]
    tensor = F.interpolate(tensor, size, mode="bilinear", align_corners=False, antialias=shrinking)
    return tensor[0].round().clamp(0, 255).to(torch.uint8)
