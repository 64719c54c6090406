"""What a click sets going, apart from how the page looks: reading, transferring, writing the files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamdemo.core.errors import LamdemoError, as_text
from lamdemo.jobs.turns import PAUSE, Pause
from lamdemo.ui.inputs import BETWEEN, LIMITS, TARGET_SIDE, USUAL_STEPS, examined, named, read_source, read_target
from lamdemo.video import (
    probe,
    side_by_side,
    write_gif,
    write_image,
    write_video,
)

if TYPE_CHECKING:
    from lamdemo.engine import LatentActions, TransferPipeline, TransferStep
    from lamdemo.jobs.compare import Entry, Progress
    from lamdemo.jobs.transfer import Transferred, TransferRequest

Clip = Sequence[np.ndarray]  # frames uint8 [H, W, 3] of one size

MOST_STEPS = 32  # of a source that can be chosen for one transfer
MOST_MADE = 64  # steps of one transfer, repeats counted


@dataclass(frozen=True)
class Order:
    """A transfer as it is asked for."""

    source: str | None  # file of the source
    target: str | None  # file of the target
    begin: float = 0.0  # second of the source at which its steps begin
    first: int = 0  # first step, counted from 0
    last: int | None = None  # step after the last one; None for `USUAL_STEPS` or the source's end
    moment: float = 0.0  # second of a target that is a clip
    strength: float = 1.0  # factor on the actions
    reverse: bool = False  # do the opposite
    repeat: int = 1  # how often the steps are carried out
    limit: int = MOST_MADE  # steps made at most
    temperature: float = 0.0  # share of the posterior's noise
    seed: int = 0  # of that noise
    refine: bool = True  # whether latents are searched for that explain the source better


@dataclass(frozen=True)
class Live:
    """A frame of a transfer in progress."""

    index: int  # which step it came from; 0 is the target
    steps: int  # how many there will be
    frame: np.ndarray  # uint8 [H, W, 3]
    idle: np.ndarray  # uint8 [H, W, 3], of the same moment under no action


@dataclass(frozen=True)
class Writing:
    """All steps are made, and what is done now takes seconds, too."""

    doing: str  # that, in words
    steps: int  # how many were made


@dataclass(frozen=True)
class Finished:
    """A transfer's files, all of one duration so that they play in step."""

    folder: Path  # where they are
    made: int  # steps made
    asked: int  # steps that the range and the repeats come to
    stopped: bool  # whether it was stopped before its end
    first: int  # first step of the source that was used
    span: int  # how many steps of the source were used, before they repeat
    fps: float  # steps a second
    aspect: float  # width over height of the target
    measures: dict[str, float]  # see `lamdemo.engine.measure`
    # How many of those steps lie outside what the model saw in training; None where that is not known.
    unfamiliar: int | None = None
    # How much to trust it, see `lamdemo.engine.Verdict.as_dict`; None where that is not known.
    verdict: dict[str, Any] | None = None

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
    def gif(self) -> Path:
        """GIF of the source and the transfer in step, for where no video can be shown."""
        return self.folder / "transfer.gif"

    @property
    def card(self) -> Path:
        """JPEG of the source and of the target, each before and after."""
        return self.folder / "card.jpg"

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


def _ordered(order: Order, fps: float) -> tuple[int, np.ndarray]:
    """The first step of an order's source, and the frames of its steps as `read_source` gives them."""
    source = named(order.source, "source")
    named(order.target, "target")
    first = max(int(order.first), 0)
    wanted = MOST_STEPS if order.last is None else int(order.last) - first
    if not 1 <= wanted <= MOST_STEPS:
        raise LamdemoError(f"Choose a range of 1 to {MOST_STEPS} steps of the source.")
    if order.last is None:
        wanted = min(wanted, USUAL_STEPS, int(order.limit))
    examined(source, "source")
    clip = read_source(source, order.begin, fps, first, wanted)
    if len(clip) <= BETWEEN + 1:
        raise LamdemoError(
            f"The source has less than one step of {1 / fps:g} seconds there; give a longer video or an earlier range."
        )
    return first, clip


def live(step: TransferStep) -> Live:
    """What the page shows of a step."""
    return Live(step.index, step.steps, step.frame, step.idle)


def make(
    pipeline: TransferPipeline,
    order: Order,
    folder: Path,
    *,
    latents: LatentActions | None = None,
    max_side: int = TARGET_SIDE,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Live | Writing | Finished | Pause, None, None]:
    """Carry out a transfer and write its files.

    Args:
        pipeline: the model.
        order: what is asked for.
        folder: where the files go.
        latents: the actions of the source from ``order.begin`` on, where they are known.
        max_side: longest side in pixels of the result.
        should_stop: asked after each step; what was made until then becomes the result.

    Yields:
        A `PAUSE` wherever others may go first, a `Live` for each frame, the target first, a `Writing` before judging
        and before each of the files, then the `Finished`.

    Raises:
        LamdemoError: the source or the target cannot be used, or it was stopped before the first step.
    """
    from lamdemo.engine import ActionEdit, LatentActions, TransferStep, measure
    from lamdemo.jobs.transfer import Carried, Transferred, TransferRequest, transfer

    pace = BETWEEN + 1
    first, clip = _ordered(order, pipeline.fps)
    span = (len(clip) - 1) // pace
    if latents is None or order.temperature or len(latents) < first + span:
        latents = None
    else:
        latents = LatentActions(latents.z[first : first + span], latents.fps, latents.checkpoint)
    request = TransferRequest(
        frames=clip,
        target=read_target(order.target, order.moment, pipeline.fps, max_side),
        fps=pipeline.fps,
        edit=ActionEdit(float(order.strength), bool(order.reverse), int(order.repeat)),
        between=BETWEEN,
        limit=max(1, min(int(order.limit), MOST_MADE)),
        temperature=order.temperature,
        seed=int(order.seed),
        actions=latents,
        refinement=None if order.refine else 0,
    )
    done: Transferred | None = None
    for event in transfer(pipeline, request, should_stop=should_stop):
        if isinstance(event, TransferStep):
            yield live(event)
        elif isinstance(event, Transferred):
            done = event
        elif isinstance(event, Carried):
            yield Writing("the result is judged", len(event.actions))
        elif event is PAUSE:
            yield PAUSE
    assert done is not None
    made = len(done.actions)
    for what in _written(done, [clip[k] for k in request.looped(made)], pipeline.fps, folder):
        yield Writing(what, made)
    height, width = done.steps[0].frame.shape[:2]
    scores, verdict = done.out_of_distribution, done.verdict
    yield Finished(
        folder=folder,
        made=made,
        asked=span * request.edit.repeat,
        stopped=made < request.steps,
        first=first,
        span=min(span, made),
        fps=pipeline.fps,
        aspect=width / height,
        measures=measure(done.steps, done.actions),
        unfamiliar=None if scores is None else scores.count,
        verdict=None if verdict is None else verdict.as_dict(),
    )


def _written(done: Transferred, shown: Clip, fps: float, folder: Path) -> Iterator[str]:
    """Write a transfer's files, saying what comes next.

    Args:
        done: what was made.
        shown: the source's frames in step with it.
        fps: steps a second.
        folder: where to.

    Yields:
        A clause before each file that takes a while.
    """
    rate = fps * (BETWEEN + 1)
    yield "the result is written"
    write_video(folder / "transfer.mp4", iter(done.smooth), rate)
    yield "the video under no action is written"
    write_video(folder / "no_action.mp4", iter(done.idle), rate, crf=21)
    yield "the source is written beside it"
    write_video(folder / "source.mp4", shown, rate, crf=21)
    yield "all three are put side by side"
    clips = (shown, done.smooth, done.idle)

    def beside(moment: int, height: int, of: Sequence[Clip], labels: Sequence[str] | None = None) -> np.ndarray:
        # One by one, so that no second copy of whole clips is held.
        return side_by_side([clip[moment][None] for clip in of], height=height, labels=labels)[0]

    moments, labels = range(len(done.smooth)), ("source", "transfer", "no action")
    write_video(folder / "side_by_side.mp4", (beside(t, _PANEL, clips, labels) for t in moments), rate)
    write_gif(folder / "transfer.gif", np.stack([beside(t, _GIF, clips[:2]) for t in moments[::2]]), rate / 2)
    write_image(folder / "card.jpg", _card(shown, done.smooth, len(done.actions) / fps))
    done.actions.save(folder / "latents.npz")


_PANEL = 360  # pixels down of a panel in the side-by-side video
_GIF = 160  # pixels down of a panel in the GIF


def _card(source: Clip, transfer: Clip, seconds: float) -> np.ndarray:
    """The first and the last frame of two clips, one clip a row."""
    later = f"{seconds:g} s later"
    rows = [
        side_by_side([clip[0][None], clip[-1][None]], height=_PANEL, labels=labels)[0]
        for clip, labels in ((source, ("in this clip", later)), (transfer, ("done to this picture", later)))
    ]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(r, ((0, 8), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows])


@dataclass(frozen=True)
class Compared:
    """A comparison's files and figures."""

    folder: Path  # where the files are
    rows: tuple[dict[str, Any], ...]  # a table's column for each checkpoint, see `lamdemo.jobs.compare.Entry.as_dict`
    made: int  # steps made
    stopped: tuple[str, ...]  # names of checkpoints that were left out, since it was stopped
    size: tuple[int, int]  # width and height of the video, in pixels

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
) -> Generator[Progress | Compared, None, None]:
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
    from lamdemo.engine import ActionEdit
    from lamdemo.jobs.compare import (
        COMPARE_SIDE,
        FEWEST,
        LOOKING,
        Entry,
        Progress,
        check_names,
        check_pace,
        compare,
    )
    from lamdemo.jobs.transfer import TransferRequest

    names = check_names(names)
    named(order.source, "source")
    named(order.target, "target")
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
    request = TransferRequest(
        frames=_ordered(order, fps)[1],
        target=read_target(order.target, order.moment, fps, COMPARE_SIDE),
        fps=fps,
        edit=edit,
        between=BETWEEN,
        limit=max(1, min(int(order.limit), MOST_MADE)),
        temperature=float(order.temperature),
        seed=int(order.seed),
        refinement=None if order.refine else 0,
    )
    entries: list[Entry] = []
    for news in compare(request, names, load, should_stop=should_stop):
        if isinstance(news, Entry):
            entries.append(news)
        else:
            yield news
    if len(entries) < FEWEST:
        raise LamdemoError(_TOO_EARLY)
    yield _write_comparison(request, entries, tuple(names[len(entries) :]), folder)


def _write_comparison(
    request: TransferRequest, entries: list[Entry], stopped: tuple[str, ...], folder: Path
) -> Compared:
    """Write a comparison's video and figures; ``stopped`` names the checkpoints that were left out."""
    from lamdemo.jobs.compare import MEASURES, write_grid

    info = probe(write_grid(folder / "compare.mp4", request, entries), LIMITS)
    rows = tuple(entry.as_dict() for entry in entries)
    compared = Compared(folder, rows, request.steps, stopped, (info.width, info.height))
    settings = {"temperature": request.temperature, "seed": request.seed, "fps": request.fps}
    report = {
        "settings": dataclasses.asdict(request.edit) | settings,
        "steps": {"used": request.span, "made": request.steps},
        "panels": ["source", *(entry.name for entry in entries)],
        "checkpoints": compared.rows,
        "meaning": {m.key: m.meaning for m in MEASURES},
    }
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    compared.report.write_text(as_text(text), encoding="utf-8")
    return compared


_TOO_EARLY = "It was stopped before two checkpoints were done, so there is nothing to compare; start it again."
