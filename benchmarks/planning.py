"""The paper's search, and looking things up in an atlas.

CEM with 300 samples, 15 iterations and a horizon of 3 steps, from one made-up picture to another, through a controller
and the distilled model, the 32 best judged by the full world model. Where the checkpoint lacks the distilled model or
the controller, untrained ones of the usual sizes stand in, which take as long.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from benchmarks.material import controller_of, loaded
from benchmarks.measuring import Machine, Missing, Settings, entry, rounded, timed
from lamdemo.latent_space.atlas import Atlas
from lamdemo.models.companion_files import load_distilled
from lamdemo.models.distilled import DistilledConfig, DistilledModel
from lamdemo.planning import build_planner

SAMPLES, ITERATIONS, HORIZON, JUDGED = 300, 15, 3, 32
WITH_ALL = "noisy"
"""The bundled checkpoint that brings a distilled model, which is planned with where none is named."""


def plan(settings: Settings) -> dict[str, Any]:
    """Planning at the paper's budget; the floor is what the search and the judging must compute."""
    if settings.checkpoint is None:
        settings = dataclasses.replace(settings, checkpoint=WITH_ALL)
    torch.manual_seed(0)
    pipeline = loaded(settings)
    picture = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    goal = np.roll(picture, -16, 1)
    known, own_controller = controller_of(pipeline, "car")
    assert pipeline.folder is not None
    distilled = load_distilled(pipeline.folder)
    own = distilled is not None
    if distilled is None:
        config = pipeline.model.config
        sizes = config.encoder.channels, config.bottleneck.channels, config.encoder.grid
        distilled = DistilledModel(DistilledConfig(), *sizes).eval()
        distilled.fit(pipeline.encode(np.stack([picture, goal])).repeat(4, 1, 1))
    told: dict[str, Any] = {"its own distilled model": own, "its own controller": own_controller}
    machine = Machine.measured(str(pipeline.model.device))
    asked: dict[str, dict[str, Any]] = {
        "controller looks at each state": {},
        "controller looks at the start": {"look": "start"},
        "latent space": {"space": "latent"} if pipeline.training_latents is not None else {},
    }
    for name, how in asked.items():
        planner = build_planner(pipeline, controller=known, distilled=distilled, **how)
        problem = planner.problem(picture, goal)
        plans: list[Any] = []

        def search(planner: Any = planner, problem: Any = problem, plans: list[Any] = plans) -> None:
            plans.append(planner.plan(problem, seed=0))

        seconds = timed(search, settings.repeats)
        same = all(np.array_equal(plans[0].u, other.u) for other in plans[1:])
        told[f"plan, {name}"] = entry(seconds, machine.floor(search)) | {"same seed, same plan": same}
    assert planner.distilled is not None
    search_by = planner.objective(planner.distilled, problem)
    judge_by = planner.objective(planner.judge, problem)
    u = torch.randn(1, SAMPLES, HORIZON, planner.space.width)
    with torch.no_grad():
        searched = timed(lambda: search_by(u), settings.repeats)
        told["one iteration"] = entry(searched, machine.floor(lambda: search_by(u)))
        some = u[:, :JUDGED]
        judged = timed(lambda: judge_by(some), settings.repeats)
        told[f"judging {JUDGED}"] = entry(judged, machine.floor(lambda: judge_by(some)))
    return {"machine": machine.as_dict(), **told}


def atlas(settings: Settings) -> dict[str, Any]:
    """Reading an atlas and looking up what is nearest; the floor is reading its latents once from memory."""
    folder = loaded(settings).folder
    found = None if folder is None else Atlas.read(folder)
    if found is None or folder is None:
        raise Missing("This checkpoint brings no atlas; measure one that does.")
    machine, repeats = Machine.measured(), settings.repeats
    moved = found.latents.nbytes
    floor = {"seconds": rounded(moved / machine.copies), "of": "reading its latents from memory", "bytes": moved}
    queries = found.latents[np.linspace(0, len(found) - 1, 64).astype(int)]
    operations = 2 * len(queries) * found.latents.size
    product = {
        "seconds": rounded(max(operations / machine.products, moved / machine.copies)),
        "of": "one matrix product of them and its latents",
        "operations": operations,
    }
    told = {
        "read the atlas": entry(timed(lambda: Atlas.read(folder), repeats), points=len(found)),
        "the 12 nearest of one latent": entry(timed(lambda: found.nearest(queries[0], 12), repeats), floor),
        "the 12 nearest of 64 latents": entry(timed(lambda: found.nearest(queries, 12), repeats), product),
        "a thumbnail": entry(timed(lambda: found.thumbnail(int(found.frame[0])), repeats)),
    }
    for name in found.coordinates:
        told[f"place 64 latents on {name}"] = entry(timed(lambda n=name: found.place(queries, n), repeats))  # type: ignore[misc]
    return told
