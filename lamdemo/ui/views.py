"""The parts of the page that are HTML: stages, filmstrip, measures, examples."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import numpy as np

from lamdemo.ui.work import Compared, Finished, Live, SourceView, TargetView

if TYPE_CHECKING:
    from lamdemo.pipeline.compare import Progress

_LIVE_SIDE, _IDLE_SIDE = 640, 320  # longest sides in pixels of frames that are shown while a transfer runs
_MOST_THUMBS = 6


def url(path: Path) -> str:
    """Where the browser gets a file; relative, so that it holds behind any prefix."""
    return "gradio_api/file=" + quote(str(path), safe="/")


def _picture(frame: np.ndarray, side: int = _LIVE_SIDE) -> str:
    """A frame uint8 ``[H, W, 3]`` as a data URL, its longest side ``side`` pixels at most."""
    scale = min(1.0, side / max(frame.shape[:2]))
    if scale < 1:
        size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _loop(path: Path, role: str, label: str, **data: float) -> str:
    more = "".join(f' data-{key}="{value:g}"' for key, value in data.items())
    return (
        f'<video data-lam-loop="{role}"{more} src="{url(path)}" aria-label="{escape(label)}" autoplay loop '
        "muted playsinline></video>"
    )


def _stage(inside: str, tag: str = "") -> str:
    return f'<div class="lam-stage">{inside}{f"<span class=lam-tag>{escape(tag)}</span>" if tag else ""}</div>'


def _empty(sentence: str) -> str:
    return _stage(f'<div class="lam-empty">{sentence}</div>')


def source_empty() -> str:
    """The source's place while there is none."""
    return _empty("Upload a video, or click an example above: its filmstrip and its actions appear here.")


def source(view: SourceView, first: int, last: int, playing: Finished | None = None) -> str:
    """A source: its loop, how much happens in each step, its filmstrip.

    Args:
        view: the source.
        first: first chosen step, from 0.
        last: step after the last chosen one.
        playing: a result that it is to be played in step with.
    """
    n = len(view.sizes)
    if playing is None:
        loop = _loop(view.video, "source", "The source, in a loop", first=0, span=n, fps=view.fps)
    else:
        loop = _loop(
            playing.source,
            "source",
            "The source's chosen steps, in step with the result",
            first=playing.first,
            span=playing.span,
            fps=playing.fps,
        )
    most = max(max(view.sizes), 1e-9)
    far = view.far or (False,) * n
    bars = "".join(
        f'<span class="{"on" if first <= t < last else ""}{" far" if far[t] else ""}" '
        f'style="height:{100 * size / most:.1f}%" title="step {t + 1}: {size:.2f}{_UNSEEN if far[t] else ""}"></span>'
        for t, size in enumerate(view.sizes)
    )
    heights = ", ".join(f"{size:.2f}{_UNSEEN if far[t] else ''}" for t, size in enumerate(view.sizes))
    told = f"How much happens in each step: {heights}"
    every = -(-n // _MOST_THUMBS)
    frames = "".join(_thumb(view, t, every, first, last) for t in range(0, n, every))
    numbers = "".join(f"<span>{t + 1 if n <= 12 or t % 4 == 3 or not t else ''}</span>" for t in range(n))
    return (
        f"{_stage(loop)}"
        f'<div class="lam-strip" style="--n:{n}">'
        f'<div class="lam-top"><span>How much happens in each step</span>'
        f"<span>tallest {most:.2f}</span></div>"
        f'<div class="lam-bars" role="img" aria-label="{told}">{bars}</div>'
        f'<div class="lam-frames" aria-hidden="true">{frames}</div>'
        f'<div class="lam-numbers" aria-hidden="true">{numbers}</div></div>'
        f"{_warning(sum(far[first:last]), last - first)}"
    )


_UNSEEN = " (unlike training)"


def _warning(far: int | None, steps: int) -> str:
    """A line that says how many steps lie outside what the model saw, where there is need for one."""
    if not far:
        return ""
    from lamdemo.pipeline.familiarity import warning

    sentence = warning(far, steps)
    return f'<p class="lam-warn" role="status">{escape(sentence)}</p>' if sentence else ""


def _thumb(view: SourceView, t: int, every: int, first: int, last: int) -> str:
    """Frame ``t`` of the strip over the ``every`` steps from there; the last one may be cut by the end."""
    n = len(view.sizes)
    columns = min(every, n - t)
    wider = every / columns
    share = 100 * t * wider / ((n + 1) * wider - 1)
    chosen = any(first <= s < last for s in range(t, t + columns))
    return (
        f'<span class="{"on" if chosen else ""}" style="grid-column:{t + 1}/span {columns};'
        f"background-image:url('{url(view.strip)}');background-size:{100 * (n + 1) * wider:.1f}% auto;"
        f'background-position:{share:.3f}% 50%"></span>'
    )


def target_empty() -> str:
    """The target's place while there is none."""
    return _empty("Upload a picture or a clip: the source's actions are carried over to it.")


def target(view: TargetView) -> str:
    """A target: the picture the transfer begins from."""
    tag = f"{view.moment:.2f} s of {view.seconds:.2f} s" if view.seconds else ""
    return _stage(f'<img src="{url(view.picture)}" alt="The target picture">', tag)


def result_empty() -> str:
    """The result's place while there is none."""
    return _empty("Press Transfer: the frames appear here as they are made, then play in a loop.")


def waiting(sentence: str) -> str:
    """The result's place before the first frame."""
    return _stage(f'<div class="lam-empty" role="status">{escape(sentence)}</div>')


def live(frame: Live) -> str:
    """A frame in progress."""
    share = 100 * frame.index / max(frame.steps, 1)
    word = f"step {frame.index} of {frame.steps}" if frame.index else "the target"
    idle = f'<img src="{_picture(frame.idle, _IDLE_SIDE)}" alt="No action, {word}">'
    return (
        f'<div class="lam-stage"><img src="{_picture(frame.frame)}" alt="The transfer in progress, {word}">'
        f'<span class="lam-tag" role="status">{word}</span>'
        f'<span class="lam-progress" style="width:{share:.0f}%"></span></div>'
        f'<div class="lam-below">{_stage(idle)}'
        f'<p class="lam-note"><b>No action.</b> {_NO_ACTION}</p></div>'
    )


_NO_ACTION = (
    "The same model on the same target, told that nothing happens. What moves here too is the model's own "
    "doing, not the source's."
)


def result(done: Finished, note: str = "") -> str:
    """A result, with what the target does under no action."""
    counted = f"{done.made} step{'s' if done.made != 1 else ''}"
    if done.stopped:
        counted += ", stopped there"
    elif done.made < done.asked:
        counted += f" of {done.asked} (the step limit)"
    return (
        f"{_stage(_loop(done.transfer, 'lead', 'The transfer, in a loop'), counted)}"
        f"{_warning(done.unfamiliar, done.span)}"
        f'<div class="lam-below">{_stage(_loop(done.idle, "idle", "The target under no action, in a loop"))}'
        f'<div><p class="lam-note"><b>No action.</b> {_NO_ACTION} {escape(note)}</p>'
        '<button type="button" class="lam-pause" title="Pause or play all loops">Pause</button></div></div>'
    )


def measures(done: Finished) -> str:
    """Figures of a result in plain words."""
    figures = done.measures
    rows = [
        (
            "Action",
            f"{figures['action_size']:.2f}",
            "mean length of the latent actions applied; 0 is nothing",
        ),
        ("Motion", f"{figures['motion']:.2f} %", "how far the picture moves in a step, of its width"),
        (
            "Change",
            f"{figures['change']:.1f} / {figures['idle_change']:.1f}",
            "grey levels between target and last frame: with the action / with none",
        ),
        (
            "Painted over",
            f"{100 * figures['painted']:.0f} %",
            "share of the picture drawn anew instead of moved",
        ),
        (
            "Sharpness kept",
            f"{100 * figures['sharpness']:.0f} %",
            "fine detail of the last frame, of the target's",
        ),
    ]
    if done.unfamiliar is not None:
        steps = f"{done.unfamiliar} of {done.span}"
        rows.append(("Unfamiliar steps", steps, "steps of the source unlike those seen in training"))
    items = "".join(
        f'<div><dt>{name}</dt><dd class="lam-figure">{value}</dd><dd>{what}</dd></div>' for name, value, what in rows
    )
    return f'<dl class="lam-measures">{items}</dl>'


def comparison_empty() -> str:
    """The comparison's place while there is none."""
    return (
        '<p class="lam-note">The source, the target and the settings above are given to each checkpoint; the results '
        "play side by side, with the same measures of each.</p>"
    )


def comparing(news: Progress) -> str:
    """A comparison under way."""
    word = f"{news.name} ({news.index + 1} of {news.count}): "
    word += f"step {news.step} of {news.steps}" if news.step and news.doing == "carrying out" else news.doing
    inside = '<div class="lam-empty">The first frames appear when the checkpoint is loaded.</div>'
    if news.frame is not None:
        inside = f'<img src="{_picture(news.frame)}" alt="The transfer in progress">'
    return (
        f'<div class="lam-stage lam-single">{inside}<span class="lam-tag" role="status">{escape(word)}</span>'
        f'<span class="lam-progress" style="width:{100 * news.share:.0f}%"></span></div>'
    )


def compared(done: Compared) -> str:
    """A comparison: one video of all results, and a table of their measures."""
    from lamdemo.pipeline.compare import MEASURES

    names = [str(row["name"]) for row in done.rows]
    width, height = done.size
    told = f"The source and the results of {', '.join(names)}, side by side, in a loop"
    heads = "".join(
        f'<th scope="col">{escape(str(row["name"]))}<small>{escape(str(row["family"]))}, '
        f"{escape(str(row['capacity']))}</small></th>"
        for row in done.rows
    )
    lines = "".join(
        f'<tr><th scope="row">{escape(m.label)}</th>'
        + "".join(f"<td>{_figure(m.key, row)}</td>" for row in done.rows)
        + "</tr>"
        for m in MEASURES
    )
    meanings = "".join(f"<div><dt>{escape(m.label)}</dt><dd>{escape(m.meaning)}</dd></div>" for m in MEASURES)
    warnings = "".join(
        f'<p class="lam-warn"><b>{escape(str(row["name"]))}:</b> {escape(row["familiarity"]["warning"])}</p>'
        for row in done.rows
        if row["familiarity"] and row["familiarity"]["warning"]
    )
    left = f"Stopped before {escape(', '.join(done.stopped))}. " if done.stopped else ""
    steps = f"{done.made} step{'s' if done.made != 1 else ''}"
    return (
        f'<div class="lam-grid" tabindex="0" role="region" aria-label="Video of the comparison"><div '
        f'style="aspect-ratio:{width}/{height};max-width:{width}px">{_loop(done.video, "compare", told)}</div></div>'
        f'<div class="lam-row"><p class="lam-note">{left}{steps}, the same for each; upper left is the source.</p>'
        '<button type="button" class="lam-pause" title="Pause or play all loops">Pause</button></div>'
        f"{warnings}"
        '<div class="lam-table" tabindex="0" role="region" aria-label="Measures of each checkpoint"><table>'
        f'<thead><tr><th scope="col">Measure</th>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
        f'<details class="lam-how"><summary>What the measures mean</summary><dl>{meanings}</dl></details>'
    )


_MISSING = {"far_steps": "not known", "agreement": "no motion", "cycle": "no action"}


def _figure(key: str, row: dict[str, Any]) -> str:
    """One figure of a comparison, as one reads it."""
    value = row["measures"][key]
    if value is None:
        return f'<span class="lam-none">{_MISSING.get(key, "none")}</span>'
    if key == "far_steps":
        return f"{value:.0f} of {row['familiarity']['steps']}"
    if key == "sharpness":
        return f"{100 * value:.0f} %"
    if key == "seconds":
        return f"{value:.1f}"
    return f"{value:.2f}".replace("-", "−")


@dataclass(frozen=True)
class Example:
    """A clip and a picture that go together.

    Attributes:
        title: a few words.
        clip: file of the source.
        photo: file of the target.
    """

    title: str
    clip: Path
    photo: Path


def read_examples(folder: Path) -> list[Example]:
    """The pairs of ``pairs.json`` whose files are there."""
    try:
        pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8"))
    except OSError:
        return []
    found = [Example(p["title"], folder / "clips" / p["clip"], folder / "photos" / p["photo"]) for p in pairs]
    return [e for e in found if e.clip.is_file() and e.photo.is_file()]


def examples(pairs: list[Example]) -> str:
    """One button for each example."""
    buttons = "".join(
        f'<button type="button" data-example="{i}" aria-label="Run the example: {escape(e.title)}">'
        f'<span class="lam-pair"><video src="{url(e.clip)}#t=0.5" muted playsinline preload="metadata" '
        f'tabindex="-1" aria-hidden="true"></video><span class="lam-arrow" aria-hidden="true">→</span>'
        f'<img src="{url(e.photo)}" alt="" loading="lazy"></span>'
        f'<span class="lam-name">{escape(e.title)}</span></button>'
        for i, e in enumerate(pairs)
    )
    return f'<div class="lam-examples">{buttons}</div>'


def credits(folder: Path) -> str:
    """Who made the examples, and under which licence."""
    try:
        assets = json.loads((folder / "assets.json").read_text(encoding="utf-8"))
    except OSError:
        return ""
    lines = "".join(
        f"<p>{escape(a['title'])} — {escape(a['author'])}, {escape(a['licence'])} (from {escape(a['package'])})</p>"
        for a in assets
    )
    return (
        "<p class=lam-note>Pictures were scaled down; clips were cut, scaled, stripped of sound and "
        "encoded anew.</p>"
        f'<div class="lam-credits">{lines}</div>'
    )
