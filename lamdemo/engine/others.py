"""Models of others whose weights are public, as readers of latents: for maps and measures beside ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import file_hash
from lamdemo.engine.hub import Layout, most_bytes
from lamdemo.models.others import adaworld, villax
from lamdemo.models.others.adaworld import AdaWorldEncoder
from lamdemo.models.others.villax import VillaXEncoder
from lamdemo.models.stored import Damaged, Unfit

FPS = 4.0
"""Steps a second at which clips are read without a word: ours, so that two maps show the same steps.

Neither publication fixes a rate. AdaWorld's data loader takes every second frame of most films
(``lam/lam/dataset.py``); villa-X's paper leaves the distance open.
"""


@dataclass(frozen=True)
class Other:
    """A model of others, and where it is."""

    name: str
    repository: str  # on the Hub
    layout: Layout
    encoder: type[AdaWorldEncoder] | type[VillaXEncoder]

    @property
    def only_reads(self) -> str:
        """Why nothing can be done with it here but to read latents."""
        return (
            f"{self.name} only reads latents here: it can be put on a map (lamdemo atlas), while acting on a picture "
            "needs a checkpoint of lamdemo."
        )

    def lies_in(self, folder: Path) -> bool:
        """Whether a folder has its files."""
        return all(path.is_file() for path in self.encoder.files(folder))


OTHERS = (
    Other(
        "AdaWorld",
        "Little-Podi/AdaWorld",
        Layout("latent action model of AdaWorld", (adaworld.CKPT,), (adaworld.CKPT,)),
        AdaWorldEncoder,
    ),
    Other(
        "villa-X",
        "microsoft/villa-x",
        Layout(
            "latent action model of villa-X",
            (f"{villax.FOLDER}/{villax.CONFIG}", f"{villax.FOLDER}/{villax.WEIGHTS}"),
            (f"{villax.FOLDER}/{villax.CONFIG}", f"{villax.FOLDER}/{villax.WEIGHTS}"),
        ),
        VillaXEncoder,
    ),
)


class OtherReader:
    """A model of others that reads latents and does nothing else, see `lamdemo.engine.readers.LatentReader`.

    Attributes:
        name: what to call it.
        checkpoint: SHA-256 of the file of its weights.
        fps: steps a second at which clips are read.
    """

    def __init__(
        self, encoder: AdaWorldEncoder | VillaXEncoder, *, name: str, checkpoint: str = "", fps: float = FPS
    ) -> None:
        self.encoder, self.name, self.checkpoint, self.fps = encoder.eval(), name, checkpoint, fps

    @classmethod
    def load(cls, other: Other, folder: Path, device: torch.device | str = "cpu") -> OtherReader:
        """Read a model's files.

        Args:
            other: which model.
            folder: of its files.
            device: to compute on.

        Raises:
            LamdemoError: they are damaged, of something else or too large.
        """
        file = other.encoder.files(folder)[0]
        try:
            encoder = other.encoder.load(folder, most=most_bytes())
        except Damaged as error:
            raise LamdemoError(f"{file.name} of {other.name} cannot be read ({error}); fetch it again.") from error
        except Unfit as error:
            raise LamdemoError(
                f"{file.name} is not of the latent action model of {other.name} as it was published ({error}); give "
                "its own file."
            ) from error
        return cls(encoder.to(device), name=other.name, checkpoint=file_hash(file))

    @property
    def family(self) -> str:
        """As `lamdemo.engine.Inference.family`."""
        return self.encoder.family

    @property
    def channels(self) -> int:
        """Width ``Z`` of the latents."""
        return self.encoder.channels

    @property
    def picture(self) -> int:
        """Height and width of the pictures it sees."""
        return self.encoder.picture

    @torch.no_grad()
    def read(self, frames: np.ndarray) -> np.ndarray:
        """Latents float32 ``[T - 1, Z]`` between consecutive frames uint8 ``[T, H, W, 3]``.

        Raises:
            LamdemoError: the array is not of such frames, or of fewer than two.
        """
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
            raise LamdemoError("Frames must be uint8 RGB pictures [T, H, W, 3]; convert them first.")
        if len(frames) < 2:
            raise LamdemoError("The source needs at least two frames; an action is what happens between them.")
        device = next(self.encoder.parameters()).device
        given = torch.from_numpy(np.require(frames, requirements=["C", "W"])).to(device).movedim(-1, 1)
        return self.encoder(self.encoder.prepared(given)).float().cpu().numpy()
