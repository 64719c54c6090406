"""How far apart pictures are, and how far apart their motion is."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity
from torch import Tensor

from lamdemo.engine import TransferPipeline
from lamdemo.video import optical_flow, warp

MOTION_WIDTH = 256  # pixels across at which motion is measured, whatever the pictures' own size
FROZEN_FEATURES = "frozen features (not LPIPS)"  # what `feature_distance` is, in reports
_LEAST_MSE = 1e-3  # gray levels squared: 78 dB, so that equal pictures have a finite PSNR


def psnr(picture: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 pictures of one shape, in dB; 78 at most."""
    error = np.mean((picture.astype(np.float32) - truth.astype(np.float32)) ** 2)
    return float(10 * np.log10(255**2 / max(float(error), _LEAST_MSE)))


def ssim(picture: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity of the luminance of uint8 pictures ``[H, W, 3]``, from -1 to 1."""
    one, other = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (picture, truth))
    return float(structural_similarity(one, other, data_range=255))


@torch.no_grad()
def features(pipeline: TransferPipeline, frames: np.ndarray) -> Tensor:
    """Features of frames ``[T, H, W, 3]`` for `feature_distance`, ``[T, h, w, C]``.

    They are the frozen encoder's own (strides 8 and 16 on one grid), before the whitening that is fitted to a
    checkpoint's training data, so that checkpoints with the same encoder are measured alike.
    """
    raw = getattr(pipeline.model.encoder, "features", None)
    if raw is None:
        states = pipeline.encode(frames)
        return F.normalize(states[:, :, None], dim=-1)
    side = pipeline.model.config.encoder.picture
    parts = []
    for start in range(0, len(frames), 8):
        pictures = pipeline.to_tensor(frames[start : start + 8])
        if pictures.shape[-2:] != (side, side):
            pictures = F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)
        parts.append(F.normalize(raw(pictures), dim=-1))
    return torch.cat(parts)


def feature_distance(one: Tensor, other: Tensor) -> np.ndarray:
    """Perceptual distance of pictures by their `features`: squared distance of unit vectors, ``[T]``.

    Made like LPIPS (each place's features to unit length, squared differences, mean over places) but it is
    NOT LPIPS: another network, and no weights fitted to human judgement. Compare it with itself only.
    """
    return (one - other).square().sum(-1).mean((1, 2)).cpu().numpy()


def at_motion_width(frames: np.ndarray) -> np.ndarray:
    """Frames ``[T, H, W, 3]`` scaled to `MOTION_WIDTH` pixels across, aspect kept."""
    height, width = frames.shape[1:3]
    if width == MOTION_WIDTH:
        return frames
    size = (MOTION_WIDTH, max(round(height * MOTION_WIDTH / width), 1))
    how = cv2.INTER_AREA if width > MOTION_WIDTH else cv2.INTER_LINEAR
    return np.stack([cv2.resize(f, size, interpolation=how) for f in frames])


def motion(frames: np.ndarray) -> np.ndarray:
    """Backward optical flow between consecutive frames ``[T, H, W, 3]``: ``[T - 1, H, W, 2]``, in pixels."""
    return np.stack([optical_flow(a, b) for a, b in pairwise(frames)])


def end_point_errors(flow: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Length of the difference of two flows ``[..., 2]``, in pixels, ``[...]``."""
    return np.linalg.norm(flow - truth, axis=-1)


def compose(total: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The backward flow ``[H, W, 2]`` over all steps so far, from that before the last and the last one's.

    Where the last flow points out of the picture, the border's motion goes on straight, as on the model's
    canvas.
    """
    return flow + warp(total, flow)


def move_by_flows(picture: np.ndarray, flows: np.ndarray) -> np.ndarray:
    """Carry a picture ``[H, W, 3]`` along backward flows ``[S, h, w, 2]`` (pixels of their own grid).

    As the model's canvas does, and to be as fair: flows are composed and the picture is sampled once
    a step from the original, with cubic interpolation, so that nothing blurs over the steps.

    Returns:
        uint8 ``[S + 1, H, W, 3]``; the first is the picture.
    """
    height, width = picture.shape[:2]
    total = np.zeros((height, width, 2), np.float32)
    frames = [picture]
    for flow in flows:
        if flow.shape[:2] != (height, width):
            scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
            flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) * scale
        total = compose(total, flow)
        frames.append(warp(picture, total, interpolation="cubic"))
    return np.stack(frames)
