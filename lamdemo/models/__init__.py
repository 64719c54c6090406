"""The paper's parts, a file each: encoder, inverse dynamics, bottleneck, world model, decoder; the whole."""

from lamdemo.models.action_conditioned import ActionConditioned, ActionConditionedConfig
from lamdemo.models.bottleneck import BottleneckConfig
from lamdemo.models.canvas import Canvas
from lamdemo.models.checkpoint import checkpoint_hash, load_checkpoint, read_config, save_checkpoint
from lamdemo.models.companion_files import load_action_conditioned, load_distilled, save_companion
from lamdemo.models.decoder import DecoderConfig
from lamdemo.models.distilled import DistilledConfig, DistilledModel
from lamdemo.models.encoder import EncoderConfig, register_encoder
from lamdemo.models.inverse_dynamics import InverseDynamicsConfig
from lamdemo.models.latent_action_model import LatentActionModel, ModelConfig
from lamdemo.models.painter import PainterConfig
from lamdemo.models.vision_transformers import FrozenTransformer
from lamdemo.models.world_model import WorldModelConfig

__all__ = [
    "ActionConditioned",
    "ActionConditionedConfig",
    "BottleneckConfig",
    "Canvas",
    "DecoderConfig",
    "DistilledConfig",
    "DistilledModel",
    "EncoderConfig",
    "FrozenTransformer",
    "InverseDynamicsConfig",
    "LatentActionModel",
    "ModelConfig",
    "PainterConfig",
    "WorldModelConfig",
    "checkpoint_hash",
    "load_action_conditioned",
    "load_checkpoint",
    "load_distilled",
    "read_config",
    "register_encoder",
    "save_checkpoint",
    "save_companion",
]
