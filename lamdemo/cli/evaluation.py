"""``lamdemo evaluate`` and ``lamdemo scenes``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lamdemo.cli.common import (
    Device,
    DrawSeed,
    JudgedPart,
    Refinement,
    appearing_whole,
    checked_place,
    command_line,
    loaded,
    remove_if_empty,
    some_path,
    some_text,
)
from lamdemo.core.devices import AUTO, best_device
from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline

# As `lamdemo.evaluation.suite.PARTS`, which is not imported to print a help.
PARTS = ("videos", "pairs", "rollouts", "latents", "content", "probes", "locality", "entering", "space")
CONTROL_PARTS = ("rollouts", "openloop", "closedloop")  # as `lamdemo.evaluation.control.PARTS`


ReportPlace = Annotated[
    Path,
    typer.Option(parser=some_path, metavar="PATH", help="Report to write, JSON; for a suite, folder for the reports."),
]
Clips = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="Judge prediction, leakage and cycle on clips."),
]
Cases = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="Judge transfers on cases that `lamdemo scenes` wrote."),
]
Checkpoints = Annotated[
    list[str] | None,
    typer.Option(
        parser=some_text,
        metavar="ID",
        help="A folder, a bundled name, or owner/name\\[@revision] on the Hugging Face Hub. "
        "The bundled one without it; several when it is repeated.",
    ),
]
Suite = Annotated[
    Literal["paper", "control"] | None,
    typer.Option(
        help="paper: judge on everything at once, taken for granted with several checkpoints. "
        "control: judge known actions and plans."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        parser=some_text,
        metavar="PART",
        help=f"Of the suite: {', '.join(PARTS)} (control: {', '.join(CONTROL_PARTS)}); may be repeated.",
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Of the suite: judge anew what is finished already.")]
SuitePhotos = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="DIR", help="Of the suite: photographs for scenes; bundled without it."),
]
SplitFile = Annotated[
    Path | None,
    typer.Option(parser=some_path, metavar="FILE", help="TOML file of which clips are for what."),
]
MaxClips = Annotated[int | None, typer.Option(min=1, metavar="N", help="Clips or cases at most; all without it.")]
EpisodesRoot = Annotated[
    Path | None,
    typer.Option(
        parser=some_path,
        metavar="DIR",
        help="Of the suite control: recordings with known actions; only simulators without it.",
    ),
]
MaxEpisodes = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Of the suite control: episodes or tasks at most.")
]
Bodies = Annotated[
    list[str] | None,
    typer.Option(
        parser=some_text,
        metavar="NAME",
        help="Of the suite control: car, arm, doom, ...; may be repeated. All controllers without it.",
    ),
]
TwinFolder = Annotated[
    Path | None,
    typer.Option(
        parser=some_path, metavar="DIR", help="Of the suite control: folder of the twin; the checkpoint's without."
    ),
]
Ablations = Annotated[
    Path | None,
    typer.Option(
        parser=some_path, metavar="DIR", help="Of the suite control: folder of controllers that see no state."
    ),
]


def evaluate(
    ctx: typer.Context,
    out: ReportPlace,
    videos: Clips = None,
    pairs: Cases = None,
    checkpoint: Checkpoints = None,
    suite: Suite = None,
    only: Only = None,
    again: Again = False,
    photos: SuitePhotos = None,
    split: SplitFile = None,
    part: JudgedPart = "test",
    max_clips: MaxClips = None,
    seed: DrawSeed = 0,
    episodes_root: EpisodesRoot = None,
    max_episodes: MaxEpisodes = None,
    body: Bodies = None,
    twin: TwinFolder = None,
    ablations: Ablations = None,
    refinement: Refinement = None,
    device: Device = AUTO,
) -> None:
    """Measure how good checkpoints are, beside what needs no model.

    For one report of one checkpoint give either --videos or --pairs. A suite writes a folder of reports for each
    checkpoint; those that are finished already are kept.

    [bold]Examples[/]

    [cyan]lamdemo evaluate --videos clips --split configs/split.toml --out clips.json[/]

    [cyan]lamdemo scenes --out cases --cases 64 --seed 1[/]

    [cyan]lamdemo evaluate --pairs cases --checkpoint runs/first/checkpoint --out pairs.json[/]

    [cyan]lamdemo evaluate --suite paper --checkpoint noisy --checkpoint sparse --videos clips --out reports[/]

    [cyan]lamdemo evaluate --suite control --episodes-root data --split configs/split.toml --out reports[/]
    """
    checkpoints = list(checkpoint or [])
    if refinement is not None and (pairs is None or suite is not None or len(checkpoints) > 1):
        raise LamdemoError("--refinement is for one report on --pairs; leave it out.")
    if suite == "control":
        for_clips = {"--videos": videos, "--pairs": pairs, "--photos": photos, "--max-clips": max_clips}
        other = next((n for n, v in for_clips.items() if v is not None), None)
        if other is not None:
            raise LamdemoError(f"{other} is not for the suite control; leave it out.")
        folders = episodes_root, twin, ablations
        chosen = tuple(only or ()), tuple(body or ())
        _evaluate_control(ctx, out, checkpoints, folders, split, part, max_episodes, seed, chosen, again, device)
        return
    for_control = {
        "--episodes-root": episodes_root,
        "--max-episodes": max_episodes,
        "--body": body,
        "--twin": twin,
        "--ablations": ablations,
    }
    other = next((n for n, v in for_control.items() if v), None)
    if other is not None:
        raise LamdemoError(f"{other} is for the suite control; add --suite control.")
    if suite is None and len(checkpoints) < 2:
        given = next((n for n, v in (("--only", only), ("--again", again), ("--photos", photos)) if v), None)
        if given is not None:
            raise LamdemoError(f"{given} is for a suite; add --suite paper.")
        name = checkpoints[0] if checkpoints else None
        _evaluate_one(ctx, out, videos, pairs, name, split, part, max_clips, seed, refinement, device)
        return
    if split is not None and videos is None:
        raise LamdemoError("A split is of clips; leave out --split, or give --videos.")

    def judge(pipelines: Mapping[str, TransferPipeline], **told: Any) -> None:
        from lamdemo.evaluation import SuiteConfig, run_suite

        config = SuiteConfig(videos, pairs, split, part, photos, max_clips, seed, tuple(only or ()), again)
        run_suite(pipelines, out, config, **told)

    _evaluate_all(ctx, out, checkpoints, (videos, pairs, photos), device, judge)


def _evaluate_all(
    ctx: typer.Context,
    out: Path,
    checkpoints: list[str],
    folders: Sequence[Path | None],
    device: str,
    judge: Callable[..., None],
) -> None:
    """Write a suite's reports and tell what they say.

    Args:
        ctx: of the command.
        out: folder of the reports.
        checkpoints: those that are judged; the default without any.
        folders: with data, which must be there.
        device: where to compute.
        judge: the suite, given pipelines by name, the command line and what to tell progress with.
    """
    checked_place(out, folder=True)
    for folder in folders:
        if folder is not None and not folder.is_dir():
            raise LamdemoError(f"There is no folder {folder.name}; give one that is there.")

    from lamdemo import DEFAULT_CHECKPOINT
    from lamdemo.evaluation import load_checkpoints

    pipelines = load_checkpoints(checkpoints or [DEFAULT_CHECKPOINT], best_device(device))
    made = [p for p in (out, *out.absolute().parents) if not p.exists()]
    try:
        judge(pipelines, command=command_line(ctx.obj or []), say=lambda words: typer.echo(words, err=True))
    finally:
        remove_if_empty(made)
    _tell(out)


def _evaluate_control(
    ctx: typer.Context,
    out: Path,
    checkpoints: list[str],
    folders: tuple[Path | None, Path | None, Path | None],
    split: Path | None,
    part: Literal["train", "validation", "test", "all"],
    max_episodes: int | None,
    seed: int,
    chosen: tuple[tuple[str, ...], tuple[str, ...]],
    again: bool,
    device: str,
) -> None:
    """Reports on known actions and plans."""
    (root, twin, ablations), (only, bodies) = folders, chosen

    def judge(pipelines: Mapping[str, TransferPipeline], **told: Any) -> None:
        from lamdemo.evaluation.control import ControlConfig, run_control

        config = ControlConfig(root, split, part, max_episodes, seed, only, bodies, again, twin, ablations)
        run_control(pipelines, out, config, **told)

    _evaluate_all(ctx, out, checkpoints, folders, device, judge)


def _evaluate_one(
    ctx: typer.Context,
    out: Path,
    videos: Path | None,
    pairs: Path | None,
    checkpoint: str | None,
    split: Path | None,
    part: Literal["train", "validation", "test", "all"],
    max_clips: int | None,
    seed: int,
    refinement: int | None,
    device: str,
) -> None:
    """One report of one checkpoint."""
    if (videos is None) == (pairs is None):
        raise LamdemoError(
            "Give either --videos or --pairs, the folder to evaluate on, or --suite paper for everything at once."
        )
    if pairs is not None and split is not None:
        raise LamdemoError("A split is of clips; leave out --split, or give --videos in place of --pairs.")
    checked_place(out, folder=False)

    from lamdemo.evaluation import ClipSet, evaluate_pairs, evaluate_videos, write_report

    pipeline = loaded(checkpoint, device)
    result: dict[str, Any]
    if videos is not None:
        result = evaluate_videos(pipeline, ClipSet(videos, split, part, max_clips, seed))
    else:
        assert pairs is not None
        result = evaluate_pairs(pipeline, pairs, max_clips=max_clips, seed=seed, refinement=refinement)
    data = videos or pairs
    assert data is not None
    command = command_line(ctx.obj or [])
    made = [p for p in out.absolute().parents if not p.exists()]
    try:
        write_report(out, result, command=command, pipeline=pipeline, seed=seed, data=data)
    finally:
        remove_if_empty(made)
    _tell(out)


def _tell(out: Path) -> None:
    """The figures of a report, or of a folder of them, and where it is."""
    from lamdemo.reporting.reports import read_report, read_reports
    from lamdemo.reporting.tables import tables_of

    try:
        typer.echo(f"{tables_of(read_reports(out) if out.is_dir() else [read_report(out)])}\n")
    except LamdemoError as error:
        typer.echo(f"lamdemo: {error}", err=True)  # of a report that was there before: these are written
    typer.echo(out)


Hand = Annotated[
    Literal["training", "other"],
    typer.Option(
        help="Who draws: the training's own generator, or code that shares nothing with it, from pictures that "
        "are held out from training."
    ),
]
OtherThings = Annotated[
    list[Path] | None,
    typer.Option(
        parser=some_path, metavar="DIR", help="Cut-outs for --hand other; may be repeated. Bundled ones without it."
    ),
]
OtherBackgrounds = Annotated[
    list[Path] | None,
    typer.Option(
        parser=some_path,
        metavar="DIR",
        help="Photographs of places for --hand other; may be repeated. Bundled ones without it.",
    ),
]
OtherPart = Annotated[
    Literal["train", "test"],
    typer.Option(help="Of the pictures for --hand other, by their sources: test are those held out from training."),
]


def scenes(
    out: Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="Folder for the cases, new or empty.")],
    cases: Annotated[int, typer.Option(min=1, max=9999, metavar="N", help="How many.")],
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of everything; same seed, same cases.")] = 0,
    hand: Hand = "training",
    photos: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="DIR", help="Photographs for --hand training; bundled ones without it."),
    ] = None,
    things: OtherThings = None,
    backgrounds: OtherBackgrounds = None,
    part: OtherPart = "test",
    kind: Annotated[
        str | None,
        typer.Option(parser=some_text, metavar="K", help="pan, zoom, roll, move, turn, ...; all in turns without it."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=64, metavar="N", help="Steps of each action; 8, with --hand other 7."),
    ] = None,
    size: Annotated[int, typer.Option(min=32, max=1024, metavar="PX", help="Height of the sources.")] = 256,
) -> None:
    """Make transfers whose truth is known: the same action in two scenes made of photographs.

    Each case is a folder with source.mp4, target.png, truth.mp4 and case.json; by the other hand also layers.npz.

    [bold]Examples[/]

    [cyan]lamdemo scenes --out cases --cases 64 --seed 1[/]

    [cyan]lamdemo scenes --hand other --things cutouts --backgrounds places --out cases --cases 144[/]
    """
    checked_place(out, folder=True)
    if out.is_dir() and any(out.iterdir()):
        raise LamdemoError(f"{out.name} is not an empty folder; choose a new one.")
    if hand == "other" and photos is not None:
        raise LamdemoError("--photos is for --hand training; give --things and --backgrounds.")
    if hand == "training" and (things or backgrounds or part != "test"):
        raise LamdemoError("--things, --backgrounds and --part are for --hand other; add it or leave them out.")

    from lamdemo.evaluation import write_cases, write_second_hand

    with appearing_whole(out) as folder:
        # The name of the kind is checked there.
        if hand == "other":
            made = write_second_hand(
                folder,
                cases,
                seed,
                things=things or None,
                backgrounds=backgrounds or None,
                part=part,
                steps=steps or 7,
                size=size,
                kind=kind,  # type: ignore[arg-type]
            )
        else:
            made = write_cases(
                folder, cases, seed, photos=photos, steps=steps or 8, size=size, kind=kind  # type: ignore[arg-type]
            )  # fmt: skip
    typer.echo(f"{out} ({len(made)} cases)")
