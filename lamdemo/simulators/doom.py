"""First-person navigation in ViZDoom: turn and walk through rooms that a seed makes, drawn by its software renderer.

The engine draws; where one goes is worked out here, from the same geometry (:mod:`.doom_maps`), and the camera is put
there exactly. So a step is the same for the same action wherever nothing is in the way: no momentum is carried over,
and a place and an angle are all there is to remember. Time in the scene stands still but for the camera.

Measured on two slow cores with the engine at 640 by 480: 2 ms a step (1 ms of it drawn by the engine), 0.2 s a scene.
"""

from __future__ import annotations

import math
import shlex
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.simulators.doom_maps import DoomMap, build
from lamdemo.simulators.simulator import FPS, Observation, Truth, checked_action, checked_seed

if TYPE_CHECKING:
    from typing_extensions import Self

SPEC = ActionSpec(
    "doom",
    (
        Channel("turn", "change", -15.0, 15.0, "degrees", ("left", "right"), mirror=-1.0),
        Channel("forward", "change", -32.0, 64.0, "map units", ("back", "forward"), mirror=1.0),
    ),
)


@dataclass(frozen=True)
class DoomConfig:
    """Settings of the camera and of what counts as arrived."""

    fov: int = 100  # angle of view of the engine's 4:3 picture, in degrees; a square cut from it sees 84 degrees at 100
    # A step is so many short ones, each a turn and a move, so that it follows an arc and slides on walls.
    parts: int = 12
    near: float = 32.0  # a goal is reached within so many map units (half of the longest step) ...
    facing: float = 7.5  # ... and so many degrees (half of the largest turn)


@dataclass(frozen=True)
class _Moment:
    seed: int
    x: float
    y: float
    heading: float
    blocked: float


class Doom:
    """The simulator ``doom``; see :class:`lamdemo.simulators.simulator.Simulator`.

    Truth: ``position`` ``[2]`` in map units (x east, y north), ``heading`` ``[1]`` in degrees counter-clockwise from
    east, in [0, 360), and ``blocked`` ``[1]``: the part of the last step's way that walls took, 0 to 1.
    """

    name = "doom"
    spec = SPEC
    fps = FPS

    def __init__(self, *, size: tuple[int, int] = (192, 192), seed: int = 0, config: DoomConfig | None = None) -> None:
        """Start the engine with the scene of a seed.

        Args:
            size: height and width of the frames.
            seed: which scene.
            config: settings, or the usual ones.

        Raises:
            LamdemoError: the seed is out of range.
        """
        self.size = size
        self.config = config or DoomConfig()
        self._game: Any = None
        self._end: Callable[[], object] = lambda: None
        self._map: DoomMap | None = None
        self.reset(seed)

    def reset(self, seed: int) -> Observation:
        """Build the scene of a seed and go to its start."""
        scene = self._build(checked_seed(seed))
        self._now = _Moment(self.seed, float(scene.start[0]), float(scene.start[1]), scene.heading % 360, 0.0)
        return self.observe()

    def step(self, action: np.ndarray) -> Observation:
        """Turn and walk, both evenly over the step.

        Args:
            action: ``[2]``: degrees to the right, map units forward; clipped to the spec's range.

        Raises:
            LamdemoError: it has another width or is not finite.
        """
        turn, forward = checked_action(self.spec, action)
        scene, parts = self._scene, self.config.parts
        place, heading = np.array([self._now.x, self._now.y]), self._now.heading
        walked = np.zeros(2)
        for i in range(parts):
            # Along the chord of each short arc: the sum is then the arc itself to within a hundredth of a unit.
            angle = math.radians(heading - turn * (i + 0.5) / parts)
            move = np.array([math.cos(angle), math.sin(angle)]) * (forward / parts)
            there = scene.slide(place, move)
            walked += move
            place = there
        asked = float(np.hypot(*walked))
        lost = float(np.hypot(*(walked - (place - [self._now.x, self._now.y]))))
        blocked = min(1.0, lost / asked) if asked > 1e-6 else 0.0
        # Rounding of the sum is no wall.
        blocked = blocked if blocked > 1e-6 else 0.0
        self._now = _Moment(self.seed, float(place[0]), float(place[1]), (heading - turn) % 360, blocked)
        return self.observe()

    def observe(self) -> Observation:
        """What is seen and true now."""
        now = self._now
        truth = {
            "position": np.array([now.x, now.y], np.float32),
            "heading": np.array([now.heading], np.float32),
            "blocked": np.array([now.blocked], np.float32),
        }
        return Observation(self._draw(), truth)

    def snapshot(self) -> object:
        """The present moment: the scene's seed, the place and the angle."""
        return self._now

    def restore(self, snapshot: object) -> Observation:
        """Go back to a moment, building its scene if another one is there.

        Raises:
            TypeError: it is no snapshot of this simulator.
        """
        if not isinstance(snapshot, _Moment):
            raise TypeError("this is no snapshot of doom")
        if snapshot.seed != self.seed or self._game is None:
            self._build(snapshot.seed)
        self._now = snapshot
        return self.observe()

    def distance(self, a: Truth, b: Truth) -> dict[str, float]:
        """Map units between two places, and degrees between the directions of view (0 to 180)."""
        gap = np.asarray(a["position"], np.float64) - np.asarray(b["position"], np.float64)
        turn = float(np.asarray(a["heading"]).item()) - float(np.asarray(b["heading"]).item())
        return {"units": float(np.hypot(*gap)), "degrees": abs((turn + 180.0) % 360.0 - 180.0)}

    def reached(self, distance: Mapping[str, float]) -> bool:
        """Whether both are within half of the largest step."""
        return distance["units"] <= self.config.near and distance["degrees"] <= self.config.facing

    def scripted(self, rng: np.random.Generator) -> Callable[[Observation], np.ndarray]:
        """A behaviour that walks to places in sight, one after another, and looks around at some of them."""
        target: np.ndarray | None = None
        looking, side = 0, 0.0
        pace = float(rng.uniform(0.5, 1.0))

        def act(seen: Observation) -> np.ndarray:
            nonlocal target, looking, side, pace
            place = np.asarray(seen.truth["position"], np.float64)
            if looking > 0:
                looking -= 1
                return np.array([side, 0.0], np.float32)
            if target is not None and (np.hypot(*(target - place)) < 40 or seen.truth["blocked"][0] > 0.3):
                target = None
                if rng.random() < 0.3:
                    looking, side = int(rng.integers(2, 6)), float(rng.uniform(5, 15) * rng.choice([-1, 1]))
            if target is None:
                target = self._target(rng, place)
                pace = float(rng.uniform(0.4, 1.0))
            dx, dy = target - place
            off = float(seen.truth["heading"][0]) - math.degrees(math.atan2(dy, dx))
            off = (off + 180) % 360 - 180
            turn = float(np.clip(off * rng.uniform(0.5, 0.9), -15, 15))
            ahead = max(0.0, math.cos(math.radians(off))) ** 2 * 64 * pace
            return np.array([turn, min(ahead, float(np.hypot(dx, dy)))], np.float32)

        return act

    def _target(self, rng: np.random.Generator, place: np.ndarray) -> np.ndarray:
        places = self._scene.places
        fallback = places[int(rng.integers(len(places)))]
        for _ in range(30):
            there = places[int(rng.integers(len(places)))]
            if np.hypot(*(there - place)) > 120 and self._scene.sees(place, there):
                return there
        return fallback

    def close(self) -> None:
        """End the engine."""
        self._game = None
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _scene(self) -> DoomMap:
        assert self._map is not None
        return self._map

    def _build(self, seed: int) -> DoomMap:
        """Start the engine on the map of a seed; it reads its files at once, so they need not stay."""
        import vizdoom

        self.close()
        scene = build(seed)
        game = vizdoom.DoomGame()
        # It stays as long as the engine, which writes its settings there at the end.
        folder = tempfile.TemporaryDirectory(prefix="lamdemo-doom-")
        here = Path(vizdoom.__file__).parent
        wad, engine = Path(folder.name) / "scene.wad", Path(folder.name) / "engine"
        wad.write_bytes(scene.wad)
        # The engine makes a folder wherever it runs, and fails where it may not; so it runs in its own.
        engine.write_text(
            f'#!/bin/sh\ncd {shlex.quote(folder.name)} && exec {shlex.quote(str(here / "vizdoom"))} "$@"\n'
        )
        engine.chmod(0o700)
        game.set_vizdoom_path(str(engine))
        game.set_doom_game_path(str(here / "freedoom2.wad"))
        game.set_doom_scenario_path(str(wad))
        game.set_doom_config_path(str(Path(folder.name) / "engine.ini"))
        game.set_doom_map(scene.name)
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_640X480)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        for part in (
            "hud", "minimal_hud", "crosshair", "weapon", "decals", "particles", "effects_sprites", "messages",
            "corpses", "screen_flashes",
        ):  # fmt: skip
            getattr(game, f"set_render_{part}")(False)
        game.set_window_visible(False)
        game.set_sound_enabled(False)
        game.set_mode(vizdoom.Mode.PLAYER)
        game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
        variable = vizdoom.GameVariable
        game.set_available_game_variables([variable.POSITION_X, variable.POSITION_Y, variable.POSITION_Z])
        game.set_episode_timeout(0)
        # What the engine draws lots for, as the phase of a flame: the same each time that a scene is built.
        game.set_seed(seed)
        game.add_game_args("+sv_cheats 1")
        game.init()
        game.send_game_command(f"fov {self.config.fov}")
        game.send_game_command("freeze")
        game.make_action([0.0], 1)
        self._exposure = (255 * (np.arange(256) / 255) ** scene.gamma).round().astype(np.uint8)
        # Also when nobody closes it: at the latest when the interpreter ends.
        self._end = weakref.finalize(self, _end, game, folder)
        self._game, self._map, self.seed = game, scene, seed
        return scene

    def _draw(self) -> np.ndarray:
        """The picture from where the camera is now, uint8 ``[H, W, 3]``."""
        if self._game is None:
            raise RuntimeError("this simulator was closed")
        now = self._now
        x, y = round(now.x * 65536), round(now.y * 65536)
        angle = round(now.heading / 360 * 65536) % 65536
        self._game.send_game_command(f"puke 1 {x} {y} {angle}")
        self._game.make_action([0.0], 1)
        state = self._game.get_state()
        gone = np.abs(state.game_variables - [now.x, now.y, 0.0]).max()
        if gone > 0.01:
            raise RuntimeError(f"the engine is {gone:.2f} units away from the place {now.x:.2f}, {now.y:.2f}")
        picture = np.asarray(state.screen_buffer)
        height, width = picture.shape[:2]
        # The largest part of the frames' shape, from the middle.
        h = min(height, round(width * self.size[0] / self.size[1]))
        w = min(width, round(height * self.size[1] / self.size[0]))
        top, left = (height - h) // 2, (width - w) // 2
        part = np.ascontiguousarray(picture[top : top + h, left : left + w])
        shrinks = self.size[0] <= h
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return self._exposure[cv2.resize(part, (self.size[1], self.size[0]), interpolation=interpolation)]


def _end(game: Any, folder: tempfile.TemporaryDirectory[str]) -> None:
    """End an engine, and only then take away its folder."""
    game.close()
    folder.cleanup()
