"""What lies beside a checkpoint's weights and belongs to them: drafts and twins, each a JSON and a safetensors file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from lamdemo.errors import LamdemoError
from lamdemo.models.checkpoint import WEIGHTS_NAME, checkpoint_hash, config_from_dict, read_config, write_safely
from lamdemo.models.draft import Draft, DraftConfig
from lamdemo.models.twin import Twin, TwinConfig

FORMAT = "lamdemo-companion/1"
DRAFT, TWIN, TWIN_DRAFT = "draft", "twin", "twin-draft"  # names of the files

M = TypeVar("M", Draft, Twin)


def save_companion(module: Draft | Twin, folder: str | Path, name: str, about: Mapping[str, Any] | None = None) -> None:
    """Write a draft or a twin as ``NAME.json`` and ``NAME.safetensors`` (parameters as float16).

    Args:
        module: what to save.
        folder: of the checkpoint; if it holds weights, the companion is bound to them.
        name: `DRAFT`, `TWIN` or `TWIN_DRAFT`.
        about: how it was made.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(about or {})
    if (folder / WEIGHTS_NAME).is_file():
        about["checkpoint"] = checkpoint_hash(folder)
    parameters = {n for n, _ in module.named_parameters()}
    tensors = {
        n: (t.detach().cpu().half() if n in parameters else t.detach().cpu()).contiguous()
        for n, t in module.state_dict().items()
    }
    kind = "draft" if isinstance(module, Draft) else "twin"
    text = json.dumps(
        {"format": FORMAT, "kind": kind, "config": dataclasses.asdict(module.config), "about": about}, indent=2
    )
    write_safely(folder / f"{name}.safetensors", save(tensors, metadata={"format": "pt"}))
    write_safely(folder / f"{name}.json", (text + "\n").encode())


def _load(
    cls: type[M], folder: Path, name: str, device: torch.device | str, dtype: torch.dtype, of: Path | None
) -> M | None:
    paths = folder / f"{name}.json", folder / f"{name}.safetensors"
    if not any(p.is_file() for p in paths):
        return None
    for path in paths:
        if not path.is_file():
            raise LamdemoError(
                f"The {name} of {folder.name} lacks {path.name}; copy both of its files, or remove both."
            )
    of = of or folder
    model, _ = read_config(of)
    sizes = model.encoder.channels, model.bottleneck.channels, model.encoder.grid
    module: nn.Module
    try:
        data = json.loads(paths[0].read_text(encoding="utf-8"))
        if data["format"] != FORMAT or data["kind"] != ("draft" if cls is Draft else "twin"):
            raise ValueError("another format")
        if cls is Draft:
            module = Draft(config_from_dict(DraftConfig, data["config"]), *sizes)
        else:
            module = Twin(config_from_dict(TwinConfig, data["config"]), *sizes)
        bound = (data.get("about") or {}).get("checkpoint")
        module.load_state_dict(load_file(paths[1]))
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise LamdemoError(f"The {name} of {folder.name} is damaged; copy both of its files again.") from error
    if bound and (of / WEIGHTS_NAME).is_file() and bound != checkpoint_hash(of):
        raise LamdemoError(
            f"The {name} of {folder.name} was made for other weights; copy the one that belongs to them, or remove it."
        )
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)
    assert isinstance(module, cls)
    return module.to(device).eval()


def load_draft(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    twin: bool = False,
    of: str | Path | None = None,
) -> Draft | None:
    """The draft of a checkpoint's world model, or with ``twin`` of its twin's; None where there is none.

    Args:
        folder: where its files lie.
        device: where to put it.
        dtype: of its parameters.
        twin: the twin's.
        of: folder of the checkpoint that it belongs to; ``folder`` without it.

    Raises:
        LamdemoError: a file is missing or damaged, or belongs to other weights.
    """
    return _load(Draft, Path(folder), TWIN_DRAFT if twin else DRAFT, device, dtype, Path(of) if of else None)


def load_twin(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    of: str | Path | None = None,
) -> Twin | None:
    """The twin of a checkpoint, or None where it brings none.

    Args:
        folder: where its files lie.
        device: where to put it.
        dtype: of its parameters.
        of: folder of the checkpoint that it belongs to; ``folder`` without it.

    Raises:
        LamdemoError: a file is missing or damaged, or belongs to other weights.
    """
    return _load(Twin, Path(folder), TWIN, device, dtype, Path(of) if of else None)
