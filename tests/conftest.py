"""What many tests need: a checkpoint small enough to load and run at once, a short clip, a picture."""

from __future__ import annotations

import os

# Before torch is imported: threads that spin while they wait would starve whatever else the machine does.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from xdist.scheduler import LoadFileScheduling

from lamdemo.models import LatentActionModel, ModelConfig, save_checkpoint
from lamdemo.models.bottleneck import BottleneckConfig
from lamdemo.models.decoder import DecoderConfig
from lamdemo.models.encoder import EncoderConfig
from lamdemo.models.inverse_dynamics import InverseDynamicsConfig
from lamdemo.models.world_model import WorldModelConfig
from lamdemo.video import write_image, write_video

ROOT = Path(__file__).resolve().parents[1]

TINY = ModelConfig(
    encoder=EncoderConfig(picture=64, channels=24),
    inverse_dynamics=InverseDynamicsConfig(width=32, match=16, reach=2, window=1, hidden=64, depth=1),
    bottleneck=BottleneckConfig(channels=16),
    world_model=WorldModelConfig(width=32, depth=1, heads=2, context=4, map_channels=8, head_width=16),
    decoder=DecoderConfig(width=16, picture=32),
)


def moving_square(frames: int = 9, height: int = 48, width: int = 64, step: int = 3) -> np.ndarray:
    """A bright square on a coloured ramp, ``step`` pixels further right each frame: ``[T, H, W, 3]``."""
    y, x = np.mgrid[:height, :width]
    ground = np.stack([2 * x, 3 * y, 120 + 0 * x], -1).clip(0, 255).astype(np.uint8)
    clip = np.repeat(ground[None], frames, 0)
    for t in range(frames):
        left = 4 + step * t
        clip[t, 14:30, left : left + 16] = (250, 230, 40)
    return clip


class _Files(LoadFileScheduling):
    """Spreads the tests over processes by file, those with a browser as if in one: two at once starve each other."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "browsers" if "chromiums" in (ROOT / file).read_text(encoding="utf-8") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Files:
    return _Files(config, log)


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder ``tiny`` of a checkpoint with random weights, under which actions do move and paint."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LatentActionModel(TINY)
        model.encoder.fit_whitening(torch.rand(16, 3, 64, 64))
        with torch.no_grad():
            # Heads begin at zero, and a model that predicts "nothing happens" would hide most mistakes.
            for name, parameter in model.named_parameters():
                if not name.startswith("encoder."):
                    parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(model, folder, about={"steps": 0, "seed": 0})
    return folder


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``square.mp4``: 64x48 pixels, 17 frames at 8 frames a second (nine at the model's own four)."""
    path = tmp_path_factory.mktemp("clips") / "square.mp4"
    return write_video(path, moving_square(17, step=2), 8)


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``scene.png``: a picture of 80x60 pixels with something in it that can be seen to move."""
    y, x = np.mgrid[:60, :80]
    picture = np.stack([255 - 3 * x, 40 + 2 * y, 60 + 0 * x], -1).clip(0, 255).astype(np.uint8)
    picture[20:40, 30:50] = (240, 240, 240)
    return write_image(tmp_path_factory.mktemp("photos") / "scene.png", picture)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six pictures in coarse squares, for scenes."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(6):
        coarse = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        write_image(folder / f"{i}.png", np.kron(coarse, np.ones((8, 8, 1), np.uint8)))
    return folder
