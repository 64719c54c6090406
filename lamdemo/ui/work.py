"""What a click sets going, apart from how the page looks: reading, transferring, writing the files."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from lamdemo.errors import LamdemoError
from lamdemo.video import (
    ReadLimits,
    VideoInfo,
    probe,
    read_clip,
    read_frame,
    read_image,
    side_by_side,
    write_image,
    write_video,
)

if TYPE_CHECKING:
    from lamdemo.pipeline import LatentActions, TransferPipeline, TransferStep
    from lamdemo.pipeline.compare import Progress

MOST_STEPS = 32  # steps of one transfer, and of the source that is on show
USUAL_STEPS = 16
BETWEEN = 2  # frames between two steps, so that four steps a second play at twelve frames a second
SOURCE_SIDE, TARGET_SIDE = 640, 1280  # longest sides in pixels
LIMITS = ReadLimits(max_seconds=60, max_pixels=50_000_000, max_bytes=1 << 29, timeout=60)

_THUMB = 72  # pixels down of a picture in the filmstrip


@dataclass(frozen=True)
class SourceView:
    """What the page shows of a source: up to `MOST_STEPS` steps of it.

    Attributes:
        path: the file.
        begin: where the steps begin, in seconds.
        seconds: length of the whole file.
        fps: steps a second.
        sizes: how much happens in each step, the latent's norm, ``S`` of them.
        aspect: width over height.
        strip: JPEG of the ``S + 1`` frames side by side.
        video: MP4 of the steps, with the frames between them.
        latents: the actions, or None where they must be inferred again.
        checkpoint: hash of the checkpoint that inferred them.
        far: which steps lie outside what it saw in training, ``S`` of them; empty where that is not known.
    """

    path: str
    begin: float
    seconds: float
    fps: float
    sizes: tuple[float, ...]
    aspect: float
    strip: Path
    video: Path
    latents: LatentActions | None = None
    checkpoint: str = ""
    far: tuple[bool, ...] = ()

    @property
    def window(self) -> float:
        """Seconds that can be on show at once."""
        return MOST_STEPS / self.fps


@dataclass(frozen=True)
class TargetView:
    """What the page shows of a target.

    Attributes:
        path: the file.
        seconds: length of a clip; 0 for a picture.
        moment: which time of a clip is meant, in seconds.
        picture: JPEG of it.
        aspect: width over height.
    """

    path: str
    seconds: float
    moment: float
    picture: Path
    aspect: float


@dataclass(frozen=True)
class Order:
    """A transfer as it is asked for.

    Attributes:
        source: file of the source.
        target: file of the target.
        begin: second of the source at which its steps begin.
        first: first step, counted from 0.
        last: step after the last one; None for `USUAL_STEPS` or the source's end.
        moment: second of a target that is a clip.
        strength: factor on the actions.
        reverse: do the opposite.
        repeat: how often the steps are carried out.
        limit: steps made at most.
        temperature: share of the posterior's noise.
        seed: of that noise.
    """

    source: str | None
    target: str | None
    begin: float = 0.0
    first: int = 0
    last: int | None = None
    moment: float = 0.0
    strength: float = 1.0
    reverse: bool = False
    repeat: int = 1
    limit: int = USUAL_STEPS
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Live:
    """A frame of a transfer in progress.

    Attributes:
        index: which step it came from; 0 is the target.
        steps: how many there will be.
        frame: uint8 ``[H, W, 3]``.
        idle: uint8 ``[H, W, 3]``, of the same moment under no action.
    """

    index: int
    steps: int
    frame: np.ndarray
    idle: np.ndarray


@dataclass(frozen=True)
class Finished:
    """A transfer's files, all of one duration so that they play in step.

    Attributes:
        folder: where they are.
        made: steps made.
        asked: steps that the range and the repeats come to.
        stopped: whether it was stopped before its end.
        first: first step of the source that was used.
        span: how many steps of the source were used, before they repeat.
        fps: steps a second.
        aspect: width over height of the target.
        measures: see `lamdemo.pipeline.measure`.
        unfamiliar: how many of those steps lie outside what the model saw in training; None where that is
            not known.
    """

    folder: Path
    made: int
    asked: int
    stopped: bool
    first: int
    span: int
    fps: float
    aspect: float
    measures: dict[str, float]
    unfamiliar: int | None = None

    @property
    def transfer(self) -> Path:
        """MP4 of the target under the actions."""
        return self.folder / "transfer.mp4"

    @property
    def source(self) -> Path:
        """MP4 of the source, in step with it."""
        return self.folder / "source.mp4"

    @property
    def idle(self) -> Path:
        """MP4 of the target under no action, in step with it."""
        return self.folder / "no_action.mp4"

    @property
    def side_by_side(self) -> Path:
        """MP4 of all three."""
        return self.folder / "side_by_side.mp4"

    @property
    def latents(self) -> Path:
        """The actions that were applied."""
        return self.folder / "latents.npz"

    def save(self) -> Path:
        """Write what is no file yet beside the files, for `load`."""
        data = dataclasses.asdict(self) | {"folder": ""}
        path = self.folder / "result.json"
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: Path) -> Finished:
        """Read what `save` wrote."""
        data: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return cls(**(data | {"folder": folder}))


def _named(path: str | None, what: str) -> str:
    if not path:
        raise LamdemoError(f"There is no {what} yet; {_MEND[what]}")
    if not os.path.exists(path):
        raise LamdemoError(f"The {what} was removed from the server after an hour; upload it again.")
    return path


_MEND = {
    "source": "upload a video on the left, or click an example.",
    "target": "upload a picture or a clip in the middle, or click an example.",
}


def _large_enough(info: VideoInfo, what: str) -> None:
    if min(info.width, info.height) < 16:
        raise LamdemoError(f"The {what} is only {info.width}×{info.height} pixels; give one of 16×16 or more.")


def _read_source(path: str, begin: float, fps: float, first: int, steps: int) -> np.ndarray:
    """Frames of a source at ``BETWEEN + 1`` times ``fps``, up to ``steps`` steps and no half step."""
    pace = BETWEEN + 1
    frames = read_clip(
        path,
        fps=fps * pace,
        start=begin + first / fps,
        max_frames=steps * pace + 1,
        max_side=SOURCE_SIDE,
        limits=LIMITS,
    ).frames
    return frames[: (len(frames) - 1) // pace * pace + 1]


def look_at_source(pipeline: TransferPipeline, path: str | None, begin: float, folder: Path) -> SourceView:
    """Read up to `MOST_STEPS` steps of a source and tell how much happens in each.

    Args:
        pipeline: which infers the actions.
        path: file of the source.
        begin: where to begin, in seconds.
        folder: where to write what is shown.

    Raises:
        LamdemoError: there is none, it cannot be read, or it has fewer than two frames.
    """
    path = _named(path, "source")
    info = probe(path, LIMITS)
    if info.is_image:
        raise LamdemoError("The source is a single picture; an action needs a video, so give one as the source.")
    _large_enough(info, "source")
    fps = pipeline.fps
    begin = min(max(begin, 0.0), max(info.seconds - 2 / fps, 0.0))
    smooth = _read_source(path, begin, fps, 0, MOST_STEPS)
    frames = smooth[:: BETWEEN + 1]
    if len(frames) < 2:
        raise LamdemoError(
            f"The source is too short; give a video of {1 / fps:g} seconds or more, with two frames at least."
        )
    latents = pipeline.infer(frames)
    judged = pipeline.judge_familiarity(latents)
    height, width = frames.shape[1:3]
    # A very wide source is squeezed, since a JPEG of its strip would be too wide to exist.
    size = (min(max(1, round(_THUMB * width / height)), 4 * _THUMB), _THUMB)
    strip = np.concatenate([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames], axis=1)
    return SourceView(
        path=path,
        begin=begin,
        seconds=info.seconds,
        fps=fps,
        sizes=tuple(float(size) for size in latents.size),
        aspect=width / height,
        strip=write_image(folder / "filmstrip.jpg", strip),
        video=write_video(folder / "source.mp4", smooth, fps * (BETWEEN + 1), crf=23),
        latents=latents,
        checkpoint=pipeline.checkpoint,
        far=() if judged is None else tuple(bool(far) for far in judged.far),
    )


def look_at_target(path: str | None, moment: float, folder: Path) -> TargetView:
    """Read a target's picture, or the picture of a clip at a moment.

    Raises:
        LamdemoError: there is none, or it cannot be read.
    """
    path = _named(path, "target")
    info = probe(path, LIMITS)
    _large_enough(info, "target")
    moment = 0.0 if info.is_image else min(max(moment, 0.0), info.seconds)
    picture = (
        read_image(path, max_side=SOURCE_SIDE, limits=LIMITS)
        if info.is_image
        else read_frame(path, moment, SOURCE_SIDE, LIMITS)
    )
    return TargetView(
        path=path,
        seconds=0.0 if info.is_image else info.seconds,
        moment=moment,
        picture=write_image(folder / "target.jpg", picture),
        aspect=picture.shape[1] / picture.shape[0],
    )


def read_target(path: str | None, moment: float, fps: float, max_side: int = TARGET_SIDE) -> np.ndarray:
    """The target as the pipeline takes it: a picture, or a moment of a clip with up to four frames before it.

    Args:
        path: of the file.
        moment: which time of a clip is meant, in seconds.
        fps: steps a second.
        max_side: longest side in pixels.

    Returns:
        uint8 ``[T, H, W, 3]``, the last of which is the picture to begin from.

    Raises:
        LamdemoError: there is none, or it cannot be read.
    """
    path = _named(path, "target")
    info = probe(path, LIMITS)
    _large_enough(info, "target")
    if info.is_image:
        return read_image(path, max_side=max_side, limits=LIMITS)[None]
    moment = min(max(moment, 0.0), info.seconds)
    last = read_frame(path, moment, max_side, LIMITS)
    before = min(4, int(moment * fps))
    if not before:
        return last[None]
    clip = read_clip(
        path,
        fps=fps,
        start=moment - before / fps,
        max_frames=before,
        max_side=max_side,
        limits=LIMITS,
    )
    return np.concatenate([clip.frames, last[None]])


def _ordered(order: Order, fps: float) -> tuple[int, np.ndarray]:
    """The first step of an order's source, and the frames of its steps as `_read_source` gives them."""
    source = _named(order.source, "source")
    _named(order.target, "target")
    first = max(int(order.first), 0)
    wanted = MOST_STEPS if order.last is None else int(order.last) - first
    if not 1 <= wanted <= MOST_STEPS:
        raise LamdemoError(f"Choose a range of 1 to {MOST_STEPS} steps of the source.")
    if order.last is None:
        wanted = min(wanted, int(order.limit))
    if probe(source, LIMITS).is_image:
        raise LamdemoError("The source is a single picture; an action needs a video, so give one as the source.")
    clip = _read_source(source, order.begin, fps, first, wanted)
    if len(clip) <= BETWEEN + 1:
        raise LamdemoError(
            f"The source has less than one step of {1 / fps:g} seconds there; give a longer video or an earlier range."
        )
    return first, clip


@dataclass(frozen=True)
class Carried:
    """Actions carried out on a target.

    Attributes:
        steps: the target and each step, lightened: coarse flows for measuring, no states.
        smooth: frames under the actions, with those between.
        idle: frames under no action, in step with them.
        actions: those that were carried out.
    """

    steps: list[TransferStep]
    smooth: list[np.ndarray]
    idle: list[np.ndarray]
    actions: LatentActions


def carry_out(
    pipeline: TransferPipeline, actions: LatentActions, target: np.ndarray, should_stop: Callable[[], bool]
) -> Generator[Live, None, Carried]:
    """Carry out actions and keep what files are made of; what was made until a stop is kept.

    Yields:
        A `Live` for each frame, the target first.

    Returns:
        What was carried out.

    Raises:
        LamdemoError: the actions do not fit, or it was stopped before the first step.
    """
    from lamdemo.pipeline import LatentActions

    done: list[TransferStep] = []
    smooth: list[np.ndarray] = []
    for step in pipeline.stream(actions, target, between=BETWEEN):
        smooth += [*step.between, step.frame]
        # Only its lengths are measured, and those vary slowly; whole flows would take most of the room.
        flow = None if step.flow is None else step.flow[::4, ::4] / 4
        done.append(
            dataclasses.replace(step, flow=flow, between=step.between[:0], state=step.state[:0], idle_state=None)
        )
        yield Live(step.index, len(actions), step.frame, step.idle)
        if should_stop():
            break
    made = len(done) - 1
    if made < 1:
        raise LamdemoError("It was stopped before the first step, so there is nothing to show; start it again.")
    idle = [done[0].idle] + [step.idle for step in done[1:] for _ in range(BETWEEN + 1)]
    return Carried(done, smooth, idle, LatentActions(actions.z[:made], actions.fps, actions.checkpoint))


def make(
    pipeline: TransferPipeline,
    order: Order,
    folder: Path,
    *,
    latents: LatentActions | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Live | Finished]:
    """Carry out a transfer and write its files.

    Args:
        pipeline: the model.
        order: what is asked for.
        folder: where the files go.
        latents: the actions of the source from ``order.begin`` on, where they are known.
        should_stop: asked after each step; what was made until then becomes the result.

    Yields:
        A `Live` for each frame, the target first, then the `Finished`.

    Raises:
        LamdemoError: the source or the target cannot be used, or it was stopped before the first step.
    """
    from lamdemo.pipeline import ActionEdit, LatentActions, measure

    pace = BETWEEN + 1
    first, clip = _ordered(order, pipeline.fps)
    span = (len(clip) - 1) // pace
    target = read_target(order.target, order.moment, pipeline.fps)
    if latents is None or order.temperature or len(latents) < first + span:
        latents = pipeline.infer(clip[::pace], pipeline.fps, temperature=order.temperature, seed=int(order.seed))
    else:
        latents = LatentActions(latents.z[first : first + span], latents.fps, latents.checkpoint)

    edit = ActionEdit(float(order.strength), bool(order.reverse), int(order.repeat))
    applied = edit.apply(latents)
    asked = len(applied)
    steps = min(asked, max(1, min(int(order.limit), MOST_STEPS)))
    applied = LatentActions(applied.z[:steps], applied.fps, applied.checkpoint)

    carried = yield from carry_out(pipeline, applied, target, should_stop)
    done, smooth, idle, applied = carried.steps, carried.smooth, carried.idle, carried.actions
    made = len(applied)

    rate = pipeline.fps * pace
    # The source starts over where its actions do.
    order_of_frames = [0] + [k % (span * pace) + 1 for k in range(made * pace)]
    shown = clip[order_of_frames]
    write_video(folder / "transfer.mp4", iter(smooth), rate)
    write_video(folder / "no_action.mp4", iter(idle), rate, crf=21)
    write_video(folder / "source.mp4", shown, rate, crf=21)
    panels = [_fitted(shown), _fitted(smooth), _fitted(idle)]
    write_video(
        folder / "side_by_side.mp4",
        side_by_side(panels, height=_PANEL, labels=["source", "transfer", "no action"]),
        rate,
    )
    applied.save(folder / "latents.npz")
    height, width = done[0].frame.shape[:2]
    judged = pipeline.judge_familiarity(LatentActions(latents.z[:made], latents.fps, latents.checkpoint))
    finished = Finished(
        folder=folder,
        made=made,
        asked=asked,
        stopped=made < steps,
        first=first,
        span=min(span, made),
        fps=pipeline.fps,
        aspect=width / height,
        measures=measure(done, applied),
        unfamiliar=None if judged is None else judged.count,
    )
    yield finished


_PANEL = 360  # pixels down of a panel in the side-by-side video


def _fitted(frames: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """Frames at the height of a panel, so that no second copy at full size is held."""
    height, width = frames[0].shape[:2]
    size = (max(1, round(width * _PANEL / height)), _PANEL)
    return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])


@dataclass(frozen=True)
class Compared:
    """A comparison's files and figures.

    Attributes:
        folder: where the files are.
        rows: a table's column for each checkpoint, see `lamdemo.pipeline.compare.Entry.as_dict`.
        made: steps made.
        stopped: names of checkpoints that were left out, since it was stopped.
        size: width and height of the video, in pixels.
    """

    folder: Path
    rows: tuple[dict[str, Any], ...]
    made: int
    stopped: tuple[str, ...]
    size: tuple[int, int]

    @property
    def video(self) -> Path:
        """MP4 of the source and all results in step."""
        return self.folder / "compare.mp4"

    @property
    def report(self) -> Path:
        """JSON of the figures."""
        return self.folder / "compare.json"


def make_comparison(
    load: Callable[[str], TransferPipeline],
    names: Sequence[str],
    order: Order,
    folder: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress | Compared]:
    """Carry out one transfer with several checkpoints and write its files.

    Args:
        load: gives the pipeline of a name.
        names: of the checkpoints.
        order: what is asked for.
        folder: where the files go.
        should_stop: asked all along; with two checkpoints done, these become the result.

    Yields:
        `Progress`, then the `Compared`.

    Raises:
        LamdemoError: an input or a checkpoint cannot be used, or it was stopped before two were done.
    """
    from lamdemo.pipeline import ActionEdit
    from lamdemo.pipeline.compare import (
        COMPARE_SIDE,
        FEWEST,
        LOOKING,
        MEASURES,
        Entry,
        Progress,
        Trial,
        check_names,
        check_pace,
        compare,
        write_grid,
    )

    names = check_names(names)
    _named(order.source, "source")
    _named(order.target, "target")
    edit = ActionEdit(float(order.strength), bool(order.reverse), int(order.repeat))
    # All but the last few are loaded again later: a name that is wrong should not cost the work of the others.
    fps = 0.0
    for index, name in enumerate(names):
        yield Progress(name, index, len(names), None, 0, LOOKING)
        if should_stop():
            raise LamdemoError(_TOO_EARLY)
        pace = load(name).fps
        fps = fps or pace
        check_pace(name, pace, fps)
    trial = Trial(
        frames=_ordered(order, fps)[1],
        past=read_target(order.target, order.moment, fps, COMPARE_SIDE),
        fps=fps,
        edit=edit,
        between=BETWEEN,
        limit=max(1, min(int(order.limit), MOST_STEPS)),
        temperature=float(order.temperature),
        seed=int(order.seed),
    )
    entries: list[Entry] = []
    for news in compare(trial, names, load, should_stop=should_stop):
        if isinstance(news, Entry):
            entries.append(news)
        else:
            yield news
    if len(entries) < FEWEST:
        raise LamdemoError(_TOO_EARLY)
    info = probe(write_grid(folder / "compare.mp4", trial, entries), LIMITS)
    compared = Compared(
        folder=folder,
        rows=tuple(entry.as_dict() for entry in entries),
        made=trial.steps,
        stopped=tuple(names[len(entries) :]),
        size=(info.width, info.height),
    )
    report = {
        "settings": dataclasses.asdict(edit) | {"temperature": trial.temperature, "seed": trial.seed, "fps": trial.fps},
        "steps": {"used": trial.span, "made": trial.steps},
        "panels": ["source", *(entry.name for entry in entries)],
        "checkpoints": compared.rows,
        "meaning": {m.key: m.meaning for m in MEASURES},
    }
    compared.report.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    yield compared


_TOO_EARLY = "It was stopped before two checkpoints were done, so there is nothing to compare; start it again."
