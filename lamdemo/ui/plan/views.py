"""The parts of the plan's tab that are HTML: start and goal, candidates, the plan, what an execution did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from lamdemo.ui.plan import figures
from lamdemo.ui.views import _loop, _picture

if TYPE_CHECKING:
    from lamdemo.core.actions import Channel
    from lamdemo.ui.plan.ends import Ends
    from lamdemo.ui.plan.records import Found, PlanSession, Progress, Ran, Step, Truth

_SIDE, _SMALL = 420, 200  # longest sides in pixels of the pictures on show
NO_SEARCH = "This plan came by a link; press Plan to search for one."
_MOST_CHANNELS = 8  # of an action that are shown: those that the plan uses most


def ends_empty() -> str:
    """The place of start and goal while there are none."""
    return (
        '<div class="lam-plan-pair"><div class="lam-stage"><div class="lam-empty">The start appears here.</div></div>'
        '<span>→</span><div class="lam-stage"><div class="lam-empty">The goal appears here.</div></div></div>'
    )


def ends(given: Ends, start: str, goal: str) -> str:
    """Start and goal beside each other.

    Args:
        given: both.
        start: words on the start's place, "frame 3, 0.50 s".
        goal: on the goal's.
    """
    return (
        f'<div class="lam-plan-pair" style="{_shape(given.start)}">'
        f"{_figure(_img(given.start, 'The start', _SIDE), f'<b>Start</b> {escape(start)}')}"
        '<span aria-hidden="true">→</span>'
        f"{_figure(_img(given.goal, 'The goal', _SIDE), f'<b>Goal</b> {escape(goal)}')}</div>"
    )


def _figure(inside: str, caption: str) -> str:
    return f'<figure><div class="lam-stage">{inside}</div><figcaption>{caption}</figcaption></figure>'


def _img(frame: np.ndarray, alt: str, side: int) -> str:
    return f'<img src="{_picture(frame, side)}" alt="{escape(alt)}">'


def _shape(frame: np.ndarray) -> str:
    """The shape of stages, so that a picture fills them; a very wide or tall one does not."""
    ratio = min(max(frame.shape[1] / frame.shape[0], 0.75), 2.0)
    return f"--shape:{ratio:.3f}"


def waiting(sentence: str) -> str:
    """One line before there is anything to tell."""
    return f'<p class="lam-plan-line" role="status">{escape(sentence)}</p>'


def tries_empty() -> str:
    """The candidates' place before a search."""
    return (
        '<p class="lam-note">Each iteration tries many plans in the world model, keeps the best (the elites) and draws '
        "the next ones around them. The best are drawn here while it goes on: what the model expects to see at their "
        "end.</p>"
    )


def progress(now: Progress) -> str:
    """How far a search is, and its best candidates as small pictures."""
    share = 100 * (now.index + 1) / max(now.of, 1)
    left = max(now.of - now.index - 1, 0) * now.seconds / (now.index + 1)
    words = f"about {left:.0f} s left" if left >= 1 else "almost done"
    line = (
        f'<p class="lam-plan-line" role="status"><span>iteration <b>{now.index + 1}</b> of {now.of}</span>'
        f"<span>best <b>{now.best[-1]:.3g}</b></span><span><b>{now.seconds:.1f}</b> s, {words}</span></p>"
        f'<div class="lam-plan-meter"><i style="width:{share:.0f}%"></i></div>'
    )
    return line + tries(now)


def tries(now: Progress) -> str:
    """The best candidates of the last iteration that was drawn."""
    if not now.pictures:
        return ""
    shape = _shape(now.pictures[0][0])
    items = "".join(
        f'<figure class="{"best" if k == 0 else ""}">{_img(frame, f"Candidate {k + 1}: what it is to end in", _SMALL)}'
        f"<figcaption>{cost:.3g}</figcaption></figure>"
        for k, (frame, cost) in enumerate(now.pictures)
    )
    return (
        f'<p class="lam-note" style="margin:12px 0 6px">The best candidates of iteration {now.drawn + 1}: '
        f'where each is expected to end, and its cost.</p><div class="lam-plan-tries" style="{shape}">{items}</div>'
    )


def searched(done: Found) -> str:
    """What a search came to, in a line, with its last candidates."""
    news = done.progress
    if news is None:
        return waiting(NO_SEARCH)
    ended = f"stopped after iteration {news.index + 1} of {news.of}" if done.stopped else f"{news.of} iterations"
    line = (
        f'<p class="lam-plan-line" role="status"><span>{ended} in <b>{done.seconds:.1f}</b> s</span>'
        f'<span title="By the world model; the search above was measured with its draft, where there is one.">'
        f"cost <b>{done.cost:.3g}</b></span>"
    )
    if done.idle_cost is not None:
        line += f"<span>doing nothing <b>{done.idle_cost:.3g}</b></span>"
    if done.true_cost is not None:
        line += f"<span>what was really done <b>{done.true_cost:.3g}</b></span>"
    return f"{line}</p>{tries(news)}"


def plan_empty() -> str:
    """The plan's place while there is none."""
    return '<p class="lam-note">Press Plan: the way that was found appears here, frame by frame and as a loop.</p>'


def plan(done: Found) -> str:
    """The imagined path, and the true one where it is known: loops between start and goal, and their frames."""
    given, truth = done.ends, done.truth
    shape = _shape(given.start)
    loop = _loop(done.video, "plan", "The imagined path, in a loop")
    middle = _figure(loop, f"<b>Imagined</b> {_steps(len(done.frames) - 1)}")
    if truth is not None:
        loop = _loop(truth.video, "plan", "What the same commands do in the simulator, in a loop")
        middle += _figure(loop, "<b>True</b> the same commands in the simulator")
    pictures = (
        f'<div class="lam-plan-pair {"three" if truth is None else "four"}" style="{shape}">'
        f"{_figure(_img(given.start, 'The start', _SIDE), '<b>Start</b>')}{middle}"
        f"{_figure(_img(given.goal, 'The goal', _SIDE), '<b>Goal</b>')}</div>"
    )
    strips = {"imagined": done.frames}
    if truth is not None:
        strips["true, by the same commands"] = truth.frames
    if given.frames is not None:
        strips["what really followed" if truth is None else "the way to the goal, which was hidden"] = given.frames
    count = max(map(len, strips.values()))
    rows = "".join(_row(word, frames, count) for word, frames in strips.items())
    told = escape(sentence(done)) + (f" {escape(truly(truth))}" if truth is not None else "")
    return (
        f'<p class="lam-plan-told {_mood(done)}">{told}</p>{pictures}'
        f'<div class="lam-plan-strip" style="--n:{count};{shape};margin-top:14px">{rows}</div>{futures(done)}'
    )


def truly(truth: Truth) -> str:
    """What the plan's commands came to in the simulator, in one sentence."""
    there = "reach the goal:" if truth.reached else "end"
    return (
        f"Carried out in the simulator, without another look, the same commands {there} "
        f"{_far(truth.distances[-1])} from it, from {_far(truth.distances[0])} at the start."
    )


def futures(done: Found) -> str:
    """Where the plan's commands end in several futures, beside the one that the planner imagined."""
    if not done.futures:
        return ""
    costs = np.array([one.cost for one in done.futures])
    shown = [("the one above", done.frames[-1], done.cost)]
    shown += [(f"future {k + 1}", one.frame, one.cost) for k, one in enumerate(done.futures)]
    items = "".join(
        f'<figure class="{"best" if k == 0 else ""}">{_img(frame, f"Where the commands end, {word}", _SMALL)}'
        f"<figcaption>{word}, cost {cost:.3g}</figcaption></figure>"
        for k, (word, frame, cost) in enumerate(shown)
    )
    count = len(done.futures)
    told = (
        f"{count} futures of these commands, each drawn step by step: their costs are {costs.mean():.3g} on average, "
        f"from {costs.min():.3g} to {costs.max():.3g}."
        if count > 1
        else f"A future of these commands, drawn step by step: it costs {costs[0]:.3g}."
    )
    return (
        f'<h3 style="margin-top:16px">Several futures</h3><p class="lam-note">{told}</p>'
        f'<div class="lam-plan-tries lam-plan-futures" style="{_shape(done.ends.start)}">{items}</div>'
    )


def _row(word: str, frames: np.ndarray, count: int) -> str:
    cells = "".join(
        f"<figure>{_img(frame, f'{word}, {t}', _SMALL)}"
        f"<figcaption>{'start' if t == 0 else f'step {t}'}</figcaption></figure>"
        for t, frame in enumerate(frames)
    )
    return f"<span>{word}</span>{cells}" + '<figure class="none"></figure>' * (count - len(frames))


def _steps(count: int) -> str:
    return f"{count} step{'s' if count != 1 else ''}"


def _mood(done: Found) -> str:
    return "bad" if done.idle_cost is not None and done.cost >= 0.98 * done.idle_cost else "good"


def sentence(done: Found) -> str:
    """What was found, in one or two sentences."""
    if done.idle_cost is None or not done.idle_cost > 0:
        return f"A plan of {_steps(len(done.frames) - 1)} was found."
    left = done.cost / done.idle_cost
    if left >= 0.98:
        return (
            "No plan was found that comes nearer to the goal than doing nothing does: start and goal may be alike "
            "already, or too far apart for these steps."
        )
    told = (
        f"In the model's imagination the plan ends {_percent(1 - left)} nearer to the goal than doing nothing, "
        f"after {_steps(len(done.frames) - 1)}."
    )
    if done.true_cost is not None:
        told += f" With what was really done the model would end {_nearer(1 - done.true_cost / done.idle_cost)}."
    return told


def _nearer(share: float) -> str:
    return f"{_percent(share)} nearer" if share >= 0.005 else "no nearer"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def in_words(channel: Channel, value: float) -> str:
    """A number of an action as a person says it: "left 0.30"."""
    size = max(abs(channel.low), abs(channel.high))
    if abs(value) < 0.02 * size:
        return "nothing" if channel.kind != "target" else f"{value:.2f}"
    less, more = channel.words
    word = more if value > 0 else less
    digits = 0 if size >= 20 else 1 if size >= 2 else 2 if size >= 0.2 else 3
    shown = abs(value) if word else value
    return " ".join(part for part in (word, f"{shown:.{digits}f}".replace("-", "−"), channel.unit) if part)


def actions(done: Found) -> str:
    """The plan's actions, a row for each step, beside the true ones where they are known."""
    if done.actions is None or done.spec is None:
        return _latents(done)
    spec, true = done.spec, done.ends.actions
    # True actions are of the plan's kind only where the same body acts.
    true = true if true is not None and done.ends.spec is not None and done.ends.spec.names == spec.names else None
    which = np.sort(np.argsort(-np.abs(done.actions / np.maximum(spec.high - spec.low, 1e-9)).mean(0))[:_MOST_CHANNELS])
    heads = "".join(f'<th scope="col">{escape(spec.names[i])}{_range(spec.channels[i])}</th>' for i in which)
    count = max(len(done.actions), 0 if true is None else len(true))
    rows = ""
    for t in range(count):
        cells = "".join(
            _cell(
                spec.channels[i],
                float(done.actions[t, i]) if t < len(done.actions) else None,
                float(true[t, i]) if true is not None and t < len(true) else None,
            )
            for i in which
        )
        rows += f'<tr><th scope="row">{t + 1}</th>{cells}</tr>'
    marks = (
        '<p class="lam-note" style="margin-top:6px">Bars are the plan; the narrow marks are what was really done.</p>'
        if true is not None
        else ""
    )
    left = spec.width - len(which)
    more = f'<p class="lam-note">{left} more numbers are smaller and left out.</p>' if left else ""
    return _table(heads, rows, f"Actions of the plan, {spec.name}") + marks + more


def _table(heads: str, rows: str, label: str) -> str:
    return (
        f'<div class="lam-plan-actions" tabindex="0" role="region" aria-label="{escape(label)}"><table><thead><tr>'
        f'<th scope="col">Step</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _range(channel: Channel) -> str:
    less, more = channel.words
    return f"<small>{escape(less)} ↔ {escape(more)}</small>" if less and more else ""


def _cell(channel: Channel, value: float | None, true: float | None) -> str:
    zero = _place(channel, 0.0)
    inside = f'<u style="left:{zero:.1f}%"></u>'
    if value is not None:
        at = _place(channel, value)
        inside += f'<i style="left:{min(zero, at):.1f}%;width:{abs(at - zero):.1f}%"></i>'
    if true is not None:
        inside += f'<s style="left:{_place(channel, true):.1f}%"></s>'
    words = in_words(channel, value) if value is not None else "—"
    beside = f"<small>really: {escape(in_words(channel, true))}</small>" if true is not None else ""
    return f'<td><span class="bar" aria-hidden="true">{inside}</span>{escape(words)}{beside}</td>'


def _place(channel: Channel, value: float) -> float:
    """Where a value lies between the channel's ends, in percent."""
    return float(np.clip(100 * (value - channel.low) / (channel.high - channel.low), 0, 100))


def _latents(done: Found) -> str:
    """Latent actions have no words of their own: their size, what they are most like, how alike the true ones are."""
    true = done.true_latents
    sizes = np.linalg.norm(done.latents, axis=1)
    most = max(float(sizes.max()), 0.0 if true is None else float(np.linalg.norm(true, axis=1).max()), 1e-9)
    named = len(done.meanings) == len(done.latents)
    heads = '<th scope="col">Size</th>'
    heads += '<th scope="col">Most like</th>' if named else ""
    heads += '<th scope="col">Against the true one</th>' if true is not None else ""
    rows = ""
    for t, z in enumerate(done.latents):
        mark = note = ""
        alike = ""
        if true is not None:
            if t < len(true):
                size = float(np.linalg.norm(true[t]))
                mark = f'<s style="left:{100 * size / most:.1f}%"></s>'
                note = f"<small>really: {size:.2f}</small>"
                cosine = float(z @ true[t] / max(sizes[t] * size, 1e-9))
                alike = f"<td>{cosine:+.2f}<small>cosine; 1 is the same</small></td>".replace("-", "−")
            else:
                alike = "<td>—</td>"
        length = f"{100 * sizes[t] / most:.1f}%"
        bar = f'<span class="bar" aria-hidden="true"><i style="left:0;width:{length}"></i>{mark}</span>'
        what = f"<td>{escape(done.meanings[t])}</td>" if named else ""
        rows += f'<tr><th scope="row">{t + 1}</th><td>{bar}{sizes[t]:.2f}{note}</td>{what}{alike}</tr>'
    return _table(heads, rows, "Latent actions of the plan")


def old(plan: PlanSession) -> str:
    """What is said where the plan on show is of other ends, another checkpoint or other settings; else nothing."""
    found, ends, searcher = plan.found, plan.ends, plan.searcher
    if found is None or ends is None:
        return ""
    same = zip((found.ends.start, found.ends.goal), (ends.start, ends.goal), strict=True)
    if not all(np.array_equal(a, b) for a, b in same):
        what = "is of the start and goal before; press Plan for these"
    elif searcher is not None and plan.checkpoint and searcher.pipeline.checkpoint != plan.checkpoint:
        what = "was found by the checkpoint before; press Plan to search with this one"
    elif plan.wanted is not None and plan.wanted != found.order:
        what = "was found with other settings; press Plan to search with these"
    else:
        return ""
    return f'<p class="lam-warn lam-plan-old" role="status">What is shown below {what}.</p>'


def run_empty() -> str:
    """The execution's place before one."""
    return (
        '<p class="lam-note">The simulator carries out the first action of the plan, the model looks again, plans anew '
        "from there, and so on.</p>"
    )


def distances_empty() -> str:
    """The place of the chart of distances before an execution."""
    return figures.empty("The true distance to the goal after each step appears here.", 220)


def running(step: Step, steps: int) -> str:
    """One step of an execution: what is seen, what was imagined, the goal."""
    shape = _shape(step.frame)
    imagined = (
        _figure(_img(step.imagined, "What was imagined", _SIDE), "<b>Imagined</b> before it came")
        if step.imagined is not None
        else _figure(
            '<div class="lam-empty">The plan’s picture of the next moment appears here.</div>', "<b>Imagined</b>"
        )
    )
    word = f"after step {step.index} of {steps} at most" if step.index else "the start"
    return (
        f'<p class="lam-plan-line" role="status"><span>{word}</span>{_distance(step)}</p>'
        f'<div class="lam-plan-pair three" style="{shape};margin-top:8px">'
        f"{_figure(_img(step.frame, f'The simulator, {word}', _SIDE), '<b>True</b> what the simulator shows')}"
        f"{imagined}{_figure(_img(step.goal, 'The goal', _SIDE), '<b>Goal</b>')}</div>"
    )


def _distance(step: Step) -> str:
    return "".join(
        f"<span>{escape(name)} to the goal <b>{value:.3g}</b></span>" for name, value in step.distance.items()
    )


def ran(done: Ran) -> str:
    """An execution: what was seen and what was imagined, in loops, the goal, and what it came to."""
    words = outcome(done.distances, done.reached, done.stopped)
    true = _loop(done.video, "plan-run", "What the simulator showed, in a loop")
    imagined = _loop(done.imagined, "plan-run", "What was imagined of each next moment, in a loop")
    return (
        f'<p class="lam-plan-told {"good" if done.reached else "bad"}" role="status">{escape(words)}</p>'
        f'<div class="lam-plan-pair three" style="{_shape(done.last.frame)}">'
        f"{_figure(true, '<b>True</b> what the simulator showed')}"
        f"{_figure(imagined, '<b>Imagined</b> each moment, before it came')}"
        f"{_figure(_img(done.last.goal, 'The goal', _SIDE), '<b>Goal</b>')}</div>"
    )


def outcome(distances: Sequence[dict[str, float]], reached: bool, stopped: bool) -> str:
    """An execution in one sentence.

    Args:
        distances: to the goal by name, at the start and after each step.
        reached: whether the last counts as there.
        stopped: whether it was stopped.
    """
    first, last = distances[0], distances[-1]
    steps = _steps(len(distances) - 1)
    way = f"{_far(last)} from the goal, from {_far(first)} at the start"
    if reached:
        return f"Reached after {steps}: {way}."
    if stopped:
        return f"Stopped after {steps}, {way}."
    # Of several distances one may have shrunk and another grown; then the numbers must do.
    nearer = "; nearer than it began, but not there" if all(last[unit] < first[unit] for unit in first) else ""
    if all(last[unit] >= first[unit] for unit in first):
        nearer = "; no nearer than it began"
    return f"Not reached in {steps}: {way}{nearer}."


def _far(distance: Mapping[str, float]) -> str:
    return " and ".join(f"{value:.3g} {unit}" for unit, value in distance.items())
