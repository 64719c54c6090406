"""What a checkpoint and its family were to reach, what they did, and whether it is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lamdemo.reporting.reports import Figure, Reports, judged_on, middle, over_copied_flow, prediction, probed
from lamdemo.reporting.table import Bound, markdown, said
from lamdemo.reporting.view import View, data_of

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Mark:
    """One thing to reach."""

    what: str  # the figure, in words
    wanted: str  # in words
    measured: str  # in words; `NOT_MEASURED` where it was not
    reached: bool | None  # None where it cannot be told
    source: str  # report it is from, as a link; "" where there is none


@dataclass(frozen=True)
class Target:
    """A bound on one figure."""

    what: str  # the figure, in words
    part: str  # of the reports
    bound: Bound  # that it is to keep
    find: str | Callable[[Reports], Figure | None]  # path to the figure, or what finds it
    family: str = ""  # whose checkpoint is judged; the chosen one without it

    def mark(self, view: View) -> Mark:
        """How the judged checkpoint does."""
        of = view.one
        what = self.what
        if self.family and (of is None or of.family != self.family):
            of = next((r for r in middle(view.reports) if r.family == self.family), None)
        if self.family:
            what += f", {self.family}" + (f" ({of.name})" if of is not None and of.name != self.family else "")
        figure = None if of is None else of.figure(self.find) if isinstance(self.find, str) else self.find(of)
        if of is None or figure is None:
            return Mark(what, str(self.bound), NOT_MEASURED, None, "")
        measured = self.bound.said(figure)
        if self.find is _steering and (on := probed(of, "steering")):
            measured += f" ({on[1]})"
        return Mark(what, str(self.bound), measured, self.bound.reached(figure), view.link(of, self.part))


def _steering(of: Reports) -> Figure | None:
    found = probed(of, "steering")
    return found[0] if found else None


def _predicted(measure: str) -> Callable[[Reports], Figure | None]:
    return partial(prediction, measure=measure)


_TRANSFERS = (
    Target("one-step error over copying, moving half of the steps", "videos", Bound(most=0.55), _predicted("one_step")),
    Target("mean error of 8 steps over copying", "videos", Bound(most=0.65), _predicted("eight_step")),
    Target(
        "error under shuffled actions over inferred, moving half",
        "videos",
        Bound(least=1.3),
        _predicted("shuffled"),
    ),
    *(
        Target("leakage", "videos", Bound(least=2.0), _predicted("leakage"), family)
        for family in ("noisy", "sparse", "discrete")
    ),
    *(Target("cycle", "videos", Bound(most=1.2), _predicted("cycle"), family) for family in ("noisy", "sparse")),
    Target(
        "procedural transfer: motion error over copying",
        "pairs",
        Bound(most=0.35),
        "pairs/all/motion_over_copy/model",
    ),
    Target("procedural transfer: motion error over copied optical flow", "pairs", Bound(most=0.7), over_copied_flow),
)
_PROBES = (
    Target("linear probe of steering, R²", "probes", Bound(least=0.6), _steering),
    Target(
        "linear probe of camera pan in scenes, R²",
        "probes",
        Bound(least=0.95),
        "probes/scenes/targets/pan/z/linear",
    ),
    Target(
        "sharpness after 16 steps on real clips, of the first frame’s",
        "rollouts",
        Bound(least=0.8),
        "rollouts/all/pictures/sharpness/model/16",
    ),
    Target(
        "sharpness after 16 steps of transfers, of the target’s",
        "pairs",
        Bound(least=0.8),
        "pairs/all/sharpness/model_16",
    ),
)


def marks(view: View) -> list[Mark]:
    """What the chosen checkpoint and its family were to reach, and what they did."""
    leads = [_lead(view, family) for family in ("noisy", "sparse")]
    return [*(t.mark(view) for t in _TRANSFERS), *leads, *(t.mark(view) for t in _PROBES)]


def _lead(view: View, family: str) -> Mark:
    """Whether a continuous family predicts in-the-wild clips better than the discrete one, at equal training."""
    what, wanted = f"{family} ahead of discrete: one-step error in the wild, moving half", "intervals apart"

    def best(of: str, like: Reports | None = None) -> tuple[Figure, Reports] | None:
        known = [(f, r) for r in view.reports if r.family == of and (f := prediction(r, "one_step", "in-the-wild"))]
        equal = [
            (f, r)
            for f, r in known
            if like is None or None in (like.training, r.training) or like.training == r.training
        ]
        return min(equal or known, key=lambda k: k[0].value, default=None)

    other = best("discrete")
    first = best(family, other[1]) if other else None
    if other is None or first is None:
        return Mark(what, wanted, NOT_MEASURED, None, "")
    (a, one), (b, two) = first, other
    words = f"{said(a, 3)} ({one.name}), {said(b, 3)} ({two.name})"
    source = ", ".join(view.link(r, "videos") for r in (one, two))
    if judged_on(one, "videos") != judged_on(two, "videos"):
        return Mark(what, wanted, f"{words}, on different clips", None, source)
    if one.training != two.training and one.training and two.training:
        words += ", not equally long trained"
    apart = None if a.high is None or b.low is None else a.high < b.low
    return Mark(what, wanted, words, apart, source)


def targets_table(view: View) -> str:
    """What was to be reached, what was measured, and whether it is enough."""
    words = {True: "yes", False: "**no**", None: "–"}
    rows = [[m.what, m.wanted, m.measured, words[m.reached], m.source or "–"] for m in marks(view)]
    one = view.one
    note = f"Checkpoint {view.chosen}, where no other is named. "
    if one is not None and "videos" in one.results:
        note += f"Clips: {data_of(one, 'videos')}. "
    note += (
        "Reached is judged by the value, not by its interval (95%, over recordings or cases). The lead over discrete "
        "is between each family’s best checkpoint that was trained as long, wherever that is known."
    )
    return f"{markdown(['figure', 'wanted', 'measured', 'reached', 'report'], rows)}\n\n{note}"
