"""Fetch: a robot's arm over a table, moved by small steps of its gripper.

The robot is that of Gymnasium-Robotics (its MuJoCo model and meshes; nothing else of the package is used). All
around it is made here from the scene's seed: table, floor, wall, light, camera, things on the table, the place where
the gripper starts. The gripper always points down, is pulled by a soft weld to where it should be, and keeps within
a box over the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.simulators.fetch_scenes import ABOVE, FetchConfig, Scene
from lamdemo.simulators.fetch_view import View, engine
from lamdemo.simulators.simulator import FPS, Observation, Truth, checked_action, checked_seed

STEP = 0.05
"""The longest way along one axis in a step, in metres."""

SPEC = ActionSpec(
    "fetch",
    (
        # A flipped picture is one that could have been taken: the robot and its box are the same on both sides, the
        # camera stands to the left of the arm as often as to its right, things lie alike, and where the folded arm's
        # elbow gives way, it does so to either side (over 40 scenes of 30 random steps it is 84 mm to the side of
        # the plane through shoulder and hand in the root mean square, and 3 mm in the mean).
        Channel("x", "change", -STEP, STEP, "m", ("away from you", "towards you"), 1.0),
        Channel("y", "change", -STEP, STEP, "m", ("left", "right"), -1.0),
        Channel("z", "change", -STEP, STEP, "m", ("down", "up"), 1.0),
        Channel("gripper", "change", -STEP, STEP, "m", ("close", "open"), 1.0),
    ),
)
"""Steps of the gripper in the robot's frame, and of the way between its fingers; "left" is that of the picture."""

_SUBSTEPS = 50  # of the engine, 5 ms each, in a step


@dataclass(frozen=True, eq=False)
class _Snapshot:
    """A moment of a scene: the engine's whole state, and where hand and fingers should be."""

    seed: int
    state: np.ndarray
    target: np.ndarray
    opening: float
    blocked: float


class Fetch:
    """The robot's arm over a table (:class:`~lamdemo.simulators.simulator.Simulator`).

    A step lasts 0.25 s of simulated time, at the end of which the gripper is where the action says, to a millimetre
    or so, unless the box ends or something holds it. Truth: ``position`` ``[3]`` of the gripper in metres (x away
    from the robot, y to its left, z up from the floor), ``opening`` ``[1]``, the way between the fingers in metres, and
    ``blocked`` ``[1]``, the part of the last step's way that was not made because the box ended (0 to 1).

    Args:
        size: height and width of frames in pixels.
        seed: which scene.
        config: what scenes may be like.

    Raises:
        LamdemoError: no way to draw without a screen was found; it says what to install.
    """

    name = "fetch"
    spec = SPEC
    fps = FPS

    def __init__(self, size: tuple[int, int] = (192, 192), seed: int = 0, config: FetchConfig | None = None) -> None:
        self.size = (int(size[0]), int(size[1]))
        self.config = config or FetchConfig()
        self._view: View | None = None
        self._gap = 0.0
        self._target = np.zeros(3)
        self._blocked = 0.0
        self.reset(seed)

    def reset(self, seed: int) -> Observation:
        """Build the scene of a seed and go to its start."""
        self._build(checked_seed(seed))
        self._blocked = 0.0
        return self.observe()

    def step(self, action: np.ndarray) -> Observation:
        """Move by ``[dx, dy, dz, d opening]`` in metres, clipped to the spec's range and to the box."""
        move = checked_action(self.spec, action)
        config, data = self.config, self._data
        position, opening = self._position(), self._opening()
        # Steps add up from where the gripper should be, so that errors of a fraction of a millimetre do not; where
        # something holds it, they start from where it is, or it would have to come all the way back first.
        if np.linalg.norm(position - self._target) > 0.01:
            self._target = position
        start = data.mocap_pos[0] - ABOVE
        self._target = np.clip(self._target + move[:3], config.low, config.high)
        held = np.clip(self._gap, opening - 0.02, opening + 0.02)
        self._gap = float(np.clip(held + move[3], 0.0, config.opening))
        for i in range(_SUBSTEPS):
            # Three quarters of the time to go there, smoothly, and the rest to come to rest.
            t = min(1.0, (i + 1) / (0.75 * _SUBSTEPS))
            data.mocap_pos[0] = start + (self._target - start) * (t * t * (3 - 2 * t)) + ABOVE
            data.ctrl[:] = self._gap / 2
            self._mujoco.mj_step(self._model, data)
        asked = float(np.linalg.norm(move[:3]))
        missed = float(np.linalg.norm(position + move[:3] - self._position()))
        self._blocked = min(1.0, missed / asked) if asked > 0.01 else 0.0
        return self.observe()

    def observe(self) -> Observation:
        """What the camera sees, and where the gripper is."""
        self._place()
        truth = {
            "position": self._position().astype(np.float32),
            "opening": np.array([self._opening()], np.float32),
            "blocked": np.array([self._blocked], np.float32),
        }
        if self._view is None:
            raise RuntimeError("this simulator was closed")
        return Observation(self._view.draw(self._data), truth)

    def snapshot(self) -> object:
        """The present moment."""
        kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(self._mujoco.mj_stateSize(self._model, kind))
        self._mujoco.mj_getState(self._model, self._data, state, kind)
        return _Snapshot(self.seed, state, self._target.copy(), self._gap, self._blocked)

    def restore(self, snapshot: object) -> Observation:
        """Go back to a moment; its scene is built again if another is there now."""
        assert isinstance(snapshot, _Snapshot)
        if snapshot.seed != self.seed:
            self._build(snapshot.seed)
        self._mujoco.mj_setState(self._model, self._data, snapshot.state, self._mujoco.mjtState.mjSTATE_INTEGRATION)
        self._target, self._gap, self._blocked = snapshot.target.copy(), snapshot.opening, snapshot.blocked
        return self.observe()

    def distance(self, a: Truth, b: Truth) -> dict[str, float]:
        """The way between two places of the gripper ("metres"), and by how much its fingers differ ("opening")."""
        return {
            "metres": float(np.linalg.norm(np.asarray(a["position"], float) - np.asarray(b["position"], float))),
            "opening": float(abs(float(a["opening"][0]) - float(b["opening"][0]))),
        }

    def reached(self, distance: Mapping[str, float]) -> bool:
        """Whether the gripper is within 3 cm of where it should be; its opening does not count."""
        return distance["metres"] <= self.config.near

    def scripted(self, rng: np.random.Generator) -> Callable[[Observation], np.ndarray]:
        """Go to things, take them, carry them and let them go; in between go to places at random."""
        return _Script(self, rng)

    def things(self) -> np.ndarray:
        """Where the things on the table are now, float64 ``[things, 3]`` in metres."""
        self._place()
        return np.array([self._data.body(name).xpos for name in self._thing_names]).reshape(-1, 3)

    def close(self) -> None:
        """Let the pictures' memory go."""
        if self._view is not None:
            self._view.close()
            self._view = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _build(self, seed: int) -> None:
        self._mujoco = engine()
        rng = np.random.default_rng([seed, 0xFE7C])
        scene = Scene(self._mujoco, self.config, rng)
        self.close()
        self.seed = seed
        self._model = scene.model
        self._data = scene.data
        self._thing_names = [name for name, _ in scene.things]
        self._target = scene.start
        self._gap = scene.opening
        self._grip = self._model.site("robot0:grip").id
        self._fingers = [self._model.joint(f"robot0:{side}_gripper_finger_joint").qposadr[0] for side in "lr"]
        self._view = View(self._mujoco, scene, self.size)

    def _place(self) -> None:
        # Only what follows from the positions: mj_forward would also change the solver's warm start, and with it,
        # in the last bits, what comes after.
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_comPos(self._model, self._data)
        self._mujoco.mj_camlight(self._model, self._data)

    def _position(self) -> np.ndarray:
        self._place()
        return self._data.site_xpos[self._grip].copy()

    def _opening(self) -> float:
        return float(sum(self._data.qpos[i] for i in self._fingers))


class _Script:
    """A purpose at a time, each a list of (place or None, opening or None) to come to one after the other."""

    def __init__(self, sim: Fetch, rng: np.random.Generator) -> None:
        self._sim, self._rng = sim, rng
        self._goals: list[tuple[np.ndarray | None, float | None]] = []
        self._left = 0
        self._speed = STEP

    def __call__(self, seen: Observation) -> np.ndarray:
        """The next action ``[4]``."""
        position, opening = seen.truth["position"].astype(float), float(seen.truth["opening"][0])
        while True:
            if not self._goals:
                self._plan()
            place, wide = self._goals[0]
            way = np.zeros(3) if place is None else place - position
            turn = 0.0 if wide is None else wide - opening
            # What holds the fingers or the hand is not waited for.
            if self._left > 0 and (np.abs(way).max() > 0.004 or abs(turn) > 0.004):
                break
            self._goals.pop(0)
            self._left, self._speed = 12, float(self._rng.uniform(0.6, 1.0)) * STEP
        self._left -= 1
        if wide is not None and place is None:
            self._left = min(self._left, 2)
        longest = np.abs(way).max()
        way *= min(1.0, self._speed / max(longest, 1e-9))
        return np.array([*way, np.clip(turn, -STEP, STEP)], np.float32)

    def _plan(self) -> None:
        sim, rng, config = self._sim, self._rng, self._sim.config
        things = sim.things()
        low, high = np.array(config.low), np.array(config.high)
        near = things[(things >= low - 0.02).all(1) & (things[:, :2] <= high[:2]).all(1)] if len(things) else things
        place = rng.uniform(low, high)
        if len(near) and rng.random() < 0.65:
            thing = near[int(rng.integers(len(near)))].copy()
            thing[2] = max(thing[2], config.low[2])
            above = np.array([*thing[:2], min(thing[2] + 0.1, config.high[2])])
            aloft = np.array([*thing[:2], rng.uniform(config.low[2] + 0.08, config.high[2])])
            self._goals = [(above, config.opening), (thing, config.opening), (None, 0.0), (aloft, None)]
            if rng.random() < 0.6:
                self._goals.append((place, None))
            self._goals.append((None, config.opening))
        else:
            self._goals = [(place, None)]
            if rng.random() < 0.4:
                self._goals.append((None, float(rng.uniform(0.0, config.opening))))
        # The first is popped before it is looked at, for its count to begin.
        self._goals.insert(0, (None, None))
        self._left = 0
