"""The parts of the latent space's tab that are HTML: the stage, neighbours, the timeline, directions, play mode."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamdemo.ui.space.work import Place, Played, SpaceSession
from lamdemo.ui.views import _IDLE_SIDE, _loop, _picture, _stage, url
from lamdemo.ui.work import Live, Writing

if TYPE_CHECKING:
    from lamdemo.latent_space.composition import Composition, Term
    from lamdemo.latent_space.directions import Direction

_AROUND = 2  # steps before and after a neighbour's own that its small clip shows


def map_empty(sentence: str = "The map appears here.") -> str:
    """The map's place while there is none."""
    return _stage(f'<div class="lam-empty">{escape(sentence)}</div>')


def stage_empty(picture: str | None = None) -> str:
    """The stage before anything is played: the target, or a word about it."""
    if picture:
        return _stage(f'<img src="{picture}" alt="The target picture">', "the target")
    return _stage('<div class="lam-empty">Choose a picture below; what you click happens to it.</div>')


def live(frame: Live, label: str, writing: Writing | None = None) -> str:
    """A frame in progress, as large as the result will be, or the last one and what is done with all of them."""
    share = 100 * frame.index / max(frame.steps, 1)
    word = f"step {frame.index} of {frame.steps}" if frame.index else "the target"
    if writing is not None:
        word = f"{writing.steps} step{'s' if writing.steps != 1 else ''} made; {writing.doing}…"
    idle = f'<img src="{_picture(frame.idle, _IDLE_SIDE)}" alt="No action, {word}">'
    return (
        '<div class="lam-acted"><div class="lam-stage">'
        f'<img src="{_picture(frame.frame)}" alt="{escape(label)}, in progress, {word}">'
        f'<span class="lam-tag" role="status">{word}</span>'
        f'<span class="lam-progress" style="width:{share:.0f}%"></span></div>'
        f'<div class="lam-caption"><b>{escape(label)}</b></div>'
        f'<div class="lam-below">{_stage(idle, "no action")}'
        f'<p class="lam-note"><b>No action.</b> {_NO_ACTION}</p></div></div>'
    )


_NO_ACTION = (
    "The same model on the same target, told that nothing happens. What moves here too is not the action's doing."
)


def played(done: Played) -> str:
    """Actions carried out, in a loop, and the same target under no action."""
    counted = f"{done.steps} step{'s' if done.steps != 1 else ''}"
    if done.stopped:
        counted += ", stopped there"
    elif done.steps < done.asked:
        counted += f" of {done.asked}, the most at once"
    figures = done.measures
    idle = _loop(done.idle, "space-idle", "The target under no action, in a loop")
    return (
        f"<div class=lam-acted>{_stage(_loop(done.video, 'space', f'{done.label}, on the target, in a loop'), counted)}"
        f'<div class="lam-caption"><b>{escape(done.label)}</b><span>size {figures["action_size"]:.2f}</span>'
        f"<span>the picture moves {figures['motion']:.2f} % of its width a step</span></div>"
        f'<div class="lam-below">{_stage(idle, "no action")}'
        f'<div><p class="lam-note"><b>No action.</b> {_NO_ACTION}</p><button type="button" class="lam-pause" '
        'title="Pause or play all loops">Pause</button></div></div></div>'
    )


def old(space: SpaceSession) -> str:
    """What is said where the stage shows something else than the controls or the timeline say; else nothing."""
    if space.foreign:
        return _old("This was made by the checkpoint before; click a motion to see what this one makes.")
    if space.performed is None:
        return ""
    if space.setting is None:
        if space.of_timeline and space.timeline is not space.performed:
            return _old("This is the timeline as it was before; press Apply the timeline to see it as it is now.")
        return ""
    if space.knobs is None or space.knobs == space.setting:
        return ""
    strength, steps = space.setting
    counted = f"{steps} step{'s' if steps != 1 else ''}"
    return _old(f"This is strength {strength:g} and {counted}; press Play to see it as it is set now.")


def _old(sentence: str) -> str:
    return f'<p class="lam-warn lam-old" role="status">{sentence}</p>'


def old_samples(space: SpaceSession, target: tuple[str, float]) -> str:
    """What is said where samples were drawn for another target; else nothing."""
    if "here" not in space.samples or space.sampled == target:
        return ""
    return _old("Those drawn for the picture are of the one before; press Draw for this one.")


def _flip(place: Place, frames: Sequence[int]) -> str:
    """Thumbnails of consecutive frames as a small clip."""
    cells = "".join(
        f"<i style=\"--k:{k};background-image:url('{url(place.folder / f'sheet-{f // 256:03d}.jpg')}');"
        f'background-position:{100 * (f % 16) / 15:.3f}% {100 * (f % 256 // 16) / 15:.3f}%"></i>'
        for k, f in enumerate(frames)
    )
    return f'<span class="lam-flip" style="--n:{len(frames)}">{cells}</span>'


def step_name(place: Place, index: int) -> str:
    """What to call a step of the atlas: its kind, or its recording and time."""
    atlas = place.atlas
    assert atlas is not None
    recording, kind = atlas.recordings[int(atlas.recording[index])], int(atlas.kind[index])
    name = Path(recording.name).stem.replace("_", " ")
    when = f"{atlas.seconds[index]:.2f} s"
    if kind < 0:
        return f"{name}, {when}"
    # Scenes are named after their kind, which stands in front already.
    return f"{atlas.kinds[kind]}, {name.removesuffix(' ' + atlas.kinds[kind])}, {when}"


def elsewhere(place: Place, indices: Sequence[int], distances: Sequence[float], act: str = "Play") -> str:
    """Nearest neighbours in other recordings, as small clips that can be clicked."""
    atlas = place.atlas
    if atlas is None or not len(indices):
        return elsewhere_empty()
    items = "".join(
        f'<button type="button" data-act="point" data-index="{i}" data-hold="near-{i}" '
        f'aria-label="{act} {escape(step_name(place, i))}" title="{escape(step_name(place, i))}, {d:.2f} away">'
        f"{_flip(place, atlas.frames_of(i, _AROUND))}"
        f'<span class="lam-name">{escape(step_name(place, i))}</span></button>'
        for i, d in zip(indices, distances, strict=True)
    )
    return f'<div class="lam-elsewhere">{items}</div>'


def elsewhere_empty() -> str:
    """The neighbours' place before anything is clicked."""
    return '<p class="lam-note">Click a motion: the nearest steps of other recordings appear here.</p>'


def photos(examples: Sequence[tuple[str, Any]], chosen: int | None = None) -> str:
    """Pictures to play on."""
    items = "".join(
        f'<button type="button" class="{"on" if i == chosen else ""}" data-act="photo" data-photo="{i}" '
        f'data-hold="photo-{i}" aria-label="Take {escape(title)} as the target" title="{escape(title)}">'
        f'<img src="{url(path)}" alt="" loading="lazy"></button>'
        for i, (title, path) in enumerate(examples)
    )
    return f'<div class="lam-photos">{items}</div>'


# Pictures to play on, of different kinds: landscapes, rooms, people, animals, things.
_PHOTOS = (
    *("mountain_path", "palace_square", "machu_picchu", "forest_stream", "colosseum_street"),
    *("astronaut", "treadmill_person", "dog", "horses", "sheep", "raccoon"),
    *("coffee_cup", "wine_and_drum", "dahlia"),
)


def photos_in(folder: Path) -> list[tuple[str, Path]]:
    """Pictures to play on, with their titles; those that are there."""
    paths = [folder / f"{name}.jpg" for name in _PHOTOS]
    return [(path.stem.replace("_", " "), path) for path in paths if path.is_file()]


def timeline(composition: Composition | None, chosen: int) -> str:
    """The blocks, each a button."""
    if composition is None or not composition.blocks:
        return (
            '<p class="lam-note">Nothing yet. Click a motion, then press Append; blocks follow each other, and each '
            "can be several motions at once.</p>"
        )
    items = []
    for i, block in enumerate(composition.blocks):
        sizes = np.linalg.norm(block.z, axis=1)[:24]
        most = max(float(sizes.max()), 1e-9)
        bars = "".join(f'<i style="height:{100 * s / most:.0f}%"></i>' for s in sizes)
        about = f"{len(block)} step{'s' if len(block) != 1 else ''}, strength {block.strength:g}"
        items.append(
            f'<li><button type="button" data-act="block" data-block="{i}" data-hold="block-{i}" '
            f'aria-pressed="{str(i == chosen).lower()}" aria-label="Block {i + 1}: {escape(block.label)}, {about}" '
            f'title="{escape(block.label)}"><span class="lam-label">{i + 1}. {escape(block.label)}</span>'
            f'<small>{about}</small><span class="lam-sizes" aria-hidden="true">{bars}</span></button></li>'
        )
    steps = len(composition)
    return (
        f'<ol class="lam-blocks" aria-label="Blocks of the timeline">{"".join(items)}</ol>'
        f'<p class="lam-note">{steps} step{"s" if steps != 1 else ""}, {steps / composition.fps:g} seconds.</p>'
    )


_SEEN = 0.002  # of the picture's width a step: a pixel in 500


def arrows(flow: np.ndarray, label: str) -> str:
    """A flow field ``[r, r, 2]`` (forward, in widths of the picture) as SVG arrows, the longest one cell long.

    Motion below what can be seen stays as dots, however it is directed.
    """
    r = len(flow)
    most = max(float(np.linalg.norm(flow, axis=-1).max()), _SEEN)
    lines = []
    for y in range(r):
        for x in range(r):
            dx, dy = flow[y, x] / most
            length = float(np.hypot(dx, dy))
            if length < 0.06:
                lines.append(
                    f'<circle cx="{4 * x + 2}" cy="{3 * y + 1.5:g}" r=".18" fill="currentColor" opacity=".5"/>'
                )
                continue
            x0, y0 = 4 * x + 2 - 1.6 * dx, 3 * y + 1.5 - 1.6 * dy
            x1, y1 = x0 + 3.2 * dx, y0 + 3.2 * dy
            wing = 0.3 + 0.55 * length
            ux, uy = dx / length, dy / length
            head = " ".join(
                f"{x1 - wing * (ux * 0.9 + s * -uy * 0.55):.2f},{y1 - wing * (uy * 0.9 + s * ux * 0.55):.2f}"
                for s in (1, -1)
            )
            first, second = head.split()
            lines.append(
                f'<path d="M{x0:.2f} {y0:.2f}L{x1:.2f} {y1:.2f}M{first.replace(",", " ")}L{x1:.2f} {y1:.2f}'
                f'L{second.replace(",", " ")}" stroke="currentColor" stroke-width=".28" fill="none" '
                f'stroke-linecap="round" stroke-linejoin="round" opacity="{0.35 + 0.65 * length:.2f}"/>'
            )
    return f'<svg viewBox="0 0 {4 * r} {3 * r}" role="img" aria-label="{escape(label)}">{"".join(lines)}</svg>'


_KINDS = {
    "principal": "principal direction",
    "sparse": "sparse direction",
    "cluster": "cluster",
    "probe": "fitted to known motion",
}


def directions(place: Place, found: Sequence[Direction], names: Mapping[str, str], chosen: str = "") -> str:
    """Directions as cards: what they do to pictures as arrows, their name, typical steps.

    Args:
        place: whose directions.
        found: those to show.
        names: by key, with a minus for the reverse.
        chosen: key of the one that is chosen.
    """
    if not found:
        return '<p class="lam-note">This checkpoint brings no directions; build an atlas of it with lamdemo atlas.</p>'
    cards = []
    for d in found:
        name, back = names.get(d.key, d.name), names.get(f"-{d.key}", d.back_name)
        share = (
            f", {100 * d.share:.0f} % of " + ("the steps" if d.kind == "cluster" else "the variance") if d.share else ""
        )
        most = 100 * float(np.linalg.norm(d.flow, axis=-1).max())
        typical = "".join(
            f'<button type="button" data-act="point" data-index="{i}" data-hold="{d.key}-{i}" '
            f'aria-label="Play {escape(step_name(place, int(i)))}" title="{escape(step_name(place, int(i)))}">'
            f"{_flip(place, place.atlas.frames_of(int(i), 1))}</button>"
            for i in d.examples[:4]
            if place.atlas is not None
        )
        word = name or "no name found"
        cards.append(
            f'<article><button type="button" class="lam-field" data-act="direction" data-key="{d.key}" '
            f'data-hold="d-{d.key}" aria-pressed="{str(d.key == chosen).lower()}" '
            f'aria-label="Play {escape(word)} ({d.key})" title="{_KINDS.get(d.kind, d.kind)} '
            f'{escape(d.key.removeprefix(d.kind))}{share}; arrows up to {most:.1f} % of the width">'
            f"{arrows(d.flow, f'Mean motion of {word}, at most {most:.1f} % of the width a step')}</button>"
            f'<h3 class="{"" if name else "none"}">{escape(word)}</h3>'
            f'<div class="lam-typical">{typical}</div>'
            f'<button type="button" class="lam-again" data-act="reverse" data-key="{d.key}" data-hold="r-{d.key}" '
            f'aria-label="Play the reverse of {escape(word)}">or {escape(back or "the reverse")}</button>'
            "</article>"
        )
    return f'<div class="lam-directions">{"".join(cards)}</div>'


# Keys as the browser calls them, and how they are shown.
KEYS = {
    "left": ("ArrowLeft", "←"),
    "right": ("ArrowRight", "→"),
    "up": ("ArrowUp", "↑"),
    "down": ("ArrowDown", "↓"),
    "in": ("+", "+"),
    "out": ("-", "−"),
    "turn left": ("q", "Q"),
    "turn right": ("e", "E"),
}


def pad(actions: Sequence[tuple[str, str, str]], chosen: Term | None, can_undo: bool) -> str:
    """Play mode's buttons.

    Args:
        actions: key as the browser calls it, as it is shown, and what it does.
        chosen: the action on the stage, which the space key repeats.
        can_undo: whether there is a step to take back.
    """
    rows = [("press", *a) for a in actions]
    if chosen is not None:
        rows.append(("press", " ", "space", f"the action on the stage: {chosen.label}"))
    off = "" if can_undo else " disabled"
    buttons = "".join(
        f'<button type="button" data-act="{act}" data-key="{escape(key)}" aria-label="{escape(word)}">'
        f"<kbd>{escape(shown)}</kbd><span>{escape(word)}</span></button>"
        for act, key, shown, word in rows
    )
    return (
        '<div class="lam-pad" role="group" tabindex="-1" aria-label="Actions and their keys">'
        f'{buttons}<button type="button" data-act="undo" data-key="undo"{off}><kbd>U</kbd><span>Undo</span></button>'
        f'<button type="button" data-act="reset" data-key="reset"{off}><kbd>R</kbd><span>Back to the start</span>'
        "</button></div>"
    )


def playing(frames: Sequence[np.ndarray], count: int, trail: Sequence[str]) -> str:
    """Play mode's picture, with the frames that lead to it."""
    pictures = [_picture(frame) for frame in frames]
    word = f"after {count} step{'s' if count != 1 else ''}" if count else "the target"
    listed = ", ".join(escape(t) for t in trail[-6:]) or "Press a key or a button."
    return (
        f'<div class="lam-stage" data-frames=\'{json.dumps(pictures)}\'><img src="{pictures[0]}" '
        f'alt="The picture {word}"><span class="lam-tag" role="status">{word}</span></div>'
        f'<p class="lam-trail">{"… " if len(trail) > 6 else ""}{listed}</p>'
    )


def playing_empty() -> str:
    """Play mode's place before it starts."""
    return _stage('<div class="lam-empty">Press Start: your picture appears, and the keys move it.</div>')


@dataclass(frozen=True)
class Drawn:
    """What is told of a draw."""

    group: str  # which prior, see `_GROUPS`
    count: int  # how many
    size: float  # their median norm
    # Median distance to the nearest step of the atlas, over that between recordings of the atlas; None without an
    # atlas.
    far: float | None
    unfamiliar: int | None  # how many lie outside what the model saw in training; None where that is not known


_GROUPS = {
    "fixed": "random",
    "anywhere": "learned, for any picture",
    "here": "learned, for this picture",
}


def zero(family: str) -> str:
    """What zero and the opposite of an action mean in a family."""
    from lamdemo.latent_space.composition import zero_means

    return f'<p class="lam-note"><b>Zero.</b> {escape(zero_means(family))}</p>'


def sampling(draws: Sequence[Drawn], report: dict[str, Any]) -> str:
    """What was drawn, how far it lies from real steps, and what the report says of each prior."""
    lines = ""
    for d in draws:
        parts = [f"{d.count} {_GROUPS[d.group]}: size {d.size:.2f} (median)"]
        if d.far is not None:
            parts.append(
                f"{d.far:.2f} times as far from the nearest step of the map as different recordings are from each other"
            )
        if d.unfamiliar is not None:
            parts.append(f"{d.unfamiliar} outside what the model saw in training")
        lines += f"<li>{'; '.join(parts)}.</li>"
    told = ""
    if report:
        random = f"random {report['fixed']:.2f}, " if "fixed" in report else ""
        told = (
            '<p class="lam-note"><b>Measured on held-out recordings.</b> Energy distance from inferred latents (0: '
            f"cannot be told apart): {random}learned for any picture "
            f"{report['stateless']:.2f}, learned for the picture {report['learned']:.2f}. The last one draws some "
            "actions too small, most of all those of cars it has not seen.</p>"
        )
    drawn = f'<ul class="lam-note">{lines}</ul>' if lines else ""
    return drawn + told


def sight(picture: np.ndarray, colours: np.ndarray, heat: np.ndarray | None, label: str) -> str:
    """The target, the model's state of it as colours, and where the action acts."""
    third = (
        f'<figure><img src="{_picture(heat)}" alt="Where the action acts, as a heat map over the target"><figcaption>'
        f"Where “{escape(label)}” acts: how much the predicted state differs from that under no action, after one step."
        "</figcaption></figure>"
        if heat is not None
        else "<figure><figcaption>Put an action on the stage to see where it acts.</figcaption></figure>"
    )
    return (
        f'<div class="lam-sight"><figure><img src="{_picture(picture)}" alt="The target"><figcaption>The target.'
        f'</figcaption></figure><figure><img src="{_picture(colours)}" alt="The model\'s state as colours"><figcaption>'
        "What the model sees: the first three principal components of its state as red, green and blue, one cell for "
        f"each patch. Equal colours are alike to it.</figcaption></figure>{third}</div>"
    )
