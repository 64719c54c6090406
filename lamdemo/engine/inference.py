"""From pictures to states and latent actions, with one model: what everything else in the engine stands on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.core.latent_actions import LatentActions
from lamdemo.engine.refinement import RefinementConfig, refine
from lamdemo.models import LatentActionModel

# Pictures that are encoded at once. On a CPU few: what more take the C library gives back to the system and gets anew
# each time, which takes as long as the encoder.
_CHUNK, _CPU_CHUNK = 16, 4
_STEPS = 32  # steps that are inferred at once; more take longer, as more pictures do


class Inference:
    """Encodes pictures and infers latent actions.

    Attributes:
        model: in the mode for use.
        name: what to call it.
        checkpoint: SHA-256 of its weights; empty where that is not known.
    """

    def __init__(self, model: LatentActionModel, *, name: str = "model", checkpoint: str = "") -> None:
        self.model, self.name, self.checkpoint = model.eval(), name, checkpoint

    @property
    def fps(self) -> float:
        """Steps a second at which clips are best read."""
        return self.model.config.fps

    @property
    def family(self) -> str:
        """See `ModelConfig.family`."""
        return self.model.config.family

    @property
    def channels(self) -> int:
        """Width ``Z`` of the latents."""
        return self.model.config.bottleneck.channels

    @property
    def picture(self) -> int:
        """Height and width of the pictures that the encoder sees."""
        return self.model.config.encoder.picture

    def computing(self) -> AbstractContextManager[object]:
        """What lets weights of half precision meet pictures and states of full precision."""
        dtype = self.model.world_model.tokens.weight.dtype
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.model.device.type, dtype)

    def to_tensor(self, frames: np.ndarray) -> Tensor:
        """Frames ``[..., H, W, 3]`` uint8 to ``[..., 3, H, W]`` in [0, 1] on the model's device.

        Raises:
            LamdemoError: the array is not of such frames.
        """
        if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or frames.shape[-1] != 3 or not frames.size:
            raise LamdemoError("Frames must be uint8 RGB pictures [T, H, W, 3]; convert them first.")
        # A copy where the array is read-only (a memory-mapped file), which torch cannot share.
        tensor = torch.from_numpy(np.require(frames, requirements=["C", "W"])).to(self.model.device)
        return tensor.movedim(-1, -3).float() / 255

    def encode(self, frames: np.ndarray) -> Tensor:
        """States ``[T, N, D]`` of frames ``[T, H, W, 3]``, stretched to the encoder's square.

        Raises:
            LamdemoError: the array is not of such frames, or holds none.
        """
        states = []
        size = _CPU_CHUNK if self.model.device.type == "cpu" else _CHUNK
        for at in range(0, max(len(frames), 1), size):  # none at all is refused as one chunk of none
            with self.computing():
                states.append(self.model.encode(self.square(frames[at : at + size])))
        return torch.cat(states)

    def square(self, frames: np.ndarray) -> Tensor:
        """Frames as the encoder sees them, ``[T, 3, H, W]`` in [0, 1]."""
        side = self.model.config.encoder.picture
        pictures = self.to_tensor(frames)
        if pictures.shape[-2:] == (side, side):
            return pictures
        return F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)

    def latents(self, states: Tensor, *, temperature: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Latent actions ``[S, Z]`` between consecutive states ``[T, N, D]``, so many at once as memory allows.

        Args:
            states: of one clip.
            temperature: see `infer`.
            generator: of the noise.
        """
        with self.computing():
            parts = [
                self.model.infer(states[None, at : at + _STEPS + 1], temperature=temperature, generator=generator)[0]
                for at in range(0, len(states) - 1, _STEPS)
            ]
        return torch.cat(parts)

    def infer(
        self,
        frames: np.ndarray,
        fps: float | None = None,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        refinement: int | None = None,
        states: Tensor | None = None,
    ) -> LatentActions:
        """Latent actions between consecutive frames.

        Args:
            frames: uint8 ``[T, H, W, 3]``, at least two.
            fps: frames a second, kept with the result; the model's own by default.
            temperature: share of the posterior's noise that is added (noisy family); 0 is the mean.
            seed: of that noise.
            refinement: see `refinement_steps`.
            states: of the frames, where they are known already, as `encode` gives them.

        Raises:
            LamdemoError: there are fewer than two frames, or latents of this family cannot be refined.
        """
        if frames.ndim != 4 or len(frames) < 2:
            raise LamdemoError("The source needs at least two frames; an action is what happens between them.")
        generator = torch.Generator(self.model.device).manual_seed(seed)
        states = self.encode(frames) if states is None else states
        z = self.latents(states, temperature=temperature, generator=generator)
        z = self._refined(frames, states, z, self.refinement_steps(refinement, temperature))
        return LatentActions(z.float().cpu().numpy(), fps or self.fps, self.checkpoint)

    def read(self, frames: np.ndarray) -> np.ndarray:
        """Latents at a glance, float32 ``[T - 1, Z]``, see `lamdemo.engine.readers.LatentReader`."""
        return self.infer(frames, refinement=0).z

    def refined(
        self,
        frames: np.ndarray,
        actions: LatentActions,
        refinement: int | None = None,
        *,
        states: Tensor | None = None,
    ) -> LatentActions:
        """Actions with which the world model explains their own frames better; see `lamdemo.engine.refinement`.

        Args:
            frames: between which they lie, uint8 ``[S + 1, H, W, 3]``.
            actions: to begin from, as `infer` gave them.
            refinement: see `refinement_steps`.
            states: see `infer`.

        Raises:
            LamdemoError: the actions are not of these frames or of this model, or cannot be refined.
        """
        self.check(actions)
        if len(frames) != len(actions) + 1:
            raise LamdemoError(
                f"{len(frames)} frames have {len(frames) - 1} actions between them, not {len(actions)}; give the "
                "frames that the actions were inferred from."
            )
        steps = self.refinement_steps(refinement)
        if not steps:
            return actions
        z = torch.from_numpy(actions.z).to(self.model.device)
        z = self._refined(frames, self.encode(frames) if states is None else states, z, steps)
        return LatentActions(z.float().cpu().numpy(), actions.fps, actions.checkpoint)

    def _refined(self, frames: np.ndarray, states: Tensor, z: Tensor, steps: int) -> Tensor:
        if not steps:
            return z
        with self.computing():
            return refine(self.model, states, self.square(frames), z, RefinementConfig(steps=steps))

    def refinement_steps(self, asked: int | None = None, temperature: float = 0.0) -> int:
        """How many steps the search for better latents takes.

        Args:
            asked: so many; 0 leaves what the inverse dynamics reads at a glance. Without it as many as serve: none of
                codes, none of a model without layers, and none where noise was added, which it would take out again.
            temperature: share of the posterior's noise in the latents.

        Raises:
            LamdemoError: latents of this family cannot be refined.
        """
        codes = self.family == "discrete"
        if asked is None:
            serves = self.model.config.world_model.layers and not codes and not temperature
            return RefinementConfig.steps if serves else 0
        if asked and codes:
            raise LamdemoError("Codes cannot be moved a little, so this checkpoint's actions cannot be refined.")
        return asked

    def check(self, actions: LatentActions) -> None:
        """See that actions belong to this checkpoint.

        Raises:
            LamdemoError: they are of another width or were made with another checkpoint.
        """
        channels = self.model.config.bottleneck.channels
        if actions.z.shape[1] != channels:
            raise LamdemoError(
                f"These latent actions have {actions.z.shape[1]} channels and this checkpoint's have {channels}; "
                "use the checkpoint they were made with."
            )
        if actions.checkpoint and self.checkpoint and actions.checkpoint != self.checkpoint:
            raise LamdemoError(
                "These latent actions were made with another checkpoint; use that one, or infer them anew."
            )
