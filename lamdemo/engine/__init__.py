"""From a clip to its latent actions, and from there to another picture: the one way through."""

from lamdemo.core.latent_actions import ActionEdit, LatentActions
from lamdemo.engine.controls import Drive, KnownController, control_latents
from lamdemo.engine.inference import Inference
from lamdemo.engine.out_of_distribution import OutOfDistribution, TrainingLatents, save_latents
from lamdemo.engine.pretrained import bundled_checkpoints, describe_checkpoint, resolve_checkpoint
from lamdemo.engine.results import TransferResult, collect, measure, sharpness
from lamdemo.engine.rollout import HISTORY, MAX_LATENT, Rollout, TransferStep
from lamdemo.engine.transfer import MAX_SIDE, MAX_STEPS, TransferPipeline
from lamdemo.engine.verdict import Indicators, Verdict, VerdictRule

__all__ = [
    "HISTORY",
    "MAX_LATENT",
    "MAX_SIDE",
    "MAX_STEPS",
    "ActionEdit",
    "Drive",
    "Indicators",
    "Inference",
    "KnownController",
    "LatentActions",
    "OutOfDistribution",
    "Rollout",
    "TrainingLatents",
    "TransferPipeline",
    "TransferResult",
    "TransferStep",
    "Verdict",
    "VerdictRule",
    "bundled_checkpoints",
    "collect",
    "control_latents",
    "describe_checkpoint",
    "measure",
    "resolve_checkpoint",
    "save_latents",
    "sharpness",
]
