"""What driving keeps and sets going, apart from how it looks: the way so far, and a simulator's scene beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import aside
from lamdemo.ui.inputs import BETWEEN
from lamdemo.video import side_by_side, write_video

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.engine.controls import Drive, KnownController
    from lamdemo.simulators import Observation
    from lamdemo.simulators.pool import SimulatorPool
    from lamdemo.ui.drive.shared import Shared

SIDE = 512  # longest side in pixels of a picture that is driven: a key's answer counts more than detail here
MOST_STEPS = 240  # of one drive, a minute
MOST_UNDONE = 24  # of its last steps: what is needed to take one back is 3 MB for each open page
SCENES = 10_000  # first seed of the scenes that no controller was trained on
_THUMB = 54  # height in pixels of the strip's pictures
_PANEL = 384  # height in pixels of the video's


@dataclass(frozen=True)
class Start:
    """What a drive begins from."""

    kind: str  # "photo", "clip", "episode", "own" or "scene"
    title: str  # in words
    path: str = ""  # of the file; empty for a scene
    moment: float = 0.0  # in seconds, of a clip
    seconds: float = 0.0  # how long a clip is; 0 of a picture
    seed: int = 0  # of a scene

    def at(self, moment: float) -> Start:
        """The same at another moment."""
        return replace(self, moment=moment)

    def of_length(self, seconds: float) -> Start:
        """The same, now that its length is known."""
        return replace(self, seconds=seconds, moment=min(self.moment, seconds))


def pictures_in(examples: Path, photos: Sequence[tuple[str, Path]]) -> list[Start]:
    """What comes with the page to drive in: photographs, clips, episodes recorded in simulators."""
    found = [Start("photo", title, str(path)) for title, path in photos]
    found += [Start("clip", p.stem.replace("_", " "), str(p)) for p in sorted((examples / "clips").glob("*.mp4"))]
    # The folder's name is that of the controller whose world it shows.
    return found + [
        Start("episode", f"{p.parent.name}, {p.stem.replace('_', ' ')}", str(p))
        for p in sorted((examples / "episodes").glob("*/*.mp4"))
    ]


# The way so far.


def encoded(frame: np.ndarray) -> bytes:
    """A frame uint8 ``[H, W, 3]`` as a JPEG."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()


def data_url(jpeg: bytes) -> str:
    """A JPEG as a browser takes it without asking for it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _decoded(path: Path) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None  # it was written here
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


class Reel:
    """The frames of a drive so far, as files: a minute of them is too much to hold for each open page.

    Args:
        folder: where they go.
        first: the picture that the drive begins from, uint8 ``[H, W, 3]``.
        beside: what stands beside it.

    Attributes:
        thumbs: small JPEGs, one for each step and one for the start.
    """

    def __init__(self, folder: Path, first: np.ndarray, beside: np.ndarray) -> None:
        self.folder = folder
        self.thumbs: list[bytes] = []
        self._counts: list[int] = []  # frames of each step
        self.size = first.shape[:2]
        self.add([first], beside)

    def __len__(self) -> int:
        """Steps so far; the start is none."""
        return len(self.thumbs) - 1

    def add(self, frames: Sequence[np.ndarray], beside: np.ndarray) -> list[bytes]:
        """Keep a step: the frames that lead to it and its own, and what stands beside it; gives them as JPEGs."""
        at = len(self.thumbs)
        jpegs = [encoded(frame) for frame in frames]
        height, width = frames[-1].shape[:2]
        small = cv2.resize(frames[-1], (max(1, round(width * _THUMB / height)), _THUMB), interpolation=cv2.INTER_AREA)
        try:
            for k, jpeg in enumerate(jpegs):
                self._path(at, k).write_bytes(jpeg)
            self._beside(at).write_bytes(encoded(beside))
        except OSError as error:
            raise LamdemoError("This drive's files are gone or the server is full; choose a picture again.") from error
        self.thumbs.append(encoded(small))
        self._counts.append(len(jpegs))
        return jpegs

    def back_to(self, steps: int) -> None:
        """Forget what came after so many steps."""
        while len(self) > steps:
            self.thumbs.pop()
            at = len(self.thumbs)
            for k in range(self._counts.pop()):
                self._path(at, k).unlink(missing_ok=True)
            self._beside(at).unlink(missing_ok=True)

    @property
    def last(self) -> bytes:
        """The newest frame."""
        return self._read(self._path(len(self), self._counts[-1] - 1))

    @property
    def beside(self) -> bytes:
        """What stands beside it."""
        return self._read(self._beside(len(self)))

    def write(self, path: Path, labels: tuple[str, str], fps: float) -> Path:
        """The drive and what stands beside it as a video, in step.

        Args:
            path: where to, ending in ``.mp4``.
            labels: what each of the two is.
            fps: steps a second.
        """
        try:
            return write_video(path, self._panels(labels), fps * (BETWEEN + 1))
        except OSError as error:
            raise LamdemoError("This drive's files are gone from the server; choose a picture again.") from error

    def _panels(self, labels: tuple[str, str]) -> Iterator[np.ndarray]:
        height = min(_PANEL, self.size[0])
        for at, count in enumerate(list(self._counts)):  # as it is now: meanwhile the drive may go on
            other = _decoded(self._beside(at))
            for k in range(count):
                pair = [_decoded(self._path(at, k))[None], other[None]]
                yield side_by_side(pair, height=height, labels=labels)[0]

    def _path(self, at: int, k: int) -> Path:
        return self.folder / f"{at:04d}-{k}.jpg"

    def _beside(self, at: int) -> Path:
        return self.folder / f"{at:04d}-beside.jpg"

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise LamdemoError("This drive's files are gone from the server; choose a picture again.") from error


# Simulators.


class Scene:
    """A simulator's scene where the drive's commands are carried out too. Made by `open`.

    Attributes:
        name: of the simulator.
        seed: of the scene.
        now: what is seen and true there now, and
        start: what was at the beginning.
    """

    def __init__(self, worlds: SimulatorPool, name: str, seed: int) -> None:
        self.worlds, self.name, self.seed = worlds, name, seed
        self.now: Observation
        self._moments: list[tuple[object, Observation] | None] = []
        engine, _ = worlds.engine(name, self, seed)
        self.spec, self.fps = engine.spec, engine.fps
        self.start = self.now = engine.reset(seed)
        self._moments.append((engine.snapshot(), self.now))

    @classmethod
    def open(cls, worlds: SimulatorPool, name: str, seed: int) -> Scene:
        """A scene of a simulator.

        Raises:
            LamdemoError: the simulator is not installed, or there is no such seed.
        """
        with aside():  # an engine takes seconds to start
            return worlds.do(lambda: cls(worlds, name, seed))

    def step(self, action: np.ndarray) -> Observation:
        """Carry out one command ``[A]``."""
        return self.worlds.do(lambda: self._step(action))

    def _step(self, action: np.ndarray) -> Observation:
        engine, lent = self.worlds.engine(self.name, self)
        if lent:
            engine.restore(self._moment()[0])
        self.now = engine.step(action)
        self._moments.append((engine.snapshot(), self.now))
        if len(self._moments) > MOST_UNDONE + 2:
            self._moments[-MOST_UNDONE - 2] = None  # only the start and the last are gone back to
        return self.now

    def back_to(self, steps: int) -> None:
        """Go back to where it was after so many steps."""
        self.worlds.do(lambda: self._back_to(steps))

    def _back_to(self, steps: int) -> None:
        engine, _ = self.worlds.engine(self.name, self)
        del self._moments[steps + 1 :]
        self.now = engine.restore(self._moment()[0])

    def _moment(self) -> tuple[object, Observation]:
        last = self._moments[-1]
        assert last is not None  # a drive does not go back further
        return last

    def moved(self) -> dict[str, float]:
        """How far the truth is now from the start, by unit."""
        start, now = self.start.truth, self.now.truth
        return self.worlds.do(lambda: self.worlds.look(self.name).distance(start, now))


# A drive.


@dataclass(frozen=True)
class Likeness:
    """How the imagined picture agrees with the true one, in grey levels of 255."""

    off: float  # mean difference of the imagined picture from the true one
    still: float  # the same of the picture that the drive began from: what imagining nothing would give
    moved: dict[str, float]  # how far the truth is from its start, by unit


@dataclass(eq=False)
class DriveSession:
    """What one open page is driving."""

    opened: bool = False  # whether the tab was ever opened
    checkpoint: str = ""  # hash of the checkpoint that all of this belongs to
    known: KnownController | None = None  # the controller; None where none is chosen yet
    start: Start | None = None  # what the drive began from
    picked: bool = False  # whether the visitor chose that, and not the page
    drive: Drive | None = None  # the drive itself; None before a picture is chosen
    scene: Scene | None = None  # the simulator's scene beside it, if one runs
    reel: Reel | None = None  # its frames
    first: np.ndarray | None = None  # the picture that it began from, uint8 [H, W, 3]
    latents: list[np.ndarray] = field(default_factory=list)  # latent actions [Z] of its steps
    number: int = 0  # counts drives, so that the browser can tell a new one
    likeness: Likeness | None = None  # of imagined and true, where a scene runs
    linked: Shared | None = None  # what came by a link and is not driven again yet

    def begin(
        self,
        pipeline: TransferPipeline,
        known: KnownController,
        start: Start,
        target: np.ndarray,
        folder: Path,
        scene: Scene | None = None,
    ) -> None:
        """Begin to drive on a picture.

        Args:
            pipeline: the model.
            known: the controller.
            start: what the picture is.
            target: as `TransferPipeline.begin` takes it.
            folder: for the frames.
            scene: of a simulator, in which the commands are to be carried out too.
        """
        picture = target if target.ndim == 3 else target[-1]
        # A simulator shows the truth; elsewhere the same moments under no action stand beside it.
        drive = pipeline.drive(target, known, idle=scene is None, between=BETWEEN, history=MOST_UNDONE)
        reel = Reel(folder, picture, picture)
        self.drive, self.reel, self.scene = drive, reel, scene
        self.checkpoint, self.known, self.start, self.first = pipeline.checkpoint, known, start, picture
        self.latents, self.likeness = [], None
        self.number += 1

    def stop(self) -> None:
        """Drive no more; what was chosen to begin from stays chosen."""
        self.drive = self.reel = self.scene = self.known = self.first = self.likeness = None
        self.latents = []

    def newest(self) -> bytes:
        """The picture as it is now, a JPEG."""
        return self._running()[1].last

    def film(self, path: Path, fps: float) -> Path:
        """Write the drive and what stands beside it as a video.

        Raises:
            LamdemoError: nothing was driven yet.
        """
        _, reel = self._running()
        if not len(reel):
            raise LamdemoError("Nothing was driven yet; press an arrow first.")
        return reel.write(path, ("imagined", "no action" if self.scene is None else "in truth"), fps)

    def _running(self) -> tuple[Drive, Reel]:
        if self.drive is None or self.reel is None:
            raise LamdemoError("There is no drive yet; choose a picture below.")
        return self.drive, self.reel

    def step(self, action: np.ndarray) -> list[bytes]:
        """Carry out one command ``[A]``, here and in the simulator; gives the frames that show it, as JPEGs."""
        drive, reel = self._running()
        if len(reel) >= MOST_STEPS:
            raise LamdemoError(f"A drive has {MOST_STEPS} steps at most; undo some, reset it or choose a picture.")
        done = drive.step(action)
        try:
            beside = done.idle if self.scene is None else self.scene.step(action).frame
            jpegs = reel.add([*done.between, done.frame], beside)
        except BaseException:
            drive.undo()  # what is imagined and what is true stay at one step
            raise
        self.latents.append(drive.latents[-1].copy())  # else each keeps all before it alive
        self._compare(done.frame)
        return jpegs

    def undo(self) -> bool:
        """Take the last step back, here and in the simulator; False where there is none that can be."""
        drive, reel = self._running()
        if not drive.undo():
            return False
        self._back_to(len(reel) - 1)
        return True

    def reset(self) -> None:
        """Go back to the start."""
        drive, _ = self._running()
        drive.reset()
        self._back_to(0)

    def _back_to(self, steps: int) -> None:
        drive, reel = self._running()
        reel.back_to(steps)
        del self.latents[steps:]
        if self.scene is not None:
            self.scene.back_to(steps)
        self._compare(drive.frame)

    def _compare(self, imagined: np.ndarray) -> None:
        if self.scene is None or self.first is None:
            return
        true = self.scene.now.frame.astype(np.float32)
        off, still = (float(np.abs(true - other.astype(np.float32)).mean()) for other in (imagined, self.first))
        self.likeness = Likeness(off, still, self.scene.moved())

    def save(self, path: Path, fps: float) -> Path:
        """Write the commands and the latent actions they became as ``.npz``.

        It is a file of `LatentActions`, which the other tab's timeline loads, with ``actions`` ``[S, A]``, ``channels``
        and ``controller`` beside.

        Raises:
            LamdemoError: nothing was driven yet.
        """
        drive, _ = self._running()
        assert self.known is not None
        if not self.latents:
            raise LamdemoError("Nothing was driven yet; press an arrow first.")
        stream = io.BytesIO()
        np.savez(
            stream,
            z=np.stack(self.latents).astype(np.float32),
            fps=np.float64(fps),
            checkpoint=np.str_(self.checkpoint),
            actions=drive.actions,
            channels=np.array(self.known.spec.names),
            controller=np.str_(self.known.name),
        )
        path.write_bytes(stream.getvalue())
        return path
