"""The paper's parts, a file each: encoder, inverse dynamics, bottleneck, world model, decoder; the whole."""

from lamdemo.models.bottleneck import BottleneckConfig
from lamdemo.models.checkpoint import checkpoint_hash, load_checkpoint, read_config, save_checkpoint
from lamdemo.models.decoder import Canvas, DecoderConfig
from lamdemo.models.encoder import EncoderConfig, register_encoder
from lamdemo.models.inverse_dynamics import InverseDynamicsConfig
from lamdemo.models.latent_action_model import LatentActionModel, LossConfig, ModelConfig
from lamdemo.models.world_model import WorldModelConfig

__all__ = [
    "BottleneckConfig",
    "Canvas",
    "DecoderConfig",
    "EncoderConfig",
    "InverseDynamicsConfig",
    "LatentActionModel",
    "LossConfig",
    "ModelConfig",
    "WorldModelConfig",
    "checkpoint_hash",
    "load_checkpoint",
    "read_config",
    "register_encoder",
    "save_checkpoint",
]
