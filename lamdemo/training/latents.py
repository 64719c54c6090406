"""A sample of the latents that a checkpoint infers on its training steps, by which new clips are told from these."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lamdemo.core.config import config_from_dict
from lamdemo.core.errors import LamdemoError
from lamdemo.data.splits import Split
from lamdemo.engine.out_of_distribution import save_latents
from lamdemo.models.checkpoint import read_config
from lamdemo.training.config import TrainConfig
from lamdemo.training.material import training_material
from lamdemo.training.trainer import Trainer

KEPT = 4096  # latents in a sample
_CLIPS, _PAIRS = 4, 5  # in a batch, at most


def keep_sample(folder: Path, latents: np.ndarray) -> Path:
    """Write a sample of latents ``[clips, S, Z]`` beside a checkpoint.

    Raises:
        ValueError: they are too few to judge others by.
    """
    clips = np.repeat(np.arange(len(latents)), latents.shape[1])
    kept = np.random.default_rng(0).permutation(len(clips))[:KEPT]
    return save_latents(folder, latents.reshape(len(clips), -1)[kept], clips[kept])


def sample_latents(
    folder: Path,
    videos: Path,
    cache: Path,
    *,
    split: Split | None = None,
    batches: int = 150,
    device: str = "cpu",
) -> Path:
    """Infer latents on steps as a checkpoint's training shows them, and keep a sample of them beside it.

    Args:
        folder: of the checkpoint; its recipe says how clips are varied and scenes are drawn.
        videos: folder of videos, or a pack.
        cache: where decoded frames are kept.
        split: which clips are for training; all without it.
        batches: to infer latents on.
        device: where to compute.

    Raises:
        LamdemoError: the checkpoint cannot be read, there is no video, or too few latents.
    """
    model, about = read_config(folder)
    try:
        recipe = config_from_dict(TrainConfig, {**about["recipe"], "compile": False})
    except (KeyError, ValueError, TypeError):  # made by another version, or by hand
        recipe = TrainConfig()
    if recipe.model != model:
        recipe = TrainConfig(model, batch=recipe.batch, augment=recipe.augment, scenes=recipe.scenes)
    # A GPU's large batches make the same sample, in many times the time.
    small = dataclasses.replace(
        recipe.batch, clips=min(recipe.batch.clips, _CLIPS), pairs=min(recipe.batch.pairs, _PAIRS)
    )
    recipe = dataclasses.replace(recipe, batch=small)
    trainer = Trainer(
        recipe,
        *training_material(recipe, videos, cache, split=split),
        device=device,
        start_from=folder,
    )
    trainer.model.eval()
    found = []
    with torch.no_grad():
        # Not from step 0, whose batches it was trained on.
        for step in tqdm(range(batches), desc="inferring latents", disable=None):
            pictures = trainer.batch(recipe.optimizer.steps + step).pictures
            with trainer.autocast():
                states = trainer.model.encode(pictures)
            found.append(trainer.model.infer(states.float()).float().cpu().numpy())
    try:
        return keep_sample(folder, np.concatenate(found))
    except ValueError as error:
        raise LamdemoError(f"{videos.name} gives too few latents for a sample; give more videos.") from error
