"""The model's state made visible: its features as colours, and where an action acts."""

from __future__ import annotations

import math
import threading
import weakref
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import uniform_filter

from lamdemo.engine import TransferPipeline, TransferStep
from lamdemo.latent_space.naming import reference_pictures

_TAILS = 2.0  # percent of the values on either side that are drawn in full colour
_NOTHING = 1e-6  # heat that is rounding


@dataclass(frozen=True, eq=False)
class StateColours:
    """Three directions in the space of features, drawn as red, green and blue.

    The encoder whitens its features, which makes all directions about equally strong; so the principal axes are
    taken of features averaged over their neighbours. What is left in these is shared by whole things and
    surfaces, and not the detail of a single cell.
    """

    mean: np.ndarray  # float32 [D]
    # float32 [3, D], unit vectors; the largest component of each is positive, so that colours do not flip from one
    # fit to the next.
    axes: np.ndarray
    low: np.ndarray  # float32 [3], what is drawn as 0
    high: np.ndarray  # float32 [3], what is drawn as 255

    @classmethod
    def fit(cls, states: np.ndarray) -> StateColours:
        """Fit to states ``[M, N, D]`` of some pictures, three features or more.

        Raises:
            ValueError: the states are of another shape.
        """
        if states.ndim != 3 or states.shape[2] < 3 or not states.size:
            raise ValueError(f"colours are fitted to states [M, N, D] with three features or more, not {states.shape}")
        smooth = _smoothed(np.asarray(states, np.float32)).reshape(-1, states.shape[2])
        mean = smooth.mean(0)
        _, vectors = np.linalg.eigh(np.cov(smooth.T.astype(np.float64)))
        axes = vectors[:, ::-1][:, :3].T
        strongest = np.abs(axes).argmax(1)
        axes = axes * np.sign(axes[np.arange(3), strongest])[:, None]
        places = (states.reshape(-1, states.shape[2]) - mean) @ axes.T
        low, high = np.percentile(places, [_TAILS, 100 - _TAILS], axis=0)
        high = np.maximum(high, low + 1e-6)
        return cls(*(np.asarray(a, np.float32) for a in (mean, axes, low, high)))

    def colours(self, state: np.ndarray) -> np.ndarray:
        """Colours uint8 ``[h, w, 3]`` of a state ``[N, D]``.

        Raises:
            ValueError: the state is of another shape.
        """
        if state.ndim != 2 or state.shape[1] != len(self.mean):
            raise ValueError(f"a state to be coloured has shape [N, {len(self.mean)}], not {list(state.shape)}")
        side = _side(len(state))
        places = (np.asarray(state, np.float32) - self.mean) @ self.axes.T
        shades = (places - self.low) / (self.high - self.low)
        return (shades.clip(0, 1) * 255).round().astype(np.uint8).reshape(side, side, 3)


def _side(cells: int) -> int:
    side = math.isqrt(cells)
    if side * side != cells:
        raise ValueError(f"a state has as many cells down as across, not {cells} in all")
    return side


def _smoothed(states: np.ndarray) -> np.ndarray:
    """States ``[M, N, D]`` averaged over 3 x 3 cells, as ``[M, h, w, D]``."""
    side = _side(states.shape[1])
    return uniform_filter(states.reshape(-1, side, side, states.shape[2]), (1, 3, 3, 1), mode="nearest")


_cache: weakref.WeakKeyDictionary[TransferPipeline, StateColours] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def state_colours(pipeline: TransferPipeline) -> StateColours:
    """Colours for the states of a pipeline's model, fitted to the reference pictures at the first call.

    Raises:
        LamdemoError: the bundled photographs are missing.
    """
    with _lock:
        if pipeline not in _cache:
            _cache[pipeline] = StateColours.fit(pipeline.encode(reference_pictures()).float().cpu().numpy())
        return _cache[pipeline]


def colour_picture(colours: np.ndarray, height: int, width: int) -> np.ndarray:
    """Colours ``[h, w, 3]`` at the size of a picture, uint8 ``[height, width, 3]``; the cells stay visible."""
    return cv2.resize(np.ascontiguousarray(colours), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def step_heat(step: TransferStep) -> np.ndarray:
    """Where a step made with ``idle=True`` acted, float32 ``[h, w]``.

    The norm, cell by cell, of the difference between the state under the action and the state without it. After
    several steps it is what all of them did.

    Raises:
        ValueError: the step was made without its idle half.
    """
    if step.idle_state is None:
        raise ValueError("where an action acts is told by a step made with idle=True")
    side = _side(len(step.state))
    return np.linalg.norm(step.state - step.idle_state, axis=-1).reshape(side, side).astype(np.float32)


def action_heat(pipeline: TransferPipeline, target: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Where one action ``z [Z]`` acts on a target, float32 ``[h, w]``; see `step_heat`.

    Args:
        pipeline: whose model predicts.
        target: see `TransferPipeline.stream`.
        z: the action.

    Raises:
        LamdemoError: the target is no picture, or the action is of another width.
    """
    return step_heat(pipeline.begin(target, idle=True, history=0).step(z))


def overlay(picture: np.ndarray, heat: np.ndarray, *, top: float | None = None, strength: float = 0.75) -> np.ndarray:
    """Lay a heat map over a picture.

    From dark blue to yellow (cividis, made to look the same to colour-blind eyes), the more opaque the hotter,
    so that the picture shows where nothing acts.

    Args:
        picture: uint8 ``[H, W, 3]``.
        heat: float32 ``[h, w]``, 0 or more.
        top: heat drawn as the hottest; the largest there is without it.
        strength: opacity of the hottest, 0 to 1.

    Returns:
        uint8 ``[H, W, 3]``; the picture itself where nothing acts anywhere.
    """
    height, width = picture.shape[:2]
    top = float(heat.max()) if top is None else top
    if not top > _NOTHING:
        return picture.copy()
    fine = cv2.resize(np.asarray(heat, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    share = (fine / top).clip(0, 1)
    colour = cv2.applyColorMap((share * 255).round().astype(np.uint8), cv2.COLORMAP_CIVIDIS)[..., ::-1]
    cover = strength * share[..., None]
    return (picture * (1 - cover) + colour * cover).round().astype(np.uint8)
