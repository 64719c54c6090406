"""A checkpoint as others get it: its files, and a card that says what it is, how to use it and how good it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from lamdemo import __version__
from lamdemo.core.errors import LamdemoError, reason, shown_name
from lamdemo.core.files import write_safely
from lamdemo.core.places import shipped
from lamdemo.engine.hub import CARD_NAME, FILES
from lamdemo.engine.pretrained import describe_checkpoint
from lamdemo.models.checkpoint import WEIGHTS_NAME, checkpoint_hash, read_config

TAGS = ("latent-action-model", "world-model", "video")
# What of which report goes into the card's index of results: name of the figure there, its kind, and its name here.
_FIGURES: Mapping[str, tuple[str, str, tuple[tuple[str, str, str], ...]]] = {
    "secondhand": (
        "Transfers with a known truth, drawn by code, things and photographs that share nothing with training",
        "lamdemo-secondhand",
        (
            ("motion", "error_over_copying", "Motion error over that of a still picture (lower is better)"),
            ("on_thing", "error_over_copying", "Picture error on the thing over that of a still picture"),
            ("iou", "iou", "IoU of the thing's matte after 6 steps"),
        ),
    ),
    "videos": (
        "Clips held out from training",
        "lamdemo-videos",
        (
            ("one_step_moving", "error_over_copying", "Error of one step, moving half, over copying the last frame"),
            ("eight_step", "error_over_copying", "Mean error of eight steps over copying the last frame"),
            ("cycle", "cycle_error", "Error with latents that went to another clip and back, over that with its own"),
        ),
    ),
}


def save(
    source: Path,
    folder: Path,
    *,
    name: str | None = None,
    license: str | None = None,
    datasets: Sequence[str] = (),
    reports: Path | None = None,
) -> Path:
    """Write a checkpoint with all that it brings, and its card, to another folder.

    Args:
        source: folder of the checkpoint.
        folder: is made if need be; files of the same names are replaced.
        name: what the card calls it, ``owner/name`` for the Hub; its folder's name without it.
        license: the card's, as the Hub calls it; what its card says already without it.
        datasets: ids on the Hub of what it was trained on.
        reports: folder of reports whose figures the card gives if they are of these weights; those that come with
            lamdemo by default.

    Returns:
        The folder.

    Raises:
        LamdemoError: there is no checkpoint, or it cannot be written there.
    """
    read_config(source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (p for pattern in FILES for p in sorted(source.glob(pattern))):
            if path.name != CARD_NAME and path.resolve() != (folder / path.relative_to(source)).resolve():
                (folder / path.relative_to(source)).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, folder / path.relative_to(source))
        text = card(source, name=name, license=license, datasets=datasets, reports=reports)
        write_safely(folder / CARD_NAME, text.encode())
    except OSError as error:
        raise LamdemoError(f"{shown_name(folder)} cannot be written: {reason(error)}; choose another place.") from error
    return folder


def card(
    source: Path,
    *,
    name: str | None = None,
    license: str | None = None,
    datasets: Sequence[str] = (),
    reports: Path | None = None,
) -> str:
    """The card of a checkpoint, as Markdown with what the Hub reads at its head; see `save`.

    A card that the checkpoint has keeps its words and what its head says; what the head lacks is added.
    """
    from huggingface_hub import ModelCard

    try:
        text = (source / CARD_NAME).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = _words(source, name)
    # Links to files of the repository that it comes from lead nowhere elsewhere.
    text = re.sub(r"(?<!!)\[([^\]]+)\]\(\.\.?/[^)]*\)", r"\1", text)
    made = ModelCard(text, ignore_metadata_errors=True)
    head: Any = made.data
    head.license = license or head.license or _inherited(source)
    head.library_name = head.library_name or "lamdemo"
    head.pipeline_tag = head.pipeline_tag or "video-to-video"
    head.tags = [*(head.tags or []), *(t for t in TAGS if t not in (head.tags or []))]
    head.datasets = list(datasets) or head.datasets
    results = _results(source, shipped("reports") / source.name if reports is None else reports)
    if results:
        head.model_name, head.eval_results = name or source.name, results
    return str(made).rstrip() + "\n"


def is_in_file(model: nn.Module, folder: Path) -> bool:
    """Whether a model's parameters are those of a checkpoint's file, as this model's precision holds them.

    Raises:
        LamdemoError: there is no such file, or it is damaged.
    """
    try:
        kept = load_file(folder / WEIGHTS_NAME)
    except (SafetensorError, OSError, ValueError) as error:
        raise LamdemoError(f"{WEIGHTS_NAME} of {shown_name(folder)} cannot be read; load the model again.") from error
    state = model.state_dict()
    return state.keys() == kept.keys() and all(
        tensor.shape == kept[name].shape and torch.equal(tensor.detach().cpu(), kept[name].to(tensor.dtype))
        for name, tensor in state.items()
    )


def _inherited(source: Path) -> str | None:
    """The licence that a model trained on from bundled weights has of these."""
    return "cc-by-nc-4.0" if read_config(source)[1].get("began_with") else None


def _words(source: Path, name: str | None) -> str:
    told, (config, about) = describe_checkpoint(source), read_config(source)
    known = {k: v for k, v in about.items() if isinstance(v, str | int | float) and not isinstance(v, bool)}
    facts = "\n".join(f"- {k.replace('_', ' ')}: {v}" for k, v in known.items())
    numbers = config.bottleneck.channels
    return f"""---
library_name: lamdemo
---

# {name or source.name}

A latent action world model: from two frames of a video it reads what happened as {numbers} numbers, and makes the same
happen in another picture. Its latents are {told.family} ({told.capacity}). Made with lamdemo {__version__}, after the
method of *Learning Latent Action World Models In The Wild* (arXiv 2601.05230); it is not by that paper's authors.

## Use

```python
from lamdemo.engine import TransferPipeline

pipeline = TransferPipeline.from_pretrained("{name or source.name}")
```

or `lamdemo transfer clip.mp4 picture.jpg --checkpoint {name or source.name} --out result`. Clips are read at
{config.fps:g} steps a second.

## Training

{facts or "Nothing is told of it."}
"""


def _results(source: Path, folder: Path) -> list[Any]:
    """Figures of reports that are of these weights."""
    from huggingface_hub import EvalResult

    found = []
    for report, (dataset, kind, figures) in _FIGURES.items():
        try:
            data = json.loads((folder / f"{report}.json").read_text(encoding="utf-8"))
            if data["checkpoint"]["sha256"] != checkpoint_hash(source):
                continue
            headline = data["results"]["headline"]
            for key, metric, title in figures:
                if key in headline:
                    value, low, high = (round(float(headline[key][k]), 3) for k in ("value", "low", "high"))
                    found.append(
                        EvalResult(
                            task_type="video-to-video",
                            task_name="Transfer of latent actions",
                            dataset_type=kind,
                            dataset_name=dataset,
                            metric_type=metric,
                            metric_name=title,
                            metric_value=value,
                            metric_args={"low": low, "high": high},
                        )
                    )
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return found
