"""Small controllers in a checkpoint's folder, for tests of whatever acts with them."""

from pathlib import Path
from typing import Any

import torch

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.models import checkpoint_hash, read_config
from lamdemo.models.controller import Controller, ControllerConfig, save_controller

CAR = ActionSpec(
    "car",
    (
        Channel("steering", "rate", -1, 1, words=("left", "right"), mirror=-1),
        Channel("throttle", "rate", -1, 1, words=("back", "forward"), mirror=1),
    ),
)


def add_controller(
    folder: Path, name: str = "car", spec: ActionSpec = CAR, *, checkpoint: str | None = None, **settings: Any
) -> Controller:
    """Put a controller with random weights, under which commands do something, into a checkpoint's folder."""
    config, _ = read_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(len(name) + spec.width)
        controller = Controller(
            ControllerConfig(**{"actions": spec.width, "width": 16, "heads": 2, "patch": 2, "hidden": 16, **settings}),
            config.encoder.channels,
            config.bottleneck.channels,
            config.encoder.grid,
        )
        with torch.no_grad():
            controller.out.weight.normal_(std=0.3)
    save_controller(
        controller,
        folder,
        name,
        checkpoint=checkpoint or checkpoint_hash(folder),
        spec=spec.to_json(),
        about={"steps": 0},
    )
    return controller.eval()
