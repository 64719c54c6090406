"""``lamdemo compose``: arithmetic of latent actions, as a file that ``lamdemo transfer`` takes as its source."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lamdemo.cli.common import Checkpoint, Repeat, Reverse, Strength, some_path
from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    from lamdemo.latent_space.atlas import Atlas
    from lamdemo.latent_space.composition import Block, Composition, Term

_ITEM = re.compile(r"(?P<back>~?)(?:(?P<factor>[0-9.]+)\*)?(?P<what>.+?)(?::(?P<steps>\d+))?")

How = Literal["then", "add", "between"]


def compose(
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ITEM]...",
            help="What to put together: a latents.npz, a direction of the checkpoint's atlas (pan-right, pc1, "
            "cluster3; --list shows them), or @N for its step N. Before it, ~ reverses and 1.5* makes stronger; after "
            "it, :4 holds a single step for four.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(parser=some_path, metavar="FILE", help="The .npz to write.")] = None,
    how: Annotated[How, typer.Option(help="One after the other, all at once, or between two.")] = "then",
    share: Annotated[
        float, typer.Option(min=0, max=1, metavar="U", help="With between: 0 is the first, 1 the second.")
    ] = 0.5,
    strength: Strength = 1.0,
    reverse: Reverse = False,
    repeat: Repeat = 1,
    smooth: Annotated[
        float | None,
        typer.Option(min=0, max=8, metavar="W", help="Smooth over W steps at the end; a link's own without."),
    ] = None,
    link: Annotated[str | None, typer.Option(metavar="TEXT", help="Begin with the actions of a share link.")] = None,
    checkpoint: Checkpoint = None,
    show: Annotated[bool, typer.Option("--list", help="List the checkpoint's directions, and leave.")] = False,
) -> None:
    """Put latent actions together: one after the other, at once, or between two.

    Writes an .npz to use as the SOURCE of [bold]lamdemo transfer[/], or to load on the page's timeline, and prints
    the text of its share link.

    [bold]Examples[/]

    [cyan]lamdemo compose pan-right:4 '~pan-right:4' --out there_and_back.npz[/]

    [cyan]lamdemo compose walk/latents.npz '0.5*zoom-in' --how add --out walk_in.npz[/]
    """
    from lamdemo.engine import resolve_checkpoint
    from lamdemo.latent_space.atlas import Atlas
    from lamdemo.latent_space.composition import Block, Composition
    from lamdemo.models import checkpoint_hash, read_config

    folder = resolve_checkpoint(checkpoint)
    config, _ = read_config(folder)
    mine = checkpoint_hash(folder)
    atlas = Atlas.read(folder)
    if show:
        _list(atlas)
        return
    if out is None:
        raise LamdemoError("Say with --out where to write the actions.")
    made = Composition((), config.fps, mine)
    if link is not None:
        made = Composition.decode(link, checkpoint=mine, channels=config.bottleneck.channels)
    blocks = [_block(item, atlas, made, config.bottleneck.channels) for item in items or ()]
    if how == "between":
        if len(blocks) != 2:
            raise LamdemoError(f"Between needs two actions, and there are {len(blocks)}; give two.")
        steps = max(len(block) for block in blocks)
        a, b = (_term(block) for block in blocks)
        between = Block.between(a, b, share, repeat=steps if len(a.z) == len(b.z) == 1 else 1)
        blocks = [between]
    elif how == "add" and blocks:
        longest = max(len(block) for block in blocks)
        terms = tuple(_term(block) for block in blocks)
        blocks = [Block(terms, repeat=longest if all(len(t.z) == 1 for t in terms) else 1)]
    for block in blocks:
        made = made.append(block)
    whole = Composition(made.blocks, made.fps, mine, made.smooth if smooth is None else smooth)
    if strength != 1 or reverse or repeat != 1:
        # All of it at once: a single block of what it came to.
        latents = whole.latents().z
        label = whole.blocks[0].label if len(whole.blocks) == 1 else f"{len(whole.blocks)} blocks"
        whole = Composition((Block.of(latents, label),), made.fps, mine)
        whole = whole.put(0, replace(whole.blocks[0], strength=strength, reverse=reverse, repeat=repeat))
    _write(whole, out)


def _write(whole: Composition, out: Path) -> None:
    if out.suffix.lower() != ".npz":
        raise LamdemoError(f"{out.name} must end in .npz; choose such a name.")
    if not out.parent.is_dir():
        raise LamdemoError(f"There is no folder {out.parent.name} to write {out.name} to; make it first.")
    whole.save(out)
    typer.echo(f"{out.name}: {len(whole)} steps: " + "; then ".join(block.label for block in whole.blocks))
    try:
        typer.echo(f"?actions={whole.encode()}")
    except LamdemoError as error:
        typer.echo(str(error))


def _block(item: str, atlas: Atlas | None, whole: Composition, channels: int) -> Block:
    """An item of the command line as a block that fits the whole."""
    from lamdemo.latent_space.composition import Block, Term

    found = _ITEM.fullmatch(item.strip())
    if found is None:
        raise LamdemoError("An action is empty; leave it out or name one.")
    what = found["what"]
    label = what
    if what.lower().endswith(".npz"):
        from lamdemo.engine import LatentActions

        loaded = LatentActions.load(what)
        name, checkpoint = Path(what).name, whole.checkpoint
        if (loaded.checkpoint and loaded.checkpoint != checkpoint) or loaded.z.shape[1] != channels:
            raise LamdemoError(f"{name} was made with another checkpoint; name that one with --checkpoint.")
        if loaded.fps != whole.fps:
            raise LamdemoError(
                f"{name} is of {loaded.fps:g} steps a second and the rest of {whole.fps:g}; infer it at that rate."
            )
        z, label = loaded.z, Path(what).stem
    elif atlas is None:
        raise LamdemoError(f"{what[:40]} is no .npz, and this checkpoint brings no atlas to find it in; make one.")
    elif what.startswith("@"):
        number = what[1:]
        if not number.isdecimal() or int(number) >= len(atlas):
            raise LamdemoError(f"There is no step {number[:20]!r} in the atlas; it has 0 to {len(atlas) - 1}.")
        z, label = atlas.latents[int(number)][None], f"step {number}"
    else:
        if atlas.directions is None:
            raise LamdemoError("This checkpoint's atlas brings no directions; make it again with lamdemo atlas.")
        direction = atlas.directions[what]
        back = what.startswith("-")  # as the reverse is called wherever directions have keys
        z = (-direction.z if back else direction.z)[None]
        label = (direction.back_name if back else direction.name) or what
    try:
        factor = float(found["factor"] or 1)
    except ValueError:
        raise LamdemoError(f"{found['factor']} is no strength; write a number such as 1.5.") from None
    return Block((Term(z, label),), strength=factor, reverse=bool(found["back"]), repeat=int(found["steps"] or 1))


def _term(block: Block) -> Term:
    """A block as a term of a sum: a single step stays one, to be held."""
    from lamdemo.latent_space.composition import Term

    single = len(block.terms[0].z) == 1
    return Term(block.z[:1] if single else block.z, block.label)


def _list(atlas: Atlas | None) -> None:
    if atlas is None or atlas.directions is None:
        raise LamdemoError("This checkpoint brings no atlas with directions; make one with lamdemo atlas.")
    for d in atlas.directions:
        typer.echo(f"{d.key:16} {d.name or '-'}" + (f" (reversed: {d.back_name})" if d.back_name else ""))
