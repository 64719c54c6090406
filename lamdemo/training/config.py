"""Training configs: small TOML files, one a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lamdemo.core.config import read_toml
from lamdemo.data.scenes import ThingSceneConfig
from lamdemo.data.videos import AugmentConfig, CacheConfig
from lamdemo.models import ModelConfig
from lamdemo.training.loop import Schedule
from lamdemo.training.objective import LossConfig


@dataclass(frozen=True)
class OptimizerConfig(Schedule):
    """How weights of a model are moved."""

    steps: int = 5000
    learning_rate: float = 1e-3
    floor: float = 0.02
    ema: float = 0.999
    fresh: float = 1.0  # times the learning rate, for weights that the checkpoint a run starts from lacked
    muon: bool = False  # move the transformer's matrices with Muon instead of AdamW (paper, appendix A)


@dataclass(frozen=True)
class BatchConfig:
    """What a step sees."""

    clips: int = 4  # real clips
    pairs: int = 2  # pairs of scenes (two clips each)
    frames: int = 6  # frames of each clip
    # A step sees so many batches of this size, each drawn by itself, and learns from their mean: shared out among the
    # processes that train together, one after the other in each. What compares the clips of a batch (the variance of
    # sparse latents, the use of codes) sees one part at a time.
    parts: int = 1
    swapped: float = 0.5  # share of the pairs whose latents are exchanged
    weights: dict[str, float] = field(default_factory=dict)  # weight of each folder of videos (1 where none is given)
    photographs: int = 1200  # how many frames of the videos serve as photographs in scenes
    workers: int = 1  # processes that prefetch batches; 0 makes them between the steps

    def __post_init__(self) -> None:
        if self.parts < 1:
            raise ValueError("a batch has one part at least")
        if self.frames < 2 or min(self.clips, self.pairs, self.photographs, self.workers) < 0:
            raise ValueError("a batch needs clips of at least two frames, and no number below zero")
        if self.clips + self.pairs == 0 or (self.pairs and self.photographs == 0):
            raise ValueError("a batch needs clips or pairs, and pairs need photographs")


@dataclass(frozen=True)
class TrainConfig:
    """A whole recipe."""

    model: ModelConfig = field(default_factory=ModelConfig)  # what is trained
    loss: LossConfig = field(default_factory=LossConfig)  # weights of its terms
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)  # how
    batch: BatchConfig = field(default_factory=BatchConfig)  # on what
    cache: CacheConfig = field(default_factory=CacheConfig)  # how videos are decoded
    augment: AugmentConfig = field(default_factory=AugmentConfig)  # how they are varied
    scenes: ThingSceneConfig = field(default_factory=ThingSceneConfig)  # how scenes of things are drawn
    bottleneck_warmup: float = 0.25  # share of the steps over which the bottleneck's constraint comes into force
    bf16: bool = True  # compute in bfloat16 where that is safe, and the device is faster in it
    recompute: bool = False  # keep less for the way back and compute it again, where memory is short
    compile: bool = False  # compile the model (worth its time on large GPUs only)
    seed: int = 0  # of everything random
    save_minutes: float = 5.0  # minutes between checkpoints
    unreadable: float = 0.1  # share of the videos that are left out where they cannot be read; a run refuses more

    @classmethod
    def read(cls, path: str | Path) -> TrainConfig:
        """Read a TOML file; see `read_toml`."""
        return read_toml(cls, path, "The training config")
