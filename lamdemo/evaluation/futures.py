"""Futures of commands, judged on held-out episodes one step ahead (after RLA-WM, arXiv 2605.07079).

What comes next is predicted from the true state, and the latent comes from

``inferred``
    the episode's own two states: what the world model makes of the best latent there is.
``controller``
    the command, through the controller: one future.
``sampled``
    the command, drawn: the mean of the errors of `DRAWS` futures.
``best``
    the nearest to the truth of these.
``averaged``
    the mean of their predictions.
``uncommanded``
    the prior without the command, and
``shuffled``
    with the command of another recording: the means of their errors; what the command is worth.
``copy``
    nothing: the state before.

And whether the way from noise to a latent shows time passing, as that work says of its own: latents are inferred over
`SPAN` steps at once, and each point of the way is given the time of the true state whose change from the first is most
alike in direction to that of what is decoded (a cosine, since predictions are timid: by distance all are at the start).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import KnownController, TransferPipeline
from lamdemo.evaluation.control.held_out import Stretch
from lamdemo.evaluation.statistics import compare, mean_over, ratio_of_means, swapped
from lamdemo.evaluation.videos import state_error
from lamdemo.models.prior import FlowPrior

DRAWS = 10
SPAN = 4
_WAY = (0.25, 0.5, 0.75, 1.0)  # points of the way


@torch.no_grad()
def evaluate_futures(
    pipeline: TransferPipeline, prior: FlowPrior, known: KnownController, cut: Sequence[Stretch], *, seed: int = 0
) -> dict[str, Any]:
    """Judge futures of commands.

    Args:
        pipeline: whose world model predicts.
        prior: that is told the commands.
        known: the controller of the same commands, to compare with.
        cut: stretches of `SPAN` steps, of recordings that neither was trained on.
        seed: of draws, shuffles and the bootstrap.

    Returns:
        ``one_step`` (see `compare`), ``over_controller`` (methods to ratios of mean errors, 95% interval over
        recordings) and ``time`` (see `_time_passing`).

    Raises:
        LamdemoError: the stretches are of fewer than two recordings.
    """
    recordings = [one.recording for one in cut]
    if len(set(recordings)) < 2:
        raise LamdemoError("Futures are judged on episodes of two recordings at least; give more.")
    other = swapped(recordings, np.random.default_rng(seed))
    generator = torch.Generator(pipeline.model.device).manual_seed(seed)
    errors: dict[str, list[Tensor]] = {}
    times: dict[str, list[np.ndarray]] = {"noise": [], "nothing": []}
    for place, one in enumerate(cut):
        states = pipeline.encode(one.frames).float()
        for name, values in _one_step(pipeline, prior, known, states, one, cut[other[place]], generator).items():
            errors.setdefault(name, []).append(values.cpu())
        for name, seen in _time_passing(pipeline, states, seed + place).items():
            times[name].append(seen)
    joined = {name: torch.cat(values).numpy() for name, values in errors.items()}
    each = np.repeat(recordings, [len(one.actions) for one in cut]).tolist()
    return {
        "evaluation": "futures",
        "draws": DRAWS,
        "one_step": compare(joined, each, seed=seed),
        "over_controller": {
            name: ratio_of_means(values, joined["controller"], each, seed=seed)
            for name, values in joined.items()
            if name != "controller"
        },
        "time": {
            "span": SPAN,
            "points": list(_WAY),
            **{name: _order(np.stack(seen), recordings, seed) for name, seen in times.items()},
        },
    }


def _one_step(
    pipeline: TransferPipeline,
    prior: FlowPrior,
    known: KnownController,
    states: Tensor,
    one: Stretch,
    other: Stretch,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Errors ``[S]`` of each way, one step ahead of the states ``[S + 1, N, D]`` of a stretch."""
    now, after = states[:-1], states[1:]
    history = prior.config.commands // known.spec.width

    def predict(z: Tensor) -> Tensor:
        """States ``[S, K, N, D]`` of latents ``[S, K, Z]``."""
        each = now[:, None].expand(-1, z.shape[1], -1, -1).flatten(0, 1)
        with pipeline.computing():
            made = pipeline.model.world_model(each[:, None], z.flatten(0, 1)[:, None].to(each)).states[:, 0]
        return made.float().unflatten(0, z.shape[:2])

    def error(z: Tensor) -> Tensor:
        return state_error(predict(z), after[:, None])

    def told(of: Stretch, commands: int) -> Tensor:
        """Commands ``[S, C, A]`` of a stretch."""
        return torch.from_numpy(np.stack([of.commands(t, commands) for t in range(len(now))])).float()

    def drawn(of: Stretch | None) -> Tensor:
        given = None if of is None else told(of, history).flatten(1).to(now.device)
        return prior.sample(now, DRAWS, commands=given, generator=generator)

    futures = predict(drawn(one))
    apart = state_error(futures, after[:, None])
    return {
        "copy": state_error(now, after),
        "inferred": error(pipeline.model.infer(states[None])[0].float()[:, None])[:, 0],
        "controller": error(known.latents(now, told(one, known.history))[:, None])[:, 0],
        "sampled": apart.mean(1),
        "best": apart.amin(1),
        "averaged": state_error(futures.mean(1), after),
        "uncommanded": error(drawn(None)).mean(1),
        "shuffled": error(drawn(other)).mean(1),
    }


def _time_passing(pipeline: TransferPipeline, states: Tensor, seed: int) -> dict[str, np.ndarray]:
    """The time, in steps, of what points of two ways are decoded to, among true states ``[T, N, D]``; see the module.

    Points are ``cos(a) e + sin(a) z``, of the latent ``z`` over all steps at once and noise ``e`` as long as it is; and
    for comparison ``share z``, the line from no action.
    """
    model = pipeline.model
    with pipeline.computing():
        z = model.infer(states[None, [0, -1]])[0, 0].float()
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).to(z.device)
        noise = noise / noise.norm() * z.norm()
        turn = [np.pi / 2 * a for a in _WAY]
        ways = {"noise": [np.cos(a) * noise + np.sin(a) * z for a in turn], "nothing": [a * z for a in _WAY]}
        found = {}
        for name, way in ways.items():
            now = states[:1].expand(len(way), 1, -1, -1)
            made = model.world_model(now, torch.stack(way)[:, None]).states[:, 0].float()
            changes = (made - states[:1]).flatten(1), (states[1:] - states[:1]).flatten(1)
            alike = F.normalize(changes[0], dim=1) @ F.normalize(changes[1], dim=1).T
            found[name] = 1 + alike.argmax(1).cpu().numpy()
    return found


def _order(times: np.ndarray, recordings: Sequence[str], seed: int) -> dict[str, Any]:
    """What times ``[n, points]`` say: their means, and how they rank with the points.

    Returns:
        ``by_point``; ``moving``, how many ways show more than one time; and ``order``, the mean rank correlation of
        these, 95% interval over recordings: 1 is time passing, 0 is what has nothing to do with it.
    """
    order = np.array([_rank_correlation(one) for one in times])
    there = np.flatnonzero(np.isfinite(order))
    return {
        "by_point": times.mean(0),
        "moving": len(there),
        "order": mean_over(order[there], [recordings[i] for i in there.tolist()], seed=seed) if len(there) else None,
    }


def _rank_correlation(times: np.ndarray) -> float:
    """Spearman's correlation of times with their order; not a number where all are alike."""
    ranks = (times[:, None] > times).sum(1) + 0.5 * (times[:, None] == times).sum(1)
    if np.ptp(ranks) == 0:
        return float("nan")
    return float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1])
