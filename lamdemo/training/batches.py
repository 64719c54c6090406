"""What a step sees: real clips, and pairs of scenes in which one action happens to two things."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lamdemo.data.motion_layers import motion_layers
from lamdemo.data.scenes import SceneBank, SceneClip, draw_pair
from lamdemo.data.videos import ClipSampler
from lamdemo.training.config import TrainConfig
from lamdemo.training.layer_losses import FlowLayers, SceneTruth


class Batch(NamedTuple):
    """What a step sees."""

    pictures: Tensor  # clips uint8 [B, T, 3, H, W]; real ones first, then pairs of scenes
    swap: Tensor  # whose latents each clip is given, [B]
    truth: SceneTruth | None  # of the scenes, the last `2 * pairs` clips; None without any
    seen: FlowLayers | None = None  # of the real clips, the first ones; None without any
    states: Tensor | None = None  # of the pictures [B, T, N, D], where they were encoded before

    def to(self, device: torch.device) -> Batch:
        """The same on a device, pictures in [0, 1]."""

        def moved(part: Tensor) -> Tensor:
            # Waiting: the memory that workers share is gone when the batch is.
            return part.to(device)

        pictures = moved(self.pictures)
        return Batch(
            pictures.float() / 255 if pictures.dtype == torch.uint8 else pictures,
            moved(self.swap),
            None if self.truth is None else _as_shares(SceneTruth(*map(moved, self.truth))),
            None if self.seen is None else FlowLayers(*map(moved, self.seen)),
            None if self.states is None else moved(self.states),
        )


def _as_shares(truth: SceneTruth) -> SceneTruth:
    """Mattes of 8 bits as shares from 0 to 1."""
    if truth.matte.dtype != torch.uint8:
        return truth
    return truth._replace(matte=truth.matte.float() / 255, entering=truth.entering.float() / 255)


def batch_truth(scenes: list[SceneClip], grid: int) -> SceneTruth:
    """What is known of scenes of equal length on a state's grid, mattes still in 8 bits."""

    def stacked(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(scene, name) for scene in scenes]))

    def cells(name: str) -> Tensor:
        values = stacked(name)
        return values if values.shape[-1] == grid else F.adaptive_avg_pool3d(values, (None, grid, grid))

    return SceneTruth(
        matte=stacked("matte")[:, :, None],
        entering=stacked("entering")[:, :, None],
        acting=stacked("acting"),
        acts=torch.tensor([scene.acts for scene in scenes]),
        ground=cells("ground"),
        known=cells("known"),
    )


@dataclass
class BatchMaker(Dataset):
    """Makes the batch of each step, the same whenever it is asked for; or each part of it, numbered through all steps.

    All randomness comes from the seed, the step and the part, so there is no random state to save.
    """

    config: TrainConfig
    sampler: ClipSampler | None
    bank: SceneBank | None

    def __getitem__(self, index: int) -> Batch:
        """Part ``index % parts`` of the batch of step ``index // parts``, on the CPU."""
        c = self.config
        step, part = divmod(index, c.batch.parts)
        rng = np.random.default_rng([c.seed, step] if c.batch.parts == 1 else [c.seed, step, part])
        size, frames = c.model.encoder.picture, c.batch.frames
        parts: list[Tensor] = []
        truth = seen = None
        if c.batch.clips and self.sampler is not None:
            real = (self.sampler.draw(rng, c.batch.clips, frames, size) * 255).round().to(torch.uint8)
            parts.append(real)
            if c.model.world_model.layers:
                layers = [motion_layers(clip, c.model.encoder.grid) for clip in real.permute(0, 1, 3, 4, 2).numpy()]
                seen = FlowLayers(*(torch.from_numpy(np.stack(part)) for part in zip(*layers, strict=True)))
        if c.batch.pairs and self.bank is not None:
            scenes: list[SceneClip] = []
            for _ in range(c.batch.pairs):
                scenes += draw_pair(rng, self.bank, frames, size, c.scenes)
            truth = batch_truth(scenes, c.model.encoder.grid)
            parts.append(torch.from_numpy(np.stack([s.pictures for s in scenes])).permute(0, 1, 4, 2, 3).contiguous())
        swap = np.arange(c.batch.clips + 2 * c.batch.pairs)
        for i in range(c.batch.pairs):
            if rng.random() < c.batch.swapped:
                a = c.batch.clips + 2 * i
                swap[a], swap[a + 1] = a + 1, a
        return Batch(torch.cat(parts), torch.from_numpy(swap), truth, seen)

    def prefetch(self, first: int, last: int, own: range = range(1)) -> Iterator[Batch]:
        """Batches of the steps from ``first`` up to ``last``, of each the parts ``own``, prefetched by workers."""
        workers = self.config.batch.workers
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=[step * self.config.batch.parts + part for step in range(first, last) for part in own],
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="fork" if workers else None,  # what was read once is shared and not copied
        )
        # OpenCV's threads do not live on in a forked process, and waiting for them there never ends.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        try:
            return iter(loader)
        finally:
            cv2.setNumThreads(threads)
