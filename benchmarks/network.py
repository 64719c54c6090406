"""The network: loading it, encoding, inferring, one step, and the grids by which a step is drawn."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.material import frames_for, loaded
from benchmarks.measuring import BETWEEN, Machine, Settings, entry, timed
from lamdemo.engine import TransferPipeline
from lamdemo.models.world_model import Prediction

STEPS = 16  # of the page's first example


def load(settings: Settings) -> dict[str, Any]:
    """Loading the checkpoint; the floor is reading its bytes."""
    first = TransferPipeline.from_pretrained(settings.checkpoint)
    assert first.folder is not None
    weights = first.folder / "model.safetensors"
    reading = timed(weights.read_bytes, settings.repeats)
    floor = {"seconds": reading["median"], "of": "reading the weights' file", "bytes": weights.stat().st_size}
    return {
        "load": entry(
            timed(lambda: TransferPipeline.from_pretrained(settings.checkpoint), settings.repeats),
            floor,
            parameters=sum(p.numel() for p in first.model.parameters()),
        )
    }


@torch.no_grad()
def network(settings: Settings) -> dict[str, Any]:
    """Encoding, inference, one step of the world model, and its rendering."""
    pipeline, repeats = loaded(settings), settings.repeats
    model, machine = pipeline.model, Machine.measured(str(pipeline.model.device))
    frames = frames_for(STEPS, pipeline.fps)[:: BETWEEN + 1]
    states = pipeline.encode(frames)
    glance = pipeline.infer(frames, refinement=0)
    z = torch.from_numpy(glance.z).to(model.device)
    pictures = pipeline.to_tensor(frames[:1])

    # A full context, as from the fourth step on: caches are replaced, not changed, so each run sees the same.
    cache = model.world_model.new_cache()
    for t in range(model.config.world_model.context - 1):
        model.world_model(states[None, t : t + 1], z[None, t : t + 1], cache)

    def step() -> Prediction:
        return model.world_model(states[None, 3:4], z[None, 3:4], cache.branch())

    prediction = step()
    todo = {
        f"encode {len(frames)} frames": lambda: pipeline.encode(frames),
        f"infer {STEPS} actions from states": lambda: pipeline.latents(states),
        f"infer {STEPS} actions from frames, at a glance": lambda: pipeline.infer(frames, refinement=0),
        "one step": step,
        "render one step": lambda: model.render(states[3:4], prediction, pictures),
    }
    if pipeline.refinement_steps():
        todo[f"infer {STEPS} actions from frames, refined"] = lambda: pipeline.infer(frames)
    return {
        "machine": machine.as_dict(),
        **{name: entry(timed(work, repeats), machine.floor(work)) for name, work in todo.items()},
    }
