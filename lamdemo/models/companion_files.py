"""Files of world models that lie beside a checkpoint's weights: a JSON file and a safetensors file each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import read_json, write_safely
from lamdemo.models.action_conditioned import ActionConditioned, ActionConditionedConfig
from lamdemo.models.checkpoint import WEIGHTS_NAME, checkpoint_hash, read_config, ready, weights_of
from lamdemo.models.distilled import DistilledConfig, DistilledModel
from lamdemo.models.stored import bounded_config, load_module

FORMAT = "lamdemo-companion/1"
# Names of the files: the distilled model, the action-conditioned one, and the one distilled from that.
DISTILLED, BASELINE, DISTILLED_BASELINE = "draft", "twin", "twin-draft"

M = TypeVar("M", DistilledModel, ActionConditioned)


def save_companion(
    module: DistilledModel | ActionConditioned, folder: str | Path, name: str, about: Mapping[str, Any] | None = None
) -> None:
    """Write a world model as ``NAME.json`` and ``NAME.safetensors`` (parameters as float16).

    Args:
        module: what to save.
        folder: of the checkpoint; if it holds weights, the companion is bound to them.
        name: `DISTILLED`, `BASELINE` or `DISTILLED_BASELINE`.
        about: how it was made.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(about or {})
    if (folder / WEIGHTS_NAME).is_file():
        about["checkpoint"] = checkpoint_hash(folder)
    kind = "draft" if isinstance(module, DistilledModel) else "twin"
    data = {"format": FORMAT, "kind": kind, "config": dataclasses.asdict(module.config), "about": about}
    write_safely(folder / f"{name}.safetensors", weights_of(module, torch.float16))
    write_safely(folder / f"{name}.json", (json.dumps(data, indent=2) + "\n").encode())


def _load(
    cls: type[M], config: type[Any], folder: Path, name: str, device: torch.device | str, dtype: torch.dtype, of: Path
) -> M | None:
    paths = folder / f"{name}.json", folder / f"{name}.safetensors"
    absent = [path for path in paths if not path.is_file()]
    if len(absent) == 2:
        return None
    if absent:
        raise LamdemoError(
            f"The {name} of {folder.name} lacks {absent[0].name}; copy both of its files, or remove both."
        )
    model, _ = read_config(of)
    try:
        data = read_json(paths[0])
        if data["format"] != FORMAT or data["kind"] != ("draft" if cls is DistilledModel else "twin"):
            raise ValueError("another format")
        sizes = model.encoder.channels, model.bottleneck.channels, model.encoder.grid
        wanted = bounded_config(config, data["config"])
        bound = (data.get("about") or {}).get("checkpoint")
        module = load_module(paths[1], lambda _: cls(wanted, *sizes))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise LamdemoError(f"The {name} of {folder.name} is damaged; copy both of its files again.") from error
    if bound and (of / WEIGHTS_NAME).is_file() and bound != checkpoint_hash(of):
        raise LamdemoError(
            f"The {name} of {folder.name} was made for other weights; copy the one that belongs to them, or remove it."
        )
    return ready(module, device, dtype)


def load_distilled(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    baseline: bool = False,
    of: str | Path | None = None,
) -> DistilledModel | None:
    """The distilled model of a checkpoint's world model; None where there is none.

    Args:
        folder: where its files lie.
        device: where to put it.
        dtype: of its parameters.
        baseline: the one distilled from the checkpoint's action-conditioned model.
        of: folder of the checkpoint that it belongs to; ``folder`` without it.

    Raises:
        LamdemoError: a file is missing or damaged, or belongs to other weights.
    """
    name = DISTILLED_BASELINE if baseline else DISTILLED
    return _load(DistilledModel, DistilledConfig, Path(folder), name, device, dtype, Path(of or folder))


def load_action_conditioned(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    of: str | Path | None = None,
) -> ActionConditioned | None:
    """The action-conditioned model of a checkpoint, or None where it brings none; see `load_distilled`."""
    return _load(ActionConditioned, ActionConditionedConfig, Path(folder), BASELINE, device, dtype, Path(of or folder))
