"""Training: recipes, the loop that carries them out, and families of checkpoints made alike."""

from lamdemo.training.config import TrainConfig
from lamdemo.training.family import FamilyConfig, train_family
from lamdemo.training.material import SceneSources, training_recordings
from lamdemo.training.trainer import Trainer, train

__all__ = ["FamilyConfig", "SceneSources", "TrainConfig", "Trainer", "train", "train_family", "training_recordings"]
