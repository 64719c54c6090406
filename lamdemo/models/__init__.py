"""The paper's parts, a file each: encoder, inverse dynamics, bottleneck, world model, decoder; the whole."""

from lamdemo.models.bottleneck import BottleneckConfig
from lamdemo.models.checkpoint import checkpoint_hash, load_checkpoint, read_config, save_checkpoint
from lamdemo.models.companions import load_draft, load_twin, save_companion
from lamdemo.models.decoder import Canvas, DecoderConfig
from lamdemo.models.draft import Draft, DraftConfig
from lamdemo.models.encoder import EncoderConfig, register_encoder
from lamdemo.models.inverse_dynamics import InverseDynamicsConfig
from lamdemo.models.latent_action_model import LatentActionModel, LossConfig, ModelConfig
from lamdemo.models.twin import Twin, TwinConfig
from lamdemo.models.world_model import WorldModelConfig

__all__ = [
    "BottleneckConfig",
    "Canvas",
    "DecoderConfig",
    "Draft",
    "DraftConfig",
    "EncoderConfig",
    "InverseDynamicsConfig",
    "LatentActionModel",
    "LossConfig",
    "ModelConfig",
    "Twin",
    "TwinConfig",
    "WorldModelConfig",
    "checkpoint_hash",
    "load_checkpoint",
    "load_draft",
    "load_twin",
    "read_config",
    "register_encoder",
    "save_checkpoint",
    "save_companion",
]
