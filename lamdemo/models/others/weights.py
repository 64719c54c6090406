"""Weights of others: the tensors that a module wants out of a file that holds more, and nothing that runs."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lamdemo.core.files import own_file
from lamdemo.core.tensors import stored_tensors
from lamdemo.models.stored import Damaged, Unfit

M = TypeVar("M", bound=nn.Module)


def read_tensors(path: Path, wanted: Callable[[str], bool], *, most: int) -> dict[str, Tensor]:
    """Those tensors of a file whose names are wanted.

    A safetensors file can hold nothing else. A pickle (``.ckpt``) is read by torch's reader of weights alone, which
    builds tensors and plain values and refuses whatever would be called or imported; of these the tensors under
    ``state_dict`` are taken.

    Args:
        path: of the file; what does not end in ``.safetensors`` is a pickle.
        wanted: is asked for each name.
        most: bytes that the file may have.

    Raises:
        Damaged: it cannot be read; says why.
    """
    try:
        if path.suffix == ".safetensors":
            names = [name for name in stored_tensors(path, most=most) if wanted(name)]
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in names}
        # Mapped, so that what is not wanted (an optimizer's moments) is never in memory.
        held = torch.load(own_file(path, most), map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise Damaged("it is missing") from error
    except pickle.UnpicklingError as error:
        raise Damaged(
            f"it holds more than tensors and is not opened; give its state_dict as {path.stem}.safetensors"
        ) from error
    except (SafetensorError, OSError, ValueError, RuntimeError, LookupError, TypeError, EOFError) as error:
        told = str(error) if type(error) is ValueError else "it is no file of weights, or cut short"
        raise Damaged(told) from error
    state = held.get("state_dict") if isinstance(held, dict) else None
    if not isinstance(state, dict):
        raise Damaged("it holds no state_dict")
    return {name: value for name, value in state.items() if isinstance(value, Tensor) and wanted(name)}


def filled(build: Callable[[], M], tensors: Mapping[str, Tensor]) -> M:
    """A module with these tensors as its parameters, all of them and no other.

    It is built on the ``meta`` device, where nothing is allocated: what a stranger's configuration says costs nothing
    before the tensors were found to have these sizes.

    Args:
        build: makes the module; all of its parameters and buffers must be among the tensors.
        tensors: by name.

    Raises:
        Damaged, Unfit: they are not of this module, or hold what is no number.
    """
    with torch.device("meta"):
        module = build()
    wanted = module.state_dict()
    if missing := sorted(wanted.keys() - tensors.keys()):
        raise Unfit(f"{missing[0]} is missing")
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise Unfit(f"{extra[0]} is left over")
    for name, tensor in wanted.items():
        there = tensors[name]
        if there.shape != tensor.shape or not there.is_floating_point():
            raise Unfit(f"{name} is {'×'.join(map(str, there.shape))} there, not {'×'.join(map(str, tensor.shape))}")
        # A sum is no number where a part of it is none, and far sooner told than each part.
        if not math.isfinite(there.float().sum()):
            raise Damaged(f"{name} holds what is no number")
    # Copied out of the mapped file, where they may lie so that sums come out in another order.
    copied = {name: tensors[name].to(torch.float32, copy=True) for name in wanted}
    module.load_state_dict(copied, assign=True)
    return module.requires_grad_(False).eval()


def count_layers(names: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers ``prefix0.``, ``prefix1.``, ... have tensors of these names."""
    numbers = {name.removeprefix(prefix).partition(".")[0] for name in names if name.startswith(prefix)}
    return len(numbers)
