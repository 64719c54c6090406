"""A checkpoint whose companions are made, and what they are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.companions.embodiments import EMBODIMENTS, Embodiment
from lamdemo.companions.making import Work, open_source
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline, bundled_checkpoints
from lamdemo.engine.verdict import forget_foreign_rule
from lamdemo.models.checkpoint import WEIGHTS_NAME, checkpoint_hash, read_config
from lamdemo.models.controller import list_controllers

ROOT = Path(__file__).resolve().parents[2]  # of the checkout, if this is one
ABLATIONS = "ablations"


@dataclass(frozen=True)
class Amounts:
    """How long what all embodiments share is made; see `lamdemo.companions.embodiments` for controllers."""

    batches: int = 150  # of training that latents are sampled on
    clips: int = 3000  # that a prior learns from
    prior: int = 2500  # steps of its training
    baseline: int = 800  # steps of training the action-conditioned model
    distilled: int = 1300  # steps of distilling one


@dataclass(frozen=True)
class Sources:
    """What companions are made from."""

    videos: Path | None = None  # folder of clips
    split: Path | None = None  # TOML file of which clips are for training
    episodes: tuple[str, ...] = ()  # of known actions, `DIR` or `DIR#PART`, one for each kind
    pairs: Path | None = None  # folder of cases that `lamdemo scenes` made
    second_hand: Path | None = None  # folder of cases that `lamdemo scenes --hand other` made, to judge on
    calibration: Path | None = None  # folder of other such cases, to fit the verdict on


@dataclass(frozen=True, eq=False)
class Target:
    """A checkpoint whose companions are made."""

    folder: Path  # of the checkpoint
    out: Path  # for what is needed to go on, and for reports of a checkpoint that is not bundled
    sources: Sources = Sources()  # what they are made from
    amounts: Amounts = Amounts()  # how long they are made
    command: str = "lamdemo companions"  # as reports quote it
    device: str = "cpu"  # where to compute
    say: Callable[[str], None] = print  # is told what is made

    @cached_property
    def checkpoint(self) -> str:
        """Hash of the weights.

        Raises:
            LamdemoError: the folder holds no checkpoint.
        """
        read_config(self.folder)
        if not (self.folder / WEIGHTS_NAME).is_file():
            raise LamdemoError(f"The checkpoint {self.folder.name} lacks {WEIGHTS_NAME}; copy the whole folder.")
        return checkpoint_hash(self.folder)

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.resolve().name

    @cached_property
    def bundled(self) -> bool:
        """Whether it is one of those that come with this checkout, which are shown in its documents."""
        ours = [folder.resolve() for folder in bundled_checkpoints().values()]
        return self.folder.resolve() in ours and (ROOT / "checkpoints").resolve() == self.folder.resolve().parent

    @property
    def whole(self) -> bool:
        """Whether it brings controllers and other world models: of the bundled ones the default, and who has some."""
        return not self.bundled or self.name == DEFAULT_CHECKPOINT or bool(list_controllers(self.folder))

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The source of episodes of each kind of actions.

        Raises:
            LamdemoError: one cannot be opened.
        """
        return {open_source(source).spec.name: source for source in self.sources.episodes}

    @cached_property
    def embodiments(self) -> list[Embodiment]:
        """Those that the checkpoint has or is to have controllers for."""
        known = [n for n in list_controllers(self.folder) if not n.endswith("-mlp")]
        names = [*EMBODIMENTS] if self.bundled else [*dict.fromkeys([*self.kinds, *known])]
        return [EMBODIMENTS.get(name) or Embodiment(name) for name in names] if self.whole else []

    def pipeline(self) -> TransferPipeline:
        """The checkpoint, loaded anew, since it takes up what lies beside it then."""
        forget_foreign_rule(self.folder)
        pipeline = TransferPipeline.from_pretrained(self.folder, device=self.device)
        pipeline.name = self.name
        return pipeline

    def place(self, step: str) -> Path:
        """Folder for what a step needs to go on: of these weights alone."""
        return self.out / self.name / self.checkpoint[:12] / step

    def work(self, step: str, minutes: float | None, folder: Path | None = None) -> Work:
        """Where a step is made; into the checkpoint's folder, or another."""
        place, cache = self.place(step), self.out / "cache"
        place.mkdir(parents=True, exist_ok=True)
        return Work(self.pipeline(), folder or self.folder, place, True, cache, minutes, self.say)


def without_folder(folder: Path | None, wanted: str) -> str:
    """Why something cannot be made for which a folder is wanted, half a sentence; "" where the folder is there."""
    if folder is None:
        return f"it needs {wanted}"
    return "" if folder.is_dir() else f"there is no folder {folder.name}"


def without_videos(target: Target) -> str:
    """Why something that needs clips cannot be made."""
    return without_folder(target.sources.videos, "--videos, a folder of clips")
