"""Make a checkpoint for a task of the harness: a small world model from videos alone, a controller from a few labels.

    python -m benchmarks.peers_tasks.train --episodes A/episodes --episodes B/episodes --labelled 40 --out RUNS

The encoder and inverse dynamics of ``--checkpoint`` stay as they are. They say which latents were seen in the videos,
and the small world model (the checkpoint's "draft") learns to predict what followed, several steps on end, from states
and latents: no action is read for that. Then the controller learns from the first ``--labelled`` episodes of each
folder. ``RUNS/checkpoint`` is the checkpoint with both beside it. Called again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers_tasks.tasks import as_script
from lamdemo.data.episodes import Episode
from lamdemo.data.episodes.files import open_folder
from lamdemo.engine import TransferPipeline, resolve_checkpoint
from lamdemo.models.companion_files import DISTILLED, save_companion
from lamdemo.models.controller import ControllerConfig, save_controller
from lamdemo.models.distilled import DistilledConfig, DistilledModel
from lamdemo.training.cached_features import Part, Steps, cached_features
from lamdemo.training.controller import ControllerTrainingConfig, train_controller
from lamdemo.training.distillation import DistillationConfig, DistillationTrainer

HELD_OUT = 10
"""Every so many-th episode is not trained on but measured on."""


class FollowedTrainer(DistillationTrainer):
    """Learns from what did follow in recordings; no larger model is asked."""

    def _drawn_with_goals(self, step: int) -> tuple[Tensor, Tensor]:
        c = self.config
        rng = np.random.default_rng([c.seed, step])
        rows, latents = [], []
        for i in rng.choice(len(self.states), c.batch, p=self.share):
            first = int(rng.integers(len(self.states[i]) - c.horizon))
            rows.append(torch.from_numpy(np.array(self.states[i][first : first + c.horizon + 1], np.float32)))
            latents.append(self.latents[i][first : first + c.horizon])
        return torch.stack(rows).to(self.device), torch.stack(latents).to(self.device)

    def _loss(self, step: int) -> tuple[Tensor, Tensor]:
        """Error of what is imagined, each step from the one before, and of no change, both against what followed."""
        states, z = self._drawn_with_goals(step)
        coarse = self.module.project(states)
        with self.autocast():
            cache, now, out = self.module.new_cache(), coarse[:, :1], []
            for t in range(z.shape[1]):
                now = self.module(now, z[:, t : t + 1], cache).states
                out.append(now)
        goal = coarse[:, 1:]
        return (torch.cat(out, 1) - goal).abs().mean(), (coarse[:, :1] - goal).abs().mean()


def _parts(
    pipeline: TransferPipeline, folders: list[Path], cache: Path, labelled: int, *, alone: bool = False
) -> Iterator[tuple[Part, bool]]:
    """What the checkpoint sees in each episode (``alone``: in labelled ones), and whether its actions may be read."""
    for folder in folders:
        found = open_folder(folder)
        for i, episode in enumerate(found[:labelled] if alone else found):
            at: Episode = episode.at(pipeline.fps)
            if len(at) >= 2:
                yield Part(*cached_features(pipeline, at.frames, cache), at.actions, at.recording), i < labelled


def train_world_model(
    pipeline: TransferPipeline, parts: list[Part], folder: Path, config: DistillationConfig
) -> tuple[DistilledModel, dict[str, float]]:
    """Train the small world model; its figures are of episodes that were left out."""
    held, kept = parts[::HELD_OUT], [p for i, p in enumerate(parts) if i % HELD_OUT]
    sizes = pipeline.model.config
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        student = DistilledModel(
            DistilledConfig(), sizes.encoder.channels, sizes.bottleneck.channels, sizes.encoder.grid
        )

    def trainer(module: DistilledModel, some: list[Part]) -> FollowedTrainer:
        latents = [torch.from_numpy(np.array(p.latents)) for p in some]
        return FollowedTrainer(config, module, pipeline.model.world_model, [p.states for p in some], latents)

    training = trainer(student, kept)
    training.resume(folder)
    training.run(folder, title="world model")
    trained = training.finish()
    mean, basis = trained.mean.clone(), trained.basis.clone()
    judging = trainer(trained, held)  # fits the linear map anew, to the few that are left out
    trained.mean.copy_(mean)
    trained.basis.copy_(basis)
    figures = {"variance kept": training.variance_kept, "error over no change, held out": judging.judge()}
    return trained.eval(), {k: round(v, 4) for k, v in figures.items()}


def make(given: argparse.Namespace) -> None:
    """Train both and write the checkpoint."""
    torch.set_num_threads(1)
    source = resolve_checkpoint(given.checkpoint)
    pipeline = TransferPipeline.from_pretrained(source, device="cpu")
    spec = open_folder(given.episodes[0]).spec
    target = given.out / "checkpoint"
    learned = (target / f"{DISTILLED}.json").exists()
    found = list(_parts(pipeline, given.episodes, given.out / "cache", given.labelled, alone=learned))
    parts = [part for part, _ in found]
    target.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        shutil.copy2(source / name, target / name)
    if not learned:
        told = {"frames": sum(len(p.states) for p in parts), "videos": len(parts), "labels read": 0}
        config = DistillationConfig(
            steps=given.steps, batch=given.batch, horizon=given.horizon, bf16=False, seed=given.seed
        )
        model, figures = train_world_model(pipeline, parts, given.out, config)
        save_companion(model, target, DISTILLED, {"learned from": "what followed in recordings", **told, **figures})
        print(json.dumps({**told, **figures}), flush=True)
    told_of = [part for part, may in found if may]
    labelled = Steps(spec, tuple(p for i, p in enumerate(told_of) if i % HELD_OUT))
    held = Steps(spec, tuple(told_of[::HELD_OUT]))
    # A command says where a small thing goes, and what is in its way: less than a robot's arm needs.
    sizes = ControllerConfig(spec.width, history=1, width=64, depth=1, hidden=128)
    settings = ControllerTrainingConfig(given.controller_steps, batch=32, average=0.99, seed=given.seed)
    known = train_controller(pipeline, labelled, held, sizes, settings, name=spec.name)
    assert known is not None
    about = {**known.about, "labelled": len(labelled.parts)}
    save_controller(
        known.controller, target, spec.name, checkpoint=pipeline.checkpoint, spec=spec.to_json(), about=about
    )
    print(json.dumps({"labelled episodes": len(labelled.parts), **known.about["figures"]}), flush=True)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=Path, action="append", required=True)
    parser.add_argument("--labelled", type=int, default=40, help="episodes of each folder whose actions are read")
    parser.add_argument("--checkpoint", default="noisy")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--horizon", type=int, default=4)
    parser.add_argument("--controller-steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    return as_script(parser, make)


if __name__ == "__main__":
    raise SystemExit(main())
