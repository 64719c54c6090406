"""The whole model: encoder, inverse dynamics, bottleneck, world model and decoder."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.bottleneck import BottleneckConfig, build_bottleneck
from lamdemo.models.decoder import Decoder, DecoderConfig, Rendering
from lamdemo.models.encoder import EncoderConfig, build_encoder
from lamdemo.models.inverse_dynamics import Evidence, InverseDynamicsConfig, build_inverse_dynamics
from lamdemo.models.layers import zero_initialized
from lamdemo.models.painter import Painter, PainterConfig
from lamdemo.models.world_model import Prediction, WorldModel, WorldModelConfig


@dataclass(frozen=True)
class ModelConfig:
    """Everything a checkpoint needs to be rebuilt."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)  # the frozen encoder
    inverse_dynamics: InverseDynamicsConfig = field(default_factory=InverseDynamicsConfig)  # reads latent actions
    bottleneck: BottleneckConfig = field(default_factory=BottleneckConfig)  # limits them
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)  # applies them
    decoder: DecoderConfig = field(default_factory=DecoderConfig)  # shows them
    # Paints what comes into view; only with the world model's layers.
    painter: PainterConfig = field(default_factory=PainterConfig)
    fps: float = 4.0  # frames a second that one step was trained to span, as the default for new clips

    @property
    def family(self) -> str:
        """What the model is named after: the one idea in which it differs from its neighbours.

        "residual" reads latents from differences of states, "disentangled" from their structure; others are named
        after their bottleneck.
        """
        if self.inverse_dynamics.reads == "residual":
            return "residual"
        return "disentangled" if self.world_model.structure else self.bottleneck.family


class LatentActionModel(nn.Module):
    """Frozen encoder ``s_t``; inverse dynamics ``z_t = g(s_t, s_t+1)``; world model ``p(s_0..t, z_t)``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        d, g, z = config.encoder.channels, config.encoder.grid, config.bottleneck.channels
        self.encoder = build_encoder(config.encoder)
        self.inverse_dynamics = build_inverse_dynamics(config.inverse_dynamics, d, g)
        self.bottleneck = build_bottleneck(config.bottleneck, config.inverse_dynamics.hidden)
        self.world_model = WorldModel(config.world_model, d, z, g)
        self.painter: Painter | None = None
        self.readout: nn.Linear | None = None
        details: tuple[int, int] | None = None
        if config.world_model.layers:
            encoder: Any = self.encoder
            self.painter, details = Painter(config.painter, d, g), encoder.detail_channels
            # Without a bias: no action is read as none, and the reverse as the reverse.
            self.readout = zero_initialized(nn.Linear(z, 4, bias=False))
        self.decoder = Decoder(config.decoder, d, g, details)

    def train(self, mode: bool = True) -> LatentActionModel:
        """Switch to training; the encoder stays frozen."""
        super().train(mode)
        self.encoder.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.world_model.tokens.weight.device

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """States ``[..., N, D]`` of pictures ``[..., 3, H, W]`` in [0, 1] of the encoder's size."""
        lead = pictures.shape[:-3]
        states = self.encoder(pictures.reshape(-1, *pictures.shape[-3:]))
        return states.reshape(*lead, *states.shape[1:])

    def details(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See `Encoder.details`; the weights are frozen, and a gradient reaches the pictures."""
        encoder: Any = self.encoder
        return encoder.details(pictures)

    def evidence(self, first: Tensor, second: Tensor) -> Evidence:
        """What inverse dynamics sees of pairs of states, each ``[..., N, D]``; rows are pairs, in their order."""
        seen = self.world_model.evidence
        return self.inverse_dynamics(seen(first).flatten(0, -3), seen(second).flatten(0, -3))

    @torch.no_grad()
    def infer(self, states: Tensor, *, temperature: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Latent actions ``[B, T-1, Z]`` between consecutive states ``[B, T, N, D]``.

        With a ``temperature`` above 0, that share of the posterior's noise is added (noisy family).
        """
        b, t = states.shape[:2]
        evidence = self.evidence(states[:, :-1], states[:, 1:])
        z = self.bottleneck.infer(evidence.forward, evidence.backward, temperature=temperature, generator=generator)
        return z.reshape(b, t - 1, -1)

    @torch.no_grad()
    def render(self, states: Tensor, prediction: Prediction, pictures: Tensor, *, matte: bool = True) -> Rendering:
        """How to draw a one-step prediction (``T = 1``) from ``states [B, N, D]`` and their pictures.

        Args:
            states: before the step.
            prediction: of the step.
            pictures: ``[B, 3, H, W]`` in [0, 1], as they are before the step.
            matte: whether a sharp matte of what acts is needed.
        """
        details, paint = None, None
        if self.painter is not None:
            paint = partial(self.painter, prediction.states[:, 0])
            if matte:
                side = self.config.encoder.picture
                details = self.details(
                    F.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)
                )
        return self.decoder(states, prediction, pictures, details, paint)[0]
