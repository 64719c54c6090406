"""The one way through: frames to latent actions, latent actions on another picture.

The page, the command line, the programming interface and the evaluations all call `TransferPipeline`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lamdemo.core.devices import AUTO, best_device
from lamdemo.core.errors import LamdemoError
from lamdemo.core.latent_actions import ActionEdit, LatentActions
from lamdemo.engine import hub, sharing
from lamdemo.engine.controls import Drive, KnownController, find_controller
from lamdemo.engine.inference import Inference
from lamdemo.engine.out_of_distribution import OutOfDistribution, TrainingLatents
from lamdemo.engine.pretrained import resolve_checkpoint
from lamdemo.engine.results import TransferResult, collect
from lamdemo.engine.rollout import HISTORY, Rollout, TransferStep
from lamdemo.engine.verdict import Read, Verdict, VerdictRule, measure_indicators
from lamdemo.models import LatentActionModel, checkpoint_hash, load_checkpoint, read_config, save_checkpoint
from lamdemo.models.controller import list_controllers, written

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_STEPS = 256
MAX_SIDE = 1280


class TransferPipeline(Inference):
    """Infers latent actions from clips and applies them to pictures.

    Example:
        >>> pipeline = TransferPipeline.from_pretrained()
        >>> actions = pipeline.infer(frames)  # uint8 [T, H, W, 3]
        >>> result = pipeline.transfer(actions, picture)  # uint8 [H, W, 3]

    Attributes:
        training_latents: a sample of the latents seen in training; None where the checkpoint brings none.
        verdict_rule: turns what is measured on a transfer into a verdict; None where the checkpoint brings none.
        trained: numbers of training steps, by what they are called.
        folder: of the checkpoint; None of a model that is in no file.
        all_at_once: whether all actions must be known before the first is carried out.
    """

    all_at_once = False

    def __init__(
        self,
        model: LatentActionModel,
        *,
        name: str = "model",
        checkpoint: str = "",
        training_latents: TrainingLatents | None = None,
        verdict_rule: VerdictRule | None = None,
        trained: Mapping[str, int] | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__(model, name=name, checkpoint=checkpoint)
        self.training_latents, self.verdict_rule = training_latents, verdict_rule
        self.trained = dict(trained or {})
        self.folder = folder
        self._known: dict[str, tuple[int, KnownController]] = {}

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path | None = None,
        *,
        device: torch.device | str = AUTO,
        dtype: torch.dtype = torch.float32,
        cache_dir: str | Path | None = None,
    ) -> Self:
        """Load a checkpoint.

        Args:
            path_or_id: a folder, the name of a bundled checkpoint ("noisy"), or an id on the Hugging Face
                Hub, ``owner/name`` or ``owner/name@revision``. The bundled default without it.
            device: where to compute; the best there is by default, see `lamdemo.core.devices.best_device`.
            dtype: of the weights.
            cache_dir: where downloads are kept; huggingface_hub's own place by default.

        Raises:
            LamdemoError: there is no such checkpoint or device, or the checkpoint is damaged.
        """
        folder = resolve_checkpoint(path_or_id, cache_dir=cache_dir)
        _, about = read_config(folder)
        model = load_checkpoint(folder, device=best_device(device), dtype=dtype)
        name = str(path_or_id) if path_or_id is not None else folder.name
        return cls(
            model,
            name=Path(name).name if Path(name).is_absolute() else name,
            checkpoint=checkpoint_hash(folder),
            training_latents=TrainingLatents.read(folder),
            verdict_rule=VerdictRule.read(folder),
            trained={k: v for k, v in about.items() if k.endswith("steps") and isinstance(v, int)},
            folder=folder,
        )

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        license: str | None = None,
        datasets: Sequence[str] = (),
        reports: str | Path | None = None,
    ) -> Path:
        """Write ``config.json``, weights, what else the checkpoint brings, and a model card.

        Files of a checkpoint are copied, so that their hash stays; a model that is in no file, or whose parameters are
        no longer those of its file, is written as it is, without what belongs to the weights it had.

        Args:
            folder: is made if need be.
            name: see `lamdemo.engine.sharing.save`, for this and what follows.
            license: of the card.
            datasets: that it was trained on.
            reports: whose figures the card gives.

        Returns:
            The folder.

        Raises:
            LamdemoError: it cannot be written there.
        """
        source, place = self.folder, Path(reports) if reports is not None else None
        with tempfile.TemporaryDirectory() as scratch:
            if source is None or not sharing.is_in_file(self.model, source):
                source = Path(scratch) / (self.name.rpartition("/")[2] or "model")
                save_checkpoint(self.model, source, about={**self.trained})
            return sharing.save(source, Path(folder), name=name, license=license, datasets=datasets, reports=place)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        token: str | None = None,
        create_pr: bool = False,
        license: str | None = None,
        datasets: Sequence[str] = (),
        reports: str | Path | None = None,
    ) -> str:
        """Push what `save_pretrained` writes to the Hugging Face Hub, for `from_pretrained` to load anywhere.

        Args:
            repo_id: ``owner/name``; made if need be.
            private: see `lamdemo.engine.hub.push`, for this and the next four.
            revision: a branch.
            commit_message: of the commit.
            token: of who pushes.
            create_pr: propose it only.
            license: see `save_pretrained`, for this and what follows.
            datasets: that it was trained on.
            reports: whose figures the card gives.

        Returns:
            The address of the commit.

        Raises:
            LamdemoError: the Hub does not take it.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.save_pretrained(scratch, name=repo_id, license=license, datasets=datasets, reports=reports)
            return hub.push(
                folder,
                repo_id,
                private=private,
                revision=revision,
                message=commit_message,
                token=token,
                create_pr=create_pr,
            )

    def out_of_distribution(self, actions: LatentActions) -> OutOfDistribution | None:
        """Whether actions are of the kind this model saw in training.

        Args:
            actions: as inferred; an edit moves them away from what any clip shows, and that is its purpose.

        Returns:
            A score of each step, with a sentence where a warning is due; None where the checkpoint brings no sample of
            latents or the actions are of another width.
        """
        if self.training_latents is None or actions.z.shape[1] != self.model.config.bottleneck.channels:
            return None
        return self.training_latents.judge(actions.z)

    def judge(
        self, source: np.ndarray, steps: list[TransferStep], applied: LatentActions, read: Read | None = None
    ) -> Verdict | None:
        """How much a transfer can be trusted, from what is measured on it; takes about half as long as the transfer.

        Args:
            source: the frames whose actions were inferred, uint8 ``[S + 1, H, W, 3]``.
            steps: of `stream`, whole or `TransferStep.lightened`; of a stopped one as many as there are.
            applied: the actions that were carried out.
            read: what is read at a glance in the source, where that is known already.

        Returns:
            None where the checkpoint brings no rule, or no step was taken.
        """
        if self.verdict_rule is None or len(steps) < 2:
            return None
        return self.verdict_rule.judge(measure_indicators(self, source, steps, applied, read))

    # Transfer.

    def stream(
        self,
        actions: LatentActions,
        target: np.ndarray,
        *,
        edit: ActionEdit | None = None,
        between: int = 0,
    ) -> Iterator[TransferStep]:
        """Apply actions to a target, frame by frame as they are made.

        Args:
            actions: from `infer`. Without an edit each is looked at when it is carried out and not before, so that
                later ones may still be refined meanwhile, unless this pipeline takes them `all_at_once`.
            target: a picture uint8 ``[H, W, 3]``, or the frames of a clip up to and with the moment to start
                from, ``[T, H, W, 3]``, whose past the model then sees.
            edit: scale, negate, repeat.
            between: frames to add between two steps, for smooth playing.

        Yields:
            The target itself, then one step after another.

        Raises:
            LamdemoError: the actions are of another model, or there are too many.
        """
        actions = actions if edit is None else edit.apply(actions)
        self.check(actions)
        if not 1 <= len(actions) <= MAX_STEPS:
            raise LamdemoError(
                f"A transfer can have 1 to {MAX_STEPS} steps, and this has {len(actions)}; choose a shorter range."
            )
        return self._run(actions, target, between)

    def _run(self, actions: LatentActions, target: np.ndarray, between: int) -> Iterator[TransferStep]:
        rollout = self.begin(target, idle=True, between=between, history=0)
        yield replace(rollout.now(), steps=len(actions))
        for z in actions.z:
            yield replace(rollout.step(z), steps=len(actions))

    def begin(self, target: np.ndarray, *, idle: bool = False, between: int = 0, history: int = HISTORY) -> Rollout:
        """Begin to act on a target, step by step and with a way back; `stream` is this with all actions known.

        Args:
            target: see `stream`.
            idle: compute the same moments under no action too, which takes twice the time.
            between: frames to add between two steps, for smooth playing.
            history: how many steps can be taken back.

        Raises:
            LamdemoError: the target is no picture and no frames of a clip.
        """
        return Rollout(self, target, idle=idle, between=between, history=history)

    # Known actions.

    @property
    def controllers(self) -> list[str]:
        """Names of the checkpoint's controllers, by which known actions can be carried out."""
        return list_controllers(self.folder) if self.folder is not None else []

    def controller(self, name: str) -> KnownController:
        """Load a controller of this checkpoint.

        Args:
            name: one of `controllers`.

        Raises:
            LamdemoError: there is none of this name, or it is damaged or of another checkpoint.
        """
        when, (read, known) = written(self.folder, name), self._known.get(name, (0, None))
        if known is None or read != when:  # it may be trained anew while a page is open
            known = find_controller(self, self.folder, name)
            self._known[name] = when, known
        return known

    def drive(
        self,
        target: np.ndarray,
        controller: KnownController | str,
        *,
        idle: bool = False,
        between: int = 0,
        history: int = HISTORY,
        before: np.ndarray | None = None,
    ) -> Drive:
        """Begin to carry out known actions on a target, step by step and with a way back.

        Args:
            target: see `stream`.
            controller: from `controller`, or its name; load it once where many drives begin.
            idle: see `begin`.
            between: see `begin`.
            history: see `begin`.
            before: commands ``[R, A]`` that were given before, the newest last; none without it.

        Raises:
            LamdemoError: see `begin` and `controller`.
        """
        known = self.controller(controller) if isinstance(controller, str) else controller
        return Drive(self, target, known, idle=idle, between=between, history=history, before=before)

    # Whole transfers.

    def transfer_each(
        self,
        sources: Iterable[np.ndarray | LatentActions],
        targets: Sequence[np.ndarray],
        *,
        fps: float | None = None,
        edit: ActionEdit | None = None,
        between: int = 0,
    ) -> Iterator[tuple[int, int, TransferResult]]:
        """Carry the actions of each source over to each target; those of a source are inferred once.

        Args:
            sources: see `transfer`; read one by one, so that a generator may read them from files.
            targets: see `stream`.
            fps: see `transfer`.
            edit: see `stream`.
            between: see `stream`.

        Yields:
            Which source and which target, from 0, and the result; all of one source before the next.

        Raises:
            LamdemoError: see `infer` and `stream`.
        """
        for i, source in enumerate(sources):
            actions = source if isinstance(source, LatentActions) else self.infer(source, fps)
            watched = None if isinstance(source, LatentActions) else source
            for j, target in enumerate(targets):
                yield i, j, self._whole(actions, watched, target, edit or ActionEdit(), between)

    def transfer(
        self,
        source: np.ndarray | LatentActions,
        target: np.ndarray,
        *,
        fps: float | None = None,
        edit: ActionEdit | None = None,
        between: int = 0,
        temperature: float = 0.0,
        seed: int = 0,
        refinement: int | None = None,
    ) -> TransferResult:
        """Carry the actions of a source over to a target.

        Args:
            source: frames uint8 ``[T, H, W, 3]``, or actions from `infer`.
            target: see `stream`.
            fps: of the source's frames; the model's own by default.
            edit: see `stream`.
            between: see `stream`.
            temperature: see `infer`.
            seed: see `infer`.
            refinement: see `infer`.

        Raises:
            LamdemoError: see `infer` and `stream`.
        """
        if isinstance(source, LatentActions):
            return self._whole(source, None, target, edit or ActionEdit(), between)
        actions = self.infer(source, fps, temperature=temperature, seed=seed, refinement=refinement)
        return self._whole(actions, source, target, edit or ActionEdit(), between)

    def _whole(
        self, actions: LatentActions, watched: np.ndarray | None, target: np.ndarray, edit: ActionEdit, between: int
    ) -> TransferResult:
        """A transfer of actions, judged where the frames that they were inferred from are known."""
        steps = list(self.stream(actions, target, edit=edit, between=between))
        applied = edit.apply(actions)
        verdict = None if watched is None else self.judge(watched, steps, applied)
        return collect(steps, applied, self.out_of_distribution(actions), verdict)
