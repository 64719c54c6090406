"""Links to what is on the page: files that came with it by their names, and the word for a visitor's own.

A link is the page's address with a query. That to a transfer is `lamdemo.ui.memory.Kept.link`; that to what is on the
stage of the action space is ``?actions=…&picture=dog``: the text of
`lamdemo.latent_space.composition.Composition.encode`, and the name of a photograph of ``examples/photos``, or `OWN`.
What else that one needs is in the actions: how strong they are and how long they last. Plans and drives have links of
their own (`lamdemo.ui.plan.shared`, `lamdemo.ui.drive.shared`), which hold commands and the checkpoint they are for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

import gradio as gr

from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    import numpy as np

    from lamdemo.engine import TransferPipeline
    from lamdemo.latent_space.composition import Composition

OWN = "own"  # says of a picture that it is a visitor's own, and so no part of the link
NO_PICTURE = (
    "The link was made on a picture of the sender's own, which is not part of it: what it does is shown on the picture "
    "here. Ask for the picture and give it as your own."
)
OTHER_WEIGHTS = "The link was made with other weights of this model: what is imagined here may differ."
MOST_LINK = 6000  # characters: what browsers and what stands before servers let through
_MOST_NUMBERS = 64  # of a step's command
_WHOLE = re.compile(r"[0-9]{1,10}")
_HASH = 12  # digits of a checkpoint's hash in a link
# Gives a tab the link that the page was opened with, once, and takes it out of the address.
TAKEN = """() => {
  const asked = window.lamAsked ?? location.search.slice(1);
  if (!new URLSearchParams(asked).has('KEY')) return '';
  window.lamAsked = '';
  history.replaceState(null, '', location.pathname);
  return asked;
}"""
# Where the page is, only the browser knows.
WHOLE = "(text) => text && !text.includes('://') ? location.origin + location.pathname + '?' + text : text"


def place(elem_id: str) -> gr.Textbox:
    """Where a link is shown and copied; hidden until there is one."""
    return gr.Textbox(
        "", label="Link", interactive=False, visible=False, buttons=["copy"], max_lines=2, elem_id=elem_id
    )


def file_called(name: str, folder: Path) -> Path | None:
    """The file of a folder that a link means; looked for among those that are there, so that no name leads out."""
    return next((path for path in sorted(folder.iterdir()) if path.is_file() and path.stem == name), None)


def picture_of(path: str | None, photos: Path) -> str:
    """What a link calls a target: a photograph's name, `OWN`, or nothing where there is no target."""
    if not path:
        return ""
    place = Path(path)
    return place.stem if place.parent == photos and place.is_file() else OWN


def query(made: Composition, picture: str) -> str:
    """The part of a link after the question mark.

    Args:
        made: the actions.
        picture: see `picture_of`.

    Raises:
        LamdemoError: they are too long for a link.
    """
    return urlencode({"actions": made.encode(), **({"picture": picture} if picture else {})})


def picture_in(link: str, photos: Path) -> tuple[Path | None, bool]:
    """The photograph that a link names; a browser can send anything.

    Args:
        link: the part after the question mark.
        photos: the folder.

    Returns:
        Its file, or None; and whether the link names one that is not here, as a visitor's own never is.
    """
    name = parse_qs(link).get("picture", [""])[0]
    found = file_called(name, photos)
    return found, bool(name) and found is None


# Links that hold commands. Anyone can write one: each value is looked at before it is used.


def taken(key: str) -> str:
    """JavaScript that gives the link which the page was opened with, if it has that key, once."""
    return TAKEN.replace("KEY", key)


def fields(link: str) -> dict[str, str]:
    """The fields of a link, each once.

    Raises:
        LamdemoError: it is longer than a link can be.
    """
    if len(link) > MOST_LINK:
        raise LamdemoError("This link is longer than any that this page makes.")
    return {name: values[0] for name, values in parse_qs(link).items()}


def whole_in(said: Mapping[str, str], name: str, low: int, high: int) -> int:
    """A whole number of a link.

    Raises:
        LamdemoError: it is none, or out of its range.
    """
    text = said.get(name, "")
    if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
        raise LamdemoError(f"This link is damaged: its {name} is no number from {low} to {high}.")
    return int(text)


def checkpoint_word(pipeline: TransferPipeline, offered: Collection[str]) -> str:
    """What a link calls a checkpoint: its name, and the beginning of its hash.

    Raises:
        LamdemoError: others do not have it.
    """
    if pipeline.name not in offered:
        raise LamdemoError("A model that did not come with the page is no part of a link; choose a bundled one.")
    return f"{pipeline.name}-{pipeline.checkpoint[:_HASH]}"


def checkpoint_in(said: Mapping[str, str], offered: Collection[str]) -> tuple[str, str]:
    """The name of a link's checkpoint, and the beginning of its hash.

    Raises:
        LamdemoError: it is not offered here; a link makes no server fetch a model.
    """
    name, _, weights = said.get("checkpoint", "").rpartition("-")
    if name not in offered:
        raise LamdemoError("The model of this link did not come with this page, so it cannot be shown.")
    return name, weights


def commands_word(commands: np.ndarray) -> str:
    """Commands ``[S, A]`` as a link has them: the shortest texts that give the same float32 again."""
    return "~".join(",".join(str(value) for value in row.astype("float32")) for row in commands)


def commands_in(said: Mapping[str, str], most: int) -> np.ndarray:
    """Commands of a link, float32 ``[S, A]``.

    Args:
        said: fields of the link.
        most: steps that it may have.

    Raises:
        LamdemoError: they are no table of numbers, or of more steps.
    """
    import numpy as np

    damaged = LamdemoError("This link is damaged: its commands are no table of numbers.")
    rows = said.get("commands", "").split("~")
    if len(rows) > most:
        raise LamdemoError(f"This link is damaged: it has more than {most} steps.")
    try:
        table: Sequence[Sequence[float]] = [[float(text) for text in row.split(",")] for row in rows]
    except ValueError as error:
        raise damaged from error
    if len({len(row) for row in table}) != 1 or len(table[0]) > _MOST_NUMBERS:
        raise damaged
    with np.errstate(over="ignore"):
        commands = np.asarray(table, np.float32)
    if not np.isfinite(commands).all():
        raise damaged
    return commands
