"""Pictures as real video has them: graded, soft, noisy, compressed. What is drawn holds for a whole clip."""

from __future__ import annotations

import cv2
import numpy as np


def degrade(rng: np.random.Generator, pictures: np.ndarray) -> np.ndarray:
    """Degrade a clip, uint8 RGB ``[T, size, size, 3]`` to the same."""
    size = pictures.shape[1]
    contrast, lift = rng.uniform(0.85, 1.12), rng.uniform(-12, 12)
    coarse = int(size / rng.uniform(1, 2.2)) if rng.random() < 0.35 else size
    sigma = rng.uniform(0.4, 1.2) if rng.random() < 0.15 else 0.0
    strength = rng.uniform(1, 7) if rng.random() < 0.3 else 0.0
    quality = int(rng.integers(30, 91)) if rng.random() < 0.35 else 0
    field = (size + 64, size + 64, 3) if strength else (0, 0, 3)
    noise = (rng.standard_normal(field, np.float32) * strength).round().astype(np.int16)
    curve = np.clip((np.arange(256) - 128) * contrast + 128 + lift, 0, 255).astype(np.uint8)
    out = np.empty_like(pictures)
    for t, picture in enumerate(pictures):
        if coarse < size:
            small = cv2.resize(picture, (coarse, coarse), interpolation=cv2.INTER_AREA)
            picture = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
        if sigma:
            picture = cv2.GaussianBlur(picture, (0, 0), sigma)
        picture = cv2.LUT(picture, curve)
        if strength:
            # One field of noise, seen from another corner in each frame.
            y, x = rng.integers(65, size=2)
            picture = cv2.add(picture, noise[y : y + size, x : x + size], dtype=cv2.CV_8U)
        if quality:
            encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)  # its channels are as they were put in
        out[t] = picture
    return out
