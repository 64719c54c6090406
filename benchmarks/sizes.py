"""What a recipe needs of memory and work, counted without doing any of it: nothing is allocated, no weight is fetched.

    python -m benchmarks.sizes [--recipe recipes/vjepa2-l.toml] [--out FILE]

Operations are those of matrix products, convolutions and attention, a multiplication and an addition each. Time is
operations over a share of a GPU's peak that is assumed, not measured; the report says which.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measuring import give
from lamdemo.evaluation.report import git_state
from lamdemo.models import LatentActionModel, warp
from lamdemo.models.vision_transformers import SOURCES
from lamdemo.training import TrainConfig
from lamdemo.training.objective import Objective

# Memory in GB and peak of bfloat16 matrix products without sparsity in TFLOP/s, as their makers give them.
GPUS = {
    "RTX 4090, 24 GB": (24, 165),
    "L40S, 48 GB": (48, 362),
    "A100, 80 GB": (80, 312),
    "H100, 80 GB": (80, 989),
    "H200, 141 GB": (141, 989),
}
SHARE_OF_PEAK = 0.35  # assumed
USABLE = 0.9  # of the memory: the rest is the allocator's and the libraries'
LAYOUTS = {"vjepa2-l": (24, 16), "vjepa2-h": (32, 16), "vjepa2-g": (40, 22)}  # layers and heads


def of_model(config: TrainConfig) -> dict[str, float]:
    """Parameters, and for one clip forward and backward operations and bytes kept in between."""
    kept: dict[int, int] = {}
    warp._is_drawing = lambda *_: False  # OpenCV draws no tensors that are not there
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = LatentActionModel(config.model)
        model.world_model.recompute = config.recompute
        weights = {p.untyped_storage()._cdata for p in model.parameters()}
        alive: list[Tensor] = []  # or another tensor would get the number of one that is gone

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights:
                kept[storage._cdata] = storage.nbytes()
                alive.append(tensor)
            return tensor

        side, frames = config.model.encoder.picture, config.batch.frames
        states = torch.randn(1, frames, config.model.encoder.grid**2, config.model.encoder.channels)
        with (
            FlopCounterMode(display=False) as forward,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16),
        ):
            loss, _ = Objective(model)(torch.rand(1, frames, 3, side, side), weights=config.loss, states=states)
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    w = config.model.world_model
    steps, cells = frames - 1, (config.model.encoder.grid // w.patch) ** 2
    # The counter does not know attention on a CPU: of each frame to itself and those it may look back to.
    pairs = cells**2 * sum(min(t + 1, w.context) for t in range(steps))
    attention = 4 * pairs * w.width * w.depth
    again = attention if config.recompute else 0
    # What goes into each block is kept in full precision where its inside is not, and one inside is there at a time.
    entries = steps * cells * w.width * w.depth * 4 if config.recompute else 0
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "world model parameters": sum(p.numel() for p in model.world_model.parameters()),
        "forward": forward.get_total_flops() + attention,
        "backward": backward.get_total_flops() + 2 * attention + again,
        "kept": sum(kept.values()) + entries,
    }


def of_encoder(config: TrainConfig) -> dict[str, float]:
    """Parameters and operations for one clip of a V-JEPA 2 encoder."""
    name = config.model.encoder.name
    layers, heads = LAYOUTS[name]
    width, cells = SOURCES[name].width, config.model.encoder.grid**2
    from transformers import VJEPA2Config
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2Encoder

    ratio = 48 / 11 if name == "vjepa2-g" else 4
    layout = VJEPA2Config(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, mlp_ratio=ratio)
    layout._attn_implementation = "sdpa"  # of which the counter knows nothing
    with FakeTensorMode():
        encoder = VJEPA2Encoder(layout)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            encoder(torch.rand(config.batch.frames, 2, 3, config.model.encoder.picture, config.model.encoder.picture))
    attention = config.batch.frames * 4 * cells**2 * width * layers
    return {
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "forward": counter.get_total_flops() + attention,
    }


def needs(config: TrainConfig) -> dict[str, Any]:
    """What a recipe needs, in all and of each kind of GPU."""
    kept_whole = of_model(dataclasses.replace(config, recompute=False))["kept"]
    model, encoder = of_model(config), of_encoder(config)
    # Weights, gradients, their sum over the processes and its message, two moments of AdamW at most, the average.
    fixed = model["parameters"] * 4 * 7 + encoder["parameters"] * 4
    clip = model["forward"] + model["backward"] + encoder["forward"]
    # A block's inside, once more than what is kept.
    inside = kept_whole / config.model.world_model.depth if config.recompute else 0.0
    clips = config.batch.clips * config.batch.parts
    total = clip * clips * config.optimizer.steps
    gpus = {}
    for name, (memory, peak) in GPUS.items():
        fit = int((USABLE * memory * 1e9 - fixed) // (model["kept"] + inside))
        hours = total / (SHARE_OF_PEAK * peak * 1e12) / 3600
        gpus[name] = {
            "clips at once": fit,
            "clips at once, nothing recomputed": int((USABLE * memory * 1e9 - fixed) // kept_whole),
            "seconds a clip": round(clip / (SHARE_OF_PEAK * peak * 1e12), 4),
            "days of one": round(hours / 24),
            "hours of 8": round(hours / 8),
            "hours of 64": round(hours / 64, 1),
        }
    return {
        "parameters in training, millions": round(model["parameters"] / 1e6, 1),
        "of the world model, millions": round(model["world model parameters"] / 1e6, 1),
        "of the frozen encoder, millions": round(encoder["parameters"] / 1e6, 1),
        "TFLOP a clip": {
            "encoder": round(encoder["forward"] / 1e12, 2),
            "forward": round(model["forward"] / 1e12, 2),
            "backward": round(model["backward"] / 1e12, 2),
            "together": round(clip / 1e12, 2),
        },
        "GB for weights, gradients, moments, average and encoder": round(fixed / 1e9, 1),
        "GB kept a clip": round(model["kept"] / 1e9, 2),
        "GB of a block's inside a clip": round(inside / 1e9, 2),
        "GB kept a clip, nothing recomputed": round(kept_whole / 1e9, 2),
        "clips a step": clips,
        "TFLOP in all": float(f"{total / 1e12:.3g}"),
        "assumed share of peak": SHARE_OF_PEAK,
        "GPUs": gpus,
    }


def main() -> None:
    """Count and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/vjepa2-l.toml"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    report = {
        "command": shlex.join(["python", "-m", "benchmarks.sizes", *sys.argv[1:]]),
        "git": git_state(),
        "recipe": arguments.recipe.name,
        "torch": torch.__version__,
        **needs(TrainConfig.read(arguments.recipe)),
    }
    give(report, arguments.out)


if __name__ == "__main__":
    main()
