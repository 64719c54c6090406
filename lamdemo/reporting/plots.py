"""Reports as plots: what a comparison of checkpoints shows at one look.

One colour a family, in every plot: blue noisy, green sparse, vermilion discrete, purple disentangled, orange residual,
grey what needs no model (the palette of Okabe and Ito, which most who are colour-blind can tell apart). Within a family
a lighter mark is a lower capacity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lamdemo.reporting.label_plot import label_curve_plot
from lamdemo.reporting.paper_tables import HORIZONS, SCENES, commands_of, kinds_of
from lamdemo.reporting.reports import FAMILIES, Figure, Reports, middle, prediction, probed
from lamdemo.reporting.styling import BASE, FAINT, INK, OTHER, error_bars, styled, values_of
from lamdemo.reporting.view import View

COLOURS = {
    "noisy": "#0072B2",
    "sparse": "#009E73",
    "discrete": "#D55E00",
    "disentangled": "#CC79A7",
    "residual": "#E69F00",
}
_DASHES = ("dot", "solid", "dash")
_SYMBOLS = ("circle-open", "circle", "diamond")
_COPY = "copying"


def _colour(reports: Reports) -> str:
    return COLOURS.get(reports.family, OTHER)


def _level(reports: Reports, every: Sequence[Reports]) -> int:
    """0, 1 or 2: low, middle or high capacity within its family."""
    mine = [r for r in every if r.family == reports.family]
    centre = next((i for i, r in enumerate(mine) if r.name == r.family), (len(mine) - 1) // 2)
    return 1 + (mine.index(reports) > centre) - (mine.index(reports) < centre)


def _label(reports: Reports) -> str:
    return reports.dial or reports.name


def _copy_line(figure: go.Figure, words: str = _COPY, column: int | None = None) -> None:
    where = {} if column is None else {"row": 1, "col": column}
    figure.add_hline(
        y=1, line={"color": BASE, "dash": "dash", "width": 1.5}, annotation_text=words,
        annotation_position="top left", annotation_font={"size": 12, "color": BASE}, **where,
    )  # fmt: skip


def _families(reports: Sequence[Reports]) -> list[str]:
    there = {r.family for r in reports}
    return [f for f in FAMILIES if f in there] + sorted(there - set(FAMILIES))


def _of_families(view: View, path: str) -> tuple[list[Reports], Reports | None]:
    """A checkpoint of each family that has something at a path, the chosen one for its own; and which is the base."""
    found = [r for r in middle(view.reports) if r.dig(path)]
    chosen = view.one
    if chosen is not None and chosen.dig(path):
        found = [r for r in found if r.family != chosen.family or r.name == chosen.name] or [chosen]
    return found, (chosen if chosen in found else found[0]) if found else None


# Plots.


def capacity_plot(view: View) -> go.Figure | None:
    """One-step error on in-the-wild clips against what latents carry."""
    measures = (
        ("effective nats a step", "latents/channel/effective_nats"),
        ("the family’s own measure, nats a step", "latents/all/information/nats"),
    )
    figure = make_subplots(
        1, 2, shared_yaxes=True, horizontal_spacing=0.06,
        subplot_titles=("one measure for all", "KL (noisy), entropy of codes (discrete), none (sparse)"),
    )  # fmt: skip
    drawn = [0, 0]
    for column, (axis, path) in enumerate(measures, 1):
        spread: list[float] = []
        for family in _families(view.reports):
            points: list[tuple[float, Figure, Reports]] = []
            for r in view.reports:
                nats, error = r.number(path), prediction(r, "one_step", "in-the-wild")
                if r.family == family and nats is not None and error is not None:
                    points.append((nats, error, r))
            if not points:
                continue
            points.sort(key=lambda p: p[0])
            drawn[column - 1] += len(points)
            spread += [p[0] for p in points]
            colour = _colour(points[0][2])
            figure.add_trace(
                go.Scatter(
                    x=[p[0] for p in points],
                    y=[p[1].value for p in points],
                    error_y=error_bars([p[1] for p in points], colour),
                    # Points of a family nearly coincide where more buys nothing: its ends are named, hovering
                    # names all. Families lie one above the other: their names are on different sides.
                    text=[_label(p[2]) if p in (points[0], points[-1]) else "" for p in points],
                    customdata=[f"{p[2].name} ({_label(p[2])})" for p in points],
                    hovertemplate="%{customdata}<br>%{x:.1f} nats, error %{y:.3f}<extra></extra>",
                    mode="lines+markers+text",
                    textposition=[
                        f"{'top' if family == 'sparse' else 'bottom'} {'left' if p is points[0] else 'right'}"
                        for p in points
                    ],
                    textfont={"size": 12, "color": colour},
                    line={"color": colour, "width": 2},
                    marker={"color": colour, "size": 10},
                    name=family,
                    legendgroup=family,
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
        if len(spread) > 1 and min(spread) > 0 and max(spread) > 10 * min(spread):
            places = [d * 10.0**e for e in range(-3, 5) for d in (1, 2, 5)]
            ends = [math.log10(min(spread) / 2.8), math.log10(max(spread) * 3.2)]
            named = {"tickvals": places, "ticktext": [f"{v:g}" for v in places]}
            figure.update_xaxes(type="log", range=ends, **named, row=1, col=column)
        elif spread:
            figure.update_xaxes(range=[0, 1.2 * max(spread)], row=1, col=column)
        figure.update_xaxes(title_text=axis, row=1, col=column)
        if spread:
            _copy_line(figure, column=column)
    if not drawn[0] and not drawn[1]:
        return None
    figure.update_yaxes(title_text="one-step error over copying", row=1, col=1)
    note = "in-the-wild clips, moving half of the steps; 95% intervals"
    return styled(figure, "What more information in the latent buys", note)


def rollouts_plot(view: View) -> go.Figure | None:
    """Error and sharpness against the horizon."""
    found = [r for r in view.reports if r.dig("rollouts/all/state")]
    if not found:
        return None
    pictures = [r for r in found if r.dig("rollouts/all/pictures")]
    columns = 2 if pictures else 1
    titles = ("error of the state", "sharpness of the picture")[:columns]
    figure = make_subplots(1, columns, horizontal_spacing=0.1, subplot_titles=titles)
    crowded = len(found) > 3
    xs = [int(h) for h in HORIZONS]

    def line(r: Reports, figures: Sequence[Figure | None], column: int) -> None:
        colour, level = _colour(r), _level(r, found)
        main = not crowded or level == 1
        figure.add_trace(
            go.Scatter(
                x=xs,
                y=values_of(figures),
                error_y=error_bars(figures, colour) if main else None,
                mode="lines+markers",
                line={"color": colour, "dash": _DASHES[level], "width": 2.5 if main else 1.5},
                marker={"color": colour, "symbol": _SYMBOLS[level], "size": 8},
                name=r.name + (f" ({r.dial})" if r.dial else ""),
                legendgroup=r.name,
                showlegend=column == 1,
                hovertemplate=f"{r.name}<br>%{{x}} steps: %{{y:.3f}}<extra></extra>",
            ),
            row=1,
            col=column,
        )

    for r in found:
        line(r, [r.figure(f"rollouts/all/state/intervals/model/{h}") for h in HORIZONS], 1)
    for r in pictures:
        line(r, [r.figure(f"rollouts/all/pictures/sharpness/model/{h}") for h in HORIZONS], 2)
    _copy_line(figure, column=1)
    figure.update_yaxes(title_text="error over copying the first frame", row=1, col=1)
    if pictures:
        truth = [pictures[0].figure(f"rollouts/all/pictures/sharpness/truth/{h}") for h in HORIZONS]
        figure.add_trace(
            go.Scatter(
                x=xs, y=values_of(truth), mode="lines", name="the true frames",
                line={"color": INK, "dash": "longdashdot", "width": 2},
            ),
            row=1, col=2,
        )  # fmt: skip
        _copy_line(figure, "the first frame (copying)", column=2)
        # Not so close that a few percent fill the plot.
        low = min(t.y[i] for t in figure.data if t.yaxis == "y2" for i in range(len(xs)) if t.y[i] is not None)
        high = max(t.y[i] for t in figure.data if t.yaxis == "y2" for i in range(len(xs)) if t.y[i] is not None)
        bounds = [min(0.6, 0.9 * low), max(1.1, 1.05 * high)]
        figure.update_yaxes(title_text="sharpness over the first frame’s", range=bounds, row=1, col=2)
    figure.update_xaxes(title_text="horizon, steps", type="log", tickvals=xs, ticktext=list(HORIZONS))
    note = "rollouts from one frame with the clip’s own latents; 95% intervals"
    if crowded:
        note += " (of the middle capacity: solid; low: dotted, high: dashed)"
    return styled(figure, "How far ahead a model can be trusted", note)


def transfer_plot(view: View) -> go.Figure | None:
    """Motion error of transfers by kind of action, the families side by side."""
    found, base = _of_families(view, "pairs/all")
    if base is None:
        return None
    kinds = ["all", *kinds_of(found)]

    def figures(r: Reports, method: str) -> list[Figure | None]:
        places = ["all" if k == "all" else f"kinds/{k}" for k in kinds]
        return [r.figure(f"pairs/{at}/motion_over_copy/{method}") for at in places]

    tallest = max((f.value for r in found for f in figures(r, "model") if f is not None), default=1.0)
    top = min(max(1.6, math.ceil(5.5 * tallest) / 5), 3.0)
    ticks = [f"<b>{k}</b>" if k == "all" else k for k in kinds]
    figure = go.Figure()
    for r in found:
        made = figures(r, "model")
        figure.add_trace(
            go.Bar(
                x=ticks, y=values_of(made), error_y=error_bars(made, INK),
                name=r.name, marker={"color": _colour(r)}, opacity=0.9,
                hovertemplate=f"{r.name}, %{{x}}: %{{y:.2f}}<extra></extra>",
            )
        )  # fmt: skip
    marks = (
        ("copied_flow", "copied flow", "diamond", INK),
        ("true_flow", "true flow laid on the target (floor)", "line-ew-open", INK),
        ("zero", f"no action ({base.name})", "circle", "white"),
        ("shuffled", f"another’s action ({base.name})", "triangle-up", "white"),
    )
    for method, words, symbol, colour in marks:
        made = figures(base, method)
        values = values_of(made)
        above = [v is not None and v > top for v in values]
        figure.add_trace(
            go.Scatter(
                x=ticks, y=[top if a else v for v, a in zip(values, above, strict=True)],
                text=[f"{v:.1f}" if a and v is not None else "" for v, a in zip(values, above, strict=True)],
                customdata=values, hovertemplate=f"{words}, %{{x}}: %{{customdata:.2f}}<extra></extra>",
                mode="markers+text", textposition="top center", textfont={"size": 11, "color": BASE},
                marker={
                    "symbol": symbol, "size": 13 if "line" in symbol else 9, "color": colour,
                    "line": {"width": 2, "color": colour if "line" in symbol else BASE},
                },
                name=words, cliponaxis=False,
            )
        )  # fmt: skip
    _copy_line(figure)
    figure.update_layout(barmode="group", bargap=0.25)
    figure.update_yaxes(title_text="motion error over copying", range=[0, top])
    figure.update_xaxes(title_text="kind of action")
    note = f"lower is better; 95% intervals over cases; what lies above {top:g} is written at the edge"
    return styled(figure, "Transfers whose truth is known, by kind of action", note)


def probes_plot(view: View) -> go.Figure | None:
    """What a probe reads from z, beside the encoder's features and chance."""
    found, base = _of_families(view, "probes/scenes")
    if base is None:
        return None
    at = "probes/scenes/targets"
    scenes = [t for t in SCENES if any(r.figure(f"{at}/{t}/z/linear") for r in found)]
    commands = commands_of(found)

    def of(r: Reports, given: str, kind: str) -> list[Figure | None]:
        known = [r.figure(f"{at}/{t}/{given}/{kind}") for t in scenes]
        for c in commands:
            on = probed(r, c)
            place = "" if on is None else on[1].replace(", ", "/")
            known.append(r.figure(f"probes/clips/{place}/targets/{c}/{given}/{kind}") if place else None)
        return known

    ticks = [f"{t}<br><i>scenes</i>" for t in scenes] + [f"{c}<br><i>{_short(on)}</i>" for c, on in commands.items()]
    low = -0.25

    def values(figures: Sequence[Figure | None]) -> list[float | None]:
        return [None if f is None else max(f.value, low) for f in figures]

    figure = go.Figure()
    groups = [(r, "z", f"z of {r.name}", _colour(r)) for r in found]
    for r, given, words, colour in [*groups, (base, "difference", "feature differences", FAINT)]:
        made = of(r, given, "linear")
        figure.add_trace(
            go.Bar(
                x=ticks, y=values(made), error_y=error_bars(made), name=f"{words}, linear", offsetgroup=words,
                marker={"color": colour}, opacity=0.9,
                hovertemplate=f"{words}, linear<br>%{{x}}: %{{y:.2f}}<extra></extra>",
            )
        )  # fmt: skip
        # On the bar they belong to.
        for what, side, kind, symbol in (("MLP", given, "mlp", "diamond"), ("chance", "z_shuffled", "linear", "x")):
            if side == "z_shuffled" and given != "z":
                continue
            figure.add_trace(
                go.Scatter(
                    x=ticks, y=values(of(r, side, kind)), mode="markers", offsetgroup=words, legendgroup=what,
                    name={"MLP": "the same, MLP", "chance": "chance (shuffled targets)"}[what],
                    showlegend=r is found[0] and given == "z",
                    marker={"symbol": symbol, "size": 8, "color": INK, "line": {"width": 1, "color": "white"}},
                    hovertemplate=f"{words}, {what}<br>%{{x}}: %{{y:.2f}}<extra></extra>",
                )
            )  # fmt: skip
    figure.add_hline(y=0, line={"color": BASE, "width": 1})
    figure.update_layout(barmode="group", bargap=0.25, scattermode="group", scattergap=0.25)
    figure.update_yaxes(title_text="R² on recordings not fitted on", range=[low, 1.05])
    note = f"0: no better than the mean, 1: all of it; 95% intervals; below {low:g} is cut off".replace("-", "−")
    return styled(figure, "How much of a known action can be read from z", note)


def _short(on: str) -> str:
    name, _, setting = on.partition(", ")
    return f"{name.split('_')[0]}, {setting.replace('_', ' ')}"


def leakage_plot(view: View) -> go.Figure | None:
    """Leakage against cycle: what must not be in z, and what must."""
    figure = go.Figure()
    xs: list[float] = []
    ys: list[float] = []
    for family in _families(view.reports):
        points = []
        for r in view.reports:
            cycle, leakage = prediction(r, "cycle"), prediction(r, "leakage")
            if r.family == family and cycle is not None and leakage is not None:
                points.append((cycle, leakage, r))
        if not points:
            continue
        colour = _colour(points[0][2])
        xs += [p[0].high or p[0].value for p in points]
        ys += [p[1].high or p[1].value for p in points]
        figure.add_trace(
            go.Scatter(
                x=[p[0].value for p in points],
                y=[p[1].value for p in points],
                error_x=error_bars([p[0] for p in points], colour),
                error_y=error_bars([p[1] for p in points], colour),
                text=[_label(p[2]) for p in points],
                customdata=[p[2].name for p in points],
                hovertemplate="%{customdata} (%{text})<br>cycle %{x:.3f}, leakage %{y:.2f}<extra></extra>",
                # Names would lie one upon the other; the symbols tell capacities, hovering the rest.
                mode="markers",
                marker={
                    "color": colour, "size": 11, "line": {"width": 2, "color": colour},
                    "symbol": [_SYMBOLS[_level(p[2], view.reports)] for p in points],
                },
                showlegend=False,
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(x=[None], y=[None], mode="markers", name=family, marker={"color": colour, "size": 11})
        )
    if not xs:
        return None
    right, top = max(1.3, max(xs) + 0.05), max(2.6, max(ys) * 1.12)
    figure.add_shape(type="rect", x0=0.98, x1=1.2, y0=2, y1=top, fillcolor="#EAF3E6", line={"width": 0}, layer="below")
    figure.add_annotation(
        x=1.2, y=top, xanchor="right", yanchor="top", text="wanted: little leaks, little is lost", showarrow=False,
        font={"size": 12, "color": "#4C7A3D"},
    )  # fmt: skip
    figure.update_xaxes(title_text="cycle: error after a way through another clip, over own", range=[0.98, right])
    figure.update_yaxes(title_text="leakage: error at a cut over that without", range=[0.9, top])
    figure.add_hline(
        y=1, line={"color": BASE, "dash": "dash", "width": 1.5},
        annotation_text="1: a cut is predicted as well as any step",
        annotation_position="bottom right", annotation_font={"size": 12, "color": BASE},
    )  # fmt: skip
    note = "all clips; 95% intervals over recordings"
    if len(xs) > 3:
        note += "; open: low capacity, diamond: high"
    return styled(figure, "What must not be in the latent, and what must", note)


def use_plot(view: View) -> go.Figure | None:
    """How much of the codebook, and how many dimensions, are in use."""
    found = [r for r in view.reports if r.dig("latents/all/dimensions")]
    if not found:
        return None
    at = "latents/all/dimensions"
    discrete = [r for r in found if r.number(f"{at}/codes") is not None]
    columns = 2 if discrete else 1
    titles = ("dimensions", "codes")[:columns]
    widths = [0.62, 0.38][:columns]
    figure = make_subplots(1, columns, subplot_titles=titles, horizontal_spacing=0.12, column_widths=widths)

    def bars(rs: Sequence[Reports], key: str, words: str, column: int, pattern: str, opacity: float) -> None:
        known = [(r, v) for r in rs if (v := r.number(f"{at}/{key}")) is not None]
        if known:
            figure.add_trace(
                go.Bar(
                    x=[r.name for r, _ in known],
                    y=[v for _, v in known],
                    text=[f"{v:.0f}" if v >= 20 else f"{v:.1f}".removesuffix(".0") for _, v in known],
                    textposition="outside",
                    textfont={"size": 11},
                    cliponaxis=False,
                    name=words,
                    offsetgroup=words,
                    showlegend=False,
                    marker={"color": [_colour(r) for r, _ in known], "opacity": opacity,
                            "pattern": {"shape": pattern, "fgcolor": "white", "size": 6}},
                    hovertemplate=f"%{{x}}: %{{y:.1f}} {words}<extra></extra>",
                ),
                row=1,
                col=column,
            )  # fmt: skip

    def key(words: str, pattern: str, opacity: float) -> None:
        figure.add_trace(
            go.Bar(x=[None], y=[None], name=words, offsetgroup=words, marker={"color": BASE, "opacity": opacity,
                   "pattern": {"shape": pattern, "fgcolor": "white", "size": 6}}), row=1, col=1,
        )  # fmt: skip

    plain, hatched, faint = ("", 0.95), ("/", 0.8), ("", 0.3)
    bars(found, "active", "active channels", 1, *plain)
    bars(found, "participation", "participation", 1, *hatched)
    key("active channels", *plain)
    key("participation", *hatched)
    width = max((r.number(f"{at}/channels") or 0 for r in found), default=0)
    figure.update_yaxes(title_text=f"of {width:.0f} channels" if width else "channels", row=1, col=1)
    if discrete:
        bars(discrete, "codes", "codes", 2, *faint)
        bars(discrete, "codes_used", "codes used", 2, *plain)
        bars(discrete, "perplexity", "perplexity", 2, *hatched)
        most = max(r.number(f"{at}/codes") or 1 for r in discrete)
        figure.update_yaxes(
            title_text="codes: all, used, perplexity",
            type="log",
            dtick=1,
            range=[0, math.log10(most) + 0.3],
            row=1,
            col=2,
        )
    figure.update_layout(barmode="group", bargap=0.3, uniformtext={"minsize": 11, "mode": "show"})
    figure.update_xaxes(tickangle=-35, tickfont={"size": 12})
    note = "participation: how many dimensions the covariance fills evenly"
    if discrete:
        note += "; codes: faint all, plain used, hatched perplexity"
    return styled(figure, "How much of the latent is in use", note)


PLOTS: dict[str, Callable[[View], go.Figure | None]] = {
    "capacity": capacity_plot,
    "leakage": leakage_plot,
    "transfer": transfer_plot,
    "probes": probes_plot,
    "use": use_plot,
    "rollouts": rollouts_plot,
    "labelcurve": label_curve_plot,
}


def make_plots(view: View) -> dict[str, go.Figure]:
    """All plots that there are figures for, by name."""
    made = {name: plot(view) for name, plot in PLOTS.items()}
    return {name: figure for name, figure in made.items() if figure is not None}
