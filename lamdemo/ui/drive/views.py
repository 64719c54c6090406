"""The parts of the tab that are HTML: what is imagined and what is true, the strip, the console, the pictures."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from lamdemo.ui.drive.work import DriveSession, Likeness, Start, data_url
from lamdemo.ui.views import url

if TYPE_CHECKING:
    from lamdemo.core.actions import ActionSpec, Channel
    from lamdemo.engine.controls import KnownController

_MOST_THUMBS = 12
_TRAIL = 5
# What a controller was trained on, and so where it can be at home; what shows best comes first.
_HOMES = {
    "fetch": (
        "Fetch robot",
        "Trained in the simulator Fetch: an arm over a table. It acts best there; elsewhere it moves whatever stands "
        "in the arm's place.",
    ),
    "car": (
        "Car",
        "Trained on model cars filmed from the driver's seat; it drives best on such pictures: a view ahead, near the "
        "ground.",
    ),
    "doom": (
        "Doom",
        "Trained in rooms of the simulator ViZDoom, seen in first person; it acts best there and in similar rooms.",
    ),
    "arm": (
        "Robot arm",
        "Trained on one kind of robot arm seen by cameras at its side; it acts best on such pictures. Where there is "
        "no arm, it moves whatever stands in its place.",
    ),
}
_SIDES, _AHEAD = ("left", "right"), ("forward", "forwards", "up", "away", "away from you")
_PAIRS = (("q", "e"), ("a", "d"), ("z", "x"), ("c", "v"), ("f", "g"), ("n", "m"), ("1", "2"), ("3", "4"))
_SHOWN = {"ArrowLeft": "←", "ArrowRight": "→", "ArrowUp": "↑", "ArrowDown": "↓"}


def controller_title(name: str) -> str:
    """How a controller is called."""
    return _HOMES.get(name, (name, ""))[0]


def in_order(names: Sequence[str]) -> list[str]:
    """Controllers as they are offered: those that come with checkpoints first."""
    known = list(_HOMES)
    return sorted(names, key=lambda n: (known.index(n) if n in known else len(known), n))


# What is seen.


def _stage(inside: str, frame: Sequence[int], tag: str = "", data: str = "") -> str:
    height, width = frame
    aspect = min(max(width / height, 1.0), 1.9)
    shown = f'<span class="lam-tag" role="status">{escape(tag)}</span>' if tag else ""
    return f'<div class="lam-stage" style="aspect-ratio:{aspect:.3f}"{data}>{inside}{shown}</div>'


def nothing(sentence: str, ack: int = 0) -> str:
    """The picture's place while there is nothing to drive."""
    return (
        f'<div class="lam-drive" data-ack="{ack}" data-count="0" data-undo="0"><div class="lam-stage">'
        f'<div class="lam-empty" role="status">{escape(sentence)}</div></div></div>'
    )


def board(driving: DriveSession, jpegs: Sequence[bytes], ack: int = 0) -> str:
    """The picture as it is driven, what stands beside it, the strip and the last commands.

    Args:
        driving: the drive.
        jpegs: frames to show one after the other; the last one stays.
        ack: number of the order that this answers.
    """
    reel, drive, known = driving.reel, driving.drive, driving.known
    assert reel is not None and drive is not None and known is not None
    count = len(reel)
    word = f"after {count} step{'s' if count != 1 else ''}" if count else "the start"
    frames = [data_url(jpeg) for jpeg in jpegs]
    picture = f'<img src="{frames[0]}" decoding="sync" alt="The picture {word}, as the model imagines it">'
    beside = f'<img src="{data_url(reel.beside)}" decoding="sync" alt="{{}}">'
    if driving.scene is not None:
        title, tag = "In truth", f"seed {driving.scene.seed}"
        told = f"The simulator under the same commands. {likeness(driving.likeness)}"
        beside = beside.format(f"The simulator's picture {word}")
    else:
        title, tag = "No action", ""
        told = "The same model on the same picture, told that nothing happens. What moves here too is not your doing."
        beside = beside.format(f"The picture {word} under no action")
    even = " even" if driving.scene is not None else ""
    return (
        f'<div class="lam-drive" data-ack="{ack}" data-count="{count}" data-undo="{int(drive.can_undo)}" '
        f'data-drive="{driving.number}" data-controls="{_controls(known.spec)}">'
        f'<div class="lam-drive-duo{even}"><figure>'
        f"{_stage(picture, reel.size, word, f' data-frames={chr(39)}{json.dumps(frames)}{chr(39)}')}"
        f"<figcaption><b>Imagined</b> <span>{_trail(drive.actions, known.spec)}</span></figcaption></figure>"
        f"<figure>{_stage(beside, reel.size, tag)}<figcaption><b>{title}</b> <span>{told}</span></figcaption></figure>"
        f"</div>{_strip(reel.thumbs)}</div>"
    )


def likeness(seen: Likeness | None) -> str:
    """How imagined and true agree, for a person."""
    if seen is None:
        return ""
    # The first is the main one; an angle says as much, while others want explaining.
    spoken = [(unit, amount) for i, (unit, amount) in enumerate(seen.moved.items()) if not i or unit == "degrees"]
    moved = " and ".join(f"{_rounded(amount)} {unit}" for unit, amount in spoken)
    told = f"It is {moved} from its start. " if moved else ""
    told += f"Imagined and true differ by {seen.off:.1f} of 255 grey levels; "
    return escape(told + f"the picture at the start and the true one by {seen.still:.1f}.")


def _rounded(amount: float) -> str:
    return f"{amount:.0f}" if amount >= 10 or amount < 0.005 else f"{amount:.2f}"


def _strip(thumbs: Sequence[bytes]) -> str:
    """The drive so far in a row of small pictures, evenly over its steps."""
    shown = np.unique(np.linspace(0, len(thumbs) - 1, min(len(thumbs), _MOST_THUMBS)).round().astype(int))
    items = "".join(
        f'<li><img src="{data_url(thumbs[i])}" alt="{f"Step {i}" if i else "The start"}" decoding="sync">'
        f"<span>{i or 'start'}</span></li>"
        for i in shown
    )
    return f'<ol class="lam-drive-strip" style="--n:{_MOST_THUMBS}" aria-label="The drive so far">{items}</ol>'


def spoken(action: np.ndarray, spec: ActionSpec) -> str:
    """A command in words: ``left 0.7, forward 0.5``."""
    parts = []
    for value, channel in zip(action, spec.channels, strict=True):
        if abs(value) < 1e-3 * (channel.high - channel.low):
            continue
        word = channel.words[int(value > 0)]
        unit = f" {channel.unit}" if channel.unit else ""
        parts.append(f"{word} {abs(value):.2g}{unit}" if word else f"{channel.name} {value:.2g}{unit}")
    return ", ".join(parts) or "nothing"


def _trail(actions: np.ndarray, spec: ActionSpec) -> str:
    if not len(actions):
        return "Press an arrow key, or a button below."
    told = [spoken(action, spec) for action in actions[-_TRAIL:]]
    groups: list[list[Any]] = []  # of like commands that follow each other
    for one in told:
        if groups and groups[-1][0] == one:
            groups[-1][1] += 1
        else:
            groups.append([one, 1])
    words = "; ".join(f"{one}{f' × {times}' if times > 1 else ''}" for one, times in groups)
    return escape(f"{'… ' if len(actions) > _TRAIL else ''}{words}")


# The console.


def _steered(spec: ActionSpec) -> list[dict[str, Any]]:
    """Keys and what they do, the arrows first: ``{"key", "shown", "channel", "sign", "word"}``.

    The first two channels take the arrows: the one that goes left and right lies across, as far as words tell.
    """
    channels = spec.channels
    across = next((i for i, c in enumerate(channels[:2]) if set(c.words) & set(_SIDES)), 0)
    along = 1 - across
    keys = _pair(spec, across, ("ArrowLeft", "ArrowRight"), turned=channels[across].words[1] == "left")
    if len(channels) > 1:
        keys += _pair(spec, along, ("ArrowDown", "ArrowUp"), turned=channels[along].words[0] in _AHEAD)
    rest = [i for i in range(len(channels)) if i > 1]
    for i, pair in zip(rest, _PAIRS, strict=False):
        keys += _pair(spec, i, pair)
    return keys


def _pair(spec: ActionSpec, index: int, keys: tuple[str, str], *, turned: bool = False) -> list[dict[str, Any]]:
    """A channel's two keys; the first is its lower side, or ``turned`` its higher one."""
    channel = spec.channels[index]
    return [
        {
            "key": key,
            "shown": _SHOWN.get(key, key),
            "channel": index,
            "sign": sign,
            "word": channel.words[int(sign > 0)] or f"{channel.name} {'+' if sign > 0 else '−'}",
        }
        for key, sign in zip(keys, (1, -1) if turned else (-1, 1), strict=True)
    ]


def _spec_of(spec: ActionSpec) -> str:
    """What console.js has to know of a controller's commands: JSON."""
    channels = [
        {"low": c.low, "high": c.high, "zero": float(z), "kind": c.kind, "unit": c.unit}
        for c, z in zip(spec.channels, spec.zero, strict=True)
    ]
    return json.dumps({"keys": _steered(spec), "channels": channels})


def _controls(spec: ActionSpec) -> str:
    """What tells the commands of one controller from those of another: console and picture must agree on it."""
    return f"{zlib.crc32(_spec_of(spec).encode()):08x}"


def console(spec: ActionSpec) -> str:
    """Arrows, stick, sliders and the rest, for the commands of a controller."""
    keys = _steered(spec)
    by_key = {k["key"]: k for k in keys}

    def button(entry: dict[str, Any] | None) -> str:
        if entry is None:
            return "<span></span>"
        return (
            f'<button type="button" data-press="{escape(entry["key"])}" class="key-{escape(entry["key"].lower())}">'
            f"<kbd>{escape(entry['shown'])}</kbd><span>{escape(entry['word'])}</span></button>"
        )

    def word(key: str) -> str:
        return f'<b class="{key.lower()}">{escape(by_key[key]["word"])}</b>' if key in by_key else ""

    arrows = "".join(button(by_key.get(key)) for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"))
    others = "".join(button(k) for k in keys if k["key"] not in _SHOWN)
    stick = (
        '<div class="lam-stick" role="img" aria-label="Stick: drag it to drive, further is stronger; it does what the '
        f'arrow keys do"><i></i>{"".join(word(key) for key in _SHOWN)}</div>'
    )
    sliders = "".join(_slider(i, c, float(z)) for i, (c, z) in enumerate(zip(spec.channels, spec.zero, strict=True)))
    return (
        f'<div class="lam-console" data-spec="{escape(_spec_of(spec))}" data-controls="{_controls(spec)}">'
        f'<div class="lam-drive-hands"><div class="lam-arrows" role="group" aria-label="Arrows">{arrows}</div>{stick}'
        f"</div>{f'<div class=lam-others>{others}</div>' if others else ''}"
        '<div class="lam-drive-acts">'
        '<button type="button" data-do="once" title="One step with the sliders as they are">Step <kbd>space</kbd>'
        '</button><button type="button" data-do="hold" aria-pressed="false" title="Step after step, until it is '
        'pressed again">Hold <kbd>h</kbd></button>'
        '<button type="button" data-do="undo" disabled>Undo <kbd>u</kbd></button>'
        '<button type="button" data-do="reset" disabled>Reset <kbd>r</kbd></button></div>'
        '<label class="lam-slide"><span>Strength of a key</span><input type="range" data-strength min="10" max="100" '
        'step="5" value="70"><output>70 %</output></label>'
        f"<fieldset><legend>Sliders: what Step and Hold do; keys add to it</legend>{sliders}</fieldset>"
        '<p class="lam-note">The keys work wherever the page is while the picture is in sight, but not while you type '
        "or move a slider. Hold a key to go on; two at once work together.</p></div>"
    )


def _slider(index: int, channel: Channel, zero: float) -> str:
    span = channel.high - channel.low
    ends = " – ".join(escape(w) for w in channel.words) if all(channel.words) else ""
    unit = f"{', ' if ends else ''}in {escape(channel.unit)}" if channel.unit else ""
    return (
        f'<label class="lam-slide"><span>{escape(channel.name)}<small>{ends}{unit}</small></span>'
        f'<input type="range" data-channel="{index}" min="{channel.low:g}" max="{channel.high:g}" '
        f'step="{span / 40:g}" value="{zero:g}"><output>{zero:.2g}</output></label>'
    )


# What is chosen.


def known_well(known: KnownController | None) -> str:
    """How well a controller is known to work, in a line, and where it is at home."""
    if known is None:
        return ""
    home = _HOMES.get(known.name, ("", ""))[1]
    warning = f'<p class="lam-warn">{escape(home)}</p>' if home else ""
    return f'<p class="lam-note">{escape(_measured(known.about))}</p>{warning}'


def _measured(about: Mapping[str, Any]) -> str:
    """What a controller's file says of how well it works; a file may hold anything."""
    figures = about.get("figures")
    found = figures.get("validation") if isinstance(figures, Mapping) else None
    share = found.get("r2") if isinstance(found, Mapping) else None
    if not isinstance(share, int | float) or not np.isfinite(share):
        return "How well this controller works was not measured."
    assert isinstance(found, Mapping)
    steps = found.get("steps")
    over = f", {steps} steps" if isinstance(steps, int) else ""
    return (
        f"On recordings it was not trained on, it accounts for {100 * max(share, 0):.0f} % of the latent actions that "
        f"the model reads from the video itself (R² {share:.2f}{over})."
    )


def pictures(starts: Sequence[Start], chosen: int | None, name: str) -> str:
    """All that comes with the page to drive in; what was recorded in the controller's own world first."""
    groups: dict[str, list[int]] = {}
    for i, start in enumerate(starts):
        own = start.kind == "episode" and start.title.split(",")[0] == name
        label = "Its own world" if own else {"photo": "Photographs", "clip": "Clips"}.get(start.kind, "Other worlds")
        groups.setdefault(label, []).append(i)
    order = [g for g in ("Its own world", "Photographs", "Clips", "Other worlds") if g in groups]
    return "".join(
        f'<div class="lam-picks"><h3>{group}</h3><div class="lam-photos">'
        + "".join(_pick(i, starts[i], i == chosen) for i in groups[group])
        + "</div></div>"
        for group in order
    )


def _pick(index: int, start: Start, on: bool) -> str:
    shown = (
        f'<img src="{url_of(start)}" alt="" loading="lazy">'
        if start.kind == "photo"
        # The first frame of a clip, without playing it.
        else f'<video src="{url_of(start)}#t=0.01" preload="metadata" muted playsinline aria-hidden="true"></video>'
    )
    return (
        f'<button type="button" class="{"on" if on else ""}" data-act="pick" data-pick="{index}" '
        f'data-hold="pick-{index}" aria-pressed="{str(on).lower()}" aria-label="Drive in {escape(start.title)}" '
        f'title="{escape(start.title)}">{shown}</button>'
    )


def url_of(start: Start) -> str:
    """Where a browser gets what a drive begins from."""
    from pathlib import Path

    return url(Path(start.path))


def saved(files: Mapping[str, str], number: int) -> str:
    """Links to files, of which the browser takes the first at once.

    Args:
        files: address by the name under which the visitor gets it.
        number: one more each time, so that the same link counts as new.
    """
    links = "".join(f'<a href="{where}" download="{escape(name)}">{escape(name)}</a>' for name, where in files.items())
    return f'<p class="lam-note lam-saved" data-number="{number}">{links}</p>'
