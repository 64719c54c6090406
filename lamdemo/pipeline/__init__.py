"""From a clip to its latent actions, and from there to another picture: the one way through."""

from lamdemo.pipeline.actions import ActionEdit, LatentActions
from lamdemo.pipeline.control import Drive, KnownController, control_latents
from lamdemo.pipeline.familiarity import Familiarity, Judgement, save_latents
from lamdemo.pipeline.hub import bundled_checkpoints, describe_checkpoint, resolve_checkpoint
from lamdemo.pipeline.rollout import HISTORY, MAX_LATENT, Rollout, TransferStep
from lamdemo.pipeline.transfer import (
    MAX_SIDE,
    MAX_STEPS,
    TransferPipeline,
    TransferResult,
    collect,
    measure,
    sharpness,
)

__all__ = [
    "HISTORY",
    "MAX_LATENT",
    "MAX_SIDE",
    "MAX_STEPS",
    "ActionEdit",
    "Drive",
    "Familiarity",
    "Judgement",
    "KnownController",
    "LatentActions",
    "Rollout",
    "TransferPipeline",
    "TransferResult",
    "TransferStep",
    "bundled_checkpoints",
    "collect",
    "control_latents",
    "describe_checkpoint",
    "measure",
    "resolve_checkpoint",
    "save_latents",
    "sharpness",
]
