"""Fetch: a robot's arm over a table, moved by small steps of its gripper.

The robot is that of Gymnasium-Robotics (its MuJoCo model and meshes; nothing else of the package is used). All
around it is made here from the scene's seed: table, floor, wall, light, camera, things on the table, the place where
the gripper starts. The gripper always points down, is pulled by a soft weld to where it should be, and keeps within
a box over the table.

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
import importlib.util
import os
import platform
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import cv2
import numpy as np

from lamdemo.data.episodes.format import ActionSpec, Channel
from lamdemo.errors import LamdemoError
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


@dataclass(frozen=True)
class FetchConfig:
    """What scenes may be like. Lengths are in metres, angles in degrees; pairs are limits of a uniform choice.

    Attributes:
        low: corner of the box in which the gripper moves (x away from the robot, y to its left, z up).
        high: the opposite corner.
        opening: the widest way between the fingers.
        table: height of the table's top.
        things: fewest and most things on the table.
        camera_distance: from the camera to what it looks at. With the field of view of 45 degrees a step of 5 cm
            across is 6 to 8 percent of the picture's width.
        camera_turn: to the left or right of straight in front of the robot.
        camera_height: how far the camera looks down.
        near: distance in metres at which a goal counts as reached: half a step and a little.
    """

    low: tuple[float, float, float] = (1.13, 0.57, 0.43)
    high: tuple[float, float, float] = (1.42, 0.93, 0.67)
    opening: float = 0.1
    table: float = 0.4
    things: tuple[int, int] = (2, 5)
    camera_distance: tuple[float, float] = (0.78, 0.92)
    camera_turn: tuple[float, float] = (-24.0, 24.0)
    camera_height: tuple[float, float] = (22.0, 40.0)
    near: float = 0.03


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
        self._view: _View | None = None
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
        start = data.mocap_pos[0] - _ABOVE
        self._target = np.clip(self._target + move[:3], config.low, config.high)
        held = np.clip(self._gap, opening - 0.02, opening + 0.02)
        self._gap = float(np.clip(held + move[3], 0.0, config.opening))
        for i in range(_SUBSTEPS):
            # Three quarters of the time to go there, smoothly, and the rest to come to rest.
            t = min(1.0, (i + 1) / (0.75 * _SUBSTEPS))
            data.mocap_pos[0] = start + (self._target - start) * (t * t * (3 - 2 * t)) + _ABOVE
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
        assert self._view is not None
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
        self._mujoco = _engine()
        rng = np.random.default_rng([seed, 0xFE7C])
        scene = _Scene(self._mujoco, self.config, rng)
        self.close()
        self.seed = seed
        self._model = scene.model
        self._data = scene.data
        self._thing_names = [name for name, _ in scene.things]
        self._target = scene.start
        self._gap = scene.opening
        self._grip = self._model.site("robot0:grip").id
        self._fingers = [self._model.joint(f"robot0:{side}_gripper_finger_joint").qposadr[0] for side in "lr"]
        self._view = _View(self._mujoco, scene, self.size)

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


# The model's own 2 ms are for stiffer tasks: with the implicit integrator the gripper is as exact at 5 ms (0.9 mm),
# and a step takes 2 ms of computing rather than 10.
_TIMESTEP = 0.005
_SUBSTEPS = 50
_ABOVE = np.array([0.0, 0.0, 0.02])  # from the point between the fingers to the link that is welded

# Meshes that no camera of ours sees; the robot has half of its triangles there.
_UNSEEN_BODIES = ("robot0:estop_link", "robot0:laser_link", "robot0:head_pan_link")
_UNSEEN_MESHES = (
    "estop_link",
    "laser_link",
    "l_wheel_link",
    "r_wheel_link",
    "bellows_link",
    "head_pan_link",
    "head_tilt_link",
)


class _Scene:
    """Everything a seed makes: the model, its state at the start, and the camera.

    The order of the choices is part of what a seed means: new ones come last.
    """

    def __init__(self, mujoco: Any, config: FetchConfig, rng: np.random.Generator) -> None:
        self.config, self.rng, self._mujoco = config, rng, mujoco
        self._textures: dict[str, np.ndarray] = {}
        spec = self._robot()
        self._room(spec)
        self._light(spec)
        self.things = self._put_things(spec)
        self._camera()
        self.model = spec.compile()
        # The weld as compiled keeps the distance that hand and mocap body have in the file; it shall have none.
        self.model.eq_data[0, :10] = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
        self._paint()
        self.start = rng.uniform(config.low, config.high)
        self.opening = float(rng.uniform(0.02, config.opening))
        self.data = self._settle()

    def _robot(self) -> Any:
        spec = self._mujoco.MjSpec.from_file(str(_assets() / "fetch" / "pick_and_place.xml"))
        spec.option.timestep = _TIMESTEP
        spec.option.integrator = self._mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        for name in ("object0", "table0", "floor0", *_UNSEEN_BODIES):
            spec.delete(spec.body(name))
        spec.delete(spec.geom("floor0"))
        spec.delete(spec.light("light0"))
        for name in _UNSEEN_MESHES:
            spec.delete(spec.mesh(f"robot0:{name}"))
        for texture in list(spec.textures):  # the block's picture and the green sky
            spec.delete(texture)
        for geom in list(spec.body("robot0:mocap").geoms):
            spec.delete(geom)
        for body in spec.bodies:
            if body.name.startswith("robot0:"):
                # Held up by itself, so that the weld does not sag under the arm's weight.
                body.gravcomp = 1.0
        hand = {
            g.name
            for link in ("gripper_link", "l_gripper_finger_link", "r_gripper_finger_link")
            for g in spec.body(f"robot0:{link}").geoms
        }
        for side in "lr":
            # Grey as they come they are hard to see before a table; the channel that moves them should show.
            spec.geom(f"robot0:{side}_gripper_finger_link").rgba = [1.0, 0.5, 0.08, 1]
        for geom in spec.geoms:
            if geom.name not in hand:
                # The box keeps the arm itself off everything; looking for its contacts would only take time.
                geom.contype = geom.conaffinity = 0
        return spec

    def _room(self, spec: Any) -> None:
        config, rng = self.config, self.rng
        floor = self._material(spec, "floor", _colour(rng, (0.1, 0.6), (0.25, 0.75)), repeat=(8, 8))
        table = self._material(spec, "table", _colour(rng, (0.05, 0.65), (0.35, 0.92)), repeat=(1, 1))
        wall = self._material(spec, "wall", _colour(rng, (0.05, 0.55), (0.35, 0.95)), repeat=(5, 3))
        world, geom = spec.worldbody, self._mujoco.mjtGeom
        world.add_geom(name="floor", type=geom.mjGEOM_PLANE, size=[4, 4, 1], pos=[0.5, 0.75, 0], material=floor)
        # Behind the robot, facing the camera.
        self._wall(spec, wall)
        half = [rng.uniform(0.24, 0.32), rng.uniform(0.36, 0.75), rng.uniform(0.015, 0.04)]
        # From just before the robot's base on.
        self.table = np.array([1.02 + half[0], 0.75, config.table - half[2]])
        self.table_half = np.array(half)
        world.add_geom(name="table", type=geom.mjGEOM_BOX, size=half, pos=self.table, material=table)
        legs = _colour(rng, (0.0, 0.4), (0.2, 0.8))
        for sx in (-1, 1):
            for sy in (-1, 1):
                corner = self.table + np.array([sx * (half[0] - 0.04), sy * (half[1] - 0.04), 0])
                height = (config.table - 2 * half[2]) / 2
                world.add_geom(
                    type=geom.mjGEOM_BOX,
                    size=[0.025, 0.025, height],
                    pos=[*corner[:2], height],
                    rgba=[*legs, 1],
                    contype=0,
                    conaffinity=0,
                )

    def _wall(self, spec: Any, material: str) -> None:
        x = -0.2 - self.rng.uniform(0, 0.8)
        # A plane's normal is its z axis; turned so that it faces the camera, with the texture upright.
        spec.worldbody.add_geom(
            name="wall",
            type=self._mujoco.mjtGeom.mjGEOM_PLANE,
            size=[4, 1.6, 1],
            pos=[x, 0.75, 1.6],
            quat=[0.5, 0.5, 0.5, 0.5],
            material=material,
            contype=0,
            conaffinity=0,
        )

    def _light(self, spec: Any) -> None:
        rng = self.rng
        warm = rng.uniform(-0.06, 0.06)
        tint = np.array([1 + warm, 1.0, 1 - warm])
        strength = rng.uniform(0.45, 0.7)
        side, front = rng.uniform(-0.7, 0.7), rng.uniform(-0.2, 0.6)
        spec.worldbody.add_light(
            name="lamp",
            type=self._mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            castshadow=True,
            # The direction is down, and from somewhere to the side and in front.
            dir=[-front, -side, -1.0],
            pos=np.array([1.25, 0.75, 0.5]) + 1.2 * np.array([front, side, 1.0]),
            diffuse=strength * tint,
            specular=[0.25, 0.25, 0.25],
            ambient=[0, 0, 0],
        )
        head = spec.visual.headlight
        fill = rng.uniform(0.36, 0.48)
        head.ambient = fill * (2 - tint)
        head.diffuse = [0.22, 0.22, 0.22]
        head.specular = [0.05, 0.05, 0.05]

    def _put_things(self, spec: Any) -> list[tuple[str, np.ndarray]]:
        config, rng, geom = self.config, self.rng, self._mujoco.mjtGeom
        places: list[np.ndarray] = []
        things = []
        # Within reach and a hand's breadth beyond, but not at the table's edge.
        edge = self.table_half[:2] - 0.05
        low = np.maximum(np.subtract(config.low[:2], (0.0, 0.1)), self.table[:2] - edge)
        high = np.minimum(np.add(config.high[:2], (0.02, 0.1)), self.table[:2] + edge)
        for i in range(int(rng.integers(config.things[0], config.things[1] + 1))):
            for _ in range(40):
                place = rng.uniform(low, high)
                if all(np.linalg.norm(place - other) > 0.085 for other in places):
                    break
            else:
                continue
            places.append(place)
            radius, height = rng.uniform(0.02, 0.032), rng.uniform(0.02, 0.045)
            kind, size = [
                (geom.mjGEOM_BOX, [radius, rng.uniform(0.02, 0.032), height]),
                (geom.mjGEOM_CYLINDER, [radius, height, 0]),
                (geom.mjGEOM_SPHERE, [radius, 0, 0]),
                (geom.mjGEOM_ELLIPSOID, [radius, radius * 1.2, 0.7 * radius]),
                (geom.mjGEOM_BOX, [0.025, 0.025, 0.025]),
            ][int(rng.integers(5))]
            tall = size[0] if kind == geom.mjGEOM_SPHERE else size[1] if kind == geom.mjGEOM_CYLINDER else size[2]
            angle = rng.uniform(0, np.pi) / 2
            pose = np.array([*place, config.table + tall + 0.0005, np.cos(angle), 0, 0, np.sin(angle)])
            body = spec.worldbody.add_body(name=f"thing{i}", pos=pose[:3])
            body.add_freejoint(name=f"thing{i}")
            body.add_geom(
                type=kind,
                size=size,
                rgba=[*_colour(rng, (0.55, 0.95), (0.45, 0.95)), 1],
                mass=0.2,
                condim=4,
                # Rolling is braked, or a ball would leave the table at the first touch.
                friction=[1.0, 0.05, 0.01],
            )
            things.append((f"thing{i}", pose))
        return things

    def _camera(self) -> None:
        config, rng = self.config, self.rng
        middle = (np.array(config.low) + config.high) / 2
        self.look_at = middle + rng.uniform([-0.02, -0.03, -0.02], [0.02, 0.03, 0.03])
        self.distance = float(rng.uniform(*config.camera_distance))
        self.azimuth = 180.0 + float(rng.uniform(*config.camera_turn))
        self.elevation = -float(rng.uniform(*config.camera_height))

    def _material(self, spec: Any, name: str, colour: np.ndarray, repeat: tuple[float, float]) -> str:
        picture = _texture(self.rng, colour)
        self._textures[name] = picture
        spec.add_texture(
            name=name,
            type=self._mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=self._mujoco.mjtBuiltin.mjBUILTIN_FLAT,
            width=picture.shape[1],
            height=picture.shape[0],
            nchannel=3,
        )
        material = spec.add_material(name=f"{name}_look", texrepeat=repeat, specular=0.1, shininess=0.1, reflectance=0)
        material.textures[self._mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        return f"{name}_look"

    def _paint(self) -> None:
        model = self.model
        for name, picture in self._textures.items():
            texture = model.texture(name).id
            begin = model.tex_adr[texture]
            model.tex_data[begin : begin + picture.size] = picture.ravel()

    def _settle(self) -> Any:
        mujoco, model = self._mujoco, self.model
        data = mujoco.MjData(model)
        # Where Gymnasium-Robotics puts the base; from there the arm, stretched out, is pulled to the start.
        data.joint("robot0:slide0").qpos[0] = 0.4049
        data.joint("robot0:slide1").qpos[0] = 0.48
        for i, (name, _) in enumerate(self.things):
            data.joint(name).qpos[:3] = [-3.0, 3.0 + i, 5.0]  # out of the arm's way, falling
        mujoco.mj_forward(model, data)
        begin = data.site("robot0:grip").xpos.copy()
        begin[2] = max(begin[2], 0.7)
        data.mocap_quat[0] = [np.sqrt(0.5), 0, np.sqrt(0.5), 0]  # pointing down
        data.ctrl[:] = self.opening / 2
        for i in range(240):
            t = min(1.0, i / 160)
            data.mocap_pos[0] = begin + (self.start - begin) * t + _ABOVE
            mujoco.mj_step(model, data)
        for name, pose in self.things:
            data.joint(name).qpos[:] = pose
            data.joint(name).qvel[:] = 0
        for _ in range(40):
            mujoco.mj_step(model, data)
        return data


_T = TypeVar("_T")


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


@cache
def _painter() -> ThreadPoolExecutor:
    # A GL context belongs to one thread, and the page answers on any; so one thread draws for all.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetch-painter")


class _View:
    """Draws a scene without a screen, twice as large as asked for, and averages 2x2 pixels."""

    def __init__(self, mujoco: Any, scene: _Scene, size: tuple[int, int]) -> None:
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


@cache
def _engine() -> Any:
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
def _assets() -> Path:
    # Found, not imported: importing the package would register its environments and import Gymnasium.
    found = importlib.util.find_spec("gymnasium_robotics")
    if found is None or not found.submodule_search_locations:
        raise LamdemoError(
            'The simulator fetch needs the model of the robot; install it with: pip install "gymnasium-robotics==1.4.2"'
        )
    return Path(found.submodule_search_locations[0]) / "envs" / "assets"


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """A colour of any hue, floats ``[3]`` in [0, 1]."""
    hsv = np.array([[[rng.uniform(0, 360), rng.uniform(*saturation), rng.uniform(*value)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(float)


def _texture(rng: np.random.Generator, colour: np.ndarray, side: int = 256) -> np.ndarray:
    """A pattern around a colour: plain, checks, stripes, tiles, cloth, clouds or wood; uint8 ``[side, side, 3]``."""
    kind = int(rng.integers(7))
    depth = rng.uniform(0.12, 0.45)
    other = np.clip(colour * (1 - depth) + depth * _colour(rng, (0.0, 0.5), (0.1, 1.0)), 0, 1)
    count = int(rng.choice([2, 4, 8]))
    y, x = np.mgrid[0:side, 0:side] / side
    if kind == 0:
        mix = np.zeros((side, side))
    elif kind == 1:
        mix = ((np.floor(x * count) + np.floor(y * count)) % 2).astype(float)
    elif kind == 2:
        mix = ((np.floor(x * 2 * count)) % 2).astype(float)
    elif kind == 3:
        line = 0.05
        mix = (((x * count) % 1 < line) | ((y * count) % 1 < line)).astype(float)
    elif kind == 4:
        mix = 0.5 + 0.25 * np.sin(2 * np.pi * 16 * x) + 0.25 * np.sin(2 * np.pi * 16 * y)
    elif kind == 5:
        mix = _noise(rng, side, (8, 8))
    else:
        rings = _noise(rng, side, (3, 12))
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * (3 * count / 2 * rings))
        mix = 0.7 * mix + 0.3 * _noise(rng, side, (4, 64))
    grain = 1 + 0.04 * (_noise(rng, side, (64, 64)) - 0.5)
    picture = (colour + (other - colour) * mix[..., None]) * grain[..., None]
    return np.clip(np.rint(255 * picture), 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, side: int, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise that repeats at its borders, floats ``[side, side]`` in [0, 1]; cells across and down."""
    grid = rng.uniform(size=(cells[1], cells[0])).astype(np.float32)
    around = cv2.resize(np.tile(grid, (3, 3)), (3 * side, 3 * side), interpolation=cv2.INTER_CUBIC)
    return np.clip(around[side : 2 * side, side : 2 * side], 0, 1).astype(float)
