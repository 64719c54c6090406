"""The map of an atlas on the page: its files, its element, and what Python lays over it.

Points are drawn by Plotly in the browser (``assets/map``), since Gradio's own Plot tells nothing of clicks; `MAP_JS` is
what a ``gr.HTML`` runs with the element of `map_html` in it:

    page = gr.HTML(
        map_html(url(write_map(atlas, folder)), url(write_plotly(folder))), js_on_load=MAP_JS, apply_default_css=False
    )
    over = gr.HTML(overlay_html(), js_on_load=None, elem_id=OVERLAY_ID)
    page.click(handler)  # its gr.EventData has one of these as ``_data``

====================================================  =====================================================
``{"kind": "point", "index": i}``                     step i of the atlas was clicked
``{"kind": "lasso", "indices": [i, ...]}``            these were drawn around, 20000 at most, perhaps none
``{"kind": "path", "step": t}``                       step t of the path of `overlay_html`
``{"kind": "sample", "index": i, "group": g}``        sample i of its group g
====================================================  =====================================================

The folder must be one that Gradio serves (``gr.set_static_paths``). Nothing is loaded before the element is seen.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamdemo.core.files import write_safely
from lamdemo.latent_space.thumbnails import SHEET

if TYPE_CHECKING:
    from lamdemo.latent_space.atlas import Atlas

_ASSETS = Path(__file__).parent / "assets" / "map"
# In the order of use: each part adds what it does to one object, the last one begins. Gradio runs them as one function.
_PARTS = ("colours", "tools", "data", "elements", "places", "figure", "paper", "card", "hands", "controls", "start")
MAP_JS = "\n".join((_ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in _PARTS)
MAP_CSS = (_ASSETS / "map.css").read_text(encoding="utf-8")
OVERLAY_ID = "lam-map-overlay"
FORMAT = "lamdemo-map/1"
UNITS = {
    "size": "length of the latent",
    "density": "0 on its own, 1 in the thick of it",
    "pan right": "widths of the picture a step",
    "pan down": "widths of the picture a step",
    "zoom in": "logarithm of the growth a step",
    "roll clockwise": "radians a step",
}

_FEW = 10  # sources that have a colour each
_WIDE = 65535  # steps of a coordinate


# What the browser reads.


def map_data(atlas: Atlas) -> dict[str, Any]:
    """An atlas as the browser reads it: JSON, with arrays as base64 of little-endian numbers.

    Coordinates are in 16 bits over the width of each axis, the rest is as in the atlas; latents and directions stay
    behind.
    """
    sources, source = _sources(atlas)
    columns = {
        "size": atlas.size.astype(np.float32),
        "seconds": atlas.seconds,
        "density": atlas.density,
        "recording": atlas.recording,
        "step": atlas.step,
        "frame": atlas.frame,
        "kind": atlas.kind,
        "cluster": atlas.cluster,
        "source": source,
    }
    return {
        "format": FORMAT,
        "checkpoint": atlas.checkpoint,
        "name": atlas.name,
        "count": len(atlas),
        "stamp": hashlib.sha256(b"".join(atlas.sheets)).hexdigest()[:12],
        "thumb": list(atlas.thumb),
        "sheet": SHEET,
        "projections": {key: _quantised(places) for key, places in atlas.coordinates.items()},
        "arrays": {key: _packed(values) for key, values in columns.items()},
        "known": {
            key: {**_packed(values), "unit": UNITS.get(key, "")}
            for key, values in atlas.known.items()
            if np.isfinite(values).any()
        },
        "units": {key: UNITS[key] for key in ("size", "density")},
        "recordings": [r.name for r in atlas.recordings],
        "sources": sources,
        "kinds": list(atlas.kinds),
    }


def _packed(values: np.ndarray) -> dict[str, Any]:
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return {"type": str(values.dtype), "data": base64.b64encode(data.tobytes()).decode()}


def _quantised(places: np.ndarray) -> dict[str, Any]:
    """Coordinates ``[M, 2|3]`` as int16 ``q``: the place is ``q * scale + offset``."""
    low, high = places.min(0).astype(np.float64), places.max(0).astype(np.float64)
    scale = np.where(high > low, (high - low) / _WIDE, 1.0)
    offset = low + scale * (_WIDE // 2 + 1)
    steps = np.clip(np.rint((places - offset) / scale), -(_WIDE // 2) - 1, _WIDE // 2).astype(np.int16)
    return {**_packed(steps), "scale": scale.tolist(), "offset": offset.tolist()}


def _sources(atlas: Atlas) -> tuple[list[str], np.ndarray]:
    """What "source" means on the map, and which one each step has, int32 ``[M]``.

    A part of many recordings beside others, as the procedural scenes are, is one source; else each recording is one.
    The largest have a number each, and the browser gives the others one colour.
    """
    parts = [r.part for r in atlas.recordings]
    many = {p for p in set(parts) if parts.count(p) > _FEW} if len(set(parts)) > 1 else set()
    labels = [r.part if r.part in many else r.name for r in atlas.recordings]
    names = list(dict.fromkeys(labels))
    number = {name: k for k, name in enumerate(names)}
    of_recording = np.array([number[label] for label in labels], np.int32)
    return names, of_recording[atlas.recording]


def write_map(atlas: Atlas, folder: Path) -> Path:
    """Write what the page serves of an atlas: ``map.json`` and the thumbnails, ``sheet-000.jpg`` and so on.

    Args:
        atlas: what to show.
        folder: where to; made if need be. Sheets of another atlas there are removed.

    Returns:
        Path of ``map.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"sheet-{k:03d}.jpg" for k in range(len(atlas.sheets))]
    for old in set(folder.glob("sheet-*.jpg")) - {folder / name for name in names}:
        old.unlink()
    for name, sheet in zip(names, atlas.sheets, strict=True):
        (folder / name).write_bytes(sheet)
    path = folder / "map.json"
    write_safely(path, json.dumps(map_data(atlas), separators=(",", ":"), allow_nan=False).encode())
    return path


def write_plotly(folder: Path) -> Path:
    """Write the Plotly of the browser, which the package plotly brings along, for the page to serve; once is enough."""
    from plotly import __version__
    from plotly.offline import get_plotlyjs

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"plotly-{__version__}.min.js"
    if not path.is_file():
        write_safely(path, get_plotlyjs().encode())
    return path


# The elements.


def map_html(
    data_url: str,
    plotly_url: str,
    label: str = "Map of latent actions",
    overlay_id: str = OVERLAY_ID,
    plays: bool = True,
) -> str:
    """The map's element, empty until `MAP_JS` fills it.

    Args:
        data_url: address of `write_map`'s file; the thumbnails are beside it.
        plotly_url: address of `write_plotly`'s.
        label: what it is, for those who do not see it.
        overlay_id: ``elem_id`` of the component that holds `overlay_html`.
        plays: whether a click plays an action, as the map says; else it is looked at.
    """
    given = {"src": data_url, "plotly": plotly_url, "label": label, "overlay": overlay_id}
    given |= {} if plays else {"plays": "no"}
    data = " ".join(f'data-{key}="{html.escape(value)}"' for key, value in given.items())
    return f'<div class="lam-map" {data}><div class="lam-map-stage"></div></div>'


@dataclass(frozen=True, eq=False)
class MapPath:
    """The steps of a clip as a line through the map."""

    coordinates: Mapping[str, np.ndarray]  # [S, 2|3] by projection, as `Atlas.place` gives them
    seconds: Sequence[float] | np.ndarray  # when each step begins, [S]
    sizes: Sequence[float] | np.ndarray  # norms, [S]
    name: str = "Your clip"  # of the clip
    thumbs: Sequence[str] = ()  # data URLs of pictures, one for each frame, `S + 1`; none where there are no pictures


@dataclass(frozen=True, eq=False)
class MapSamples:
    """Some latents on the map that are not of the atlas."""

    label: str  # what they are, as the legend says
    coordinates: Mapping[str, np.ndarray]  # [C, 2|3] by projection
    sizes: Sequence[float] | np.ndarray = ()  # norms, [C]; may be left out
    symbol: str | None = None  # "diamond", "triangle", "square" or "ring"; by default the group's turn


@dataclass(frozen=True, eq=False)
class MapChosen:
    """What stands out on the map."""

    indices: Sequence[int] | np.ndarray = ()  # steps of the atlas, which get a ring each: neighbours, examples
    # One place [2|3] by projection: the mean of a lasso, a composed action.
    star: Mapping[str, np.ndarray] | None = None
    label: str = ""  # words beside the star


def overlay_html(
    path: MapPath | None = None,
    samples: Sequence[MapSamples] | None = None,
    chosen: MapChosen | None = None,
    names: Mapping[int, str] | None = None,
) -> str:
    """What lies over the map, as the content of a component that is not seen; the map follows its changes.

    Args:
        path: the visitor's own clip.
        samples: groups of latents; "group" of an event counts them from 0.
        chosen: what stands out.
        names: names of clusters by their number in the atlas.
    """
    content: dict[str, Any] = {}
    if path is not None:
        content["path"] = {
            "coordinates": _places(path.coordinates),
            "seconds": _numbers(path.seconds),
            "sizes": _numbers(path.sizes),
            "name": path.name,
            "thumbs": list(path.thumbs),
        }
    if samples:
        content["samples"] = [
            {"label": s.label, "coordinates": _places(s.coordinates), "sizes": _numbers(s.sizes), "symbol": s.symbol}
            for s in samples
        ]
    if chosen is not None:
        content["chosen"] = {
            "indices": [int(i) for i in chosen.indices],
            "star": {key: _numbers(place) for key, place in chosen.star.items()} if chosen.star else None,
            "label": chosen.label,
        }
    if names:
        content["names"] = {"clusters": {str(int(key)): str(name) for key, name in names.items()}}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return f'<div class="lam-map-overlay" data-overlay="{html.escape(text)}"></div>'


def _places(coordinates: Mapping[str, np.ndarray]) -> dict[str, list[list[float]]]:
    return {key: [_numbers(row) for row in np.asarray(places)] for key, places in coordinates.items()}


def _numbers(values: Sequence[float] | np.ndarray) -> list[float]:
    return [float(f"{float(v):.6g}") for v in values]
