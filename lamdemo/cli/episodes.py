"""``lamdemo episodes``: record, convert and look at episodes with known actions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from tqdm import tqdm

from lamdemo.cli.common import checked_place, remove_if_empty, some_path, some_text
from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    from lamdemo.core.actions import Kind
    from lamdemo.data.episodes import Episodes
    from lamdemo.data.splits import Part

episodes = typer.Typer(
    name="episodes",
    help="Record, convert and look at episodes: video with the known actions that were taken in it.",
    no_args_is_help=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@episodes.callback(invoke_without_command=True)
def _start(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.get_help()


Source = Annotated[
    str,
    typer.Argument(
        parser=some_text,
        metavar="SOURCE",
        help="A folder of episodes, of a LeRobot dataset or with an INDEX.tsv, or hf:owner/name for a LeRobot dataset "
        "on the Hub.",
    ),
]
PartName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of a folder with an INDEX.tsv: car, arm or humanoid.")
]
Cameras = Annotated[
    list[str] | None, typer.Option("--camera", metavar="NAME", help="Only this camera; may be given again.")
]
KindOfAction = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="What the actions of a LeRobot dataset are: target (places to go to), change (steps) or rate (speeds).",
    ),
]


@episodes.command("record")
def record(
    env: Annotated[str, typer.Argument(parser=some_text, metavar="ENV", help="The simulator, such as doom or fetch.")],
    out: Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="Folder of episodes; is made.")],
    count: Annotated[int, typer.Option("--episodes", min=1, max=100_000, metavar="N", help="How many.")] = 10,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Of the first scene; the others count on from it. Scenes from 0 on are for training, from 10000 on "
            "for validation, from 20000 on for tests.",
        ),
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="Steps of each.")] = 40,
    size: Annotated[int, typer.Option(min=32, max=1024, metavar="PIXELS", help="Side of the square pictures.")] = 192,
    behaviour: Annotated[
        str, typer.Option(metavar="NAME", help="random, scripted (to some purpose) or mixed.")
    ] = "mixed",
) -> None:
    """Record episodes in a simulator, in a new scene each.

    Episodes that are there already are left as they are, so that a call that was stopped goes on when it is given
    again. Simulators need [bold]pip install lamdemo\\[simulators][/].

    [bold]Example[/]

    [cyan]lamdemo episodes record doom --episodes 20 --out rooms[/]
    """
    from lamdemo.data.episodes import EpisodeWriter
    from lamdemo.simulators import make
    from lamdemo.simulators.recording import BEHAVIOURS, record_many

    checked_place(out, folder=True)
    if behaviour not in BEHAVIOURS:
        raise LamdemoError(f"There is no behaviour {behaviour!r}; there are {', '.join(BEHAVIOURS)}.")
    with make(env, size=(size, size)) as sim:
        writer = EpisodeWriter(out, sim.spec, {"simulator": sim.name, "behaviour": behaviour, "size": size})
        there = writer.names
        new = 0
        for episode in tqdm(
            record_many(sim, behaviour, steps, seed, count, skip=there.__contains__),
            total=sum(f"{sim.name}-{s:05d}" not in there for s in range(seed, seed + count)),
            desc="recording",
            disable=None,
        ):
            writer.add(episode)
            new += 1
    kept = f", {count - new} were there" if new < count else ""
    typer.echo(f"{out} ({new} episodes recorded{kept})")


@episodes.command("convert")
def convert(
    source: Source,
    out: Annotated[Path, typer.Option(parser=some_path, metavar="DIR", help="Folder of episodes; is made.")],
    part: PartName = None,
    camera: Cameras = None,
    kind: KindOfAction = "target",
    most: Annotated[
        int | None, typer.Option("--max", min=1, metavar="N", help="Episodes at most, spread over all.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.01, metavar="X", help="About this many frames a second; all without it.")
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(min=16, metavar="PIXELS", help="Longest side of the pictures, which never grow.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(parser=some_path, metavar="FILE", help="TOML file of what is held out.")
    ] = None,
    only: Annotated[
        str, typer.Option(metavar="PART", help="With --split: train, validation, test or all of it.")
    ] = "all",
) -> None:
    """Turn episodes of other files into a folder of ours. Actions are combined where frames are left out.

    Episodes that are there already are left as they are. LeRobot datasets need [bold]pip install lamdemo\\[lerobot][/].

    [bold]Examples[/]

    [cyan]lamdemo episodes convert hf:lerobot/pusht --fps 5 --max 20 --out pusht[/]

    [cyan]lamdemo episodes convert clips --part car --fps 4 --out car[/]
    """
    from lamdemo.data.episodes import CONFIG_NAME, EpisodeWriter
    from lamdemo.data.splits import Split

    checked_place(out, folder=True)
    if only not in ("train", "validation", "test", "all"):
        raise LamdemoError(f"There is no part {only!r} of a split; there are train, validation, test and all.")
    if only != "all" and split is None:
        raise LamdemoError(f"What is for {only} is told by a split file; give --split too.")
    found = _opened(source, part, camera, kind)
    if split is not None:
        found = found.split(Split.read(split), cast("Part", only))
        if not len(found):
            raise LamdemoError(f"The split {split.name} leaves no episode of this source for {only}; choose another.")
    found = found.spread(most)
    made = [p for p in (out, *out.absolute().parents) if not p.exists()]
    new, problems = 0, []
    try:
        writer = EpisodeWriter(out, found.spec, found.about)
        there = writer.names
        for i in tqdm([i for i, n in enumerate(found.names) if n not in there], desc="converting", disable=None):
            # One bad file does not cost the others.
            try:
                episode = found.read(i, fps=fps, max_side=max_side)
            except LamdemoError as error:
                problems.append(str(error))
                continue
            writer.add(episode)
            new += 1
        if not new and problems:
            if not there:
                (out / CONFIG_NAME).unlink(missing_ok=True)
            raise LamdemoError(problems[0])
    finally:
        remove_if_empty(made)
    for problem in problems:
        typer.echo(f"note: {problem}", err=True)
    kept = len(found) - new - len(problems)
    typer.echo(f"{out} ({new} episodes converted{f', {kept} were there' if kept else ''})")


@episodes.command("show")
def show(
    source: Source,
    part: PartName = None,
    camera: Cameras = None,
    kind: KindOfAction = "target",
    sheet: Annotated[
        Path | None,
        typer.Option(parser=some_path, metavar="FILE", help="Write a picture of some frames with their actions there."),
    ] = None,
) -> None:
    """Tell what is in a folder of episodes: how many, what the actions are and which values they take.

    In the sheet the bars below a frame are the action that leads to the frame on its right.

    [bold]Example[/]

    [cyan]lamdemo episodes show rooms --sheet rooms.png[/]
    """
    from lamdemo.data.episodes.overview import contact_sheet, figures
    from lamdemo.video import write_image

    if sheet is not None:
        checked_place(sheet, folder=False)
    found = _opened(source, part, camera, kind)
    told = figures(found)
    rates = ", ".join(f"{r:.4g}" for r in told.rates)
    typer.echo(
        f"{len(found)} episodes of {found.spec.name}, {len(set(found.recordings))} recordings, {told.steps} steps, "
        f"{told.seconds / 60:.1f} minutes at {rates} frames a second"
    )
    for key, value in found.about.items():
        typer.echo(f"{key}: {value}")
    typer.echo(f"truth: {', '.join(told.truth) or 'none'}")
    wide = max(len(n) for n in ("channel", *found.spec.names)) + 2
    unit = max(len(u) for u in ("unit", *(c.unit for c in found.spec.channels))) + 2
    head = (
        f"{'channel':<{wide}}{'kind':<8}{'unit':<{unit}}{'range':>16}{'mean':>10}{'std':>10}{'least':>10}{'most':>10}"
    )
    typer.echo(f"{head}{'outside':>9}  means")
    for i, c in enumerate(found.spec.channels):
        numbers = "".join(f"{x[i]:>10.3g}" for x in (told.mean, told.std, told.least, told.most))
        words = " / ".join(c.words) if any(c.words) else ""
        span = f"{c.low:.3g} to {c.high:.3g}"
        typer.echo(
            f"{c.name:<{wide}}{c.kind:<8}{c.unit:<{unit}}{span:>16}{numbers}{told.outside[i]:>9.1%}  {words}".rstrip()
        )
    if sheet is not None:
        typer.echo(write_image(sheet, contact_sheet(found)))


def _opened(source: str, part: str | None, cameras: list[str] | None, kind: str) -> Episodes:
    from lamdemo.data.episodes import open_episodes

    if kind not in ("rate", "change", "target"):
        raise LamdemoError(f"There is no kind of action {kind!r}; there are rate, change and target.")
    return open_episodes(source, part=part, cameras=cameras or None, kind=cast("Kind", kind))
