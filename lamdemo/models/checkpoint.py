"""Checkpoints: ``config.json`` and ``model.safetensors`` in a folder. Nothing in a checkpoint runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lamdemo.errors import LamdemoError
from lamdemo.models.latent_action_model import LatentActionModel, ModelConfig

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT = "lamdemo/1"

C = TypeVar("C")


def config_from_dict(cls: type[C], data: Mapping[str, Any]) -> C:
    """Build a (nested) frozen dataclass from a mapping, refusing what it does not know.

    Raises:
        ValueError: a key is unknown or a value is of the wrong type, by name.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{cls.__name__} must be a table, got {type(data).__name__}")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ValueError(f"{cls.__name__} has no field {unknown[0]!r}; it has {', '.join(hints)}")
    values: dict[str, Any] = {}
    for name, value in data.items():
        values[name] = _checked(f"{cls.__name__}.{name}", hints[name], value)
    return cls(**values)


def _checked(name: str, hint: Any, value: Any) -> Any:
    """The value as ``hint`` wants it: a whole number where a float is meant, a list where a tuple is."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return config_from_dict(hint, value)
    if origin is tuple and isinstance(value, (list, tuple)):
        if inner[-1] is Ellipsis:
            inner = inner[:1] * len(value)
        if len(value) != len(inner):
            raise ValueError(f"{name} needs {len(inner)} values, got {len(value)}")
        return tuple(_checked(f"{name}[{i}]", inner[i], v) for i, v in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {k: _checked(f"{name}.{k}", inner[1], v) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is typing.Literal:
        fits = value in inner
    elif origin in (typing.Union, types.UnionType):
        fits = any(isinstance(value, a) for a in inner if isinstance(a, type))
    elif isinstance(hint, type):
        fits = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    else:
        fits = origin is None or isinstance(value, origin)
    if not fits:
        raise ValueError(f"{name} cannot be {value!r}")
    return value


def write_safely(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half of one."""
    partial = path.with_name(path.name + ".part")
    try:
        with open(partial, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_checkpoint(
    model: LatentActionModel,
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float16,
    about: Mapping[str, Any] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model as ``config.json`` and ``model.safetensors``.

    Args:
        model: what to save.
        folder: is made if need be.
        dtype: of the parameters in the file; buffers (whitening, codes) keep theirs.
        about: how it was made (steps, data, seed, ...), kept in ``config.json`` under "about".
        weights: parameters to write in the place of the model's own (their moving averages).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {name for name, _ in model.named_parameters()}
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = weights[name] if weights is not None and name in weights else tensor
        tensor = tensor.detach().to("cpu")
        tensors[name] = (tensor.to(dtype) if name in parameters else tensor).contiguous()
    config = {"format": FORMAT, "model": dataclasses.asdict(model.config), "about": dict(about or {})}
    write_safely(folder / WEIGHTS_NAME, save(tensors, metadata={"format": "pt"}))
    write_safely(folder / CONFIG_NAME, (json.dumps(config, indent=2) + "\n").encode())


def read_config(folder: str | Path) -> tuple[ModelConfig, dict[str, Any]]:
    """The config of a checkpoint and what it says about itself.

    Raises:
        LamdemoError: the folder is no checkpoint of this project.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LamdemoError(f"There is no checkpoint folder {folder.name}; give a folder with {CONFIG_NAME} in it.")
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise LamdemoError(f"The checkpoint {folder.name} lacks {CONFIG_NAME}; copy the whole checkpoint folder.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LamdemoError(f"{CONFIG_NAME} of the checkpoint {folder.name} is damaged; copy it again.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise LamdemoError(f"{CONFIG_NAME} of {folder.name} is not of a lamdemo checkpoint; give one made by lamdemo.")
    try:
        return config_from_dict(ModelConfig, data["model"]), data.get("about") or {}
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise LamdemoError(
            f"{CONFIG_NAME} of the checkpoint {folder.name} does not fit this version of lamdemo ({error}); "
            "use the version that made it."
        ) from error


def load_checkpoint(
    folder: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> LatentActionModel:
    """Read a model, ready to use.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.
        device: where to put it.
        dtype: of its parameters.

    Raises:
        LamdemoError: a file is missing, damaged, or of something else.
    """
    folder = Path(folder)
    config, _ = read_config(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise LamdemoError(f"The checkpoint {folder.name} lacks {WEIGHTS_NAME}; copy the whole checkpoint folder.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise LamdemoError(f"{WEIGHTS_NAME} of the checkpoint {folder.name} is damaged; copy it again.") from error
    try:
        model = LatentActionModel(config)
        # Strictly: a weight that is missing or left over would otherwise be silently random or ignored.
        model.load_state_dict(tensors)
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise LamdemoError(
            f"{WEIGHTS_NAME} and {CONFIG_NAME} of the checkpoint {folder.name} do not belong together; copy both again."
        ) from error
    for module in model.parameters():
        module.data = module.data.to(dtype)
    return model.to(device).eval()


def checkpoint_hash(folder: str | Path) -> str:
    """SHA-256 of a checkpoint's weights, to name it in reports."""
    with open(Path(folder) / WEIGHTS_NAME, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(module: nn.Module) -> str:
    """A short hash of a module's parameters and buffers, by name; the same on every device."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().to(torch.float32).numpy().tobytes())
    return found.hexdigest()[:16]
