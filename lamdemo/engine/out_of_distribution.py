"""Whether latent actions are of the kind that a model saw in training.

A world model answers any latent, and answers those far from all it was trained on with something that looks
like a transfer and is none. So a checkpoint may bring a sample of the latents inferred on its training clips
(``latents.safetensors``), and new ones are judged against it.

What is compared is the distance to the 8th nearest latent of the sample. It assumes no shape of the
distribution, which is neither normal nor in one piece (most steps of most videos are nearly still, robots move
unlike cameras), and one odd latent in the sample does not make its surroundings look well known. Each channel is
divided by its standard deviation over the sample, since families and channels differ in scale, but by no less
than a tenth of the largest: channels that the bottleneck closed hold rounding noise, which would otherwise
count as much as all the rest. The score is a quantile of the sample's own leave-one-out distances,
so that "above 0.99" means: farther out than 99 of 100 steps of the training clips are from the other clips.

Three rules stand beside it. Latents near zero mean that nothing happens, which every model knows, and are never
out of distribution. With ``recordings``, a latent of the sample is compared with other recordings' only; without,
steps of one clip make each other look well known, and new clips look farther out than they are. And a discrete
model's codes are names: one that the sample never uses is far, however near it lies to others.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.core.tensors import stored_tensors
from lamdemo.models import checkpoint_hash, read_config
from lamdemo.models.checkpoint import WEIGHTS_NAME

LATENTS_NAME = "latents.safetensors"
FORMAT = "lamdemo-latents/1"
NEIGHBOURS = 8
FAR = 0.99  # quantile above which a step lies outside what was seen
STILL = 0.05  # share of the sample's root mean square norm up to which a latent means "nothing happens"
FLOOR = 0.1  # share of the largest standard deviation that each channel is divided by at least
WARN = 0.1  # share of far steps that is worth a warning; one in a hundred is far by definition

_MOST = 20_000  # latents of a sample: all distances are looked at once
_ROWS = 512  # of the sample's distances at once: 8 MB for 4096 latents
_SAME = 1e-5  # squared distance over squared norms that is rounding, not distance


@dataclass(frozen=True, eq=False)
class OutOfDistribution:
    """How far the steps of a sequence lie outside what was seen in training."""

    scores: np.ndarray  # float64 [S], a quantile from 0 to 1 for each step, see `TrainingLatents.score`

    @property
    def far(self) -> np.ndarray:
        """Which steps lie outside what was seen in training, bool ``[S]``."""
        return self.scores > FAR

    @property
    def count(self) -> int:
        """How many do."""
        return int(self.far.sum())

    @property
    def warning(self) -> str:
        """One sentence where a tenth of the steps or more are far; else empty."""
        return warning(self.count, len(self.scores))

    def as_dict(self) -> dict[str, object]:
        """For reports: ``far_steps``, ``steps``, ``unfamiliarity`` and ``warning`` (null for none)."""
        return {
            "far_steps": self.count,
            "steps": len(self.scores),
            "unfamiliarity": [round(float(u), 4) for u in self.scores],
            "warning": self.warning or None,
        }


def warning(far: int, steps: int) -> str:
    """The sentence for ``far`` of ``steps`` steps, empty where there is no need for one."""
    if not far or far < WARN * steps:
        return ""
    verb, place = ("lies", "in it") if steps == 1 else ("lies" if far == 1 else "lie", "there")
    return (
        f"{far} of {steps} step{'s' if steps > 1 else ''} {verb} outside what this model saw in training; expect the "
        f"transfer to be wrong {place}."
    )


class TrainingLatents:
    """A sample of the latents that a model saw in training, against which others are scored.

    Args:
        latents: ``[M, Z]``, finite, more than `NEIGHBOURS` of them.
        recordings: ``[M]``, which recording each is from, any numbers; None if that is not known.
        discrete: whether they are codes, which are either in the sample or not.

    Raises:
        ValueError: the shapes do not fit, a value is not finite, or there are too few latents (of other
            recordings than each one's own).
    """

    def __init__(self, latents: np.ndarray, recordings: np.ndarray | None = None, *, discrete: bool = False) -> None:
        latents = _rounded(latents)
        if latents.ndim != 2 or not latents.shape[1] or not np.isfinite(latents).all():
            raise ValueError(f"latents must be finite and [M, Z], not {list(latents.shape)}")
        others = len(latents) - 1
        if recordings is not None:
            recordings = np.asarray(recordings)
            if recordings.shape != latents.shape[:1]:
                raise ValueError(f"{len(latents)} latents need as many recordings, not {list(recordings.shape)}")
            others = len(latents) - int(np.unique(recordings, return_counts=True)[1].max(initial=0))
        if others < NEIGHBOURS:
            raise ValueError(f"each latent needs {NEIGHBOURS} others to be compared with, not {others}")
        self.latents, self.recordings, self.discrete = latents, recordings, discrete
        spread = latents.std(0)
        largest = float(spread.max())
        # A sample of one and the same latent has no spread; any scale will do for it.
        self._scale = np.maximum(spread, FLOOR * largest) if largest > 0 else np.ones_like(spread)
        self._scaled = latents / self._scale
        self._squares = np.square(self._scaled).sum(1)
        self._still = STILL * float(np.sqrt(np.square(latents).sum(1).mean()))

    @classmethod
    def read(cls, folder: str | Path) -> TrainingLatents | None:
        """The sample in a checkpoint's folder, or None where it brings none.

        Raises:
            LamdemoError: the file is damaged, or belongs to another checkpoint.
        """
        folder = Path(folder)
        path = folder / LATENTS_NAME
        if not path.is_file():
            return None
        config, _ = read_config(folder)
        try:
            if stored_tensors(path)["latents"].shape[0] > _MOST:
                raise ValueError("too many")
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                latents = file.get_tensor("latents")
                recordings = file.get_tensor("recordings") if "recordings" in file.keys() else None
            width = latents.shape[1]
            found = cls(latents, recordings, discrete=config.bottleneck.family == "discrete")
        except (SafetensorError, OSError, ValueError, TypeError, LookupError) as error:
            raise LamdemoError(
                f"{LATENTS_NAME} of the checkpoint {folder.name} is damaged; copy it again, or remove it."
            ) from error
        other = about.get("checkpoint")
        if width != config.bottleneck.channels or (other and other != checkpoint_hash(folder)):
            raise LamdemoError(
                f"{LATENTS_NAME} of the checkpoint {folder.name} belongs to another model; copy its own, or remove it."
            )
        return found

    @functools.cached_property
    def distances(self) -> np.ndarray:
        """The sample's leave-one-out distances, ascending, ``[M]``; half a second for 4096, once."""
        found = []
        for start in range(0, len(self.latents), _ROWS):
            rows = slice(start, start + _ROWS)
            squared = self._squared(self._scaled[rows])
            here = np.arange(len(squared))
            if self.recordings is None:
                squared[here, start + here] = np.inf
            else:
                squared[self.recordings[rows, None] == self.recordings[None]] = np.inf
            found.append(_kth(squared))
        return np.sort(np.concatenate(found))

    def score(self, latents: np.ndarray) -> np.ndarray:
        """How far out each latent lies, as a quantile of the sample's own distances.

        Args:
            latents: ``[S, Z]``.

        Returns:
            float64 ``[S]``: the share of the sample's latents that lie nearer to the rest of it. 0 is in the
            thick of it (or nothing happens), 1 farther out than any.

        Raises:
            ValueError: they are of another width.
        """
        if latents.ndim != 2 or latents.shape[1] != self.latents.shape[1]:
            raise ValueError(f"latents must be [S, {self.latents.shape[1]}], not {list(latents.shape)}")
        rounded = _rounded(latents)
        with np.errstate(invalid="ignore", over="ignore"):
            distance = _kth(self._squared(rounded / self._scale))
        quantile = np.searchsorted(self.distances, distance, side="left") / len(self.distances)
        if self.discrete:
            quantile[[code.tobytes() not in self._codes for code in rounded]] = 1.0
        quantile[~np.isfinite(distance)] = 1.0
        quantile[np.linalg.norm(latents, axis=1) <= self._still] = 0.0
        return quantile

    def judge(self, latents: np.ndarray) -> OutOfDistribution:
        """`score` with what follows from it."""
        return OutOfDistribution(self.score(latents))

    @functools.cached_property
    def _codes(self) -> set[bytes]:
        return {code.tobytes() for code in self.latents}

    def _squared(self, rows: np.ndarray) -> np.ndarray:
        """Squared distances ``[R, M]`` of scaled latents to the sample's."""
        norms = np.square(rows).sum(1)[:, None] + self._squares[None]
        squared = norms - 2 * rows @ self._scaled.T
        # Equal codes must be at the same distance, zero, or their order would be that of rounding errors.
        squared[squared < _SAME * norms] = 0.0
        return squared


def _kth(squared: np.ndarray) -> np.ndarray:
    """Distance to the 8th nearest, ``[R]``, of squared distances ``[R, M]``."""
    return np.sqrt(np.partition(squared, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1])


def _rounded(latents: np.ndarray) -> np.ndarray:
    """As the file keeps them, so that a code equals itself; float32."""
    with np.errstate(over="ignore"):
        # Adding zero turns -0 into 0, which is the same number and other bytes.
        return np.asarray(latents).astype(np.float16).astype(np.float32) + np.float32(0)


def save_latents(folder: str | Path, latents: np.ndarray, recordings: np.ndarray | None = None) -> Path:
    """Write a sample of latents beside a checkpoint, as ``latents.safetensors``.

    Call it after the weights are written: the file names them, and is refused beside others.

    Args:
        folder: of the checkpoint.
        latents: ``[M, Z]``, a few thousand inferred on training clips as training showed them (reversed ones
            too, if it showed such), kept as float16.
        recordings: ``[M]``, which recording each is from; with it the score is fair to new recordings.

    Raises:
        ValueError: see `TrainingLatents`.
    """
    TrainingLatents(latents, recordings)
    folder = Path(folder)
    tensors = {"latents": np.ascontiguousarray(latents, np.float16)}
    if recordings is not None:
        tensors["recordings"] = np.unique(recordings, return_inverse=True)[1].reshape(-1).astype(np.int32)
    about = {"format": FORMAT, "count": str(len(latents))}
    if (folder / WEIGHTS_NAME).is_file():
        about["checkpoint"] = checkpoint_hash(folder)
    path = folder / LATENTS_NAME
    write_safely(path, save(tensors, metadata=about))
    return path
