"""The label curve as a plot."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lamdemo.reporting.label_tables import METHODS, PART, counts_of, whose
from lamdemo.reporting.reports import Reports, keys_of
from lamdemo.reporting.styling import BASE, error_bars, styled, values_of
from lamdemo.reporting.view import View

_COLOURS = {
    "pretrained": "#777777",
    "unlabelled": "#0072B2",
    "labelled": "#D55E00",
    "inverse": "#009E73",
    "labelled_inverse": "#CC79A7",
}
_WORDS = {
    "pretrained": "plans: world model not trained on, controller",
    "unlabelled": "plans: trained on without labels, controller",
    "labelled": "plans: trained on with labels",
    "inverse": "inverse dynamics of videos, controller",
    "labelled_inverse": "inverse dynamics of labels alone",
}
_MEASURES = (
    ("success", "goals reached"),
    ("plan_over_zero", "error of plans over doing nothing"),
    ("one_step_over_copy", "one step over copying"),
)
# What a level line is drawn of, by measure: name in the report, and its words.
_LEVELS = {
    "success": (("random", "random"),),
    "plan_over_zero": (("mean command", "mean command"),),
    "one_step_over_copy": (("inferred, unlabelled", "inferred latents"),),
}


def label_curve_plot(view: View) -> go.Figure | None:
    """Success, or the error of plans, and the error one step ahead against the number of labelled episodes."""
    one = whose(view)
    names = keys_of(one.dig(f"{PART}/curves")) if one is not None else []
    if one is None or not names:
        return None
    tall = make_subplots(
        2, len(names), vertical_spacing=0.14, horizontal_spacing=0.07, subplot_titles=names, shared_xaxes=True
    )
    shown: set[str] = set()
    for column, name in enumerate(names, 1):
        measures = [m for m in _MEASURES if _has(one, name, m[0])]
        for row, (measure, words) in enumerate(measures[:1] + measures[-1:], 1):
            _draw(tall, one, name, measure, (row, column), shown)
            tall.update_yaxes(title_text=words if column == 1 or row == 1 else None, row=row, col=column)
        tall.update_xaxes(title_text="labelled episodes", row=2, col=column)
        counts = sorted({k for m in METHODS for k in counts_of(one, name, m)})
        for row in (1, 2):
            tall.update_xaxes(type="log", tickvals=counts, ticktext=[str(k) for k in counts], row=row, col=column)
    made = styled(tall, "What labels buy", "95% intervals; world models all begin with the same small one")
    made.update_layout(width=max(460 * len(names), 700), height=760)
    return made


def _has(one: Reports, name: str, measure: str) -> bool:
    at = f"{PART}/curves/{name}/points"
    return any(one.figure(f"{at}/{m}/{k}/{measure}") is not None for m in METHODS for k in counts_of(one, name, m))


def _draw(figure: go.Figure, one: Reports, name: str, measure: str, place: tuple[int, int], shown: set[str]) -> None:
    row, column = place
    at = f"{PART}/curves/{name}"
    for method, words in _WORDS.items():
        counts = counts_of(one, name, method)
        found = [one.figure(f"{at}/points/{method}/{k}/{measure}") for k in counts]
        if not any(found):
            continue
        figure.add_trace(
            go.Scatter(
                x=counts, y=values_of(found), error_y=error_bars(found, _COLOURS[method]), name=words,
                legendgroup=method, showlegend=method not in shown, mode="lines+markers",
                line={"color": _COLOURS[method], "width": 2.5}, marker={"size": 9},
            ),
            row=row, col=column,
        )  # fmt: skip
        shown.add(method)
    for other, words in _LEVELS[measure]:
        level = one.figure(f"{at}/others/{other}/{measure}")
        if level is not None:
            figure.add_hline(
                y=level.value, line={"color": BASE, "dash": "dot", "width": 1.5}, annotation_text=words,
                annotation_position="top right", annotation_font={"size": 11, "color": BASE}, row=row, col=column,
            )  # fmt: skip
