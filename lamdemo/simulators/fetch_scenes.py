"""Scenes for :mod:`lamdemo.simulators.fetch`: a seed makes table, floor, wall, light, camera, things and the start."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lamdemo.core.errors import LamdemoError

# The model's own 2 ms are for stiffer tasks: with the implicit integrator the gripper is as exact at 5 ms (0.9 mm),
# and a step takes 2 ms of computing rather than 10.
_TIMESTEP = 0.005
ABOVE = np.array([0.0, 0.0, 0.02])  # from the point between the fingers to the link that is welded

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


@dataclass(frozen=True)
class FetchConfig:
    """What scenes may be like. Lengths are in metres, angles in degrees; pairs are limits of a uniform choice."""

    # Corner of the box in which the gripper moves (x away from the robot, y to its left, z up).
    low: tuple[float, float, float] = (1.13, 0.57, 0.43)
    high: tuple[float, float, float] = (1.42, 0.93, 0.67)  # the opposite corner
    opening: float = 0.1  # the widest way between the fingers
    table: float = 0.4  # height of the table's top
    things: tuple[int, int] = (2, 5)  # fewest and most things on the table
    # From the camera to what it looks at. With the field of view of 45 degrees a step of 5 cm across is 6 to 8
    # percent of the picture's width.
    camera_distance: tuple[float, float] = (0.78, 0.92)
    camera_turn: tuple[float, float] = (-24.0, 24.0)  # to the left or right of straight in front of the robot
    camera_height: tuple[float, float] = (22.0, 40.0)  # how far the camera looks down
    near: float = 0.03  # distance in metres at which a goal counts as reached: half a step and a little


class Scene:
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
            data.mocap_pos[0] = begin + (self.start - begin) * t + ABOVE
            mujoco.mj_step(model, data)
        for name, pose in self.things:
            data.joint(name).qpos[:] = pose
            data.joint(name).qvel[:] = 0
        for _ in range(40):
            mujoco.mj_step(model, data)
        return data


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


def _texture(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """A pattern around a colour: plain, checks, stripes, tiles, cloth, clouds or wood; uint8 ``[256, 256, 3]``."""
    side = 256
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
