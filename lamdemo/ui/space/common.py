"""What the parts of the tab share: reading what a browser sends, directions of a place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.ui.space.work import Place, SpaceSession

if TYPE_CHECKING:
    from lamdemo.latent_space.composition import Term
    from lamdemo.latent_space.directions import Direction
    from lamdemo.ui.space.tab import SpaceTab

STEPS = 8  # that an action is held when it is clicked
KEEP_LIMIT = 400_000  # characters of a timeline that the browser keeps; far above what a timeline can hold
WORDS = {
    "fixed": "random",
    "anywhere": "learned, any picture",
    "here": "learned, this picture",
}  # how samples are called


class Part:
    """A part of the tab, which makes its controls and then ties them to their handlers.

    Args:
        tab: which it is part of.
    """

    def __init__(self, tab: SpaceTab) -> None:
        self.tab = tab


def data_of(event: gr.EventData) -> dict[str, Any]:
    """What an event brought; a browser can send anything."""
    return event._data if isinstance(event._data, dict) else {}


def whole(value: Any) -> int | None:
    """A whole number, however the browser wrote it."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def number(value: Any, default: float) -> float:
    """A number of a control, or the default where the control was left empty."""
    return default if value is None else float(value)


def chosen_of(space: SpaceSession) -> Term:
    """The action on the stage.

    Raises:
        LamdemoError: there is none yet.
    """
    if space.chosen is None:
        raise LamdemoError(
            "There is no action on the stage yet; click a point of the map, a direction or a sample first."
        )
    return space.chosen


def all_directions(place: Place) -> list[Direction]:
    """The directions of a place; none where its atlas brings none."""
    atlas = place.atlas
    return list(atlas.directions) if atlas is not None and atlas.directions is not None else []


def of_kind(place: Place, kind: str) -> list[Direction]:
    """Those of one kind."""
    return [d for d in all_directions(place) if d.kind == kind]


def names_of(place: Place, space: SpaceSession) -> dict[str, str]:
    """Names of directions, reverses included: the visitor's own before the probe's."""
    from lamdemo.latent_space.naming import NameBook

    atlas = place.atlas
    if atlas is None or atlas.directions is None:
        return {}
    return atlas.directions.names(NameBook(space.checkpoint, space.names))


def direction_of(place: Place, key: Any) -> Direction | None:
    """The direction of a key, with or without a minus, if there is one."""
    return next((d for d in all_directions(place) if d.key == str(key).removeprefix("-")), None)
