"""The pictures of :mod:`lamdemo.simulators.fetch`.

Drawing is MuJoCo's own, headless: through EGL (Mesa's llvmpipe where there is no GPU) or OSMesa. Measured for this
scene on one core of a plain x86 machine, in ms a frame of 192x192::

    as MuJoCo comes (4 samples a pixel, shadow map of 2048, all meshes)    21.3 EGL   20.2 OSMesa
    no shadow, no reflection                                                7.9        6.7
    no shadow, no reflection, one sample a pixel                            3.3        3.4
    the same without the meshes that are never in view                      2.1
    the same at 384x384, halved by averaging (what 4 samples a pixel do)    4.5
    the same with a shadow map of 512 pixels                                6.6

The last is what is used: of all that costs time only the shadow is worth it, for it alone shows how high the gripper
is over the table.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes.util
import importlib
import os
import platform
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError
from lamdemo.simulators.fetch_scenes import Scene

_T = TypeVar("_T")


@cache
def engine() -> Any:
    """The module mujoco, made to draw without a screen.

    It reads MUJOCO_GL as it is imported; what the person has set stays. Where it is imported already with something
    that needs a screen, nothing is lost: contexts are made by :func:`_gl_context` and not by its choice.
    """
    os.environ.setdefault("MUJOCO_GL", _backend())
    import mujoco

    return mujoco


@cache
def _backend() -> str:
    """The way to draw: "egl" before "osmesa" (both are as fast, but Mesa has given the latter up)."""
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    if platform.system() != "Linux":
        return chosen
    if chosen in ("egl", "osmesa"):
        return chosen
    for backend, library in (("egl", "EGL"), ("osmesa", "OSMesa")):
        if ctypes.util.find_library(library):
            return backend
    raise LamdemoError(_NO_GL)


_NO_GL = (
    "The simulator fetch found no way to draw without a screen; install Mesa's EGL "
    "(on Debian: apt-get install libegl1 libgl1-mesa-dri) or OSMesa (libosmesa6, with MUJOCO_GL=osmesa set)."
)


def _gl_context(width: int, height: int) -> Any:
    try:
        if platform.system() != "Linux":
            return importlib.import_module("mujoco.gl_context").GLContext(width, height)
        return importlib.import_module(f"mujoco.{_backend()}").GLContext(width, height)
    # PyOpenGL raises AttributeError where the library is not there, and its own errors where no device answers.
    except Exception as error:
        raise LamdemoError(_NO_GL) from error


@cache
def _painter() -> ThreadPoolExecutor:
    # A GL context belongs to one thread, and the page answers on any; so one thread draws for all.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetch-painter")


class View:
    """Draws a scene without a screen, twice as large as asked for, and averages 2x2 pixels."""

    def __init__(self, mujoco: Any, scene: Scene, size: tuple[int, int]) -> None:
        self._mujoco, self._model, self._size = mujoco, scene.model, size
        self._gl: Any = None
        self._context: Any = None
        height, width = 2 * size[0], 2 * size[1]
        visual = scene.model.vis
        visual.quality.offsamples = 0
        visual.quality.shadowsize = 512
        visual.global_.offwidth, visual.global_.offheight = width, height
        visual.global_.fovy = 45.0
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._buffer = np.empty((height, width, 3), np.uint8)
        self._camera = mujoco.MjvCamera()
        self._camera.lookat[:] = scene.look_at
        self._camera.distance, self._camera.azimuth = scene.distance, scene.azimuth
        self._camera.elevation = scene.elevation
        self._option = mujoco.MjvOption()
        self._option.sitegroup[:] = 0
        self._scene = mujoco.MjvScene(scene.model, maxgeom=200)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = 0
        self._do(self._open)

    def draw(self, data: Any) -> np.ndarray:
        """The picture of a state whose kinematics are computed, uint8 ``[H, W, 3]``."""
        return self._do(lambda: self._draw(data))

    def close(self) -> None:
        """Free the scene's memory."""
        gl, context, self._gl, self._context = self._gl, self._context, None, None
        if gl is not None:
            try:
                freed = _painter().submit(_free, gl, context)
            except RuntimeError:
                return  # at the process's end nothing is taken on, and the memory goes with it
            freed.result()

    def __del__(self) -> None:
        # Not waited for: this may itself run in the painter's thread. At the process's end nothing is taken on.
        if self._gl is not None:
            with contextlib.suppress(RuntimeError):
                _painter().submit(_free, self._gl, self._context)

    @staticmethod
    def _do(work: Callable[[], _T]) -> _T:
        return _painter().submit(work).result()

    def _open(self) -> None:
        mujoco = self._mujoco
        self._gl = _gl_context(self._rect.width, self._rect.height)
        _remember(self._gl)
        self._gl.make_current()
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)

    def _draw(self, data: Any) -> np.ndarray:
        mujoco = self._mujoco
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._buffer, None, self._rect, self._context)
        # GL counts rows from below.
        return cv2.resize(self._buffer[::-1], self._size[::-1], interpolation=cv2.INTER_AREA)


def _free(gl: Any, context: Any) -> None:
    gl.make_current()
    context.free()
    gl.free()


_OPEN: weakref.WeakSet[Any] = weakref.WeakSet()


def _remember(gl: Any) -> None:
    if not _OPEN:
        # Registered after the display is there, so as to be called before the display is taken down: contexts
        # that nobody closed would complain then.
        atexit.register(_abandon)
    _OPEN.add(gl)


def _abandon() -> None:
    for gl in list(_OPEN):
        gl.free = lambda: None
