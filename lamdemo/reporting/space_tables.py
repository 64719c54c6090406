"""Tables of the latent space: neighbours, arithmetic, what zero does, and samples of priors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lamdemo.reporting.reports import Figure, Reports, keys_of
from lamdemo.reporting.table import (
    Block,
    Bound,
    Cell,
    Column,
    Comparison,
    OfOne,
    Reference,
    Row,
    counted,
    grid,
    markdown,
    said,
)
from lamdemo.reporting.view import View, nothing

_SETS = {
    "test": "test recordings",
    "validation": "validation recordings (known cars)",
    "test_among_validation": "test recordings, among validation’s",
    "train": "training recordings",
    "all": "all recordings",
}
_SUM = "space/arithmetic/sum"
_REVERSAL = "space/arithmetic/reversal"


@dataclass(frozen=True)
class _Question:
    """A row of the table of one space."""

    words: str  # what is asked
    z: str  # path to the figure of latents
    bound: Bound | None = None  # that it is to keep; None where nothing was wanted
    # Paths to the figures of chance, optical flow and features; "" where there is none.
    others: tuple[str, str, str] = ("", "", "")
    always: bool = False  # whether the short table has it although nothing was wanted

    def row(self, one: Reports) -> list[str]:
        """Its cells."""
        figure = one.figure(self.z)
        others = [said(one.figure(path) if path else None) for path in self.others]
        if self.bound is None:
            return [self.words, "–", said(figure), "–", *others]
        return [self.words, str(self.bound), self.bound.said(figure), self.bound.verdict(figure), *others]


def _nearest(words: str, at: str, bound: Bound | None = None, *, always: bool = False) -> _Question:
    return _Question(words, f"{at}/z", bound, (f"{at}/chance", f"{at}/flow", f"{at}/states"), always)


def _questions(one: Reports) -> Iterator[_Question]:
    scenes = {
        "kind of action: pan, zoom, roll, something moves": ("four", Bound(least=0.8)),
        "the same with “camera and thing at once” as a fifth": ("four_and_both", None),
        "kind of action, all nine": ("nine", None),
        "kind and direction of pans, zooms and rolls": ("direction/all", None),
    }
    for words, (question, bound) in scenes.items():
        at = f"space/neighbours/scenes/{question}"
        if one.dig(at) is not None:
            balanced = one.number(f"{at}/balanced/z")
            words += "" if balanced is None else f" (each kind counted alike: {said(balanced)})"
            yield _nearest(words, at, bound, always=question == "nine")
    for name in keys_of(one.dig("space/neighbours/steering")):
        at, of = f"space/neighbours/steering/{name}", _SETS.get(name, name)
        turns = Bound(least=0.85) if name != "test_among_validation" else None
        yield _nearest(f"steering’s sign in clear turns: {of}", f"{at}/turns", turns)
        yield _nearest(f"the same, pool of all steps: {of}", f"{at}/all")
        yield _nearest(f"the same, command of the step before: {of}", f"{at}/delayed")
    yield _Question(
        "A + B is nearer to both at once than A and than B: share of cases",
        f"{_SUM}/better/sum",
        Bound(least=0.8),
        (f"{_SUM}/better/shuffled", f"{_SUM}/better/copied_flow", ""),
    )
    yield _Question(
        "halfway between A and B is nearer to half of each than A and than B",
        "space/arithmetic/interpolation/better/half",
    )
    for what, bound in (("picture", Bound(most=0.5)), ("state", None)):
        yield _Question(
            f"{what} error left after A and its reverse, over A’s",
            f"{_REVERSAL}/own/{what}",
            bound,
            (f"{_REVERSAL}/shuffled/{what}", "", ""),
        )
    fit = "space/arithmetic/strength/fit"
    slope = said(one.number(f"{fit}/slope"))
    yield _Question(f"motion against strength 0.5 to 2: R² of a line (slope {slope})", f"{fit}/r2")
    yield _Question("motion under z = 0, percent of the width a step", "space/zero/motion")


def _marks_of_space(one: Reports) -> tuple[str, str]:
    return _space(one, [q for q in _questions(one) if q.bound is not None or q.always])


def _space(one: Reports, questions: list[_Question]) -> tuple[str, str]:
    about = {k: one.number(f"space/settings/{k}") for k in ("scenes", "cases", "clear_turn", "clips")}
    many = {k: one.number(f"space/neighbours/scenes/{k}") for k in ("steps", "left_out")}
    note = (
        "Neighbours: the nearest step of another recording (Euclidean) is right. Chance: a step of the pool drawn "
        "blindly; for sums and reversals another case’s B. Optical flow: 8 by 8 cells as the vector; for sums the "
        "flows of both sources, added. Features: change of the encoder’s features, averaged."
    )
    if None not in (*about.values(), *many.values()):
        note += (
            f" {about['scenes']:.0f} scenes, {many['steps']:.0f} steps ({many['left_out']:.0f} in which hardly "
            f"anything moves are left out); {about['cases']:.0f} sums; clear turns: steering from "
            f"{about['clear_turn']:g}."
        )
    head = ["latent space", "wanted", "**z**", "reached", "chance", "optical flow", "features"]
    return markdown(head, [q.row(one) for q in questions]), note


def _sums(one: Reports) -> tuple[str, str]:
    """Sums of actions by the kinds of the two."""
    pairs = {"all": _SUM, **{pair: f"{_SUM}/pairs/{pair}" for pair in keys_of(one.dig(f"{_SUM}/pairs"))}}
    rows = [Row((pair,), one, {"at": at}) for pair, at in pairs.items()]
    columns = (
        Column("cases", lambda row: counted(one.number(f"{row.words['at']}/cases"))),
        Column("**better**", "{at}/better/sum/value"),
        Column("seen at once", "{at}/better/joint/value"),
        Column("another’s B", "{at}/better/shuffled/value"),
        Column("flows added", "{at}/better/copied_flow/value"),
        Column("**error of A + B**", "{at}/over_copy/sum"),
        Column("of A", "{at}/over_copy/a"),
        Column("of B", "{at}/over_copy/b"),
        Column("seen at once, error", "{at}/over_copy/joint"),
    )
    note = (
        "Better: share of cases in which the result is nearer to the truth of both at once than under A alone and than "
        "under B alone. Seen at once: z of another scene that shows both, in place of the sum. Errors of motion, over "
        "copying."
    )
    return grid(["A + B"], rows, columns), note


space_marks_table = OfOne("space", _marks_of_space)


def space_table(view: View) -> str:
    """One checkpoint's latent space: neighbours, arithmetic and zero, with chance and what needs no model."""
    table = OfOne("space", lambda one: _space(one, list(_questions(one))))(view)
    one = view.one
    if one is None or not keys_of(one.dig(f"{_SUM}/pairs")):
        return table
    return f"{table}\n\n{OfOne('space', _sums)(view)}"


def _neighbours(head: str, question: str) -> Column:
    at = f"space/neighbours/{question}"
    return Column(head, f"{at}/z", elsewhere={"chance": f"{at}/chance", "copied_flow": f"{at}/flow"})


_BETTER = f"{_SUM}/better"

spaces_table = Comparison(
    "space",
    (
        _neighbours("kind, of four", "scenes/four"),
        _neighbours("kind, of nine", "scenes/nine"),
        _neighbours("direction", "scenes/direction/all"),
        _neighbours("steering, known cars", "steering/validation/turns"),
        _neighbours("steering, test", "steering/test/turns"),
        Column(
            "A + B better than either",
            f"{_BETTER}/sum",
            elsewhere={"chance": f"{_BETTER}/shuffled/value", "copied_flow": f"{_BETTER}/copied_flow"},
        ),
        *(
            Column(head, f"space/{path}", elsewhere={"chance": "-", "copied_flow": "-"})
            for head, path in (
                ("both at once, seen", "arithmetic/sum/better/joint"),
                ("error of A + B over the better one’s", "arithmetic/sum/over_either/sum"),
                ("z of both − (A + B)", "arithmetic/sum/latents/distance"),
                ("left after reverse", "arithmetic/reversal/own/picture"),
                ("halfway better", "arithmetic/interpolation/better/half"),
                ("strength, R²", "arithmetic/strength/fit/r2"),
                ("motion of z = 0, %", "zero/motion"),
            )
        ),
    ),
    "Shares at rank 1, and shares of cases (chance: another case’s B). “Both at once, seen”: z of a scene that shows "
    "both, in place of the sum. “z of both − (A + B)”: distance over the size of the former.",
    (Block(references=(Reference("chance", "chance"), Reference("copied_flow", "optical flow"))),),
)

# Samples of priors.

_WAYS = {
    "learned": "**learned prior**, given the state",
    "stateless": "learned prior, without a state",
    "shuffled": "learned prior, another recording’s state",
    "fixed": "the family’s own prior",
    "gaussian": "Gaussian of training latents",
    "resampled": "training latents, drawn blindly",
}


def _gain(head: str, path: str) -> Column:
    """By how much a prior is closer, in bold where it is as far as these recordings can tell."""

    def cell(row: Row) -> Cell:
        gain: Figure | None = row.reports.figure(path)
        return f"**{said(gain)}**" if gain is not None and gain.low is not None and gain.low > 0 else gain

    return Column(head, cell)


priors_table = Comparison(
    "prior",
    (
        Column("learned, given the state", "prior/all/energy/learned"),
        Column("learned, without a state", "prior/all/energy/stateless"),
        Column("own prior", "prior/all/energy/fixed"),
        Column("Gaussian", "prior/all/energy/gaussian"),
        Column("floor", "prior/all/floor"),
        _gain("own − given the state", "prior/all/closer/fixed"),
        _gain("own − without a state", "prior/all/closer_stateless/fixed"),
        _gain("own − given the state, within parts", "prior/within_parts/closer/fixed"),
    ),
    "Energy distance of samples from inferred latents (0: one distribution), 95% intervals over recordings. Floor: two "
    "halves of the recordings. The last three columns: by how much the learned prior is closer than the family’s own, "
    "in bold where the interval is above zero; within parts, each part’s samples are set against the latents of that "
    "part.",
)


def _ways(one: Reports) -> tuple[str, str]:
    ways = [way for way in _WAYS if one.dig(f"prior/all/energy/{way}") is not None]
    columns = (
        Column("energy distance", "prior/all/energy/{way}"),
        Column("less the learned prior’s", "prior/all/closer/{way}"),
        Column("p", "prior/two_sample/{way}/p", 3),
        Column("told apart", "prior/two_sample/{way}/accuracy"),
        Column("nearest", "prior/nearest/{way}"),
        Column("energy score of the step", "prior/step/{way}/score/over_stateless"),
    )
    note = (
        "p: of a permutation test by recording. Told apart: accuracy of a nearest-neighbour classifier (0.5: not at "
        "all). Nearest: distance to the nearest inferred latent over that between recordings. Energy score: how well "
        "samples say the step’s own latent, over the stateless prior’s (below 1: the state helps)."
    )
    rows = [Row((_WAYS[way],), one, {"way": way}) for way in ways]
    return grid([f"samples of {one.name}"], rows, columns), note


def prior_table(view: View) -> str:
    """`priors_table`, and every way to draw samples of one checkpoint."""
    found = view.having("prior")
    if not found:
        return nothing(view, "prior")
    one = view.one if view.one in found else found[0]
    assert one is not None
    ways = [OfOne("prior", _ways).about(view, one)] if keys_of(one.dig("prior/all/energy")) else []
    return "\n\n".join([priors_table(view), *ways])
