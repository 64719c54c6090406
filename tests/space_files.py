"""A checkpoint with all that a latent space needs: an atlas with directions, and a learned prior."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from atlas_files import synthetic_atlas

from lamdemo.latent_space.directions import PROBES, Direction, Directions
from lamdemo.models import checkpoint_hash, read_config
from lamdemo.models.prior import FlowPrior, FlowPriorConfig, save_prior


def made_up_directions(channels: int, points: int) -> Directions:
    """Four probes, two principal directions and two clusters, of unit vectors; flows are what their names say."""
    z = 2 * np.eye(channels, dtype=np.float32)
    y, x = np.mgrid[:12, :12] / 6 - 1
    still = 0 * x
    fields = {
        "pan-right": (-0.04 + still, still),
        "pan-down": (still, -0.04 + still),
        "zoom-in": (0.05 * x, 0.05 * y),
        "roll-clockwise": (0.05 * y, -0.05 * x),
    }
    names = {
        "pan-right": ("camera pans right", "camera pans left"),
        "pan-down": ("camera pans down", "camera pans up"),
        "zoom-in": ("zoom in", "zoom out"),
        "roll-clockwise": ("camera rolls clockwise", "camera rolls counter-clockwise"),
    }
    entries = []
    kinds = [*((key, "probe") for key in PROBES), ("pc1", "principal"), ("pc2", "principal")]
    for k, (key, kind) in enumerate([*kinds, ("cluster0", "cluster"), ("cluster1", "cluster")]):
        flow = np.stack(fields.get(key, (0.01 * y, still)), -1).astype(np.float32)
        name, back = names.get(key, ("", ""))
        examples = np.arange(4, dtype=np.int32) * (points // 5) + k
        entries.append(Direction(key, kind, z[k], flow, examples, name, 0.9, 0.1, -flow, back, 0.9))
    return Directions(tuple(entries))


def add_space(folder: Path, *, points: int = 300, seed: int = 0) -> Path:
    """Put an atlas and a prior into a checkpoint's folder."""
    config, _ = read_config(folder)
    channels = config.bottleneck.channels
    atlas = synthetic_atlas(points, channels, 40, seed)
    atlas = replace(atlas, checkpoint=checkpoint_hash(folder), name=folder.name)
    replace(atlas, directions=made_up_directions(channels, points)).save(folder / "atlas.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        prior = FlowPrior(FlowPriorConfig(channels=channels, state_channels=config.encoder.channels, width=32))
        prior.fit_scales(torch.from_numpy(atlas.latents))
    save_prior(prior, folder)
    return folder


def space_checkpoint(tiny: Path, place: Path) -> Path:
    """A copy of a checkpoint, with a latent space."""
    shutil.copytree(tiny, place)
    return add_space(place)
