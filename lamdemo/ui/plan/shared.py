"""A plan as a link: what it was searched between and how, and its commands, so that it is shown again without a search.

Its query is ``?plan=task&of=fetch&first=3&last=4&checkpoint=layers-fd543bacf56e&what=fetch&solver=cem&…&commands=…``:
`lamdemo.ui.plan.ends.Origin`, `lamdemo.ui.plan.records.Order`, and the numbers of each step, steps parted by ``~``;
of a plan in the latent space these are the standard coordinates that are searched there. A link can come from anyone:
nothing in it is taken that the page would not offer.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.ui.links import checkpoint_in, checkpoint_word, commands_in, commands_word, fields, whole_in
from lamdemo.ui.plan.ends import MOST_APART, TASKS, Origin
from lamdemo.ui.plan.records import LATENT, MOST_FUTURES, SEARCH, Order

if TYPE_CHECKING:
    from lamdemo.engine import TransferPipeline
    from lamdemo.ui.plan.records import Found

_OWN = (
    "A plan with a clip or a picture of your own stays with you and cannot be shared as a link; download its actions "
    "and its video."
)


@dataclass(frozen=True, eq=False)
class Shared:
    """A plan that a link holds."""

    origin: Origin  # what it leads between
    order: Order  # how it was searched
    checkpoint: str  # name of the model
    weights: str  # beginning of the hash of the weights that it was found with
    commands: np.ndarray  # known actions float32 [S, A]; in the latent space standard coordinates [S, U]


def query(found: Found, pipeline: TransferPipeline, offered: Collection[str]) -> str:
    """The part of a link after the question mark.

    Args:
        found: the plan.
        pipeline: that found it.
        offered: names of the checkpoints that everybody's page has.

    Raises:
        LamdemoError: something in it is the visitor's own.
    """
    origin, order = found.ends.origin, found.order
    if origin is None:
        raise LamdemoError(_OWN)
    said: dict[str, object] = {
        "plan": "task" if origin.simulator else "frames",
        "of": origin.simulator or origin.footage,
        "first": origin.first,
        "last": origin.last,
        "checkpoint": checkpoint_word(pipeline, offered),
        "what": order.what,
        "solver": order.solver,
        **{name: getattr(order, name) for name in SEARCH},
    }
    if order.futures:
        said["futures"] = order.futures
    said["commands"] = commands_word(found.plan.u if found.actions is None else found.actions)
    return urlencode(said, safe="~,:/")


def read(
    link: str,
    *,
    clips: Collection[str],
    simulators: Collection[str],
    solvers: Collection[str],
    offered: Collection[str],
) -> Shared:
    """What a link holds.

    Args:
        link: the part after the question mark.
        clips: keys of the clips and episodes that are offered.
        simulators: names of those that are installed.
        solvers: names of those that are offered.
        offered: names of the checkpoints likewise.

    Raises:
        LamdemoError: it holds no plan, or one that cannot be shown here.
    """
    said = fields(link)
    kind, of = said.get("plan"), said.get("of", "")
    if kind == "task":
        if of not in simulators:
            raise LamdemoError("The simulator of this link is not installed here, so its plan cannot be shown.")
        first, last = whole_in(said, "first", 0, TASKS - 1), whole_in(said, "last", 1, MOST_APART)
        origin = Origin(simulator=of, first=first, last=last)
    elif kind == "frames":
        if of not in clips:
            raise LamdemoError("The clip of this link is not among those of this page, so its plan cannot be shown.")
        origin = Origin(footage=of, first=whole_in(said, "first", 1, 9999), last=whole_in(said, "last", 1, 9999))
    else:
        raise LamdemoError("This link holds no plan.")
    solver = said.get("solver", "")
    if solver not in solvers:
        raise LamdemoError("The solver of this link is none that this page has, so its plan cannot be shown.")
    numbers = {name: whole_in(said, name, *bounds) for name, bounds in SEARCH.items()}
    futures = whole_in(said, "futures", 0, MOST_FUTURES) if "futures" in said else 0
    # Whether the checkpoint has this controller is asked where the checkpoint is loaded.
    what = said.get("what", LATENT)
    order = Order(what=what, solver=solver, futures=0 if what == LATENT else futures, **numbers)
    name, weights = checkpoint_in(said, offered)
    return Shared(origin, order, name, weights, commands_in(said, most=MOST_APART))
