"""Configurations: frozen dataclasses, read from tables of JSON or TOML that hold nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lamdemo.core.errors import LamdemoError

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same under another name
    import tomli as tomllib

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


def toml_in(path: Path) -> dict[str, Any]:
    """What a TOML file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no TOML.
    """
    return tomllib.loads(path.read_text(encoding="utf-8-sig"))


def read_toml(cls: type[C], path: str | Path, what: str) -> C:
    """Read a configuration from a TOML file; what it does not say has its default.

    Args:
        cls: a frozen dataclass.
        path: of the file.
        what: its name in a sentence: "The recipe".

    Raises:
        LamdemoError: the file is missing, is no TOML, or names something unknown.
    """
    path = Path(path)
    try:
        return config_from_dict(cls, toml_in(path))
    except OSError as error:
        raise LamdemoError(f"{what} {path.name} cannot be read; give an existing TOML file.") from error
    except (ValueError, ArithmeticError) as error:
        raise LamdemoError(f"{what} {path.name} cannot be used: {error}.") from error


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
    if origin in (typing.Union, types.UnionType):
        for option in inner:
            with contextlib.suppress(ValueError):
                return _checked(name, option, value)
        fits = False
    elif origin is typing.Literal:
        fits = value in inner
    elif isinstance(hint, type):
        fits = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    else:
        fits = origin is None or isinstance(value, origin)
    if not fits:
        raise ValueError(f"{name} cannot be {value!r}")
    return value
