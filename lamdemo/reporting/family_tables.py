"""Tables in which the paper's neighbours stand beside its families: the second hand's kinds, the look, futures."""

from __future__ import annotations

from collections.abc import Sequence

from lamdemo.reporting.reports import Reports, keys_of
from lamdemo.reporting.second_hand import KINDS, PART
from lamdemo.reporting.table import Block, Column, Comparison, Reference

_FUTURES = "futures"


def _by_kind(found: Sequence[Reports]) -> tuple[Column, ...]:
    there = [k for k in KINDS if any(k in keys_of(r.dig(f"{PART}/kinds")) for r in found)]
    return (
        Column("mean of kinds", f"{PART}/mean_of_kinds/motion_over_copy/{{method}}"),
        *(Column(kind, f"{PART}/kinds/{kind}/motion_over_copy/{{method}}/value") for kind in there),
        Column("PSNR, dB", f"{PART}/mean_of_kinds/psnr/{{method}}", 1),
    )


second_hands_table = Comparison(
    PART,
    _by_kind,
    "The second hand’s cases by kind: motion error over copying, each kind alike in the mean (95% over cases within "
    "kinds).",
    (Block(references=tuple(Reference(m) for m in ("copied_flow", "zero"))),),
)

content_table = Comparison(
    "content",
    (
        Column("z, linear", "content/look/latent"),
        Column("z and its absolute values, linear", "content/look/even"),
        Column("z, one hidden layer", "content/look/mlp"),
        Column("motion and its absolute values, linear ¹", "content/look/motion"),
        Column("difference of states, linear", "content/look/difference"),
        Column("z of other recordings", "content/look/shuffled"),
    ),
    "How much of a clip’s look, the state’s mean over the picture, is read from its latents on recordings that the "
    "probe has not seen (R², 95% over recordings; an action should say none of it, below zero a probe is worse than "
    "the mean). ¹ As inverse dynamics matches it on 4 by 4 places: what motion itself gives away.",
)


def _of_futures(found: Sequence[Reports]) -> tuple[Column, ...]:
    ways = ("inferred", "sampled", "best", "averaged", "uncommanded", "shuffled", "copy")
    return (
        *(Column(way, f"{_FUTURES}/over_controller/{way}") for way in ways),
        Column("time passing, from noise", f"{_FUTURES}/time/noise/order"),
        Column("time passing, from nothing", f"{_FUTURES}/time/nothing/order"),
    )


futures_table = Comparison(
    _FUTURES,
    _of_futures,
    "Ten futures of one command, one step ahead on held-out episodes: state errors over that of the controller’s one "
    "latent (95% over recordings). Sampled: the mean of their errors; best: the nearest to the truth; averaged: their "
    "mean prediction; uncommanded: drawn without the command; shuffled: with another’s. Time passing: rank correlation "
    "of points between noise (or nothing) and a latent over four steps with the time of the true state whose change is "
    "most alike to theirs.",
)
