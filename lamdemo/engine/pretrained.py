"""Where checkpoints come from: a folder, the bundled ones, or the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.errors import LamdemoError
from lamdemo.core.places import shipped
from lamdemo.engine.hub import Tell, check_format, download
from lamdemo.engine.others import OTHERS, Other
from lamdemo.models.checkpoint import CONFIG_NAME, read_config

HARDLY = 300  # steps of training, by which a model that began with random weights has learned next to nothing
# What people paste: the address of a model's page, or of a revision of it, and the prefix of other tools.
_HUB_ADDRESS = re.compile(
    r"(?:hf:(?://)?(?:models/)?|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/)([\w][\w.-]*/[\w][\w.-]*?)"
    r"(?:@([\w][\w./-]*)|/(?:tree|blob|resolve)/([\w][\w.-]*)(?:/.*)?|/)?(?:[?#].*)?"
)
_HUB_ID = re.compile(r"^([\w][\w.-]*/[\w][\w.-]*)(?:@([\w][\w./-]*))?$")


def bundled_folder() -> Path:
    """The folder of checkpoints that come with lamdemo, or ``LAMDEMO_CHECKPOINTS``."""
    override = os.environ.get("LAMDEMO_CHECKPOINTS")
    return Path(override) if override else shipped("checkpoints")


def bundled_checkpoints() -> dict[str, Path]:
    """Name and folder of every bundled checkpoint, the default first."""
    folder = bundled_folder()
    found = {p.parent.name: p.parent for p in sorted(folder.glob(f"*/{CONFIG_NAME}"))}
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT_CHECKPOINT, item[0])))


@dataclass(frozen=True)
class CheckpointSummary:
    """What a checkpoint says about itself, without loading it."""

    name: str  # of its folder
    family: str  # of its latents: see `ModelConfig.family`
    capacity: str  # the family's dial in words
    trained: str  # one line of how it was made and what was measured; empty where nothing is told

    def __str__(self) -> str:
        kind = f"{self.family} latents, {self.capacity}"
        return f"{self.name} — {kind}" + (f" — {self.trained}" if self.trained else "")


def describe_checkpoint(folder: Path) -> CheckpointSummary:
    """Read a checkpoint's config.

    Raises:
        LamdemoError: it is no checkpoint, or its config is damaged.
    """
    config, about = read_config(folder)
    told = []
    about = about if isinstance(about, dict) else {}
    # A member of a family was trained in stages, and "steps" are those of the last.
    stages = [about.get(f"{stage}_steps") for stage in ("stem", "branch", "finish")]
    steps = sum(s for s in stages if isinstance(s, int)) or about.get("steps")
    nats = about.get("nats")
    if isinstance(steps, int) and steps > 0:
        told.append(f"{steps:,} training step{'s' * (steps > 1)}{', hardly trained' * bool(hardly_trained(about))}")
    if isinstance(nats, int | float) and math.isfinite(nats):
        told.append(f"{nats:.3g} nats a step")
    dial = capacity(config.family, config.bottleneck.capacity)
    return CheckpointSummary(folder.name, config.family, dial, ", ".join(told))


def hardly_trained(about: Mapping[str, Any]) -> str:
    """A warning about a checkpoint whose training has only begun; "" for any other, and where nothing is told.

    Args:
        about: what the checkpoint says of itself.
    """
    steps = sum(v for k, v in about.items() if k.endswith("steps") and isinstance(v, int))
    if not 0 < steps < HARDLY or about.get("began_with"):
        return ""
    return (
        f"This checkpoint was trained for {steps} step{'s' * (steps > 1)} only: what it shows says nothing yet. "
        "Train it on with lamdemo train --resume, or begin with a bundled one (--start-from)."
    )


def capacity(family: str, dial: float) -> str:
    """A family's dial in words: the weight of its penalty, or its number of codes."""
    if family == "residual":
        return "no penalty"
    return f"{dial:,.0f} codes" if family == "discrete" else f"{'λ' if family == 'sparse' else 'β'} {dial:g}"


def resolve_checkpoint(
    path_or_id: str | Path | None = None, *, cache_dir: str | Path | None = None, tell: Tell | None = None
) -> Path:
    """The folder of a checkpoint, downloaded if need be.

    Args:
        path_or_id: a folder, a bundled name, or ``owner/name[@revision]``; the bundled default without it.
        cache_dir: where downloads are kept.
        tell: progress of a download; see `lamdemo.engine.hub.download`.

    Raises:
        LamdemoError: there is no such checkpoint, it cannot be fetched and was not fetched before, or it needs a newer
            lamdemo.
    """
    bundled = bundled_checkpoints()
    if path_or_id is None or str(path_or_id).strip() == "":
        if DEFAULT_CHECKPOINT not in bundled:
            raise LamdemoError("No bundled checkpoint was found; give --checkpoint a folder or a Hub id.")
        return bundled[DEFAULT_CHECKPOINT]
    text = hub_id(str(path_or_id))
    other = _other(text)
    if other is not None:
        raise LamdemoError(other.only_reads)
    with contextlib.suppress(OSError):  # a name too long for any file
        if Path(text).is_dir():
            check_format(Path(text) / CONFIG_NAME, Path(text).name)
            return Path(text)
    if text in bundled:
        return bundled[text]
    match = _HUB_ID.fullmatch(text)
    if match is None:
        known = ", ".join(bundled) or "none"
        raise LamdemoError(
            f"There is no checkpoint {Path(text).name[:80]!r}; give a folder, a bundled name ({known}) or a "
            "Hub id such as owner/name."
        )
    return download(match[1], match[2], cache_dir=cache_dir, tell=tell)


def resolve_other(
    path_or_id: str | Path | None, *, cache_dir: str | Path | None = None, tell: Tell | None = None
) -> tuple[Other, Path] | None:
    """A model of others and the folder of its files, downloaded if need be; None of all that is none of theirs.

    Args:
        path_or_id: a folder with its files, or ``owner/name[@revision]`` of one in `lamdemo.engine.others.OTHERS`.
        cache_dir: see `resolve_checkpoint`.
        tell: see `resolve_checkpoint`.

    Raises:
        LamdemoError: it cannot be fetched and was not fetched before.
    """
    text = hub_id(str(path_or_id or ""))
    other = _other(text)
    if other is None or Path(text).is_dir():
        return None if other is None else (other, Path(text))
    revision = text.partition("@")[2] or None
    return other, download(other.repository, revision, cache_dir=cache_dir, tell=tell, layout=other.layout)


def _other(text: str) -> Other | None:
    """The model of others that lies in a folder, or that a Hub id means."""
    with contextlib.suppress(OSError, ValueError):  # no name of a file
        if Path(text).is_dir():
            return next((other for other in OTHERS if other.lies_in(Path(text))), None)
    repository = text.partition("@")[0].lower()
    return next((other for other in OTHERS if other.repository.lower() == repository), None)


def hub_id(text: str) -> str:
    """A Hub id as ``owner/name[@revision]``, where an address of the Hub or ``hf:`` was given; else the text itself."""
    found = _HUB_ADDRESS.fullmatch(text.strip())
    if found is None:
        return text
    revision = found[2] or found[3]
    return f"{found[1]}@{revision}" if revision else found[1]
