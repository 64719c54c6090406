"""Figures of the reports that come with the code, for who uses the page: only of the very weights that are chosen."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamdemo.core.files import read_json
from lamdemo.core.places import shipped

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline


def results_of(pipeline: TransferPipeline, report: str) -> Mapping[str, Any]:
    """The results of a bundled checkpoint's report; empty where there is none, or it is of other weights.

    Args:
        pipeline: the checkpoint.
        report: its name, such as "control".
    """
    if pipeline.folder is None:
        return {}
    path = shipped("reports") / pipeline.folder.name / f"{report}.json"
    try:
        read = _read(path, path.stat().st_mtime_ns)
        results = read["results"] if read["checkpoint"]["sha256"] == pipeline.checkpoint else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return results if isinstance(results, Mapping) else {}


@functools.lru_cache(maxsize=16)
def _read(path: Path, _: int) -> Any:
    return read_json(path)


@dataclass(frozen=True)
class Rate:
    """A share of tasks and its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Success:
    """How often plans of a checkpoint reached their goal in a simulator."""

    tasks: int  # tried
    steps: int  # taken in each, with a new plan at every one
    plans: Rate  # of the plans,
    random: Rate | None  # of random commands and
    nothing: Rate | None  # of none at all, where they were tried too
    solver: str  # that searched, with
    samples: int  # candidates an iteration and
    iterations: int  # so many of these
    horizon: int  # steps ahead


def success_of(pipeline: TransferPipeline, simulator: str, *, latent: bool) -> Success | None:
    """What the report on control says of a simulator; None where it says nothing.

    Args:
        pipeline: the checkpoint.
        simulator: its name.
        latent: whether the latent space was searched, and not the simulator's own commands.
    """
    try:
        section = results_of(pipeline, "control")["closedloop"][simulator]
        shares, made = section["success"], section["made_from"]["budget"]
        plans = _rate(shares["latent" if latent else "controller"])
        if plans is None:
            return None
        return Success(
            tasks=int(section["tasks"]),
            steps=int(section["steps"]),
            plans=plans,
            random=_rate(shares.get("random")),
            nothing=_rate(shares.get("zero")),
            solver=str(made["solver"]),
            samples=int(made["samples"]),
            iterations=int(made["iterations"]),
            horizon=int(made["horizon"]),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def ways_of(pipeline: TransferPipeline, simulator: str) -> dict[str, Rate]:
    """How often goals are reached by each way of choosing commands, as `lamdemo plan` measured it.

    Returns:
        By a policy's name in the report: "controller" (plans), "closing", "inverse", "random", "zero"; empty where
        there is no report of these weights.
    """
    found = results_of(pipeline, f"acting-{simulator}").get("success")
    if not isinstance(found, Mapping):
        return {}
    try:
        rates = {name: _rate(found.get(name)) for name in ("controller", "closing", "inverse", "random", "zero")}
    except (ValueError, LookupError, TypeError):
        return {}
    return {name: rate for name, rate in rates.items() if rate is not None}


def _rate(found: Any) -> Rate | None:
    if not isinstance(found, Mapping):
        return None
    numbers = [float(found[key]) for key in ("value", "low", "high")]
    return Rate(*numbers) if all(map(math.isfinite, numbers)) else None
