"""The paper's evaluation of several checkpoints in one go: a folder of reports for each.

Every part judges all checkpoints together, so that what does not depend on them is done once. A part's reports
are written when it is done; those that are finished already are kept, so that a suite cut short can go on.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from lamdemo.core.errors import LamdemoError
from lamdemo.data.splits import Part
from lamdemo.data.videos import bundled_photographs
from lamdemo.engine import TransferPipeline, resolve_checkpoint
from lamdemo.evaluation.cases import write_cases
from lamdemo.evaluation.clips import ClipSet
from lamdemo.evaluation.report import code_hash, describe_files, plain, split_hash, write_report

PARTS = ("videos", "pairs", "rollouts", "latents", "content", "probes", "locality", "entering", "space")
_OF_CLIPS = ("videos", "rollouts", "latents", "content")  # parts that need clips
CASES = 100  # transfers that are made where none are given
SCENES = 24  # of each kind that locality and entering are judged on


@dataclass(frozen=True)
class SuiteConfig:
    """What to judge on."""

    videos: Path | None = None  # folder of clips; parts that need it are left out without it
    pairs: Path | None = None  # folder of cases that `write_cases` made; without it `CASES` are made for the occasion
    split: Path | None = None  # TOML file of which clips are for what
    part: Part | Literal["all"] = "test"  # of the split
    # Folder of photographs for procedural scenes; the bundled ones, never in training, by default.
    photos: Path | None = None
    max_clips: int | None = None  # clips or cases at most, of each part
    seed: int = 0  # of what is drawn at random
    only: tuple[str, ...] = ()  # these parts; all without it
    again: bool = False  # judge anew what is finished already


@dataclass(frozen=True)
class _Part:
    """One of the evaluations."""

    module: str  # of `lamdemo.evaluation` in which it is
    function: str  # its name there
    arguments: Mapping[str, Any]  # keyword arguments for it
    data: Mapping[str, Any]  # what it is judged on, for the report
    place: tuple[Path | ClipSet | None, ...] = ()  # the data, given as its second argument; none where it takes none
    figure: str = ""  # a picture of all checkpoints that it draws; its file's name, or ""


def checkpoint_names(checkpoints: Sequence[str]) -> dict[str, str]:
    """A name for each checkpoint: its folder's, or that of a folder above it where two share the former.

    Args:
        checkpoints: folders, bundled names, or ids on the Hub.

    Returns:
        Name to checkpoint, in the given order.

    Raises:
        LamdemoError: one is given twice.
    """
    addresses = [_address(text) for text in checkpoints]
    for i, one in enumerate(addresses):
        if one in addresses[:i]:
            raise LamdemoError(f"The checkpoint {one[-1]} is given twice; give each once.")
    names = [a[-1] for a in addresses]
    for depth in range(2, max(map(len, addresses), default=0) + 1):
        clash = [names.count(n) > 1 for n in names]
        names = [a[-min(depth, len(a))] if c else n for n, a, c in zip(names, addresses, clash, strict=True)]
    if len(set(names)) < len(names):
        names = ["-".join(a).strip("/") for a in addresses]
    return dict(zip(names, checkpoints, strict=True))


def _address(checkpoint: str) -> tuple[str, ...]:
    """The folders that lead to a checkpoint and its own, or owner and name on the Hub."""
    path = Path(checkpoint)
    try:
        if path.is_dir():
            return path.resolve().parts
    except OSError:  # a name too long for any file
        pass
    repo, at, revision = checkpoint.partition("@")
    *owner, name = repo.split("/")
    return (*owner, name + at + revision.replace("/", "-"))


def load_checkpoints(checkpoints: Sequence[str], device: str = "cpu") -> dict[str, TransferPipeline]:
    """Pipelines of checkpoints, by the names that `checkpoint_names` gives them.

    Raises:
        LamdemoError: one cannot be loaded, or is given twice.
    """
    named = checkpoint_names(checkpoints)
    for checkpoint in named.values():
        resolve_checkpoint(checkpoint)  # all are looked for before the first is loaded
    pipelines = {name: TransferPipeline.from_pretrained(c, device=device) for name, c in named.items()}
    for name, pipeline in pipelines.items():
        pipeline.name = name
    return pipelines


def run_suite(
    pipelines: Mapping[str, TransferPipeline],
    out: str | Path,
    config: SuiteConfig,
    *,
    command: str | Sequence[str],
    say: Callable[[str], None] = lambda words: None,
) -> list[Path]:
    """Judge checkpoints and write ``<name>/<part>.json`` for each part, see `write_report`.

    A report that is there already, of the same checkpoint, data and code (by their hashes) and seed, is kept.

    Args:
        pipelines: to judge, by name.
        out: folder for the reports; is made.
        config: what to judge on.
        command: the command line, for the reports.
        say: is told which parts are kept or left out, and why.

    Returns:
        All reports of this suite, those that were kept included.

    Raises:
        LamdemoError: a part was asked for that the data do not allow; or some parts could not be judged, once
            all others have been.
    """
    out = Path(out)
    parts = _parts(config, out)
    _check(parts, config)
    reports: list[Path] = []
    failed: list[str] = []
    for name, part in parts.items():
        data = plain({**part.data, "max_clips": config.max_clips})
        if config.videos is None and name in _OF_CLIPS:
            say(f"{name}: left out, it needs --videos")
            continue
        paths = {n: out / n / f"{name}.json" for n in pipelines}
        left = dict(pipelines)
        if not config.again:
            left = {n: p for n, p in pipelines.items() if not _finished(paths[n], p, config.seed, data)}
        if part.figure and left and not config.again:
            left = dict(pipelines)  # its figure shows all checkpoints
        for n in pipelines.keys() - left.keys():
            say(f"{n}/{name}.json: kept, it is finished (--again judges anew)")
        if left:
            out.mkdir(parents=True, exist_ok=True)
            try:
                found = _run(part, left, config)
            except LamdemoError as error:
                failed.append(f"{name}: {error}")
                say(f"{name}: not judged, {error}")
                continue
            for n, result in found.items():
                write_report(paths[n], result, command=command, pipeline=left[n], seed=config.seed, data=data)
        reports += paths.values()
    if failed:
        raise LamdemoError(f"Not everything could be judged; the rest is written. {' '.join(failed)}")
    return reports


def _check(parts: Mapping[str, _Part], config: SuiteConfig) -> None:
    """Refuse what cannot be done before anything is computed."""
    unmet = [n for n in config.only if n in _OF_CLIPS and config.videos is None]
    if unmet:
        raise LamdemoError(f"Judging {unmet[0]} needs clips; give --videos.")
    if not parts:
        raise LamdemoError(f"There is nothing to judge; choose from {', '.join(PARTS)}.")


def _parts(config: SuiteConfig, out: Path) -> dict[str, _Part]:
    """The chosen parts, in the order of `PARTS`."""
    unknown = [n for n in config.only if n not in PARTS]
    if unknown:
        raise LamdemoError(f"There is no part {unknown[0]!r} of the suite; choose from {', '.join(PARTS)}.")
    photos = describe_files(config.photos or bundled_photographs())
    split: dict[str, Any] = {"part": "all"}
    if config.split is not None:
        split = {"part": config.part, "split": {"file": config.split.name, "sha256": split_hash(config.split)}}
    clips = {**describe_files(config.videos), **split} if config.videos is not None else {}
    cases = min(config.max_clips or CASES, CASES)
    pairs = (
        describe_files(config.pairs)
        if config.pairs is not None
        else {"made": "procedural transfers", "cases": cases, "photographs": photos}
    )
    scenes = min(config.max_clips or SCENES, SCENES)
    limit = {"max_clips": config.max_clips, "seed": config.seed}

    def on_clips(module: str) -> _Part:
        chosen = config.videos and ClipSet(config.videos, config.split, config.part, config.max_clips, config.seed)
        return _Part(module, f"evaluate_{module}", {}, clips, (chosen,))

    def on_both(module: str) -> _Part:
        arguments = {**limit, "split": config.split, "part": config.part, "photos": config.photos}
        return _Part(module, f"evaluate_{module}", arguments, {**clips, "photographs": photos}, (config.videos,))

    def on_scenes(module: str) -> _Part:
        arguments = {"photos": config.photos, "cases": scenes, "seed": config.seed, "figure": out / f"{module}.png"}
        data = {"made": "procedural scenes", "cases": scenes, "photographs": photos}
        return _Part(module, f"evaluate_{module}", arguments, data, (), f"{module}.png")

    every = {
        "videos": on_clips("videos"),
        "pairs": _Part("pairs", "evaluate_pairs", limit, pairs, (config.pairs,)),
        "rollouts": on_clips("rollouts"),
        "latents": on_clips("latents"),
        "content": on_clips("content"),
        "probes": on_both("probes"),
        "locality": on_scenes("locality"),
        "space": on_both("space"),
        "entering": on_scenes("entering"),
    }
    return {name: every[name] for name in PARTS if not config.only or name in config.only}


def _finished(path: Path, pipeline: TransferPipeline, seed: int, data: Any) -> bool:
    """Whether a report is of this checkpoint, seed, data and code."""
    try:
        report = json.loads(path.read_text(encoding="utf-8-sig"))
        same = report["seed"] == seed and report["data"] == data and report["code"] == code_hash()
        same = same and bool(report["results"])
        return same and bool(pipeline.checkpoint) and report["checkpoint"]["sha256"] == pipeline.checkpoint
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _run(part: _Part, pipelines: dict[str, TransferPipeline], config: SuiteConfig) -> dict[str, dict[str, Any]]:
    # Found by name: a part is read in only when it is wanted.
    evaluate = getattr(import_module(f"lamdemo.evaluation.{part.module}"), part.function)
    if part.module != "pairs" or config.pairs is not None:
        return evaluate(pipelines, *part.place, **part.arguments)
    with tempfile.TemporaryDirectory() as folder:
        cases = Path(folder) / "cases"
        write_cases(cases, part.data["cases"], config.seed, photos=config.photos)
        return evaluate(pipelines, cases, **part.arguments)
