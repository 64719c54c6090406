"""How plots look: colours, error bars, titles and axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from lamdemo.reporting.reports import Figure

OTHER, INK, BASE, FAINT = "#7A5195", "#222222", "#777777", "#B5B5B5"
SIZE = (1000, 560)


def error_bars(figures: Sequence[Figure | None], colour: str = INK) -> dict[str, Any]:
    """Error bars from intervals."""
    up = [0 if f is None or f.high is None else max(f.high - f.value, 0) for f in figures]
    down = [0 if f is None or f.low is None else max(f.value - f.low, 0) for f in figures]
    return {
        "type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": colour,
        "thickness": 1.2, "width": 3,
    }  # fmt: skip


def styled(figure: go.Figure, title: str, note: str = "") -> go.Figure:
    """A figure with its title, a note below that, and the axes of all plots."""
    shown = f"<b>{title}</b>" + (f"<br><span style='font-size:14px;color:{BASE}'>{note}</span>" if note else "")
    figure.update_layout(
        template="plotly_white",
        meta={"title": title},
        title={"text": shown, "x": 0.02, "xanchor": "left", "y": 0.96, "yanchor": "top", "font": {"size": 19}},
        font={"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK},
        width=SIZE[0],
        height=SIZE[1],
        margin={"l": 75, "r": 30, "t": 105, "b": 120},
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.2, "yanchor": "top"},
        hoverlabel={"font": {"size": 13}},
    )
    figure.update_xaxes(showline=True, linecolor=FAINT, ticks="outside", tickcolor=FAINT, title_standoff=10)
    figure.update_yaxes(showline=True, linecolor=FAINT, ticks="outside", tickcolor=FAINT, title_standoff=8)
    return figure


def values_of(figures: Sequence[Figure | None]) -> list[float | None]:
    """Values of figures; None where there is none."""
    return [None if f is None else f.value for f in figures]
