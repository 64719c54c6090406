"""A picture on which step after step is drawn, in two layers, at its own resolution.

Warping a picture that was warped before blurs it a little each time. So the canvas keeps, for every pixel of each
layer, the place in the original it comes from; the originals are sampled once, however many steps were taken. What
acts is lifted off the ground when it is first found: its matte is then carried along with it and not found anew, and
the ground behind it is filled once (paper, section 3.4, draws states; drawing in layers is ours).
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.models.decoder import Rendering
from lamdemo.models.painter import fill_behind_matte
from lamdemo.models.warp import pixel_centres, sample_at

_SOFT = 24  # cells along the longer side of the blurred picture that what lies far outside fades into
_FADE = 0.12  # of the picture's size, over which it does
_FOUND = 0.002  # share of the picture from which something counts as found
_SAME = 0.15  # overlap over union under which a matte is of something else than what is carried
_MORE = 1.25  # a second look takes a matte that is so much larger, if it has the first in it


class Canvas:
    """Two layers of a picture being moved step by step.

    Nothing is changed in place, so a shallow copy is a snapshot.
    """

    def __init__(self, picture: Tensor) -> None:
        """Start from ``picture [B, 3, H, W]`` in [0, 1]."""
        b, _, h, w = picture.shape
        self._centres = pixel_centres(h, w, device=picture.device)[None]
        self._steps = 0
        nothing = torch.zeros(b, 1, h, w, device=picture.device)
        self._front = self._plate = picture  # originals of what acts, and of the ground
        self._soft = _colours_of(picture)
        self._matte = nothing  # of what acts, in its original
        self._lifted = [False] * b
        self._acting = self._ground = self._centres.expand(b, -1, -1, -1)  # where each pixel comes from
        self._paint = torch.zeros(b, 4, h, w, device=picture.device)  # colour times cover, cover

    @property
    def picture(self) -> Tensor:
        """The picture as it is now, ``[B, 3, H, W]`` in [0, 1]."""
        return self._drawn(self._ground, self._acting, self._paint)

    @property
    def cover(self) -> Tensor:
        """Where what acts is now, ``[B, 1, H, W]`` in [0, 1], with what has come into view."""
        return torch.maximum(self._moved_matte(self._acting), self._paint[:, 3:])

    @property
    def invented(self) -> Tensor:
        """Where nothing of the original is seen, ``[B, 1, h, w]`` in [0, 1], on a quarter of the picture's grid.

        What was painted, filled behind what acts, or continued beyond the picture's edge.
        """
        ground, acting, paint = (v[..., ::4, ::4] for v in (self._ground, self._acting, self._paint[:, 3:]))
        beyond = ((ground < 0) | (ground > 1)).any(1, keepdim=True).float()
        filled = torch.maximum(beyond, sample_at(self._matte, ground, outside="zeros"))
        front = sample_at(self._matte, acting, outside="zeros")
        return paint + (1 - paint) * (1 - front) * filled

    def apply(self, rendering: Rendering) -> Tensor:
        """Take one step and return the new picture ``[B, 3, H, W]``."""
        self.advance(rendering)
        return self.picture

    def advance(self, rendering: Rendering) -> None:
        """Take one step without drawing it."""
        self._lift(rendering)
        self._ground, self._acting, self._paint = self._after(rendering, 1.0)
        self._steps += 1

    def found(self, rendering: Rendering) -> Tensor:
        """Where what acts would be held to be, ``[B, 1, H, W]`` in [0, 1], if this step were taken now."""
        there = copy.copy(self)
        there._lift(rendering)
        return there.cover

    def enlarged(self, rendering: Rendering) -> Rendering:
        """The same rendering at the picture's size, for a step of which several shares are drawn."""
        grids = {name: self._full(getattr(rendering, name)) for name in ("mask", "colour", "ground", "acting", "matte")}
        return rendering._replace(**grids)

    def preview(self, rendering: Rendering, share: float) -> Tensor:
        """The picture after a ``share`` (0 to 1) of a step, which is not taken. ``[B, 3, H, W]``."""
        there = copy.copy(self)
        there._lift(rendering)
        return there._drawn(*there._after(rendering, share))

    def first(self) -> Canvas:
        """The first picture of the batch alone, as a canvas of its own."""
        alone = copy.copy(self)
        for name in ("_front", "_plate", "_soft", "_matte", "_acting", "_ground", "_paint"):
            setattr(alone, name, getattr(self, name)[:1])
        alone._lifted = self._lifted[:1]
        return alone

    # Lifting what acts off the ground.

    def _lift(self, rendering: Rendering) -> None:
        """Let what is found to act be a layer of its own, where nothing is yet, or something else."""
        found = self._full(rendering.matte)
        # Half sure is a rim of a pixel or two, not a ghost.
        found = ((found - 0.25) / 0.5).clamp(0, 1)
        sure = found > 0.5
        if not (sure.float().mean((1, 2, 3)) > _FOUND).any():
            return
        cover = self.cover
        rows = [i for i in range(len(found)) if self._is_new(sure[i], cover[i] > 0.5, self._lifted[i])]
        if not rows:
            return
        picture, some = self.picture[rows], torch.maximum(found[rows], self._paint[rows, 3:])
        # What was found a moment ago and is found again, larger, is one thing.
        same = torch.tensor([_overlap(sure[i], cover[i] > 0.5) > _SAME for i in rows], device=found.device)
        some = torch.where(same[:, None, None, None], torch.maximum(some, cover[rows]), some)
        at = torch.tensor(rows, device=found.device)
        self._plate = self._plate.index_copy(0, at, fill_behind_matte(picture, some))
        self._soft = _colours_of(self._plate)
        self._front = self._front.index_copy(0, at, picture)
        self._matte = self._matte.index_copy(0, at, some)
        here = self._centres.expand(len(rows), -1, -1, -1)
        self._acting, self._ground = self._acting.index_copy(0, at, here), self._ground.index_copy(0, at, here)
        self._paint = self._paint.index_copy(0, at, torch.zeros_like(self._paint[rows]))
        self._lifted = [lifted or i in rows for i, lifted in enumerate(self._lifted)]

    def _is_new(self, sure: Tensor, cover: Tensor, lifted: bool) -> bool:
        """Whether what is surely found, bool ``[1, H, W]``, is not what is carried already, bool ``[1, H, W]``."""
        if sure.float().mean() <= _FOUND:
            return False
        if cover.float().mean() <= _FOUND or _overlap(sure, cover) < _SAME:
            return True
        if not lifted:  # what came into view is paint, and moves as such
            return False
        inside = (sure & cover).sum() > 0.75 * cover.sum()
        return self._steps == 1 and bool(inside) and bool(sure.sum() > _MORE * cover.sum())

    # Drawing.

    def _full(self, values: Tensor) -> Tensor:
        if values.shape[-2:] == self._plate.shape[-2:]:
            return values
        return F.interpolate(values.float(), self._plate.shape[-2:], mode="bilinear", align_corners=False)

    def _moved_matte(self, acting: Tensor) -> Tensor:
        if not any(self._lifted):
            return self._matte
        return sample_at(self._matte, acting, outside="zeros")

    def _drawn(self, ground: Tensor, acting: Tensor, paint: Tensor) -> Tensor:
        base = self._continued(ground)
        if any(self._lifted):
            front = sample_at(self._front, acting, mode="bicubic").clamp(0, 1)
            base = base + self._moved_matte(acting) * (front - base)
        return base * (1 - paint[:, 3:]) + paint[:, :3]

    def _continued(self, places: Tensor) -> Tensor:
        """The ground at ``places``; beyond its edges the mirrored picture, which fades into its colours alone.

        What comes into view from outside is not known. A mirrored edge shows less than a smeared one, and far outside
        nothing sharp would be true.
        """
        base = sample_at(self._plate, places, mode="bicubic", outside="reflection").clamp(0, 1)
        outside = ((places - 0.5).abs() - 0.5).amax(1, keepdim=True)
        if outside.max() <= 0:
            return base
        soft = sample_at(self._soft, places, mode="bicubic", outside="reflection").clamp(0, 1)
        return base + (outside / _FADE).clamp(0, 1) * (soft - base)

    def _after(self, rendering: Rendering, share: float) -> tuple[Tensor, Tensor, Tensor]:
        """Places of the ground and of what acts, and the paint, after a share of a step."""
        ground, _ = self._moved(self._ground, rendering.ground, share)
        acting, target = self._moved(self._acting, rendering.acting, share)
        mask, colour = self._full(rendering.mask) * share, self._full(rendering.colour)
        paint = torch.cat([colour, torch.ones_like(mask)], 1)
        return ground, acting, sample_at(self._paint, target, outside="zeros") * (1 - mask) + mask * paint

    def _moved(self, places: Tensor, flow: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Places after a share of a flow, and where each pixel was a moment ago."""
        h, w = self._plate.shape[-2:]
        target = self._centres + self._full(flow) * share
        # Beyond the outermost pixels the map goes on straight, so that a picture moved out and back is whole.
        edge = 0.5 / torch.tensor([w, h], device=target.device, dtype=target.dtype)[:, None, None]
        inside = target.maximum(edge).minimum(1 - edge)
        return sample_at(places, inside) + (target - inside), target

    @property
    def total_flow(self) -> Tensor:
        """Backward flow of the ground from the original to now, ``[B, 2, H, W]``, in units of the picture's size."""
        return self._ground - self._centres


def _colours_of(pictures: Tensor) -> Tensor:
    """Pictures ``[B, 3, H, W]`` so small that only their colours are left."""
    h, w = pictures.shape[-2:]
    scale = _SOFT / max(h, w)
    return F.interpolate(pictures, (max(round(h * scale), 2), max(round(w * scale), 2)), mode="area")


def _overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two places, bool ``[1, H, W]``."""
    return float((a & b).sum() / (a | b).sum().clamp_min(1))
