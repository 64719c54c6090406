"""Maps from a latent to a known action, and how much of it they read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from torch import nn

from lamdemo.core.statistics import DRAWS, Clusters, interval

COMPONENTS = 128
STRENGTHS = tuple(float(s) for s in np.logspace(-6, 2, 17))  # of the ridge, over the mean square of its inputs
_INNER = 5  # of the cross-validation on a training side
_HIDDEN, _ROUNDS = 64, 400  # units of the network, and steps of its training at most
_PATIENCE = 8  # looks at the recordings held back without improvement, after which a network is stopped


def fold_of(recordings: np.ndarray, folds: int) -> np.ndarray:
    """A fold for each row: recordings in the order of their names, in blocks.

    Neighbours in name are neighbours in time on one track; a block keeps them together.
    """
    names, index = np.unique(recordings, return_inverse=True)
    return (np.arange(len(names)) * min(folds, len(names)) // len(names))[index]


def _scale_of(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre ``[F]`` and one scale of inputs: a latent's idle channels must not be blown up to the others' size."""
    centre = x.mean(0)
    return centre, float(np.sqrt(((x - centre) ** 2).mean())) or 1.0


@dataclass(frozen=True)
class FittedRidge:
    """A linear map with a strength of its own for each target."""

    centre: np.ndarray  # of the inputs, [F]
    scale: float  # of the inputs
    ridge: Ridge  # the map of scaled inputs
    strengths: np.ndarray  # [A]
    validated: np.ndarray  # [A], R² of the chosen strength in cross-validation over recordings

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Targets ``[n, A]`` of inputs ``[n, F]``."""
        return self.ridge.predict((x - self.centre) / self.scale).reshape(len(x), -1)


def fit_ridge(x: np.ndarray, y: np.ndarray, recordings: np.ndarray) -> FittedRidge:
    """Fit ``y`` ``[n, A]`` by ``x`` ``[n, F]``; strengths by cross-validation over ``recordings`` ``[n]``."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    centre, scale = _scale_of(x)
    x = (x - centre) / scale

    def fitted(rows: np.ndarray, strength: float | np.ndarray) -> Ridge:
        # Of sums over rows and inputs, so that a strength means the same for any number of either.
        return Ridge(alpha=strength * len(rows) * x.shape[1], solver="cholesky").fit(x[rows], y[rows])

    fold = fold_of(recordings, _INNER)
    errors = np.zeros((len(STRENGTHS), y.shape[1]))
    for k in np.unique(fold):
        out, rest = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        if not len(rest):  # a single recording: nothing to choose by
            continue
        for i, strength in enumerate(STRENGTHS):
            guess = fitted(rest, strength).predict(x[out]).reshape(len(out), -1)
            errors[i] += ((guess - y[out]) ** 2).sum(0)
    best = errors.argmin(0)
    spread = np.maximum(((y - y.mean(0)) ** 2).sum(0), 1e-12)
    strengths = np.array(STRENGTHS)[best]
    ridge = fitted(np.arange(len(x)), strengths)
    return FittedRidge(centre, scale, ridge, strengths, 1 - errors[best, np.arange(len(best))] / spread)


def fit_mlp(x: np.ndarray, y: np.ndarray, recordings: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Fit ``y`` ``[n, A]`` by a map of one hidden layer; stopped by recordings held back."""
    centre, scale = _scale_of(x)
    mean, spread = y.mean(0), np.maximum(y.std(0), 1e-9)
    a = torch.from_numpy(((x - centre) / scale).astype(np.float32))
    b = torch.from_numpy(((y - mean) / spread).astype(np.float32))
    fold = fold_of(recordings, _INNER)
    held = torch.from_numpy(np.flatnonzero(fold == seed % (fold.max() + 1)))
    kept = torch.from_numpy(np.flatnonzero(fold != seed % (fold.max() + 1)))
    if not len(kept):
        kept = held
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(a.shape[1], _HIDDEN), nn.SiLU(), nn.Dropout(0.2), nn.Linear(_HIDDEN, b.shape[1]))
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
        best, state, since = math.inf, None, 0
        for step in range(_ROUNDS):
            net.train()
            loss = F.mse_loss(net(a[kept]), b[kept])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 9:
                net.eval()
                with torch.no_grad():
                    error = float(F.mse_loss(net(a[held]), b[held]))
                if error < best:
                    best, state, since = error, {k: v.clone() for k, v in net.state_dict().items()}, 0
                elif (since := since + 1) == _PATIENCE:
                    break
    if state is not None:
        net.load_state_dict(state)
    net.eval()

    @torch.no_grad()
    def apply(inputs: np.ndarray) -> np.ndarray:
        made = net(torch.from_numpy(((inputs - centre) / scale).astype(np.float32))).double().numpy()
        return made * spread + mean

    return apply


def components(gram: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leading principal components of the training rows, and the test rows on the same axes.

    Args:
        gram: ``[n, n]``, dot products of all rows.
        train: indices ``[a]``.
        test: indices ``[b]``.

    Returns:
        ``[a, C]`` and ``[b, C]`` with C at most `COMPONENTS`.
    """
    inner = gram[np.ix_(train, train)].astype(np.float64)
    across = gram[np.ix_(test, train)].astype(np.float64)
    mean = inner.mean(0)
    centred = inner - mean - mean[:, None] + mean.mean()
    across = across - across.mean(1, keepdims=True) - mean + mean.mean()
    values, vectors = np.linalg.eigh(centred)
    values, vectors = values[::-1][:COMPONENTS], vectors[:, ::-1][:, :COMPONENTS]
    # A component of no variance has no direction.
    known = values > max(values[0], 0) * 1e-7
    values, vectors = values[known], vectors[:, known]
    if not len(values):
        return np.zeros((len(train), 1)), np.zeros((len(test), 1))
    return vectors * np.sqrt(values), across @ vectors / np.sqrt(values)


def r_squared(
    truth: np.ndarray, guess: np.ndarray, recordings: np.ndarray, *, seed: int = 0
) -> dict[str, float | None]:
    """R² over all columns alike, with a 95% interval by bootstrap over recordings.

    Columns are brought to unit variance first, so that the value is the mean of the columns' R². Spread is
    taken about the mean of what is judged, which no probe has seen.

    Args:
        truth: ``[n, A]``.
        guess: ``[n, A]``.
        recordings: ``[n]``.
        seed: of the bootstrap.

    Returns:
        ``value``, ``low``, ``high``; None where nothing varies, and no interval from a single recording.
    """
    spread = truth.std(0) if len(truth) else np.zeros(0)
    if not len(spread) or (spread < 1e-9).any():
        return {"value": None, "low": None, "high": None}
    truth, guess = (truth - truth.mean(0)) / spread, (guess - truth.mean(0)) / spread
    clusters = Clusters.of(recordings)
    off, first, second = (clusters.sums(v) for v in ((truth - guess) ** 2, truth, truth**2))  # [recordings, A] each
    drawn = clusters.draw(DRAWS, seed)
    many = drawn @ clusters.sums(np.ones(len(truth)))
    whole = (drawn @ second - (drawn @ first) ** 2 / many[:, None]).sum(1)
    varies = whole > 1e-9
    value = float(1 - off.sum() / truth.size)
    if clusters.count < 2 or not varies.any():
        return {"value": value, "low": None, "high": None}
    return interval(value, 1 - (drawn @ off).sum(1)[varies] / whole[varies])
