"""What the latent space's controls set going, apart from how they look: playing actions, keeping maps at hand."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.ui.inputs import BETWEEN, read_target
from lamdemo.ui.measured import results_of
from lamdemo.ui.work import MOST_STEPS, Live, Writing, live
from lamdemo.video import write_video

if TYPE_CHECKING:
    from lamdemo.engine import LatentActions, TransferPipeline
    from lamdemo.engine.rollout import Rollout
    from lamdemo.latent_space.atlas import Atlas
    from lamdemo.latent_space.composition import Composition, Term
    from lamdemo.latent_space.directions import Action
    from lamdemo.models.prior import FlowPrior

BESIDE = "atlas-"
"""How the files of maps of other models begin, beside a checkpoint's own: ``atlas-villa-x.safetensors``."""
MOST_PLACES = 6  # checkpoints whose maps are kept
SIDE = 640  # longest side in pixels of a picture that is played with: speed counts more than detail here


@dataclass(frozen=True)
class Played:
    """Actions carried out on the target."""

    folder: Path  # where the files are
    label: str  # what was carried out
    steps: int  # how many were made
    asked: int  # how many were asked for
    stopped: bool  # whether they were stopped
    fps: float  # steps a second
    aspect: float  # width over height
    measures: dict[str, float]  # see `lamdemo.engine.measure`

    @property
    def video(self) -> Path:
        """MP4 of the target under the actions."""
        return self.folder / "actions.mp4"

    @property
    def idle(self) -> Path:
        """MP4 of the target under no action, in step with it."""
        return self.folder / "no_action.mp4"


def play(
    pipeline: TransferPipeline,
    actions: LatentActions,
    target: np.ndarray,
    label: str,
    folder: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Live | Writing | Played, None, None]:
    """Carry out actions on a target and write what a loop of them needs.

    Args:
        pipeline: the model.
        actions: up to `MOST_STEPS` of them are carried out.
        target: as `TransferPipeline.stream` takes it.
        label: what to call them.
        folder: where the files go.
        should_stop: asked after each step; what was made until then becomes the result.

    Yields:
        A `Live` for each frame, the target first, a `Writing` before each file, then the `Played`.

    Raises:
        LamdemoError: the actions do not fit, or it was stopped before the first step.
    """
    from lamdemo.engine import TransferStep, measure
    from lamdemo.jobs.transfer import Transferred, TransferRequest, transfer

    request = TransferRequest(None, target, actions.fps, between=BETWEEN, limit=MOST_STEPS, actions=actions)
    done: Transferred | None = None
    for event in transfer(pipeline, request, should_stop=should_stop):
        if isinstance(event, TransferStep):
            yield live(event)
        elif isinstance(event, Transferred):
            done = event
    assert done is not None
    rate = pipeline.fps * (BETWEEN + 1)
    made = len(done.actions)
    yield Writing("the loop is written", made)
    write_video(folder / "actions.mp4", iter(done.smooth), rate)
    yield Writing("the loop under no action is written", made)
    write_video(folder / "no_action.mp4", iter(done.idle), rate, crf=23)
    yield Played(
        folder=folder,
        label=label,
        steps=len(done.actions),
        asked=len(actions),
        stopped=len(done.actions) < request.steps,
        fps=pipeline.fps,
        aspect=target.shape[-2] / target.shape[-3],
        measures=measure(done.steps, done.actions),
    )


@dataclass(eq=False)
class Place:
    """What the page has of one checkpoint's latent space."""

    atlas: Atlas | None  # the map's steps; None where the checkpoint brings none
    folder: Path  # where the map's files are served from
    data: Path | None  # the map's data file
    prior: FlowPrior | None  # the learned prior; None where the checkpoint brings none
    keys: dict[str, Action] = field(default_factory=dict)  # for play mode: key -> what it does
    spacing: float = 1.0  # mean distance of a step of the atlas from the nearest one of another recording
    about: dict[str, Any] = field(default_factory=dict)  # figures of the prior's report, where there is one
    problem: str = ""  # one sentence on what is wrong with the atlas or the prior; empty for nothing


class Places:
    """The latent spaces of checkpoints, each read once.

    Args:
        root: folder to write the maps' files to; it must be served.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._places: OrderedDict[tuple[Any, ...], Place] = OrderedDict()
        self._count = itertools.count()
        self._lock = threading.Lock()

    def get(self, pipeline: TransferPipeline) -> Place:
        """The latent space of a pipeline's checkpoint.

        An atlas or a prior that is damaged or of another checkpoint is left out, see `Place.problem`.
        """
        # The same weights can lie in two folders, with an atlas in one of them.
        return self._kept((pipeline.checkpoint, pipeline.folder), lambda folder: self._read(pipeline, folder))

    def beside(self, pipeline: TransferPipeline) -> dict[str, Path]:
        """Maps of other models in a checkpoint's folder, to be looked at: their files by name."""
        found = [] if pipeline.folder is None else sorted(pipeline.folder.glob(f"{BESIDE}*.safetensors"))
        return {path.stem.removeprefix(BESIDE): path for path in found}

    def other(self, path: Path) -> Place:
        """What the page has of another model's map.

        Raises:
            LamdemoError: the file is gone, or is no atlas.
        """

        def read(folder: Path) -> Place:
            from lamdemo.latent_space.atlas import Atlas
            from lamdemo.ui.map import write_map

            atlas = Atlas.load(path)
            return Place(atlas, folder, write_map(atlas, folder), None)

        return self._kept((path, path.stat().st_mtime_ns if path.is_file() else 0), read)

    def _kept(self, key: tuple[Any, ...], read: Callable[[Path], Place]) -> Place:
        """A place that was read before, or is read now, given a folder for its files."""
        with self._lock:
            if key not in self._places:
                self._places[key] = read(self.root / f"map-{next(self._count):03d}")
                while len(self._places) > MOST_PLACES:
                    _, old = self._places.popitem(last=False)
                    shutil.rmtree(old.folder, ignore_errors=True)
            self._places.move_to_end(key)
            return self._places[key]

    def plotly(self) -> Path:
        """Plotly's JavaScript, where the page serves it."""
        from lamdemo.ui.map import write_plotly

        return write_plotly(self.root / "plotly")

    def _read(self, pipeline: TransferPipeline, folder: Path) -> Place:
        from lamdemo.latent_space.atlas import Atlas
        from lamdemo.latent_space.directions import play_set
        from lamdemo.models.prior import load_prior
        from lamdemo.ui.map import write_map

        atlas = prior = data = None
        problem = ""
        if pipeline.folder is not None:
            # What is wrong with an atlas or a prior must not take the rest of the tab away.
            try:
                atlas = Atlas.read(pipeline.folder)
                if atlas is not None:
                    atlas.check(pipeline)
            except LamdemoError as error:
                atlas, problem = None, str(error)
            try:
                prior = load_prior(pipeline.folder, device=pipeline.model.device)
            except LamdemoError as error:
                problem = problem or str(error)
        if atlas is not None:
            folder.mkdir(parents=True, exist_ok=True)
            data = write_map(atlas, folder)
        place = Place(atlas, folder, data, prior, about=_prior_report(pipeline), problem=problem)
        if atlas is not None:
            # A few hundred steps tell how far recordings are apart as well as all of them.
            some = np.linspace(0, len(atlas) - 1, min(len(atlas), 256)).astype(int)
            apart = [atlas.nearest(atlas.latents[i], 1, other_than=int(atlas.recording[i]))[1] for i in some]
            place.spacing = max(float(np.mean(apart)), 1e-6)
            if atlas.directions is not None:
                place.keys = play_set(atlas.directions)
        return place


def _prior_report(pipeline: TransferPipeline) -> dict[str, Any]:
    """The figures of a bundled checkpoint's priors, where the report that comes with the code is of its weights."""
    try:
        found = results_of(pipeline, "prior")["headline"]
        return {k: float(found[k]) for k in ("fixed", "stateless", "learned") if found[k] is not None}
    except (ValueError, LookupError, TypeError):
        return {}


@dataclass
class SpaceSession:
    """What one open page has going on in the latent space."""

    checkpoint: str = ""  # hash of the checkpoint that all of this belongs to
    chosen: Term | None = None  # the action on the stage, and
    before: Term | None = None  # the one that was there before it, for going between the two
    timeline: Composition | None = None  # the blocks
    block: int = 0  # which block of it is chosen
    samples: dict[str, np.ndarray] = field(default_factory=dict)  # drawn latents [K, Z] by their group's name
    rollout: Rollout | None = None  # play mode's picture, and
    pressed: list[str] = field(default_factory=list)  # what was done to it, newest last
    playing: tuple[str, float] | None = None  # file and moment of the target that the rollout began from,
    staged: tuple[str, float] | None = None  # of the target that is acted on on the stage, and
    sampled: tuple[str, float] | None = None  # of the target that samples were drawn for
    performed: Composition | None = None  # the actions whose result is on the stage; None where that shows the target
    of_timeline: bool = False  # whether they are the timeline's
    # Strength and steps that the stage's controls gave them; None where these have no part in it.
    setting: tuple[float, int] | None = None
    knobs: tuple[float, int] | None = None  # what these controls say now
    foreign: bool = False  # whether the stage shows what the checkpoint before made
    # What the user calls directions, by key, with a minus for the reverse.
    names: dict[str, str] = field(default_factory=dict)
    restored: bool = False  # whether what the browser kept was looked at; until then it must not be overwritten
    linked: bool = False  # whether the timeline came by a link that is not played yet
    looking: Place | None = None  # another model's space, whose map is shown in the place of this one's, and
    looked: tuple[np.ndarray, str, list[int]] | None = None  # what of it: latent [Z], words, steps of its atlas

    def choose(self, term: Term) -> None:
        """Put an action on the stage."""
        if self.chosen is None or self.chosen.z.tobytes() != term.z.tobytes():
            self.before = self.chosen
        self.chosen = term

    def show(self, made: Composition | None, setting: tuple[float, int] | None = None) -> None:
        """Something else is on the stage: the result of actions, or the target."""
        self.performed, self.setting, self.foreign = made, setting, False
        self.of_timeline = made is not None and made is self.timeline


_FILMED = 2  # of the neighbours on show that are of filmed clips


def elsewhere(atlas: Atlas, z: np.ndarray, own: int | None, count: int) -> tuple[list[int], list[float]]:
    """The nearest steps of other recordings; the last two are of filmed clips, where there are some.

    Drawn scenes are so many that without this a filmed step would hardly ever be seen.

    Args:
        atlas: whose steps.
        z: latent action ``[Z]``.
        own: a recording that does not count.
        count: how many steps, each of another recording.

    Returns:
        Indices of the steps, and how far each is from ``z``.
    """
    near, distances = atlas.nearest(z, count, other_than=own)
    drawn = np.unique(atlas.recording[atlas.kind >= 0])  # each scene is of a kind, a filmed clip of none
    if len(drawn):
        filmed, far = atlas.nearest(z, _FILMED, other_than=[*drawn.tolist(), *([] if own is None else [own])])
        stay = ~np.isin(near, filmed)
        room = np.flatnonzero(stay)[: count - len(filmed)]
        near, distances = np.concatenate([near[room], filmed]), np.concatenate([distances[room], far])
    return [int(i) for i in near], [float(d) for d in distances]


def play_target(path: str | None, moment: float, fps: float) -> np.ndarray:
    """The target at the size it is played with, see `lamdemo.ui.inputs.read_target`."""
    return read_target(path, moment, fps, SIDE)
