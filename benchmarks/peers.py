"""What others would take for the same: copied optical flow, and published architectures at their sizes.

The architectures are written from their papers and published settings, in as few lines as serve for timing, with random
weights, in the precision and with the threads of ours. What is left out (positions, tokenizers of pictures, text and
codes) makes them faster than they are, never slower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.material import frames_for, loaded, sized
from benchmarks.measuring import BETWEEN, PHOTO, SIZES, Machine, Settings, entry, rounded, timed
from benchmarks.unet import AdaWorldNet
from lamdemo.video import optical_flow, warp

EVALUATIONS = 10
"""Of AdaWorld's network for one frame: five Euler steps, each with and without its condition."""


class Attention(nn.Module):
    """Self-attention over the tokens ``[B, L, E]``, or to those of ``context``."""

    def __init__(self, width: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.heads, given = heads, context or width
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(given, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """``[B, L, E]``."""

        def split(values: Tensor) -> Tensor:
            return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        k, v = self.kv(x if context is None else context).chunk(2, -1)
        seen = F.scaled_dot_product_attention(split(self.q(x)), split(k), split(v))
        return self.out(seen.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer block over space, and with ``time`` over each place's frames too."""

    def __init__(self, width: int, heads: int, *, time: bool = False) -> None:
        super().__init__()
        self.space, self.time = Attention(width, heads), Attention(width, heads) if time else None
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``[T, N, E]`` of one clip."""
        x = x + self.space(self.norms[0](x))
        if self.time is not None:
            x = x + self.time(self.norms[1](x).transpose(0, 1)).transpose(0, 1)
        return x + self.mlp(self.norms[2](x))


class Transformer(nn.Module):
    """Patches in, features out."""

    def __init__(self, patch: int, width: int, heads: int, depth: int, *, tubelet: int = 1, time: bool = False) -> None:
        super().__init__()
        self.enter = nn.Linear(3 * tubelet * patch**2, width)
        self.blocks = nn.Sequential(*(Block(width, heads, time=time) for _ in range(depth)))

    def forward(self, patches: Tensor) -> Tensor:
        """``[T, N, E]`` of patches ``[T, N, P]``."""
        return self.blocks(self.enter(patches))


def _timed(make: Callable[[], nn.Module], inputs: tuple[Tensor, ...], repeats: int, machine: Machine) -> dict[str, Any]:
    model = make().eval()
    found = entry(timed(lambda: model(*inputs), repeats), machine.floor(lambda: model(*inputs)))
    return found | {"parameters": sum(p.numel() for p in model.parameters())}


def _ours(settings: Settings) -> dict[str, dict[str, float]]:
    """Seconds of one frame or step of ours, by what a peer is compared with."""
    pipeline, repeats = loaded(settings), settings.repeats
    frames, steps = frames_for(8, pipeline.fps)[:: BETWEEN + 1], 8
    actions = pipeline.infer(frames, refinement=0)
    rollouts = {}
    for width, height in SIZES[:2]:
        rollout = pipeline.begin(sized(PHOTO, width, height), history=0)
        rollout.step(actions.z[0])
        rollouts[f"{width}x{height}"] = rollout
    each = {
        "encode a frame": (lambda: pipeline.encode(frames), len(frames)),
        "infer a step, at a glance": (lambda: pipeline.infer(frames, refinement=0), steps),
        **{f"a step, {n}": (lambda r=r: r.step(actions.z[1]), 1) for n, r in rollouts.items()},  # type: ignore[misc]
    }
    told = {}
    for name, (work, count) in each.items():
        seconds = timed(work, repeats)
        told[name] = {k: v if k == "runs" else rounded(v / count) for k, v in seconds.items()}
    return told


def _flow(width: int, height: int, repeats: int) -> dict[str, Any]:
    """Optical flow of the source at the picture's size, and the picture moved by it."""
    first, second = (sized_frame(k, width, height) for k in (0, 1))
    picture = sized(PHOTO, width, height)
    return entry(timed(lambda: warp(picture, optical_flow(first, second)), repeats))


def sized_frame(step: int, width: int, height: int) -> Any:
    """The clip's frame of a step at a size."""
    import cv2

    return cv2.resize(frames_for(2, 4.0)[step * (BETWEEN + 1)], (width, height), interpolation=cv2.INTER_AREA)


@torch.no_grad()
def peers(settings: Settings) -> dict[str, Any]:
    """Each peer's seconds a step, over ours of the same kind."""
    ours, repeats, device = _ours(settings), settings.repeats, loaded(settings).model.device
    machine = Machine.measured(str(device))

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device)

    def on(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        return lambda: make().to(device)

    told: dict[str, Any] = {"machine": machine.as_dict(), "ours": ours}

    def add(name: str, found: dict[str, Any], with_ours: str, steps: float, assumed: str) -> None:
        """``steps`` is how many of ours one measurement of the peer stands for."""
        a_step = found["seconds"]["median"] / steps
        told[name] = found | {
            "seconds a step": rounded(a_step),
            "compared with": with_ours,
            "times ours": rounded(a_step / ours[with_ours]["median"]),
            "assumed": assumed,
        }

    for width, height in SIZES[:2]:
        size = f"{width}x{height}"
        told_of_flow = "DIS, medium preset, of the source at the picture's size; the picture is moved once, bilinearly."
        add(f"copied optical flow, {size}", _flow(width, height, repeats), f"a step, {size}", 1, told_of_flow)
    add(
        "V-JEPA 2-L, encoder",
        _timed(on(lambda: Transformer(16, 1024, 16, 24, tubelet=2)), (noise(1, 256, 1536),), repeats, machine),
        "encode a frame",
        1,
        "ViT-L/16 with tubelets of two frames at 256², each frame alone and doubled, as a causal state needs; no "
        "rotary positions.",
    )
    add(
        "AdaWorld, latent action encoder",
        _timed(on(lambda: Transformer(16, 1024, 16, 16, time=True)), (noise(2, 257, 768),), repeats, machine),
        "infer a step, at a glance",
        1,
        "16 blocks over space and time, width 1024, 16 heads, two frames of 256² in patches of 16 and an action token "
        "each; its decoder is not needed.",
    )
    add(
        "villa-X, inverse dynamics",
        _timed(on(lambda: Transformer(14, 768, 8, 12, time=True)), (noise(8, 256, 588),), repeats, machine),
        "infer a step, at a glance",
        7,
        "12 blocks over space and time, width 768, 8 heads, a window of eight frames of 224² in patches of 14, whose "
        "seven steps are taken at once; no pooling, no codebook.",
    )
    add(
        "villa-X, forward dynamics",
        _timed(on(lambda: Transformer(14, 768, 16, 8)), (noise(1, 257, 588),), repeats, machine),
        f"a step, {SIZES[0][0]}x{SIZES[0][1]}",
        1,
        "8 blocks, width 768, 16 heads, one frame of 224² and an action token; a plain MLP of four widths.",
    )
    free = status_of_machine()
    if free is not None and free < 12_000:
        told["AdaWorld, one frame by diffusion"] = {"left out": "Its weights need 12 GB of free memory to be timed."}
        return told
    inputs = noise(7, 8, 32, 32), noise(7, 1280), noise(7, 1, 1056)
    add(
        "AdaWorld, one frame by diffusion",
        _timed(on(AdaWorldNet), inputs, min(repeats, 3), machine),
        f"a step, {SIZES[0][0]}x{SIZES[0][1]}",
        1 / EVALUATIONS,
        "The video network of Stable Video Diffusion as AdaWorld sets it (320 channels × 1, 2, 4, 4, context 1056), "
        "six known frames and a new one of 32×32 latents; five steps, each with and without its condition, so ten "
        "evaluations of the one that is timed. The picture's tokenizer is left out.",
    )
    return told


def status_of_machine() -> float | None:
    """Megabytes that programs may still take; None where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="utf-8") as lines:
            return next(int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
