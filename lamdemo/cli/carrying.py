"""One transfer from files to files: what is read, what is written, what is told of it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamdemo.cli.common import Span, command_line
from lamdemo.core.errors import LamdemoError, as_text

if TYPE_CHECKING:
    import numpy as np

    from lamdemo.engine import LatentActions, TransferPipeline, TransferStep
    from lamdemo.jobs.transfer import Transferred, TransferRequest

_SOURCE_SIDE = 640  # pixels: the encoder sees fewer, and the panel beside the transfer shows no more
_PANEL = 360  # pixels down of each panel of side_by_side.mp4
_GIF = 480  # pixels: the longest side of a GIF, which is large for what it shows
FORMATS = ("gif", "webp")
"""What a transfer is written as beside its MP4, where asked for."""


@dataclass(frozen=True)
class Settings:
    """What is done, alike for every source and target."""

    source_range: Span | None  # part of the source
    target_time: float | None  # where in a target clip to take over, in seconds
    strength: float  # of the action
    reverse: bool  # whether it is negated
    repeat: int  # how often it is carried out
    seed: int  # of the noise
    temperature: float  # share of that
    max_steps: int  # taken from the source at most
    fps: float | None  # steps a second; None for the checkpoint's own
    smooth: int  # frames between two steps
    refinement: int | None  # of the latents, see `lamdemo.engine.Inference.refined`; None for as much as serves
    formats: tuple[str, ...]  # of `FORMATS`, beside the MP4
    audio: bool  # whether the source's sound is taken along

    def told(self, rate: float, device: str) -> dict[str, Any]:
        """The settings of a report."""
        names = ("strength", "reverse", "repeat", "seed", "temperature", "refinement", "max_steps")
        known = {name: getattr(self, name) for name in names}
        return {**known, "fps": rate, "smooth": self.smooth, "device": device}

    def digest(self) -> str:
        """What tells these settings from others."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Watched:
    """A source that was read."""

    path: Path  # of its file
    shown: np.ndarray | None  # its frames, see `watched`; None where the file holds actions only
    actions: LatentActions | None  # those; of a clip once they were inferred
    available: int  # steps that there would be without a limit
    rate: float  # steps a second


def read_source(pipeline: TransferPipeline, source: Path, settings: Settings) -> Watched:
    """Read a source: a clip, or a file of actions.

    Raises:
        LamdemoError: it cannot be used, or the settings do not fit it.
    """
    if source.suffix.lower() == ".npz":
        if settings.fps is not None or settings.temperature or settings.refinement:
            raise LamdemoError(f"{source.name} holds actions already; leave out --fps, --temperature and --refinement.")
        if settings.audio:
            raise LamdemoError(f"{source.name} holds actions and no sound; leave out --audio.")
        actions, available = _stored(source, settings.source_range, settings.max_steps)
        return Watched(source, None, actions, available, actions.fps)
    rate = settings.fps or pipeline.fps
    shown, available = watched(source, rate, settings.source_range, settings.max_steps, settings.smooth)
    return Watched(source, shown, None, available, rate)


def requested(source: Watched, past: np.ndarray, settings: Settings) -> TransferRequest:
    """The transfer of a source to a target ``[T, H, W, 3]``. One that is too long is refused later, and not cut."""
    from lamdemo.engine import ActionEdit
    from lamdemo.jobs.transfer import TransferRequest

    edit, most = ActionEdit(settings.strength, settings.reverse, settings.repeat), settings.max_steps * settings.repeat
    return TransferRequest(
        *(source.shown, past, source.rate, edit, settings.smooth, most),
        *(settings.temperature, settings.seed, source.actions),
        # What was inferred for another target is refined already.
        refinement=settings.refinement if source.actions is None else 0,
    )


def carried(
    pipeline: TransferPipeline,
    request: TransferRequest,
    stepped: Callable[[TransferStep], None],
) -> Transferred:
    """Carry out a transfer.

    Args:
        pipeline: the model.
        request: what is to be done.
        stepped: told of each step, the target first.

    Raises:
        LamdemoError: see `lamdemo.jobs.transfer.transfer`.
    """
    from lamdemo.engine import TransferStep
    from lamdemo.jobs.transfer import Transferred, transfer

    made: Transferred | None = None
    for event in transfer(pipeline, request, keep=lambda step: step):
        if isinstance(event, TransferStep):
            stepped(event)
        elif isinstance(event, Transferred):
            made = event
    assert made is not None
    return made


def write_results(
    folder: Path, made: Transferred, request: TransferRequest, source: Watched, settings: Settings
) -> str | None:
    """Write the pictures of a transfer and its actions.

    Returns:
        What could not be done, in a sentence; None where all was.

    Raises:
        LamdemoError: they cannot be written.
    """
    import numpy as np

    from lamdemo.video import add_sound, write_gif, write_webp

    frames, fps = np.stack(made.smooth), request.fps * (settings.smooth + 1)
    _write_pictures(folder, frames, fps, request)
    made.actions.save(folder / "latents.npz")
    if "gif" in settings.formats:
        pace = max(1, round(fps / 12))
        write_gif(folder / "transfer.gif", _within(frames[::pace], _GIF), fps / pace)
    if "webp" in settings.formats:
        write_webp(folder / "transfer.webp", frames, fps)
    if not settings.audio:
        return None
    begin = settings.source_range.start if settings.source_range else 0.0
    heard = [
        add_sound(
            folder / name, source.path, start=begin, seconds=request.span / request.fps, repeat=request.edit.repeat
        )
        for name in ("transfer.mp4", "side_by_side.mp4")
    ]
    return None if all(heard) else f"{source.path.name} has no sound to take along."


def report_of(
    pipeline: TransferPipeline,
    made: Transferred,
    request: TransferRequest,
    source: Watched,
    target: Path,
    settings: Settings,
) -> dict[str, Any]:
    """What is told of a transfer, but for the time it took and what it was made with."""
    from lamdemo.engine import measure

    scores, verdict = made.out_of_distribution, made.verdict
    return {
        "inputs": {
            "source": source.path.name,
            "source_range": str(settings.source_range) if settings.source_range else None,
            "target": target.name,
            "target_time": settings.target_time,
            "target_context": len(request.target),
        },
        "checkpoint": {"name": pipeline.name, "sha256": pipeline.checkpoint, "family": pipeline.family},
        "settings": settings.told(source.rate, str(pipeline.model.device)),
        "steps": {"available": source.available, "used": request.span, "made": len(made.actions)},
        "size": {"width": request.target.shape[2], "height": request.target.shape[1]},
        "verdict": None if verdict is None else verdict.as_dict(),
        "measures": {name: round(value, 4) for name, value in measure(made.steps, made.actions).items()},
        "familiarity": None if scores is None else scores.as_dict(),
    }


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write ``report.json``."""
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (folder / "report.json").write_text(as_text(text), encoding="utf-8")


def _within(frames: np.ndarray, side: int) -> np.ndarray:
    """Frames ``[T, H, W, 3]``, their longest side ``side`` pixels at most."""
    import cv2
    import numpy as np

    scale = side / max(frames.shape[1:3])
    if scale >= 1:
        return frames
    size = (max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale)))
    return np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])


def watched(source: Path, fps: float, part: Span | None, max_steps: int, smooth: int) -> tuple[np.ndarray, int]:
    """The source's frames ``[S * (smooth + 1) + 1, H, W, 3]``, of which the model sees every (smooth + 1)th.

    Also how many steps there would have been without the limit.

    Raises:
        LamdemoError: it is no clip, or the range holds no step or too many.
    """
    from lamdemo.video import DEFAULT_LIMITS, probe, read_clip

    info = probe(source)
    if info.is_image or round(info.fps * info.seconds) < 2:
        raise LamdemoError(
            f"{source.name} is a single picture; an action is what happens between frames, so give a clip."
        )
    part = part or Span()
    if part.start >= info.seconds:
        raise LamdemoError(f"{source.name} ends after {info.seconds:.3g} seconds; start --source-range before that.")
    end = info.seconds if part.end is None else min(part.end, info.seconds)
    most = DEFAULT_LIMITS.max_seconds
    if end - part.start > most:
        raise LamdemoError(
            f"{end - part.start:.0f} seconds of {source.name} are more than the {most:g} that are read at "
            "once; choose a part with --source-range."
        )
    finer = smooth + 1
    clip = read_clip(
        source,
        fps=fps * finer,
        start=part.start,
        seconds=part.seconds,
        max_frames=max_steps * finer + 1,
        max_side=_SOURCE_SIDE,
    )
    steps = (len(clip) - 1) // finer
    if steps < 1:
        raise LamdemoError(
            f"Only one frame of {source.name} falls in that range at {fps:g} steps a second; choose a longer "
            "range or a higher --fps."
        )
    available = max(int((end - part.start) * fps - 1e-6), steps)
    return clip.frames[: steps * finer + 1], available


def _stored(source: Path, part: Span | None, max_steps: int) -> tuple[LatentActions, int]:
    """Actions of a file, and how many there would have been without the limit."""
    from lamdemo.engine import LatentActions

    actions = LatentActions.load(source)
    z = actions.z
    if part is not None:
        end = None if part.end is None else round(part.end * actions.fps)
        z = z[round(part.start * actions.fps) : end]
    if not len(z):
        raise LamdemoError(
            f"{source.name} has no step in that range, it lasts {len(actions) / actions.fps:.3g} seconds; "
            "choose another --source-range."
        )
    return LatentActions(z[:max_steps], actions.fps, actions.checkpoint), len(z)


def aim(target: Path, at: float | None, fps: float, context: int, max_side: int | None = None) -> np.ndarray:
    """The target ``[T, H, W, 3]``: one picture, or a clip's frames up to the moment to take over from.

    Raises:
        LamdemoError: it cannot be read, or has no such moment.
    """
    from lamdemo.engine import MAX_SIDE
    from lamdemo.video import probe, read_clip, read_image

    max_side = max_side or MAX_SIDE
    info = probe(target)
    if info.is_image:
        if at is not None:
            raise LamdemoError(f"{target.name} is a picture and has no times; leave out --target-time.")
        return read_image(target, max_side=max_side)[None]
    at = at or 0.0
    if at >= info.seconds:
        raise LamdemoError(f"{target.name} ends after {info.seconds:.3g} seconds; give a --target-time before that.")
    frames = min(context, int(at * fps + 1e-6) + 1)
    start = max(at - (frames - 1) / fps, 0.0)
    return read_clip(target, fps=fps, start=start, max_frames=frames, max_side=max_side).frames


def _write_pictures(folder: Path, result: np.ndarray, fps: float, request: TransferRequest) -> None:
    """The result ``[F, H, W, 3]`` alone, and beside the target and, where its frames are known, the source."""
    import numpy as np

    from lamdemo.video import side_by_side, write_video

    write_video(folder / "transfer.mp4", result, fps)
    panels, labels = [request.target[-1:], result], ["target", "transfer"]
    if request.frames is not None:
        source, repeat = request.frames, request.edit.repeat
        panels.insert(0, np.concatenate([*[source[:-1]] * repeat, source[-1:]]))
        labels.insert(0, "source")
    whole = side_by_side(panels, height=min(_PANEL, request.target.shape[1]), labels=labels)
    write_video(folder / "side_by_side.mp4", whole, fps)


def about(arguments: list[str]) -> dict[str, Any]:
    """With what a result was made."""
    import torch

    from lamdemo import __version__
    from lamdemo.evaluation.report import git_state

    return {
        "lamdemo": __version__,
        "git": git_state(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": command_line(arguments),
    }
