"""Training: recipes, and the loop that carries them out."""

from lamdemo.training.config import TrainConfig
from lamdemo.training.trainer import Trainer, train, training_recordings

__all__ = ["TrainConfig", "Trainer", "train", "training_recordings"]
