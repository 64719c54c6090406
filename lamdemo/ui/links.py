"""Links to what is on the page: files that came with it by their names, and the word for a visitor's own.

A link is the page's address with a query. That to a transfer is `lamdemo.ui.memory.Kept.link`; that to what is on the
stage of the action space is ``?actions=…&picture=dog``: the text of
`lamdemo.latent_space.composition.Composition.encode`, and the name of a photograph of ``examples/photos``, or `OWN`.
What else that one needs is in the actions: how strong they are and how long they last.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

import gradio as gr

if TYPE_CHECKING:
    from lamdemo.latent_space.composition import Composition

OWN = "own"  # says of a picture that it is a visitor's own, and so no part of the link
NO_PICTURE = (
    "The link was made on a picture of the sender's own, which is not part of it: what it does is shown on the picture "
    "here. Ask for the picture and give it as your own."
)
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
