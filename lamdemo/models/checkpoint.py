"""Checkpoints: ``config.json`` and ``model.safetensors`` in a folder. Nothing in a checkpoint runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import file_hash, read_json, write_safely
from lamdemo.models.latent_action_model import LatentActionModel, ModelConfig
from lamdemo.models.stored import Damaged, Unfit, bounded_config, load_module
from lamdemo.models.vision_transformers import FrozenTransformer

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT = "lamdemo/1"
NEEDS = "0.1.0"  # the first lamdemo that reads this format

M = TypeVar("M", bound=nn.Module)


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
    config = {"format": FORMAT, "needs": NEEDS, "model": dataclasses.asdict(model.config), "about": dict(about or {})}
    write_safely(folder / WEIGHTS_NAME, weights_of(model, dtype, weights))
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
        data = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise LamdemoError(f"{CONFIG_NAME} of the checkpoint {folder.name} is damaged; copy it again.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise LamdemoError(f"{CONFIG_NAME} of {folder.name} is not of a lamdemo checkpoint; give one made by lamdemo.")
    try:
        return bounded_config(ModelConfig, data["model"]), data.get("about") or {}
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise LamdemoError(
            f"{CONFIG_NAME} of the checkpoint {folder.name} does not fit this version of lamdemo ({str(error)[:200]}); "
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
        LamdemoError: a file is missing, damaged, or of something else; or the weights of an encoder that lie elsewhere
            cannot be fetched.
    """
    folder = Path(folder)
    config, _ = read_config(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise LamdemoError(f"The checkpoint {folder.name} lacks {WEIGHTS_NAME}; copy the whole checkpoint folder.")
    try:
        model = load_module(path, lambda _: LatentActionModel(config))
    except Damaged as error:
        raise LamdemoError(
            f"{WEIGHTS_NAME} of the checkpoint {folder.name} is damaged ({error}); copy it again, or fetch it again "
            "from the Hub (`hf download --force-download` and its name)."
        ) from error
    except Unfit as error:
        raise LamdemoError(
            f"{WEIGHTS_NAME} and {CONFIG_NAME} of the checkpoint {folder.name} do not belong together ({error}); copy "
            "both again."
        ) from error
    if isinstance(model.encoder, FrozenTransformer):
        model.encoder.fetch(torch.device(device))  # now, and not in the middle of somebody's transfer
    return ready(model, device, dtype)


def weights_of(module: nn.Module, dtype: torch.dtype, instead: Mapping[str, Tensor] | None = None) -> bytes:
    """A module as the bytes of a safetensors file: parameters in ``dtype``, buffers as they are.

    Args:
        module: what to keep.
        dtype: of the parameters.
        instead: tensors by name, to keep in the place of the module's own.
    """
    parameters = {name for name, _ in module.named_parameters()}
    tensors = {}
    for name, tensor in {**module.state_dict(), **(instead or {})}.items():
        tensor = tensor.detach().cpu()
        tensors[name] = (tensor.to(dtype) if name in parameters else tensor).contiguous()
    return save(tensors, metadata={"format": "pt"})


def ready(module: M, device: torch.device | str, dtype: torch.dtype) -> M:
    """The module to use and not to train, its parameters in ``dtype``; buffers keep theirs."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)
    return module.to(device).eval()


def checkpoint_hash(folder: str | Path) -> str:
    """SHA-256 of a checkpoint's weights, to name it in reports."""
    return file_hash(Path(folder) / WEIGHTS_NAME)


def fingerprint(module: nn.Module) -> str:
    """A short hash of a module's parameters and buffers, by name; the same on every device."""
    return fingerprint_of(module.state_dict())


def fingerprint_of(tensors: Mapping[str, Tensor]) -> str:
    """See `fingerprint`, of a module that is not made."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().to(torch.float32).numpy().tobytes())
    return found.hexdigest()[:16]
