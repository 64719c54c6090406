"""Training configs: small TOML files, one a recipe."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from lamdemo.data.scenes import SceneConfig
from lamdemo.data.videos import AugmentConfig, CacheConfig
from lamdemo.errors import LamdemoError
from lamdemo.models.checkpoint import config_from_dict
from lamdemo.models.latent_action_model import LossConfig, ModelConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights are moved.

    Attributes:
        steps: how many steps the schedule spans.
        learning_rate: at its peak.
        warmup: share of the steps in which it rises; it then falls along a cosine.
        floor: share of the peak at which it ends.
        weight_decay: AdamW's and Muon's.
        clip: largest norm of the gradient.
        ema: decay of the moving average of the weights (rising to it from 0).
        muon: move the transformer's matrices with Muon instead of AdamW (paper, appendix A).
    """

    steps: int = 5000
    learning_rate: float = 1e-3
    warmup: float = 0.05
    floor: float = 0.02
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.999
    muon: bool = False


@dataclass(frozen=True)
class BatchConfig:
    """What a step sees.

    Attributes:
        clips: real clips.
        pairs: pairs of procedural scenes (two clips each).
        frames: frames of each clip.
        swapped: share of the pairs whose latents are exchanged.
        weights: weight of each folder of videos (1 where none is given).
        photographs: how many frames of the videos serve as photographs in scenes.
    """

    clips: int = 4
    pairs: int = 2
    frames: int = 6
    swapped: float = 0.5
    weights: dict[str, float] = field(default_factory=dict)
    photographs: int = 1200

    def __post_init__(self) -> None:
        if self.frames < 2 or min(self.clips, self.pairs, self.photographs) < 0:
            raise ValueError("a batch needs clips of at least two frames, and no number below zero")
        if self.clips + self.pairs == 0 or (self.pairs and self.photographs == 0):
            raise ValueError("a batch needs clips or pairs, and pairs need photographs")


@dataclass(frozen=True)
class TrainConfig:
    """A whole recipe.

    Attributes:
        model: what is trained.
        loss: weights of its terms.
        optimizer: how.
        batch: on what.
        cache: how videos are decoded.
        augment: how they are varied.
        scenes: how procedural scenes are drawn.
        bottleneck_warmup: share of the steps over which the bottleneck's constraint comes into force.
        bf16: compute in bfloat16 where that is safe.
        compile: compile the model (worth its time on large GPUs only).
        seed: of everything random.
        save_minutes: minutes between checkpoints.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    scenes: SceneConfig = field(default_factory=SceneConfig)
    bottleneck_warmup: float = 0.25
    bf16: bool = True
    compile: bool = False
    seed: int = 0
    save_minutes: float = 5.0

    @classmethod
    def read(cls, path: str | Path) -> TrainConfig:
        """Read a TOML file; what it does not say has its default.

        Raises:
            LamdemoError: the file is missing, is no TOML, or names something unknown.
        """
        path = Path(path)
        try:
            return config_from_dict(cls, tomllib.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise LamdemoError(
                f"The training config {path.name} cannot be read; give an existing TOML file."
            ) from error
        except (ValueError, ArithmeticError) as error:
            raise LamdemoError(f"The training config {path.name} cannot be used: {error}.") from error
