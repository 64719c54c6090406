"""The controller: known actions (robot commands, steering) become latent ones (paper, section 5).

A latent action is relative to the camera and to what is in view, so the same command is another latent in another
scene: the controller looks at the state. Self-attention reads the state, one cross-attention lets it meet the
commands, and a linear map gives ``z``. A network of the commands alone ("actions") is the ablation that the paper
expects to fail.

Letters beside those of `lamdemo`: A numbers of a known action, C commands that a controller sees (this step's, last,
and those before it), P tokens of a state.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import read_json, write_safely
from lamdemo.models.checkpoint import ready, weights_of
from lamdemo.models.layers import fit_scales, zero_initialized
from lamdemo.models.stored import Damaged, Unfit, bounded_config, load_module

FOLDER = "controllers"
FORMAT = "lamdemo-controller/1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class ControllerConfig:
    """Sizes of a controller."""

    actions: int  # A
    # "state" sees the state and the commands; "actions" only the commands (the ablation).
    kind: Literal["state", "actions"] = "state"
    history: int = 2  # C, commands that are seen: this step's and those before it. Real machines answer late
    width: int = 128  # E
    heads: int = 4  # attention heads
    depth: int = 2  # self-attention blocks on the state
    patch: int = 4  # cells along each side of one token
    hidden: int = 256  # width of the three-layer networks of the commands
    dropout: float = 0.0  # share of the tokens' channels that training leaves out

    def __post_init__(self) -> None:
        if self.kind not in ("state", "actions"):
            raise ValueError(f"unknown kind of controller {self.kind!r}")
        if min(self.actions, self.history, self.heads, self.patch, self.hidden) < 1 or self.depth < 0:
            raise ValueError("a controller needs at least one number a command, one command and one head")
        if self.width < self.heads or self.width % self.heads:
            raise ValueError("width must be a multiple of heads")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be below 1")


class _Attention(nn.Module):
    """Pre-norm attention of tokens to others (or themselves) and a network at each, around which they are carried."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_of_others, self.norm_within = (nn.LayerNorm(width) for _ in range(3))
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, others: Tensor | None = None) -> Tensor:
        """Tokens ``x [B, P, E]``; ``others [B', C, E]``, where B or B' may be 1. Returns ``[max(B, B'), P, E]``."""
        own = self.norm(x)
        seen = own if others is None else self.norm_of_others(others)
        q = self._heads(self.query(own))
        k, v = (self._heads(part) for part in self.key_value(seen).chunk(2, -1))
        rows = max(len(q), len(k))
        q, k, v = (part.expand(rows, -1, -1, -1) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.dropout(self.out(y))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm_within(x)), approximate="tanh")))

    def _heads(self, x: Tensor) -> Tensor:
        """``[B, L, E]`` to ``[B, heads, L, E / heads]``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _three_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
    )


class Controller(nn.Module):
    """A state and the last commands to the latent action of this step. A new one says that nothing happens.

    Args:
        config: its sizes.
        channels: D of the model whose states it sees.
        latent: Z of that model.
        grid: cells along each side of its states.
        codes: ``[K, Z]`` of a discrete model, among which it then chooses.
    """

    mean: Tensor
    std: Tensor
    codes: Tensor | None

    def __init__(
        self, config: ControllerConfig, channels: int, latent: int, grid: int, codes: Tensor | None = None
    ) -> None:
        super().__init__()
        if grid % config.patch:
            raise ValueError("the grid must be a multiple of the patch")
        self.config, self.channels, self.latent, self.grid = config, channels, latent, grid
        self.register_buffer("mean", torch.zeros(config.actions))
        self.register_buffer("std", torch.ones(config.actions))
        # The model's own, not the controller's: not kept in its file.
        self.register_buffer("codes", codes, persistent=False)
        outputs = latent if codes is None else len(codes)
        e, p = config.width, config.patch
        if config.kind == "actions":
            self.commands = _three_layers(config.history * config.actions, config.hidden, config.hidden)
            self.out = zero_initialized(nn.Linear(config.hidden, outputs))
            return
        self.tokens = nn.Linear(p * p * channels, e)
        self.places = nn.Parameter(0.02 * torch.randn((grid // p) ** 2, e))
        self.blocks = nn.ModuleList(_Attention(e, config.heads, config.dropout) for _ in range(config.depth))
        self.commands = _three_layers(config.actions, config.hidden, e)
        self.times = nn.Parameter(0.02 * torch.randn(config.history, e))
        self.meet = _Attention(e, config.heads, config.dropout)
        self.norm = nn.LayerNorm(e)
        self.out = zero_initialized(nn.Linear(e * (grid // p) ** 2, outputs))

    def fit_scales(self, actions: Tensor) -> None:
        """Learn mean and standard deviation of commands ``[M, A]``; one that never changes keeps its unit."""
        fit_scales(self.mean, self.std, actions)

    def memory(self, states: Tensor) -> Tensor:
        """What does not depend on the commands, to be computed once for many of them.

        Args:
            states: ``[B, N, D]``.

        Returns:
            ``[B, P, E]``; for the kind "actions", which looks at no state, ``[B, 0, E]``.
        """
        if self.config.kind == "actions":
            return states.new_zeros(len(states), 0, self.config.width)
        p, side = self.config.patch, self.grid // self.config.patch
        x = states.reshape(-1, side, p, side, p, self.channels).transpose(2, 3).reshape(len(states), side * side, -1)
        x = self.tokens(x) + self.places
        for block in self.blocks:
            x = block(x)
        return x

    def _read(self, memory: Tensor, actions: Tensor) -> Tensor:
        """Latents ``[B, Z]``, or logits over codes ``[B, K]``."""
        if actions.shape[-2:] != (self.config.history, self.config.actions):
            raise ValueError(
                f"actions must be [B, {self.config.history}, {self.config.actions}], got {tuple(actions.shape)}"
            )
        commands = (actions - self.mean) / self.std
        if self.config.kind == "actions":
            out = self.out(F.silu(self.commands(commands.flatten(1))))
            return out.expand(max(len(out), len(memory)), -1)
        x = self.meet(memory, self.commands(commands) + self.times)
        return self.out(self.norm(x).flatten(1))

    def act(self, memory: Tensor, actions: Tensor) -> Tensor:
        """The latent action of each row.

        Args:
            memory: ``[B, P, E]`` from `memory`.
            actions: ``[B, C, A]``, oldest first, in the commands' own units. Either B may be 1: one state with many
                commands, or many states with the same.

        Returns:
            ``[B, Z]``; of a discrete model the vector of the likeliest code, with the gradient of the expected one.
        """
        out = self._read(memory, actions)
        if self.codes is None:
            return out
        chosen = self.codes[out.argmax(-1)]
        if torch.is_grad_enabled() and out.requires_grad:
            # Gradients pass as if the codes were mixed by their chances: a choice alone has none.
            soft = out.float().softmax(-1).to(self.codes.dtype) @ self.codes
            chosen = chosen + (soft - soft.detach())
        return chosen

    def latents(self, states: Tensor, actions: Tensor) -> Tensor:
        """The latent action ``[B, Z]`` of each state ``[B, N, D]`` and commands ``[B, C, A]``; see `act`."""
        return self.act(self.memory(states), actions)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """What training sees: `latents`, but of a discrete model the logits over its codes ``[B, K]``."""
        return self._read(self.memory(states), actions)


# Files.


def list_controllers(folder: str | Path) -> list[str]:
    """Names of the controllers that a checkpoint's folder brings, sorted."""
    found = Path(folder) / FOLDER
    names = (p.stem for p in found.glob("*.json")) if found.is_dir() else ()
    return sorted(n for n in names if _NAME.fullmatch(n) and (found / f"{n}.safetensors").is_file())


def written(folder: str | Path | None, name: str) -> int:
    """When a controller was written last, in nanoseconds; 0 where there is none of this name."""
    if folder is None or name not in list_controllers(folder):
        return 0
    return (Path(folder) / FOLDER / f"{name}.safetensors").stat().st_mtime_ns


def save_controller(
    controller: Controller,
    folder: str | Path,
    name: str,
    *,
    checkpoint: str,
    spec: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write ``controllers/NAME.json`` and ``controllers/NAME.safetensors`` in a checkpoint's folder.

    Args:
        controller: what to save.
        folder: of the checkpoint.
        name: letters, digits, ``_`` and ``-``.
        checkpoint: hash of the weights whose states and latents it was trained on.
        spec: what its commands are, as JSON (see `lamdemo.data.episodes`).
        about: how it was made and what was measured.
        dtype: of the parameters in the file; the commands' scales keep theirs.

    Returns:
        The path of the JSON file.

    Raises:
        LamdemoError: the name cannot be that of a file.
    """
    checked_name(name)
    place = Path(folder) / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    data = {
        "format": FORMAT,
        "checkpoint": checkpoint,
        "spec": dict(spec),
        "config": dataclasses.asdict(controller.config),
        "about": dict(about or {}),
    }
    # The JSON file last: with it the controller is there.
    write_safely(place / f"{name}.safetensors", weights_of(controller, dtype))
    path = place / f"{name}.json"
    write_safely(path, (json.dumps(data, indent=2) + "\n").encode())
    return path


def load_controller(
    folder: str | Path,
    name: str,
    *,
    channels: int,
    latent: int,
    grid: int,
    codes: Tensor | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[Controller, dict[str, Any]]:
    """Read a controller, ready to use; `TransferPipeline.controller` is the way to it for most.

    Args:
        folder: of the checkpoint.
        name: one of `list_controllers`.
        channels: D of the checkpoint's model.
        latent: Z of it.
        grid: cells along each side of its states.
        codes: ``[K, Z]`` of a discrete model.
        device: where to put it.
        dtype: of its parameters.

    Returns:
        The controller and its JSON file: "checkpoint", "spec", "config", "about".

    Raises:
        LamdemoError: there is none of this name, or its files are damaged or of another checkpoint.
    """
    checked_name(name)
    place = Path(folder) / FOLDER
    try:
        data = read_json(place / f"{name}.json")
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}")
        config = bounded_config(ControllerConfig, data["config"])
        if not isinstance(data["spec"], dict) or not isinstance(data["checkpoint"], str):
            raise ValueError("spec and checkpoint")
        data.setdefault("about", {})
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LamdemoError(
            f"The controller {name} cannot be read, its {name}.json is missing, damaged or of another version; "
            "copy it again or train it anew."
        ) from error
    try:
        weights = place / f"{name}.safetensors"
        controller = load_module(weights, lambda _: Controller(config, channels, latent, grid, codes))
    except Damaged as error:
        raise LamdemoError(
            f"{name}.safetensors of the controller {name} is missing or damaged; copy it again."
        ) from error
    except Unfit as error:
        raise LamdemoError(
            f"The controller {name} does not fit this checkpoint; use the one it was trained for, or train it anew."
        ) from error
    return ready(controller, device, dtype).requires_grad_(False), data


def checked_name(name: str) -> None:
    """See that a name can be that of a controller, and so of a file.

    Raises:
        LamdemoError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise LamdemoError(f"{name[:80]!r} cannot name a controller; use letters, digits, _ and -.")
