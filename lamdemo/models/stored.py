"""Modules from a stranger's configuration and weights: no more is allocated than the weights have a right to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from lamdemo.core.config import config_from_dict
from lamdemo.core.tensors import Stored, stored_tensors

M = TypeVar("M", bound=nn.Module)
C = TypeVar("C")

# What an entry of a configuration may be at most, by its name, and any other. Of what is counted here there are that
# many layers, steps or pixels, whatever the weights are; what is a width must fit them anyway.
_MOST_BY_NAME = {
    **dict.fromkeys(("depth", "token_depth", "reader"), 64),
    **dict.fromkeys(("context", "history", "heads"), 1024),
    **{"picture": 512, "reach": 64, "window": 15, "fps": 1000},
}
_MOST = 1 << 17
_HALVES = ("F16", "BF16", "F32")  # how numbers with a point may be kept, whatever the module's are
_BESIDE = 64 << 20  # bytes of tensors that no file keeps
_MADE = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)
_KEPT = {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


class Damaged(ValueError):
    """Weights cannot be read; says why, in words that can stand in brackets."""


class Unfit(ValueError):
    """Weights are of another module than the configuration's; says in what, likewise."""


class _Bounded(TorchFunctionMode):
    """While it is entered this thread makes new tensors of so many numbers together and no more."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self._left = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.eye or func in _MADE:
            sizes = args or (kwargs["size"],)
            sides = sizes[0] if isinstance(sizes[0], tuple | list) else sizes
            self._left -= sides[0] ** 2 if func is torch.eye else math.prod(sides)
            if self._left < 0:
                raise Unfit("it would be far larger")
        return func(*args, **kwargs)


def bounded_config(cls: type[C], data: Mapping[str, Any]) -> C:
    """A configuration as `config_from_dict` reads it, of which no number is one that no model has.

    Raises:
        ValueError: says which.
    """
    config = config_from_dict(cls, data)
    _check(config, type(config).__name__)
    return config


def _check(value: Any, name: str) -> None:
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _check(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, Mapping):
        for part in value.values():
            _check(part, name)
    elif isinstance(value, tuple | list):
        for part in value:
            _check(part, name)
    elif isinstance(value, int | float):
        most = _MOST_BY_NAME.get(name.rpartition(".")[2], _MOST)
        if not (math.isfinite(value) and abs(value) <= most):
            raise ValueError(f"{name} cannot be {str(value)[:20]}, it is {most} at most")


def load_module(path: Path, build: Callable[[Mapping[str, Stored]], M]) -> M:
    """A module with the weights of a safetensors file.

    Args:
        path: of the file.
        build: makes the module, given what the file says it holds.

    Raises:
        Damaged, Unfit: why not.
    """
    try:
        stored = stored_tensors(path)
    except (OSError, ValueError) as error:
        raise Damaged("it is missing" if isinstance(error, FileNotFoundError) else str(error)) from error
    try:
        with _Bounded(sum(math.prod(tensor.shape) for tensor in stored.values()) + _BESIDE // 4):
            module = build(stored)
    except Unfit:
        raise
    except Exception as error:  # torch raises anything for sizes that are none
        raise Unfit("no model has these sizes") from error
    _compare(module, stored)
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise Damaged("it changed while it was read") from error
    for name, tensor in module.state_dict().items():
        # A sum is no number where a part of it is none, and far sooner told than each part.
        if tensor.is_floating_point() and not math.isfinite(tensor.sum()):
            raise Damaged(f"{name} holds what is no number")
    return module


def _compare(module: nn.Module, stored: Mapping[str, Stored]) -> None:
    """See that a file's tensors are those of a module.

    Raises:
        Unfit: they are not.
    """
    wanted = module.state_dict()
    if missing := sorted(wanted.keys() - stored.keys()):
        raise Unfit(f"{missing[0]} is missing")
    if len(wanted) < len(stored):
        raise Unfit("something is left over")
    for name, tensor in wanted.items():
        kinds = _HALVES if tensor.is_floating_point() else (_KEPT.get(tensor.dtype, ""),)
        if tuple(tensor.shape) != stored[name].shape or stored[name].dtype not in kinds:
            size = "×".join(str(n) for n in stored[name].shape)
            raise Unfit(f"{name} is {stored[name].dtype} {size} there")
