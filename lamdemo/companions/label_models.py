"""What a label curve trains: world models with labels and without, and controllers, from few and many episodes.

The world model is the checkpoint's distilled one ("draft"), which is small enough to be trained dozens of times on two
cores. All begin with it and have its architecture. What is there is not made again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from safetensors.torch import load_model

from lamdemo.companions.making import Work, token_patch
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely
from lamdemo.data.episodes import Episodes
from lamdemo.data.splits import Part
from lamdemo.engine.controls import KnownController, fitting
from lamdemo.evaluation.control.label_curve import METHODS
from lamdemo.evaluation.control.planners import CLOSED, OPEN, Budget
from lamdemo.models.action_conditioned import ActionConditioned, ActionConditionedConfig
from lamdemo.models.checkpoint import weights_of
from lamdemo.models.companion_files import BASELINE, DISTILLED, load_distilled, save_companion
from lamdemo.models.controller import ControllerConfig, load_controller, save_controller
from lamdemo.models.distilled import DistilledModel
from lamdemo.models.labelled_inverse import LabelledInverse
from lamdemo.training.action_conditioned import BaselineTrainer, BaselineTrainingConfig
from lamdemo.training.cached_features import CachedEpisode, Steps, backwards, cache_episodes
from lamdemo.training.cached_features import Part as Features
from lamdemo.training.controller import ControllerTrainingConfig, train_controller
from lamdemo.training.early_stopping import EarlyStoppingConfig, train_until_flat
from lamdemo.training.labelled_inverse import LabelledInverseTrainer, LabelledInverseTrainingConfig

Method = Literal["pretrained", "unlabelled", "labelled", "inverse", "labelled_inverse"]


@dataclass(frozen=True)
class LabelCurveConfig:
    """What is trained on how much, and what it is judged on."""

    counts: tuple[int, ...] = (5, 20, 100, 0)  # labelled episodes; 0 for all
    seeds: tuple[int, ...] = (0, 1, 2)  # of which episodes are labelled, and of the training
    methods: tuple[Method, ...] = METHODS  # type: ignore[assignment]
    # The world model that is trained on without labels takes `steps` at most, the controller `controller_steps`; the
    # baseline gets as many as both: a step of the controller costs a `share` of one of the world model.
    steps: int = 600
    controller_steps: int = 1000
    share: float = 0.5
    clips: int = 12  # of a world model's step
    frames: int = 5  # of each clip
    learning_rate: float = 5e-4  # of the world model
    stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    part: Part = "test"  # that is judged
    first: int = 100  # of the simulator's scenes of this part; those before belong to other figures
    tasks: int = 51  # dealt out to the seeds
    stretches: int = 48  # for errors one step ahead, and for plans in open loop where there is no simulator
    open: Budget = OPEN
    closed: Budget = field(default_factory=lambda: dataclasses.replace(CLOSED, samples=48, iterations=3))

    def __post_init__(self) -> None:
        if not self.counts or not self.seeds or any(k < 0 for k in self.counts):
            raise LamdemoError("A label curve needs numbers of episodes of 0 (all) or more, and at least one seed.")

    @property
    def baseline_steps(self) -> int:
        """As many as the world model without labels and its controller take together."""
        return self.steps + round(self.share * self.controller_steps)


class LabelModels:
    """What is trained for one embodiment's curve, kept in a folder."""

    def __init__(
        self,
        work: Work,
        name: str,
        episodes: Episodes,
        validation: Episodes,
        config: LabelCurveConfig,
    ) -> None:
        """Prepare; nothing is computed yet.

        Args:
            work: of the checkpoint that all begin with; ``out`` is kept in.
            name: of the embodiment: a simulator's, "car", "arm".
            episodes: for training.
            validation: others, by which trainings end.
            config: what to do.

        Raises:
            LamdemoError: there are too few episodes.
        """
        self.work, self.name, self.config = work, name, config
        self.out = work.out / name
        self.episodes, self.validation = episodes, validation
        if not len(episodes) or not len(validation):
            raise LamdemoError(f"The label curve of {name} needs episodes to learn from and others to end by.")
        self.recordings = sorted(set(episodes.recordings))
        self.spec = episodes.spec

    # What is learned from.

    @cached_property
    def train(self) -> list[CachedEpisode]:
        """All episodes for training, and their mirror images, as the checkpoint sees them."""
        return cache_episodes(self.work.pipeline, self.episodes, self.work.kept, mirror=True)

    @cached_property
    def judged(self) -> list[CachedEpisode]:
        """The others, by which trainings end."""
        return cache_episodes(self.work.pipeline, self.validation, self.work.kept)

    def count(self, wanted: int) -> int:
        """Recordings that are labelled where so many are wanted; 0 is all, and so is more than there are."""
        return min(wanted, len(self.recordings)) or len(self.recordings)

    def labelled(self, count: int, seed: int) -> list[CachedEpisode]:
        """The episodes of ``count`` recordings, chosen by the seed: the first of one order, so that 5 are among 20."""
        order = np.random.default_rng([seed, 15]).permutation(len(self.recordings))[:count]
        chosen = {self.recordings[i] for i in order}
        return [e for e in self.train if e.recording in chosen]

    def fresh(self) -> DistilledModel:
        """The checkpoint's distilled model anew.

        Raises:
            LamdemoError: it has none.
        """
        pipeline = self.work.pipeline
        found = load_distilled(self.work.folder, pipeline.model.device)
        if found is None:
            raise LamdemoError(
                f"The checkpoint {pipeline.name} has no draft to begin with; make one with lamdemo train-draft."
            )
        return found

    # What is trained.

    def unlabelled_model(self) -> DistilledModel:
        """The distilled model, trained on with all videos and no label."""
        place, device = self.out / "unlabelled", self.work.pipeline.model.device
        if not (place / f"{DISTILLED}.json").is_file():
            model = self.fresh()
            training = self._training("latents", self.config.steps, 0)
            told = self._until_flat(model, None, training, self.train, place)
            save_companion(model, place, DISTILLED, told | {"checkpoint": self.work.pipeline.checkpoint})
            _forget(place)
        found = load_distilled(place, device, of=self.work.folder)
        assert found is not None
        return found

    def labelled_model(self, count: int, seed: int) -> tuple[DistilledModel, ActionConditioned]:
        """The distilled model, trained on with ``count`` labelled episodes, and what it is told of their commands."""
        place, device = self.out / f"labelled-{count}-{seed}", self.work.pipeline.model.device
        model = self.fresh()
        _, latent, _ = self.work.sizes
        sizes = ActionConditionedConfig({self.spec.name: self.spec.width}, world_model=model.config.world_model)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            baseline = ActionConditioned(sizes, model.config.channels, latent, model.side).to(device)
        if not (place / f"{BASELINE}.safetensors").is_file():
            training = self._training("labels", self.config.baseline_steps, seed)
            told = self._until_flat(model, baseline, training, self.labelled(count, seed), place)
            write_safely(place / f"{BASELINE}.safetensors", weights_of(baseline, torch.float32))
            write_safely(place / f"{BASELINE}.json", json.dumps(told, indent=1).encode())
            _forget(place)
        load_model(baseline, place / f"{BASELINE}.safetensors")
        model.world_model = baseline.world_model
        return model.eval(), baseline.eval()

    def labelled_inverse(self, count: int, seed: int) -> LabelledInverse:
        """Inverse dynamics of the checkpoint's architecture that learns from ``count`` labelled episodes alone."""
        place, model = self.out / f"labelled-inverse-{count}-{seed}", self.work.pipeline.model
        encoder = model.config.encoder
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found = LabelledInverse(model.config.inverse_dynamics, encoder.channels, encoder.grid, self.spec.width)
        if not (place / "model.safetensors").is_file():
            training = LabelledInverseTrainingConfig(
                steps=self.config.baseline_steps, learning_rate=self.config.learning_rate, seed=seed
            )
            trainer = LabelledInverseTrainer(training, found, self.labelled(count, seed), model.device)
            told = train_until_flat(
                trainer,
                self.judged,
                place,
                self.config.stopping,
                lambda words: self.work.say(f"{self.name}, {place.name}: {words}"),
            )
            trainer.finish()
            write_safely(place / "model.safetensors", weights_of(found, torch.float32))
            write_safely(place / "model.json", json.dumps(told, indent=1).encode())
            _forget(place)
        load_model(found, place / "model.safetensors")
        return found.to(model.device).eval()

    def controller(self, count: int, seed: int) -> KnownController:
        """The controller of ``count`` labelled episodes; it serves both world models, whose latents are the same."""
        place, pipeline = self.out / f"controller-{count}-{seed}", self.work.pipeline
        if not (place / "controllers" / f"{self.name}.json").is_file():
            parts = [_part(e) for e in self.labelled(count, seed)]
            if all(channel.kind == "change" for channel in self.spec.channels):
                parts += backwards(parts)
            others = Steps(self.spec, tuple(_part(e) for e in self.judged))
            sizes = ControllerConfig(
                self.spec.width, dropout=0.3, patch=token_patch(pipeline.model.config.encoder.grid)
            )
            training = ControllerTrainingConfig(steps=self.config.controller_steps, noise=1.0, seed=seed)
            known = train_controller(pipeline, Steps(self.spec, tuple(parts)), others, sizes, training, name=self.name)
            assert known is not None
            save_controller(
                known.controller,
                place,
                self.name,
                checkpoint=pipeline.checkpoint,
                spec=known.spec.to_json(),
                about={**known.about, "episodes": count},
            )
        controller, data = load_controller(place, self.name, **fitting(pipeline), device=pipeline.model.device)
        return KnownController(self.name, self.spec, controller, data["about"])

    def _training(self, condition: Literal["labels", "latents"], steps: int, seed: int) -> BaselineTrainingConfig:
        return BaselineTrainingConfig(
            condition=condition,
            steps=steps,
            clips=self.config.clips,
            frames=self.config.frames,
            motion=0.0,
            learning_rate=self.config.learning_rate,
            seed=seed,
        )

    def _until_flat(
        self,
        model: DistilledModel,
        baseline: ActionConditioned | None,
        training: BaselineTrainingConfig,
        episodes: Sequence[CachedEpisode],
        place: Path,
    ) -> dict[str, Any]:
        """Train the model's world model, or the baseline, which begins with it."""

        def coarse(some: Sequence[CachedEpisode]) -> dict[str, list[CachedEpisode]]:
            return {self.spec.name: [_coarse(e, model) for e in some]}

        def say(words: str) -> None:
            self.work.say(f"{self.name}, {place.name}: {words}")

        trainer = BaselineTrainer(training, model.world_model, baseline, coarse(episodes))
        told = train_until_flat(trainer, coarse(self.judged), place, self.config.stopping, say)
        trainer.finish()
        return told


def _part(episode: CachedEpisode) -> Features:
    return Features(episode.states, episode.latents.numpy(), episode.actions.numpy(), episode.recording)


def _coarse(episode: CachedEpisode, model: DistilledModel) -> CachedEpisode:
    """An episode whose states are as the distilled model has them."""
    with torch.no_grad():
        states = model.project(torch.from_numpy(np.array(episode.states, np.float32))).half().numpy()
    small = [cv2.resize(p, (4 * model.side,) * 2, interpolation=cv2.INTER_AREA) for p in episode.pictures]
    return dataclasses.replace(episode, states=states, pictures=np.stack(small))


def _forget(place: Path) -> None:
    """Remove what a finished training needed to go on."""
    for name in (BaselineTrainer.state_name, LabelledInverseTrainer.state_name, "best.safetensors"):
        (place / name).unlink(missing_ok=True)
