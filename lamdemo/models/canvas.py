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

from lamdemo.models.decoder import UNSURE, Rendering
from lamdemo.models.painter import fill_behind_matte
from lamdemo.models.warp import displaced, pixel_centres, resized, sample_at

_COMPOSED = 256  # cells along the longer side of the grid on which motions are composed: four of the decoder's finest
_PAINTED = 512  # the same of the grid that is painted on: four of the painter's pixels
_SOFT = 24  # cells along the longer side of the blurred picture that what lies far outside fades into
_FADE = 0.12  # of the picture's size, over which it does
_FOUND = 0.002  # share of the picture from which something counts as found
_SAME = 0.15  # overlap over union under which a matte is of something else than what is carried
_MORE = 1.25  # a second look takes a matte that is so much larger, if it has the first in it


class Canvas:
    """Two layers of a picture being moved step by step.

    Motions are smooth, so they are composed on a grid of at most 256 cells a side and enlarged where they are drawn.
    Nothing is changed in place, so a shallow copy is a snapshot.
    """

    def __init__(self, picture: Tensor) -> None:
        """Start from ``picture [B, 3, H, W]`` in [0, 1]."""
        b, _, h, w = picture.shape

        def size(most: int) -> tuple[int, int]:
            scale = min(most / max(h, w), 1.0)
            return max(round(h * scale), 1), max(round(w * scale), 1)

        self._centres = pixel_centres(h, w, device=picture.device)[None].contiguous(memory_format=torch.channels_last)
        self._cells = pixel_centres(*size(_COMPOSED), device=picture.device)[None]
        self._painting = size(_PAINTED)
        self._steps = 0
        nothing = torch.zeros(b, 1, h, w, device=picture.device)
        # Originals of what acts, and of the ground; colours last in memory, as they are read.
        self._front = self._plate = picture.contiguous(memory_format=torch.channels_last)
        self._soft = _colours_of(picture)
        self._matte = nothing  # of what acts, in its original
        self._reach = self._coarse(nothing)  # the same on the grid of cells, where any of it is
        self._lifted = [False] * b
        self._acting = self._ground = self._cells.expand(b, -1, -1, -1)  # where each cell comes from
        # [B, 4, h, w], colour times cover, cover; None where nothing was painted.
        self._paint: Tensor | None = None

    @property
    def picture(self) -> Tensor:
        """The picture as it is now, ``[B, 3, H, W]`` in [0, 1]."""
        return self._drawn(self._ground, self._acting, self._paint)

    @property
    def cover(self) -> Tensor:
        """Where what acts is now, ``[B, 1, H, W]`` in [0, 1], with what has come into view."""
        matte = self._matte
        if any(self._lifted):
            matte = displaced(matte, self._acting - self._cells, outside="zeros")
        matte = matte if self._paint is None else torch.maximum(matte, self._full(self._paint[:, 3:]))
        return matte.clamp(max=1)  # sampling may round up

    @property
    def invented(self) -> Tensor:
        """Where nothing of the original is seen, ``[B, 1, h, w]`` in [0, 1], on a coarse grid.

        What was painted, filled behind what acts, or continued beyond the picture's edge.
        """
        ground, acting = (v[..., ::4, ::4] for v in (self._ground, self._acting))
        beyond = ((ground < 0) | (ground > 1)).any(1, keepdim=True).float()
        filled = torch.maximum(beyond, sample_at(self._matte, ground, outside="zeros"))
        unseen = (1 - sample_at(self._matte, acting, outside="zeros")) * filled
        if self._paint is None:
            return unseen
        paint = F.adaptive_avg_pool2d(self._paint[:, 3:], (unseen.shape[-2], unseen.shape[-1]))
        return paint + (1 - paint) * unseen

    def apply(self, rendering: Rendering) -> Tensor:
        """Take one step and return the new picture ``[B, 3, H, W]``."""
        self.advance(rendering)
        return self.picture

    def advance(self, rendering: Rendering) -> None:
        """Take one step without drawing it."""
        self.lift(rendering)
        self.move(rendering)

    def move(self, rendering: Rendering) -> None:
        """Take a step for which `lift` has been called, without drawing it."""
        self._ground, self._acting, self._paint = self._after(rendering, 1.0)
        self._steps += 1

    def found(self, rendering: Rendering) -> Tensor:
        """Where what acts would be held to be, ``[B, 1, H, W]`` in [0, 1], if this step were taken now."""
        rows, mattes = self._new(rendering)
        cover = self.cover
        return cover.index_copy(0, torch.tensor(rows, device=mattes.device), mattes) if rows else cover

    def enlarged(self, rendering: Rendering) -> Rendering:
        """The same rendering at the size that it is drawn at, for a step of which several shares are."""
        flows = {name: self._coarse(getattr(rendering, name)) for name in ("ground", "acting")}
        return rendering._replace(**flows, matte=self._full(rendering.matte), **self._painted(rendering))

    def _painted(self, rendering: Rendering) -> dict[str, Tensor]:
        """Mask and colour on the grid that is painted on, where there is any of either."""
        if self._paint is None and rendering.mask.max() <= UNSURE:
            return {}
        return {name: resized(getattr(rendering, name).float(), *self._painting) for name in ("mask", "colour")}

    def preview(self, rendering: Rendering, share: float) -> Tensor:
        """The picture ``[B, 3, H, W]`` after a ``share`` (0 to 1) of a step for which `lift` has been called.

        The step is not taken.
        """
        return self._drawn(*self._after(rendering, share))

    def first(self) -> Canvas:
        """The first picture of the batch alone, as a canvas of its own."""
        alone = copy.copy(self)
        for name in ("_front", "_plate", "_soft", "_matte", "_reach", "_acting", "_ground"):
            setattr(alone, name, getattr(self, name)[:1])
        alone._paint = None if self._paint is None else self._paint[:1]
        alone._lifted = self._lifted[:1]
        return alone

    # Lifting what acts off the ground.

    def lift(self, rendering: Rendering) -> None:
        """Let what a rendering finds to act be a layer of its own, where nothing is yet, or something else."""
        rows, mattes = self._new(rendering)
        if not rows:
            return
        picture, at = self.picture[rows], torch.tensor(rows, device=mattes.device)
        self._plate = _with_rows(self._plate, at, fill_behind_matte(picture, mattes))
        self._soft = _colours_of(self._plate)
        self._front = _with_rows(self._front, at, picture)
        self._matte = self._matte.index_copy(0, at, mattes)
        self._reach = F.adaptive_max_pool2d(self._matte, (self._cells.shape[-2], self._cells.shape[-1]))
        here = self._cells.expand(len(rows), -1, -1, -1)
        self._acting, self._ground = self._acting.index_copy(0, at, here), self._ground.index_copy(0, at, here)
        if self._paint is not None:
            self._paint = self._paint.index_copy(0, at, torch.zeros_like(self._paint[rows]))
        self._lifted = [lifted or i in rows for i, lifted in enumerate(self._lifted)]

    def _new(self, rendering: Rendering) -> tuple[list[int], Tensor]:
        """Rows in which something is found that is no layer yet, and its mattes ``[len(rows), 1, H, W]``."""
        # What is new is decided on cells, and only that is looked at pixel by pixel.
        sure = _sharpened(self._coarse(rendering.matte)) > 0.5
        if not (sure.float().mean((1, 2, 3)) > _FOUND).any():
            return [], rendering.matte[:0]
        cover = self._coarse(self.cover) > 0.5
        rows = [i for i in range(len(sure)) if self._is_new(sure[i], cover[i], self._lifted[i])]
        if not rows:
            return [], rendering.matte[:0]
        mattes = _sharpened(self._full(rendering.matte[rows]))
        if self._paint is not None:
            mattes = torch.maximum(mattes, self._full(self._paint[rows, 3:]))
        for k, i in enumerate(rows):
            # What was found a moment ago and is found again, larger, is one thing.
            if _overlap(sure[i], cover[i]) > _SAME:
                mattes[k] = torch.maximum(mattes[k], self.cover[i])
        return rows, mattes

    def _is_new(self, sure: Tensor, cover: Tensor, lifted: bool) -> bool:
        """Whether what is surely found, bool ``[1, h, w]``, is not what is carried already, bool ``[1, h, w]``."""
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
        """Maps ``[B, C, ., .]`` at the picture's size."""
        return resized(values.float(), *self._plate.shape[-2:])

    def _coarse(self, values: Tensor) -> Tensor:
        """Maps ``[B, C, ., .]`` at the size of the grid on which motions are composed."""
        return resized(values.float(), *self._cells.shape[-2:])

    def _drawn(self, ground: Tensor, acting: Tensor, paint: Tensor | None) -> Tensor:
        picture = self._continued(ground)
        for row in (i for i, lifted in enumerate(self._lifted) if lifted):
            self._lay(picture[row : row + 1], row, acting[row : row + 1])
        if paint is None:
            return picture
        for row in paint[:, 3].amax((1, 2)).nonzero()[:, 0].tolist():
            over = self._full(paint[row : row + 1])
            picture[row : row + 1].mul_(1 - over[:, 3:]).add_(over[:, :3])
        return picture

    def _lay(self, picture: Tensor, row: int, acting: Tensor) -> None:
        """Draw what acts in a row over its picture ``[1, 3, H, W]``, in place, where it is."""
        there = sample_at(self._reach[row : row + 1], acting, outside="zeros")[0, 0] > 0
        on = there.any(1).nonzero(), there.any(0).nonzero()
        if not len(on[0]):
            return
        box = tuple(
            slice(max(int(cells[0]) - 1, 0) * size // count, -(-min(int(cells[-1]) + 2, count) * size // count))
            for cells, size, count in zip(on, picture.shape[-2:], there.shape, strict=True)
        )
        places = self._centres[..., box[0], box[1]]
        places = places + sample_at(acting - self._cells, places)
        below = picture[..., box[0], box[1]]
        front = sample_at(self._front[row : row + 1], places, mode="bicubic").clamp_(0, 1)
        below.lerp_(front, sample_at(self._matte[row : row + 1], places, outside="zeros"))

    def _continued(self, places: Tensor) -> Tensor:
        """The ground at ``places`` of cells; beyond its edges the mirrored picture, fading into its colours alone.

        What comes into view from outside is not known. A mirrored edge shows less than a smeared one, and far outside
        nothing sharp would be true.
        """
        base = displaced(self._plate, places - self._cells, mode="bicubic", outside="reflection").clamp_(0, 1)
        outside = ((places - 0.5).abs() - 0.5).amax(1, keepdim=True)
        if outside.max() <= 0:
            return base
        soft = self._full(sample_at(self._soft, places, mode="bicubic", outside="reflection").clamp(0, 1))
        return base.lerp_(soft, self._full((outside / _FADE).clamp(0, 1)))

    def _after(self, rendering: Rendering, share: float) -> tuple[Tensor, Tensor, Tensor | None]:
        """Places of the ground and of what acts, and the paint, after a share of a step."""
        ground, _ = self._moved(self._ground, rendering.ground, share)
        acting, target = self._moved(self._acting, rendering.acting, share)
        added = self._painted(rendering)
        if not added:
            return ground, acting, None
        mask = added["mask"] * (added["mask"] > UNSURE) * share
        paint = mask * torch.cat([added["colour"], torch.ones_like(mask)], 1)
        if self._paint is not None:
            paint = paint + displaced(self._paint, target - self._cells, outside="zeros") * (1 - mask)
        return ground, acting, paint

    def _moved(self, places: Tensor, flow: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """Places after a share of a flow, and where each cell was a moment ago."""
        h, w = self._cells.shape[-2:]
        target = self._cells + self._coarse(flow) * share
        # Beyond the outermost cells the map goes on straight, so that a picture moved out and back is whole.
        edge = 0.5 / torch.tensor([w, h], device=target.device, dtype=target.dtype)[:, None, None]
        inside = target.maximum(edge).minimum(1 - edge)
        return sample_at(places, inside) + (target - inside), target

    @property
    def total_flow(self) -> Tensor:
        """Backward flow of the ground from the original to now, ``[B, 2, h, w]``, in units of the picture's size."""
        return self._ground - self._cells


def _with_rows(pictures: Tensor, at: Tensor, rows: Tensor) -> Tensor:
    """Pictures with some replaced, colours last in memory."""
    return pictures.index_copy(0, at, rows).contiguous(memory_format=torch.channels_last)


def _colours_of(pictures: Tensor) -> Tensor:
    """Pictures ``[B, 3, H, W]`` so small that only their colours are left."""
    h, w = pictures.shape[-2:]
    scale = _SOFT / max(h, w)
    return F.interpolate(pictures, (max(round(h * scale), 2), max(round(w * scale), 2)), mode="area")


def _sharpened(mattes: Tensor) -> Tensor:
    """Mattes of which half sure is a rim of a pixel or two, not a ghost."""
    return ((mattes - 0.25) / 0.5).clamp(0, 1)


def _overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two places, bool ``[1, H, W]``."""
    return float((a & b).sum() / (a | b).sum().clamp_min(1))
