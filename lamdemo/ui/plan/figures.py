"""Charts of the plan's tab, as Plotly draws them in the browser."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

_FAINT = "rgba(128,122,116,.22)"  # of the grid, seen on light and on dark


def chart(figure: dict[str, Any], plotly: str, told: str) -> str:
    """A chart's element, which `lamdemo.ui.plan.style.FIGURE` fills.

    Args:
        figure: ``data`` and ``layout`` of Plotly; colours that begin with two dashes are the page's.
        plotly: address of Plotly's JavaScript.
        told: what it shows, for those who do not see it.
    """
    text = escape(json.dumps(figure, separators=(",", ":"), allow_nan=False))
    tall = int(figure["layout"]["height"])
    return (
        f'<div class="lam-plan-box" style="--tall:{tall}px" role="img" aria-label="{escape(told)}" '
        f'data-plotly="{escape(plotly)}" data-figure="{text}"></div>'
    )


def empty(sentence: str, tall: int = 260) -> str:
    """A chart's place while there is none."""
    return f'<div class="lam-plan-box" style="--tall:{tall}px"><div class="lam-empty">{escape(sentence)}</div></div>'


def _layout(across: str, up: str, tall: int) -> dict[str, Any]:
    axis = {"gridcolor": _FAINT, "zeroline": False, "linecolor": _FAINT, "automargin": True, "title": {"standoff": 8}}
    return {
        "height": tall,
        "margin": {"l": 54, "r": 12, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "--lam-soft"},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "--lam-card", "bordercolor": "--lam-line", "font": {"color": "--body-text-color"}},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        "xaxis": {**axis, "title": {"text": across, "standoff": 8}, "fixedrange": True},
        "yaxis": {**axis, "title": {"text": up, "standoff": 8}, "fixedrange": True},
    }


def _level(value: float | None, name: str, colour: str, last: float) -> list[dict[str, Any]]:
    if value is None or not np.isfinite(value):
        return []
    return [
        {
            "x": [1, last],
            "y": [_round(value)] * 2,
            "name": name,
            "mode": "lines",
            "line": {"color": colour, "width": 1.6, "dash": "dash"},
            "hovertemplate": "%{y:.3g}",
        }
    ]


def costs(
    best: Sequence[float],
    elite: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    of: int,
    *,
    idle: float | None = None,
    true: float | None = None,
) -> dict[str, Any]:
    """Costs by iteration: the elites' mean, the best so far, the spread of the candidates, and what compares.

    Args:
        best: of each iteration, the best so far.
        elite: mean of the elites.
        low: below which a tenth of the candidates lies.
        high: above which a tenth lies.
        of: iterations there will be.
        idle: the cost of doing nothing, where it is known.
        true: that of what was really done, where it is known.
    """
    x = list(range(1, len(best) + 1))
    layout = _layout("iteration", "cost (distance to the goal)", 290)
    layout["xaxis"] |= {"range": [0.6, max(of, 1) + 0.4], "dtick": 1 if of <= 16 else None}
    layout["yaxis"] |= {"rangemode": "tozero"}
    invisible = {"width": 0, "color": "rgba(0,0,0,0)"}
    band = [
        {
            "x": x,
            "y": _list(high),
            "mode": "lines",
            "line": invisible,
            "hoverinfo": "skip",
            "showlegend": False,
        },
        {
            "x": x,
            "y": _list(low),
            "name": "candidates (80 %)",
            "mode": "lines",
            "line": invisible,
            "fill": "tonexty",
            "fillcolor": "rgba(15,118,110,.16)",
            "hoverinfo": "skip",
        },
    ]
    lines = [
        {
            "x": x,
            "y": _list(elite),
            "name": "elites (mean)",
            "mode": "lines+markers",
            "line": {"color": "--lam-accent", "width": 2.4},
            "marker": {"size": 6},
            "hovertemplate": "%{y:.3g}",
        },
        {
            "x": x,
            "y": _list(best),
            "name": "best so far",
            "mode": "lines",
            "line": {"color": "--body-text-color", "width": 1.4},
            "hovertemplate": "%{y:.3g}",
        },
    ]
    return {
        "data": [
            *band,
            *lines,
            *_level(idle, "do nothing", "--lam-soft", max(of, 1)),
            *_level(true, "what was really done", "--lam-far", max(of, 1)),
        ],
        "layout": layout,
    }


def landscape(
    x: np.ndarray,
    y: np.ndarray,
    energy: np.ndarray,
    names: tuple[str, str],
    *,
    plan: tuple[float, float] | None = None,
    true: tuple[float, float] | None = None,
    idle: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """The cost over two numbers of the action, the same at all steps.

    Args:
        x: values of the first number, P of them.
        y: values of the second.
        energy: cost ``[P, P]``, a row for each ``y``.
        names: of both.
        plan: where the plan is (mean over its steps).
        true: where what was really done is.
        idle: where doing nothing is.
    """
    layout = _layout(names[0], names[1], 360)
    layout["hovermode"] = "closest"
    marks = []
    for at, name, symbol, colour in (
        (plan, "the plan", "star", "#ffffff"),
        (true, "what was really done", "x", "#fbbf24"),
        (idle, "do nothing", "circle-open", "#f472b6"),
    ):
        if at is not None:
            marks.append(
                {
                    "x": [_round(at[0])],
                    "y": [_round(at[1])],
                    "name": name,
                    "mode": "markers",
                    # Rings have a colour and no inside, so theirs is the line's.
                    "marker": {
                        "symbol": symbol,
                        "size": 15,
                        "color": colour,
                        "line": {"width": 2, "color": colour if symbol == "circle-open" else "#1c1917"},
                    },
                    "hovertemplate": name + ": %{x:.2f}, %{y:.2f}<extra></extra>",
                }
            )
    return {
        "data": [
            {
                "type": "heatmap",
                "x": _list(x),
                "y": _list(y),
                "z": [_list(row) for row in energy],
                "colorscale": "Viridis",
                "zsmooth": "best",
                "showlegend": False,
                "colorbar": {"title": {"text": "cost"}, "thickness": 10, "outlinewidth": 0, "len": 0.9},
                "hovertemplate": "%{x:.2f}, %{y:.2f}: cost %{z:.3g}<extra></extra>",
            },
            *marks,
        ],
        "layout": layout,
    }


def distances(values: Sequence[Mapping[str, float]], steps: int) -> dict[str, Any]:
    """The true distances to the goal after each step of an execution, the start first.

    Args:
        values: distances by unit; of more than two the first two are drawn, each along an axis of its own.
        steps: that there may be.
    """
    units = list(values[0])[:2]
    layout = _layout("step", f"{units[0]} to the goal" if units else "", 220)
    layout["xaxis"] |= {"range": [-0.3, steps + 0.3], "dtick": 1 if steps <= 16 else None}
    layout["yaxis"] |= {"rangemode": "tozero"}
    layout["showlegend"] = False
    if len(units) > 1:
        layout["yaxis2"] = layout["yaxis"] | {
            "title": {"text": f"{units[1]} to the goal", "standoff": 8},
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
        }
        layout["margin"] |= {"r": 54}
    looks = (("y", "--lam-accent", "circle"), ("y2", "--lam-far", "diamond"))
    lines = [
        {
            "x": list(range(len(values))),
            "y": _list([distance[unit] for distance in values]),
            "name": unit,
            "yaxis": axis,
            "mode": "lines+markers",
            "line": {"color": colour, "width": 2.4},
            "marker": {"size": 7, "symbol": symbol},
            "hovertemplate": "%{y:.3g} " + unit,
        }
        for unit, (axis, colour, symbol) in zip(units, looks, strict=False)
    ]
    for axis, (_, colour, _) in zip(("yaxis", "yaxis2"), looks, strict=True):
        if axis in layout and len(units) > 1:
            layout[axis]["title"] = layout[axis]["title"] | {"font": {"color": colour}}
    return {"data": lines, "layout": layout}


def _round(value: float) -> float:
    return float(f"{float(value):.5g}")


def _list(values: Any) -> list[float | None]:
    # JSON knows no infinity: a candidate that flew off is left out.
    return [_round(v) if np.isfinite(v) else None for v in values]
