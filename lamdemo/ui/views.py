"""The parts of the page that are HTML: stages, filmstrip, measures, examples."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import numpy as np

from lamdemo.ui.inputs import SourceView, TargetView
from lamdemo.ui.work import MOST_STEPS, Compared, Finished, Live, Writing
from lamdemo.video import ANIMATION_SUFFIXES, PICTURE_SUFFIXES, VIDEO_SUFFIXES

if TYPE_CHECKING:
    from lamdemo.jobs.compare import Progress

# What the pickers of all tabs offer: the kinds that browsers know, and the endings of others that are read as well.
CLIP_FILES = ["video", *sorted(VIDEO_SUFFIXES | ANIMATION_SUFFIXES)]
TARGET_FILES = ["image", "video", *sorted(VIDEO_SUFFIXES | ANIMATION_SUFFIXES | PICTURE_SUFFIXES)]

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
    return _empty("Drop a clip here, or press “Use your own clip”: what happens in it appears below.")


def source(view: SourceView, first: int, last: int, playing: Finished | None = None) -> str:
    """A source: its loop, how much happens in each step with the chosen range, its filmstrip.

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
    every = -(-n // _MOST_THUMBS)
    frames = "".join(_thumb(view, t, every, first, last) for t in range(0, n, every))
    chosen = f"{(last - first) / view.fps:g} of {n / view.fps:g} s chosen"
    return (
        f'<div data-lam-input="{made_from(view.path, first, last)}">{_stage(loop)}'
        f'<div class="lam-strip" style="--n:{n}">'
        f'<div class="lam-top"><span>How much happens, over time</span><span class="lam-chosen">{chosen}</span></div>'
        f"{_bars(view, first, last)}"
        f'<div class="lam-frames" aria-hidden="true">{frames}</div></div>'
        f"{_warning(sum(view.far[first:last]), last - first)}</div>"
    )


def made_from(path: str, first: int, last: int) -> str:
    """What tells one chosen range of a source from another, in the page and without the file's name."""
    return f"{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}:{first}:{last}"


def _bars(view: SourceView, first: int, last: int) -> str:
    """The length of each step's action as a bar, with two handles that choose the first and the last of them."""
    n = len(view.sizes)
    most = max(max(view.sizes), 1e-9)
    far = view.far or (False,) * n
    bars = "".join(
        f'<span class="{"on" if first <= t < last else ""}{" far" if far[t] else ""}" '
        f'style="height:{100 * size / most:.1f}%" title="step {t + 1}: {size:.2f}{_UNSEEN if far[t] else ""}"></span>'
        for t, size in enumerate(view.sizes)
    )
    heights = ", ".join(f"{size:.2f}{_UNSEEN if far[t] else ''}" for t, size in enumerate(view.sizes))
    handles = "".join(
        f'<span class="lam-handle" role="slider" tabindex="0" aria-label="{word} step of the chosen range" '
        f'aria-valuemin="1" aria-valuemax="{n}" aria-valuenow="{value}" data-end="{end}" '
        f'style="left:{100 * at / n:.2f}%"></span>'
        for word, value, end, at in (("First", first + 1, "first", first), ("Last", last, "last", last))
    )
    return (
        f'<div class="lam-range" data-steps="{n}" data-first="{first}" data-last="{last}" data-most="{MOST_STEPS}" '
        f'data-fps="{view.fps:g}"><div class="lam-bars" role="img" '
        f'aria-label="How much happens in each step: {heights}">{bars}</div>{handles}</div>'
    )


_UNSEEN = " (unlike training)"


def _warning(far: int | None, steps: int) -> str:
    """A line that says how many steps lie outside what the model saw, where there is need for one."""
    if not far:
        return ""
    from lamdemo.engine.out_of_distribution import warning

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
    return _empty("Drop a picture or a clip here, or press “Use your own picture”.")


def target(view: TargetView) -> str:
    """A target: the picture the transfer begins from."""
    tag = f"{view.moment:.2f} s of {view.seconds:.2f} s" if view.seconds else ""
    shown = _stage(f'<img src="{url(view.picture)}" alt="The target picture">', tag)
    return f'<div data-lam-input="{made_from(view.path, round(100 * view.moment), 0)}">{shown}</div>'


def result_empty() -> str:
    """The result's place while there is none."""
    return _empty("Press Transfer: the frames appear here as they are made, then play in a loop.")


def waiting(sentence: str) -> str:
    """The result's place before the first frame."""
    return _stage(f'<div class="lam-empty" role="status">{escape(sentence)}</div>')


def live(frame: Live, writing: Writing | None = None) -> str:
    """A frame in progress, or the last one and what is done with all of them."""
    share = 100 * frame.index / max(frame.steps, 1)
    word = f"step {frame.index} of {frame.steps}" if frame.index else "the target"
    if writing is not None:
        word = f"{writing.steps} step{'s' if writing.steps != 1 else ''} made; {writing.doing}…"
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


def result(done: Finished, made_of: str, note: str = "") -> str:
    """A result, with what the target does under no action.

    Args:
        done: the result.
        made_of: what it was made of, see `request_key`; the page marks it as stale where that has changed.
        note: one more sentence.
    """
    counted = f"{done.made} step{'s' if done.made != 1 else ''}"
    if done.stopped:
        counted += ", stopped there"
    elif done.made < done.asked:
        counted += f" of {done.asked} (the step limit)"
    return (
        f'<div data-lam-made="{escape(made_of)}">'
        f"{_stage(_loop(done.transfer, 'lead', 'The transfer, in a loop'), counted)}"
        '<p class="lam-stale" role="status">Made before the last change: press Transfer to make it again.</p>'
        f"{_verdict(done.verdict)}{_warning(done.unfamiliar, done.span)}"
        f'<div class="lam-below">{_stage(_loop(done.idle, "idle", "The target under no action, in a loop"))}'
        f'<div><p class="lam-note"><b>No action.</b> {_NO_ACTION} {escape(note)}</p>'
        '<button type="button" class="lam-pause" title="Pause or play all loops">Pause</button></div></div></div>'
    )


def request_key(source: str, target: str, strength: float, repeat: int) -> str:
    """What a result was made of, as the page's script puts it together of what is on show.

    Args:
        source: `made_from` of the source and its range.
        target: `made_from` of the target.
        strength: factor on the actions.
        repeat: how often they are carried out.
    """
    return f"{source} {target} {strength:g} {repeat}"


def _verdict(verdict: dict[str, Any] | None, name: str = "") -> str:
    """How much to trust a result, in a sentence; nothing where that is not known."""
    if verdict is None:
        return ""
    whose = f"<b>{escape(name)}:</b> " if name else ""
    sentence = escape(str(verdict["sentence"]))
    return f'<p class="lam-verdict lam-{escape(str(verdict["label"]))}" role="status">{whose}{sentence}</p>'


def measures(done: Finished) -> str:
    """Figures of a result in plain words, behind a fold: the sentence under the result is what they come to."""
    figures = done.measures
    rows = [
        ("Action", f"{figures['action_size']:.2f}", "mean length of the latent actions applied; 0 is nothing"),
        ("Motion", f"{figures['motion']:.2f} %", "how far the picture moves in a step, of its width"),
        (
            "Change",
            f"{figures['change']:.1f} / {figures['idle_change']:.1f}",
            "grey levels between target and last frame: with the action / with none",
        ),
        ("Painted over", f"{100 * figures['painted']:.0f} %", "share of the picture drawn anew instead of moved"),
        ("Sharpness kept", f"{100 * figures['sharpness']:.0f} %", "fine detail of the last frame, of the target's"),
    ]
    if done.unfamiliar is not None:
        steps = f"{done.unfamiliar} of {done.span}"
        rows.append(("Unfamiliar steps", steps, "steps of the source unlike those seen in training"))
    if done.verdict is not None:
        found = done.verdict["indicators"]
        rows += [(name, f"{100 * found[key]:.0f} %", what) for key, name, what in _INDICATORS]
        chance = f"{100 * done.verdict['probability']:.0f} %"
        rows.append(("Chance that it is right", chance, "by the rule of the sentence under the result"))
    return f'<details class="lam-how"><summary>Figures of this result</summary>{_list(rows)}</details>'


def _list(rows: list[tuple[str, str, str]]) -> str:
    items = "".join(
        f'<div><dt>{name}</dt><dd class="lam-figure">{value}</dd><dd>{what}</dd></div>' for name, value, what in rows
    )
    return f'<dl class="lam-measures">{items}</dl>'


# What a verdict is made of that tells something by itself, in percent.
_INDICATORS = (
    ("explained", "Clip explained", "share of the clip's own motion that the model accounts for"),
    ("read_back", "Read back", "how far the actions read from the result lie from those applied; 0 is the same"),
    ("invented", "Invented", "share of the last frame that shows nothing of the target"),
    ("reach", "Reach", "how far the fastest part of the picture was moved, of its size"),
)


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
    from lamdemo.jobs.compare import MEASURES

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
    verdicts = "".join(_verdict(row.get("verdict"), str(row["name"])) for row in done.rows)
    left = f"Stopped before {escape(', '.join(done.stopped))}. " if done.stopped else ""
    steps = f"{done.made} step{'s' if done.made != 1 else ''}"
    return (
        f'<div class="lam-grid" tabindex="0" role="region" aria-label="Video of the comparison"><div '
        f'style="aspect-ratio:{width}/{height};max-width:{width}px">{_loop(done.video, "compare", told)}</div></div>'
        f'<div class="lam-row"><p class="lam-note">{left}{steps}, the same for each; upper left is the source.</p>'
        '<button type="button" class="lam-pause" title="Pause or play all loops">Pause</button></div>'
        f"{verdicts}{warnings}"
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
    """A clip and a picture that go together."""

    title: str  # a few words
    clip: Path  # file of the source
    photo: Path  # file of the target
    fails: str = ""  # where it is shown as a failure, a sentence that says what goes wrong

    @property
    def name(self) -> str:
        """Of the folder that its prepared result is in."""
        return f"{self.clip.stem}-{self.photo.stem}"


def read_examples(folder: Path) -> list[Example]:
    """The pairs of ``pairs.json`` whose files are there."""
    try:
        pairs = json.loads((folder / "pairs.json").read_text(encoding="utf-8-sig"))
    except OSError:
        return []
    found = [
        Example(p["title"], folder / "clips" / p["clip"], folder / "photos" / p["photo"], p.get("fails", ""))
        for p in pairs
    ]
    return [e for e in found if e.clip.is_file() and e.photo.is_file()]


def examples(pairs: Sequence[tuple[Example, Path | None]]) -> str:
    """One button for each example, those that show where it fails behind a fold.

    Args:
        pairs: the examples, each with a still picture of its clip where there is one.
    """
    shown, failing = "", ""
    for i, (e, poster) in enumerate(pairs):
        still = f'<img src="{url(poster)}" alt="">' if poster else '<span class="lam-no-poster"></span>'
        button = (
            f'<button type="button" data-example="{i}" aria-label="Show the example: {escape(e.title)}" '
            f'title="{escape(e.fails or e.title)}"><span class="lam-pair">{still}'
            '<span class="lam-arrow" aria-hidden="true">→</span>'
            f'<img src="{url(e.photo)}" alt="" loading="lazy"></span>'
            f'<span class="lam-name">{escape(e.title)}</span></button>'
        )
        shown, failing = (shown, failing + button) if e.fails else (shown + button, failing)
    told = f'<div class="lam-examples">{shown}</div>'
    if failing:
        told += '<details class="lam-how"><summary>Where it fails</summary>'
        told += f'<div class="lam-examples">{failing}</div></details>'
    return told


def credits(folder: Path) -> str:
    """Who made the examples, and under which licence."""
    try:
        assets = json.loads((folder / "assets.json").read_text(encoding="utf-8-sig"))
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
