"""Maps for :mod:`lamdemo.simulators.doom`: a seed makes rooms, what stands in them, their textures and lights.

A map is a WAD file of four lumps that the engine reads beside Freedoom's pictures: the geometry as text (UDMF), and
a small compiled script that puts the camera at an exact place and angle. Rooms lie on a grid of square cells with
openings between them; in them stand boxes and pillars at any angle, and sprites. All floors that one can walk on
are of one height, so that a place is ``(x, y)``.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

CELL = 64
"""Side of a grid cell in map units; pictures of floors are as large, so they fit."""
RADIUS = 24.0
"""Clearance of the camera in map units: a circle that holds the engine's player, a square of half the side 16."""
_GRID = 44

# Opaque, not animated, neither doors nor switches, and without blood: chosen by eye from Freedoom's.
WALLS = tuple(
    """ASHWALL4 ASHWALL6 ASHWALL7 BIGBRIK1 BIGBRIK2 BRICK1 BRICK10 BRICK11 BRICK12 BRICK3 BRICK5 BRICK6 BRICK7 BRICK8
    BRICK9 BRICKLIT BRONZE1 BRONZE2 BROVINE2 BROWN1 BROWN144 BROWN96 BROWNGRN BROWNPIP BRWINDOW BSTONE1 BSTONE2
    CEMENT1 CEMENT3 CEMENT6 CEMENT7 CEMENT9 COMPBLUE COMPSTA1 COMPSTA2 COMPTALL COMPWERD GRAY1 GRAY4 GRAY5 GRAY7
    GRAYBIG GRAYVINE GSTONE1 GSTVINE1 GSTVINE2 ICKWALL1 ICKWALL2 ICKWALL3 MARBGRAY MARBLE1 MARBLE2 METAL1 METAL2
    MODWALL1 MODWALL3 MODWALL4 PANBOOK PANCASE1 PANEL1 PANEL2 PANEL3 PANEL5 PANEL7 PANEL8 PIPE2 PIPE4 PIPES PIPEWAL1
    REDWALL ROCK1 ROCK3 ROCK4 ROCK5 SHAWN2 SILVER1 SILVER2 SILVER3 SLADWALL SPACEW2 SPACEW3 SPACEW4 STARBR2 STARG1
    STARG2 STARG3 STARGR1 STARGR2 STARTAN2 STARTAN3 STONE STONE2 STONE3 STONE4 STONE5 STONE6 STONE7 STUCCO STUCCO1
    TANROCK2 TANROCK3 TANROCK4 TANROCK5 TANROCK7 TANROCK8 TEKBRON1 TEKGREN1 TEKGREN2 TEKGREN3 TEKGREN4 TEKWALL1
    TEKWALL4 TEKWALL6 WOOD1 WOOD3 WOOD4 WOOD5 WOOD6 WOOD8 WOODMET1 ZIMMER1 ZIMMER2 ZIMMER3 ZIMMER5 ZIMMER7 ZIMMER8
    ZZWOLF1 ZZWOLF9 ZZWOLF11 GRAY3 GRAY6 GRAY8 GRAYTAN0 BROVINE COMPOHSO ASHWALL COMP2 COMPTILE STARTAN1 TEKWALL2
    TEKWALL5 ASPHALT BIGWALL CAVERN1 CAVERN4 CAVERN7 DOGRMSC DOKGRIR DOGLDIR LONGWALL SMSTONE6 STONEW1 STONEW5 STWALL
    A-BRBRK A-BRBRK2 A-BRICK1 A-BRICK3 A-BROCK2 A-BROWN1 A-BROWN2 A-DBRI1 A-DBRI2 A-CAMO1 A-CAMO2 A-CAMO4 A-CONCTE
    A-DROCK1 A-MARBLE A-MOSBRI A-MOSROK A-MOSRK2 A-MOULD A-MUD A-MYWOOD A-REDROK A-ROCK A-TILE A-VINE3 A-WOOD1
    STARBR1 STARG4 AROCK2 AQCONC03 AQCONC04 AQCONC06 AQCONC09 AQCONC11 AQCONC14 AQMETL07 AQMETL10 AQMETL13 AQMETL14
    AQPANL05 AQPANL07 AQPIPE01 AQPIPE03 AQPIPE05 AQPIPE07 AQPIPE11 AQRUST02 AQRUST03 AQRUST05 AQTRIM06 AQDIRT01
    AQBRIK01 AQBRIK02 AQBRIK03 AQSECT01 AQSECT05 AQTILE02 AQTILE03 MOD1 MOD3 SHAWN01""".split()
)
BOXES = tuple(
    """CRATE1 CRATE2 CRATE3 CRATELIT CRATWIDE CR64HBG CR64HGB CRSMB CRTINYB CRWDL64A CRWDT32 WOOD10 COMPSTA1 COMPSTA2
    COMPWERD PANBLACK PANBLUE PANRED PANBOOK SILVER2 SILVER3 COMPBLUE REDWALL YELMETAL ZZWOLF2 ZZWOLF12 ZZWOLF13
    AQPANL09 AQTRIM07 DOC1 DOKGRIR A-TILE A-CAMO2 WOOD4 CEMENT9 TEKWALL6 ROCK5 CRACKLE4 ICKWALL4 A-CONCTE
    AQLITE08 AQLITE10 AQLITE12 AQLITE14 AQLITE16 STONE5 A-REDROK PLANET1 BIGMURAL MURAL1""".split()
)
FLOORS = tuple(
    """CEIL3_1 CEIL3_2 CEIL3_5 CEIL5_1 CEIL5_2 CEIL5_3 DEM1_5 DEM1_6 FLAT1_1 FLAT1_2 FLAT5_1 FLAT5_2 FLAT5_7 FLAT8
    FLOOR0_2 FLOOR0_7 FLOOR1_6 GRASS1 GRASS2 GRNROCK MFLR8_3 MFLR8_4 RROCK03 RROCK04 RROCK09 RROCK10 RROCK11 RROCK12
    RROCK13 RROCK14 RROCK15 RROCK16 RROCK17 RROCK18 RROCK19 RROCK20 SLIME13 SLIME14 SLIME15 SLIME16 FLAT1 FLAT10
    FLAT14 FLAT18 FLAT20 FLAT23 FLAT5 FLAT5_4 FLAT5_5 FLOOR0_1 FLOOR0_3 FLOOR4_1 FLOOR4_6 FLOOR4_8 FLOOR5_1 FLOOR5_2
    FLOOR5_3 FLOOR5_4 FLOOR6_1 FLOOR6_2 FLOOR7_1 FLOOR7_2 MFLR8_1 STEP1 CEIL1_1 CEIL3_3 FLAT3 FLAT4 FLAT5_3 FLAT5_8
    FLAT9 FLOOR0_5 FLAT19 MFLR8_2 CRATOP2 AQF001 AQF008 AQF009 AQF016 AQF022 AQF023 AQF025 AQF026 AQF027 AQF045
    AQF046 AQF047 AQF048 AQF049 AQF050 AQF051 AQF053 AQF057 AQF067 AQF074 AQF075 AQF076 FCGRATE1 FCGRATE2""".split()
)
CEILINGS = tuple(
    """CEIL3_1 CEIL3_2 CEIL3_5 CEIL5_1 CEIL5_2 FLAT1_1 FLAT5_1 FLAT5_2 FLAT8 FLAT20 FLAT23 FLAT18 FLAT3 FLAT4 FLAT5_5
    FLOOR0_3 FLOOR4_6 FLOOR5_1 FLOOR5_2 FLOOR7_1 MFLR8_1 RROCK10 RROCK14 RROCK16 SLIME14 SLIME15 CEIL1_1 CEIL3_3
    AQF001 AQF007 AQF022 AQF026 AQF028 AQF050 AQF053 AQF057 AQF070 FCGRATE2 STEP1 MFLR8_2 FLAT10 FLAT19""".split()
)
LAMPS = tuple("CEIL1_2 CEIL1_3 CEIL3_4 FLAT17 FLAT22 GRNLITE1 FLAT2 TLITE6_1 TLITE6_5 TLITE6_6 AQF012 AQF068".split())

# Doom's numbers of what stands there as a sprite, and half its side in map units. Solid things alone: others would
# be picked up.
THINGS = {
    2035: 10.0, 48: 16.0, 30: 16.0, 31: 16.0, 32: 16.0, 33: 16.0, 43: 16.0, 47: 16.0, 54: 32.0, 2028: 16.0,
    35: 16.0, 44: 16.0, 45: 16.0, 46: 16.0, 55: 16.0, 56: 16.0, 57: 16.0, 70: 16.0, 85: 16.0, 86: 16.0, 41: 16.0,
}  # fmt: skip


@dataclass
class DoomMap:
    """A map and what one bumps into in it."""

    wad: bytes  # the file's bytes
    name: str  # the map's name in it, which also chooses the sky
    start: np.ndarray  # where it begins, (x, y) in map units
    heading: float  # to where one looks there, degrees counter-clockwise from east
    segments: np.ndarray  # edges that block, float64 [n, 4] as (x0, y0, x1, y1)
    discs: np.ndarray  # things that block, float64 [n, 3] as (x, y, clearance), the camera's radius included
    places: np.ndarray  # free places all over the map, float64 [n, 2]
    gamma: float  # the camera's: what is seen is `light ** gamma`, so lower is brighter

    def clearance(self, place: np.ndarray) -> float:
        """How far the camera at ``place`` is from touching anything, in map units; below 0 it is inside."""
        return float(min(self._walls(place).min() - RADIUS, self._things(place).min(initial=math.inf)))

    def _walls(self, place: np.ndarray) -> np.ndarray:
        return np.hypot(*(place - self._nearest(place)).T)

    def _nearest(self, place: np.ndarray) -> np.ndarray:
        a, b = self.segments[:, :2], self.segments[:, 2:]
        along = b - a
        t = ((place - a) * along).sum(1) / (along * along).sum(1)
        return a + np.clip(t, 0, 1)[:, None] * along

    def _things(self, place: np.ndarray) -> np.ndarray:
        return np.hypot(*(place - self.discs[:, :2]).T) - self.discs[:, 2]

    def slide(self, place: np.ndarray, move: np.ndarray) -> np.ndarray:
        """Where a short move (well below the camera's radius) ends: along walls, never into them.

        Args:
            place: where from, ``[2]``, free.
            move: how far, ``[2]``.

        Returns:
            The new place ``[2]``, free.
        """
        there = place + move
        for _ in range(4):
            nearest = self._nearest(there)
            away = there - nearest
            distance = np.hypot(*away.T)
            worst = int(distance.argmin())
            if distance[worst] < RADIUS:
                if distance[worst] < 1e-9:
                    return place
                # A hair more than needed, so that rounding does not leave it inside.
                there = nearest[worst] + away[worst] * ((RADIUS + 1e-6) / distance[worst])
                continue
            if len(self.discs):
                depth = self._things(there)
                worst = int(depth.argmin())
                if depth[worst] < 0:
                    away = there - self.discs[worst, :2]
                    there = self.discs[worst, :2] + away * ((self.discs[worst, 2] + 1e-6) / np.hypot(*away))
                    continue
            return there
        return there if self.clearance(there) >= 0 else place

    def sees(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether one can go straight from one free place to another."""
        steps = max(2, int(np.hypot(*(b - a)) / 12))
        return all(self.clearance(a + (b - a) * (i / steps)) >= 0 for i in range(1, steps + 1))


@dataclass
class _Sector:
    floor: int
    ceiling: int
    floor_picture: str
    ceiling_picture: str
    light: int
    wall: str
    accent: str
    tint: int = 0xFFFFFF
    scale: float = 1.0


@dataclass
class _Writer:
    """Collects UDMF text."""

    vertices: dict[tuple[float, float], int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    sides: list[str] = field(default_factory=list)
    sectors: list[str] = field(default_factory=list)
    things: list[str] = field(default_factory=list)

    def vertex(self, x: float, y: float) -> int:
        return self.vertices.setdefault((round(x, 3), round(y, 3)), len(self.vertices))

    def side(self, sector: int, offset: int, **pictures: str) -> int:
        text = "".join(f'texture{place}="{name}";' for place, name in pictures.items())
        self.sides.append(f"sidedef{{sector={sector};offsetx={offset};{text}}}")
        return len(self.sides) - 1

    def line(self, a: int, b: int, front: int, back: int | None = None, *, blocking: bool = True) -> None:
        other = f"sideback={back};twosided=true;" if back is not None else ""
        block = "blocking=true;" if blocking else ""
        self.lines.append(f"linedef{{v1={a};v2={b};sidefront={front};{other}{block}}}")

    def sector(self, s: _Sector) -> int:
        scale = f"xscalefloor={s.scale:.2f};yscalefloor={s.scale:.2f};"
        self.sectors.append(
            f'sector{{heightfloor={s.floor};heightceiling={s.ceiling};texturefloor="{s.floor_picture}";'
            f'textureceiling="{s.ceiling_picture}";lightlevel={s.light};lightcolor={s.tint};{scale}}}'
        )
        return len(self.sectors) - 1

    def thing(self, kind: int, x: float, y: float, angle: int) -> None:
        skills = "".join(f"skill{i}=true;" for i in range(1, 6))
        self.things.append(
            f"thing{{x={x:.3f};y={y:.3f};angle={angle};type={kind};{skills}single=true;dm=true;coop=true;class1=true;}}"
        )

    def text(self) -> str:
        places = [f"vertex{{x={x:.3f};y={y:.3f};}}" for x, y in self.vertices]
        return "\n".join(['namespace="zdoom";', *self.things, *places, *self.lines, *self.sides, *self.sectors])


def _script() -> bytes:
    """Compiled: ``script 1 (x, y, angle) { SetActorPosition(0, x, y, 0, 0); SetActorAngle(0, angle); }``."""
    push, argument, position, drop, angle, end = 3, 28, 283, 54, 276, 1
    code = [push, 0, argument, 0, argument, 1, push, 0, push, 0, position, drop, push, 0, argument, 2, angle, end]
    body = struct.pack(f"<{len(code)}i", *code)
    return b"ACS\0" + struct.pack("<i", 8 + len(body)) + body + struct.pack("<5i", 1, 1, 8, 3, 0)


def _wad(name: str, text: str) -> bytes:
    lumps = [(name, b""), ("TEXTMAP", text.encode()), ("BEHAVIOR", _script()), ("ENDMAP", b"")]
    content, directory = b"", b""
    for lump, data in lumps:
        directory += struct.pack("<ii8s", 12 + len(content), len(data), lump.encode())
        content += data
    return struct.pack("<4sii", b"PWAD", len(lumps), 12 + len(content)) + content + directory


def _pick(rng: np.random.Generator, of: tuple[str, ...]) -> str:
    return of[int(rng.integers(len(of)))]


def _tint(rng: np.random.Generator) -> int:
    """A colour of light: mostly white, sometimes a mild one."""
    if rng.random() < 0.6:
        return 0xFFFFFF
    r, g, b = (int(v) for v in rng.integers(165, 256, 3))
    return r << 16 | g << 8 | b


def _room(rng: np.random.Generator) -> _Sector:
    sky = rng.random() < 0.3
    return _Sector(
        floor=0,
        ceiling=int(rng.integers(9, 19)) * 16 if sky else int(rng.integers(7, 14)) * 16,
        floor_picture=_pick(rng, FLOORS),
        ceiling_picture="F_SKY1" if sky else _pick(rng, CEILINGS),
        light=int(rng.integers(200, 256)) if sky else int(rng.integers(165, 256)),
        wall=_pick(rng, WALLS),
        accent=_pick(rng, WALLS),
        tint=_tint(rng),
        scale=float(rng.choice([1.0, 1.0, 2.0])),
    )


def _plan(rng: np.random.Generator) -> tuple[np.ndarray, list[_Sector], list[tuple[int, int, int, int]]]:
    """Rooms on the grid: the sector of each cell ``[_GRID, _GRID]`` as ``[x, y]`` (-1: rock), sectors, and rooms."""
    cells = np.full((_GRID, _GRID), -1)
    sectors: list[_Sector] = []
    rooms: list[tuple[int, int, int, int]] = []

    def place(x: int, y: int, w: int, h: int) -> None:
        cells[x : x + w, y : y + h] = len(sectors)
        sectors.append(_room(rng))
        rooms.append((x, y, w, h))

    w, h = (int(v) for v in rng.integers(6, 15, 2))
    place(_GRID // 2 - w // 2, _GRID // 2 - h // 2, w, h)
    wanted = int(rng.integers(2, 6))
    for _ in range(80):
        if len(rooms) >= wanted:
            break
        x, y, rw, rh = rooms[int(rng.integers(len(rooms)))]
        w, h = (int(v) for v in rng.integers(5, 14, 2))
        across, ahead = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
        if across:
            nx = x + rw + 1 if ahead else x - 1 - w
            ny = y + int(rng.integers(3 - h, rh - 2))
        else:
            ny = y + rh + 1 if ahead else y - 1 - h
            nx = x + int(rng.integers(3 - w, rw - 2))
        if nx < 1 or ny < 1 or nx + w > _GRID - 1 or ny + h > _GRID - 1:
            continue
        if (cells[nx - 1 : nx + w + 1, ny - 1 : ny + h + 1] >= 0).any():
            # The ring around may touch the room it hangs on; only the room itself and its far sides must be free.
            if (cells[nx : nx + w, ny : ny + h] >= 0).any():
                continue
        place(nx, ny, w, h)
        low = max(y, ny) if across else max(x, nx)
        high = min(y + rh, ny + h) if across else min(x + rw, nx + w)
        wide = int(rng.integers(2, min(5, high - low) + 1))
        at = int(rng.integers(low, high - wide + 1))
        gap = (x + rw if ahead else x - 1) if across else (y + rh if ahead else y - 1)
        door = _room(rng)
        door.ceiling = min(sectors[cells[x, y]].ceiling, sectors[-1].ceiling, int(rng.integers(7, 10)) * 16)
        door.ceiling_picture = _pick(rng, CEILINGS)
        if across:
            cells[gap, at : at + wide] = len(sectors)
        else:
            cells[at : at + wide, gap] = len(sectors)
        sectors.append(door)
    # A carpet or a lamp: part of a room with another floor, ceiling and light.
    for x, y, rw, rh in rooms:
        if rng.random() < 0.6:
            w, h = int(rng.integers(1, max(2, rw - 3))), int(rng.integers(1, max(2, rh - 3)))
            px, py = x + int(rng.integers(1, rw - w)), y + int(rng.integers(1, rh - h))
            base = sectors[cells[x, y]]
            patch = _Sector(**vars(base))
            if rng.random() < 0.7:
                patch.floor_picture = _pick(rng, FLOORS)
            if base.ceiling_picture != "F_SKY1" and rng.random() < 0.7:
                patch.ceiling_picture = _pick(rng, LAMPS if w * h < 9 else CEILINGS)
                patch.ceiling += int(rng.integers(-1, 3)) * 16
                patch.light = min(255, patch.light + int(rng.integers(0, 70)))
            cells[px : px + w, py : py + h] = len(sectors)
            sectors.append(patch)
    return cells, sectors, rooms


def _walls(
    rng: np.random.Generator, out: _Writer, cells: np.ndarray, sectors: list[_Sector]
) -> list[tuple[float, ...]]:
    """Lines between cells of different sectors, as long as they stay the same; returns the blocking ones."""
    blocking: list[tuple[float, ...]] = []
    # A cell's four sides, as directed lines that have the cell to their right: (step to the other cell, along).
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        for i in range(1, _GRID - 1):
            run: list[int] = []
            for j in range(1, _GRID):
                x, y = (i, j) if dx else (j, i)
                pair = (cells[x, y], cells[x + dx, y + dy]) if j < _GRID - 1 else (-1, -1)
                edge = pair[0] >= 0 and pair[0] != pair[1] and (pair[1] < 0 or dx + dy > 0)
                if run:
                    px, py = (i, run[0]) if dx else (run[0], i)
                    same = edge and pair == (cells[px, py], cells[px + dx, py + dy])
                    if not same:
                        _run(rng, out, sectors, cells, (i, run[0], run[-1] + 1), (dx, dy), blocking)
                        run = []
                if edge:
                    run.append(j)
    return blocking


def _run(
    rng: np.random.Generator,
    out: _Writer,
    sectors: list[_Sector],
    cells: np.ndarray,
    where: tuple[int, int, int],
    step: tuple[int, int],
    blocking: list[tuple[float, ...]],
) -> None:
    i, low, high = where
    dx, dy = step
    x, y = (i, low) if dx else (low, i)
    mine, other = int(cells[x, y]), int(cells[x + dx, y + dy])
    fixed = (i + (1 if dx + dy > 0 else 0)) * CELL

    def point(j: int) -> tuple[float, float]:
        return (fixed, j * CELL) if dx else (j * CELL, fixed)

    # East and south sides run down or left so that the cell is to the right of the line; the others run up.
    forward = (dx, dy) in ((-1, 0), (0, 1))
    if other >= 0:
        a, b = (low, high) if forward else (high, low)
        front = out.side(mine, 0, top=sectors[mine].wall, bottom=sectors[mine].wall)
        back = out.side(other, 0, top=sectors[other].wall, bottom=sectors[other].wall)
        out.line(out.vertex(*point(a)), out.vertex(*point(b)), front, back, blocking=False)
        return
    cuts = [low, high]
    if high - low >= 4 and rng.random() < 0.55:
        at = int(rng.integers(low + 1, high - 2))
        cuts = [low, at, min(high - 1, at + int(rng.integers(1, 4))), high]
    for n, (c, d) in enumerate(pairwise(cuts)):
        picture = sectors[mine].accent if n == 1 else sectors[mine].wall
        a, b = (c, d) if forward else (d, c)
        offset = 0 if n == 1 else abs(a - (low if forward else high)) * CELL
        out.line(out.vertex(*point(a)), out.vertex(*point(b)), out.side(mine, offset, middle=picture))
    blocking.append((*point(low), *point(high)))


Spot = tuple[float, float, float]
"""Something round that stands there: x, y and radius, in map units."""


def _spot(
    rng: np.random.Generator,
    cells: np.ndarray,
    rooms: list[tuple[int, int, int, int]],
    walls: list[tuple[float, ...]],
    taken: list[Spot],
    radius: float,
) -> tuple[float, float, int] | None:
    """A place ``(x, y, sector)`` for something round: within one sector, and so far from all that one can pass."""
    gap = 2 * RADIUS + 16
    for _ in range(12):
        x0, y0, w, h = rooms[int(rng.integers(len(rooms)))]
        x, y = x0 * CELL + rng.random() * w * CELL, y0 * CELL + rng.random() * h * CELL
        ring = radius + 4
        low, high = np.floor((np.array([x, y]) - ring) / CELL), np.floor((np.array([x, y]) + ring) / CELL)
        (xa, ya), (xb, yb) = low.astype(int), high.astype(int)
        if min(xa, ya) < 0:
            continue
        block = cells[xa : xb + 1, ya : yb + 1]
        if block.min() < 0 or block.min() != block.max():
            continue
        if any(math.hypot(x - u, y - v) < radius + r + gap for u, v, r in taken):
            continue
        # Either against the wall or far enough from it: nothing between that one would get stuck in.
        edge = min(
            math.hypot(
                max(min(s[0], s[2]) - x, x - max(s[0], s[2]), 0), max(min(s[1], s[3]) - y, y - max(s[1], s[3]), 0)
            )
            for s in walls
        )
        if not radius + 12 < edge < radius + gap:
            return x, y, int(block.min())
    return None


def _pillar(
    rng: np.random.Generator, out: _Writer, sectors: list[_Sector], x: float, y: float, radius: float, inside: int
) -> list[tuple[float, ...]]:
    """A box or pillar in the sector ``inside``; returns its edges."""
    corners = int(rng.choice([4, 4, 4, 6, 8]))
    turn = rng.random() * 2 * math.pi if rng.random() < 0.6 else math.pi / corners
    # Counter-clockwise, so the outside is to the right of each side.
    angles = [turn + 2 * math.pi * k / corners for k in range(corners)]
    ring = [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
    picture = _pick(rng, BOXES) if rng.random() < 0.65 else _pick(rng, WALLS)
    base = sectors[inside]
    height = int(rng.integers(3, 17)) * 8
    solid = rng.random() < 0.3 or height + 24 > base.ceiling
    if not solid:
        box = _Sector(**{**vars(base), "floor": height, "floor_picture": _pick(rng, FLOORS)})
        if base.ceiling_picture != "F_SKY1" and rng.random() < 0.2:
            box.ceiling -= min(32, max(0, base.ceiling - height - 24))
        number = out.sector(box)
    edges = list(zip(ring, [*ring[1:], ring[0]], strict=True))
    for begin, end in edges:
        a, b = out.vertex(*begin), out.vertex(*end)
        if solid:
            out.line(a, b, out.side(inside, 0, middle=picture))
        else:
            front = out.side(inside, 0, bottom=picture, top=picture)
            out.line(a, b, front, out.side(number, 0, bottom=picture, top=picture))
    return [(*begin, *end) for begin, end in edges]


def build(seed: int) -> DoomMap:
    """The map of a seed; the same bytes for the same seed."""
    rng = np.random.default_rng([seed, 0xD00])
    cells, sectors, rooms = _plan(rng)
    out = _Writer()
    for sector in sectors:
        out.sector(sector)
    walls = _walls(rng, out, cells, sectors)
    segments, taken = list(walls), list[Spot]()
    area = sum(w * h for _, _, w, h in rooms)
    for _ in range(int(rng.integers(area // 40 + 1, area // 14 + 3))):
        radius = float(rng.uniform(24, 76))
        if (found := _spot(rng, cells, rooms, walls, taken, radius)) is not None:
            x, y, inside = found
            taken.append((x, y, radius))
            segments += _pillar(rng, out, sectors, x, y, radius, inside)
    discs: list[Spot] = []
    for _ in range(int(rng.integers(2, area // 16 + 4))):
        kind = int(rng.choice(list(THINGS)))
        # The engine's bodies are squares; at a corner they reach further than at a side.
        reach = math.sqrt(2) * (16 + THINGS[kind]) + 0.5
        if (found := _spot(rng, cells, rooms, walls, taken, reach - RADIUS + 4)) is not None:
            x, y, _ = found
            taken.append((x, y, reach - RADIUS))
            discs.append((x, y, reach))
            out.thing(kind, x, y, int(rng.integers(0, 8)) * 45)
    scene = DoomMap(
        wad=b"",
        name=str(rng.choice(["MAP01", "MAP12", "MAP21"])),  # the sky goes by the map's number
        start=np.zeros(2),
        heading=0.0,
        segments=np.array(segments, np.float64),
        discs=np.array(discs, np.float64).reshape(-1, 3),
        places=np.zeros((0, 2)),
        gamma=float(rng.uniform(0.55, 0.85)),
    )
    inside_cells = np.argwhere(cells >= 0)
    tries = (inside_cells[rng.integers(len(inside_cells), size=400)] + rng.random((400, 2))) * CELL
    scene.places = np.array([p for p in tries if scene.clearance(p) >= 8])
    # Where one has room to look at something: of some views, the one with the way ahead nearest to a good length.
    best = -math.inf
    for place in scene.places[:24]:
        heading = float(rng.random() * 360)
        forward = np.array([math.cos(math.radians(heading)), math.sin(math.radians(heading))])
        free = next((d for d in range(16, 640, 16) if scene.clearance(place + forward * d) < 0), 640)
        score = -abs(free - 300) + scene.clearance(place)
        if score > best:
            best, scene.start, scene.heading = score, place, heading
    out.thing(1, float(scene.start[0]), float(scene.start[1]), int(scene.heading))
    scene.wad = _wad(scene.name, out.text())
    return scene
