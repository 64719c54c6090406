"""A planner's judgement in the protocol by which other people's solvers and evaluations ask a world model.

The package stable-worldmodel calls that protocol ``Costable``: ``get_cost(info, candidates)``. Nothing of it is
imported here. Its solvers search many environments at once, in standardised actions, several steps of the environment
to one step of the model; its policies hand over pictures as they are where no transform is given to them.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.planning.planner import Planner
from lamdemo.planning.plans import Problem

_PROBLEMS = "lamdemo_problems"  # what is kept in `info` between two calls for the same environments


class PlannerCost:
    """What candidates of known actions cost by a planner's cost and dynamics.

    The planner's own solver is not asked. A planner with a distilled model is judged by that, as in its own search.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        block: int = 1,
        mean: np.ndarray | None = None,
        scale: np.ndarray | None = None,
        picture: tuple[int, int] | None = None,
    ) -> None:
        """Put it together.

        Args:
            planner: of known actions.
            block: steps of the environment in one of the model (the harness's ``action_block``).
            mean: of an environment step's actions, ``[A]``, where candidates are standardised; else 0.
            scale: their standard deviation, ``[A]``; else 1.
            picture: height and width of the pictures that the controller was trained on; None takes any.

        Raises:
            LamdemoError: the planner searches latents, or ``block`` is less than 1.
        """
        if planner.spec is None:
            raise LamdemoError("Others' solvers search known actions; build the planner with a controller.")
        if block < 1:
            raise LamdemoError(f"A step of the model is at least one of the environment, not {block}.")
        self.planner, self.spec, self.block, self.picture = planner, planner.spec, block, picture
        self.mean = torch.zeros(self.spec.width) if mean is None else torch.as_tensor(mean, dtype=torch.float32)
        self.scale = torch.ones(self.spec.width) if scale is None else torch.as_tensor(scale, dtype=torch.float32)
        if self.mean.shape != (self.spec.width,) or self.scale.shape != (self.spec.width,):
            raise LamdemoError(f"Give {self.spec.width} means and scales, one for each number of {self.spec.name}.")

    def get_cost(self, info: MutableMapping[str, Any], candidates: Tensor) -> Tensor:
        """Costs ``[B, K]``.

        Args:
            info: ``pixels`` and ``goal``, uint8 ``[B, K, 1, H, W, 3]``, the same for all K. What was encoded is kept
                in it for the next call, as the harness's own models do.
            candidates: ``[B, K, S, block * A]``, standardised; an environment step's numbers stand together.

        Raises:
            LamdemoError: the pictures are of another kind or size, more than one is given as history, or the
                candidates are of another width.
        """
        if candidates.ndim != 4 or candidates.shape[-1] != self.block * self.spec.width:
            raise LamdemoError(
                f"Candidates have {candidates.shape[-1]} numbers a step where {self.spec.name} takes {self.spec.width} "
                f"in blocks of {self.block}; set the harness's action_block to {self.block}."
            )
        if _PROBLEMS not in info:
            info[_PROBLEMS] = self._problems(info)
        problems: list[Problem] = info[_PROBLEMS]
        planner, search = self.planner, self.planner.distilled or self.planner.judge
        u = planner.space.encode(self.actions(candidates).to(planner.pipeline.model.device))
        with torch.no_grad():
            rows = [planner.objective(search, p)(one[None]) for p, one in zip(problems, u, strict=True)]
        return torch.cat(rows).to(candidates.device)

    criterion = get_cost  # the protocol's other name for it

    def actions(self, candidates: Tensor) -> Tensor:
        """The model's steps ``[B, K, S, A]`` of standardised candidates, within bounds, each by its channel's kind."""
        each = candidates.float().unflatten(-1, (self.block, self.spec.width))
        each = each * self.scale.to(each.device) + self.mean.to(each.device)
        low, high = (torch.from_numpy(bound).to(each) for bound in (self.spec.low, self.spec.high))
        each = each.maximum(low).minimum(high)
        combined = {"rate": each.mean(-2), "change": each.sum(-2), "target": each[..., -1, :]}
        return torch.stack([combined[c.kind][..., i] for i, c in enumerate(self.spec.channels)], -1)

    def _problems(self, info: MutableMapping[str, Any]) -> list[Problem]:
        pictures = {key: self._pictures(info, key) for key in ("pixels", "goal")}
        pairs = zip(pictures["pixels"], pictures["goal"], strict=True)
        return [self.planner.problem(start, goal) for start, goal in pairs]

    def _pictures(self, info: MutableMapping[str, Any], key: str) -> np.ndarray:
        """``[B, H, W, 3]``: the one picture of each environment."""
        if key not in info:
            raise LamdemoError(f"The harness gives no {key!r}; evaluate from a data set, with pictures.")
        given = torch.as_tensor(info[key])
        if given.dtype != torch.uint8 or given.ndim != 6 or given.shape[-1] != 3:
            raise LamdemoError(
                f"{key!r} must be RGB pictures as bytes, [B, K, T, H, W, 3], not {given.dtype} {list(given.shape)}; "
                "leave the policy's picture transform out."
            )
        if given.shape[2] != 1:
            raise LamdemoError(
                f"The harness gives a history of {given.shape[2]} pictures where plans begin at one; set history_len "
                "and the world's frame stack to 1."
            )
        size = (given.shape[3], given.shape[4])
        if self.picture is not None and size != self.picture:
            raise LamdemoError(
                f"{key!r} is of {size[0]}x{size[1]} pixels where the controller learned from "
                f"{self.picture[0]}x{self.picture[1]}; set the world's image_shape to that."
            )
        return given[:, 0, 0].cpu().numpy()
