"""From a clip to its latent actions, and from there to another picture: the one way through."""

from lamdemo.pipeline.actions import ActionEdit, LatentActions
from lamdemo.pipeline.hub import bundled_checkpoints, resolve_checkpoint
from lamdemo.pipeline.transfer import (
    MAX_SIDE,
    MAX_STEPS,
    TransferPipeline,
    TransferResult,
    TransferStep,
    collect,
    measure,
    sharpness,
)

__all__ = [
    "MAX_SIDE",
    "MAX_STEPS",
    "ActionEdit",
    "LatentActions",
    "TransferPipeline",
    "TransferResult",
    "TransferStep",
    "bundled_checkpoints",
    "collect",
    "measure",
    "resolve_checkpoint",
    "sharpness",
]
