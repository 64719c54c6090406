"""The whole model: encoder, inverse dynamics, bottleneck, world model and decoder, and their joint loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamdemo.models.bottleneck import BottleneckConfig, BottleneckOutput, build_bottleneck
from lamdemo.models.decoder import Decoder, DecoderConfig, Rendering
from lamdemo.models.encoder import EncoderConfig, build_encoder
from lamdemo.models.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from lamdemo.models.warp import resize_flow, warp
from lamdemo.models.world_model import Prediction, WorldModel, WorldModelConfig


@dataclass(frozen=True)
class ModelConfig:
    """Everything a checkpoint needs to be rebuilt.

    Attributes:
        encoder: the frozen encoder.
        inverse_dynamics: reads latent actions.
        bottleneck: limits them.
        world_model: applies them.
        decoder: shows them.
        fps: frames a second that one step was trained to span, as the default for new clips.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    inverse_dynamics: InverseDynamicsConfig = field(default_factory=InverseDynamicsConfig)
    bottleneck: BottleneckConfig = field(default_factory=BottleneckConfig)
    world_model: WorldModelConfig = field(default_factory=WorldModelConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    fps: float = 4.0


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms beside the state's L1 error.

    Attributes:
        motion: photometric error of the world model's flow on the small pictures.
        match: the same for the displacement that inverse dynamics reads from correlations.
        teach: distance, in cells, of the world model's flow from that displacement, where the latter explains
            the next picture better than no motion does: matching sees far, the photometric error only near.
        truth: distance, in cells, of the world model's flow and of that displacement from the true motion, where
            it is known, which is in procedural scenes; for each place that moves, so that small things count.
        balance: how far steps in which little changes are weighted up in the first two terms, so that a small
            thing that moves counts beside a camera that does: the exponent of mean change over the step's.
        smooth: first differences of the world model's flow, less across edges of the picture.
        decoder: the decoder's picture error (it has no gradient to anything but the decoder).
        painting: mean of the decoder's mask: painting over is the last resort.
        noise: largest standard deviation of the noise on past states, in units of the whitened state.
        feedback: share of clips, half of whose past states are replaced by the model's own predictions of
            them.
    """

    motion: float = 2.0
    match: float = 1.0
    teach: float = 0.3
    truth: float = 0.3
    balance: float = 0.5
    smooth: float = 0.1
    decoder: float = 1.0
    painting: float = 0.02
    noise: float = 0.1
    feedback: float = 0.3


_TINY = 0.05  # cells a step, up to which a place stands still
_FEW = 6.0  # places that a thing is taken to have at least


def photometric_errors(predicted: Tensor, truth: Tensor) -> Tensor:
    """Error of each picture of ``[B, 3, H, W]``, robust: L1 of colours and of their differences in space. ``[B]``."""
    error = (predicted - truth).abs().mean((1, 2, 3))
    for axis in (-1, -2):
        error = error + (predicted.diff(dim=axis) - truth.diff(dim=axis)).abs().mean((1, 2, 3))
    return error


def photometric_error(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean of `photometric_errors`, a scalar."""
    return photometric_errors(predicted, truth).mean()


def _edge_aware_roughness(flow: Tensor, pictures: Tensor) -> Tensor:
    """Mean absolute first difference of ``flow [B, 2, h, w]``, damped where ``pictures`` have edges."""
    small = F.interpolate(pictures, flow.shape[-2:], mode="area")
    total = flow.new_zeros(())
    for axis in (-1, -2):
        edge = small.diff(dim=axis).abs().mean(1, keepdim=True)
        total = total + (flow.diff(dim=axis).abs() * torch.exp(-8 * edge)).mean()
    return total


def _distances_from_matching(flow: Tensor, displacement: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Mean L1 distance ``[B]`` of two flows ``[B, 2, h, w]`` over the places that the second explains.

    Over those places alone, however few: a small thing that moves teaches as much as a moving camera does.
    """
    with torch.no_grad():
        size = flow.shape[-2:]
        moved = F.interpolate((warp(first, displacement) - second).abs().mean(1, keepdim=True), size, mode="area")
        still = F.interpolate((first - second).abs().mean(1, keepdim=True), size, mode="area")
        explained = (moved < 0.8 * still).float()
        # A few places are noise as often as not: they count less.
        places = explained.sum((1, 2, 3)) + 0.02 * size[0] * size[1]
    return (explained * (flow - displacement).abs().sum(1, keepdim=True)).sum((1, 2, 3)) / places


def _distances_from_truth(flow: Tensor, truth: Tensor, acting: Tensor, known: Tensor) -> Tensor:
    """L1 distance ``[B]`` of two flows ``[B, 2, h, w]``, summed over the picture, for each place that moves.

    Divided by what moves and not by the picture's size: else a thing's motion could spill over its surroundings
    for nothing, since each of those places hardly counts.

    Args:
        flow: what was found.
        truth: what is true.
        acting: share of each place that belongs to a thing that acts, ``[B, 1, h, w]``.
        known: share of each place whose motion is known, ``[B, 1, h, w]``.
    """
    apart = known * (flow - truth).abs().sum(1, keepdim=True)
    moving = known * torch.maximum(acting, (truth.norm(dim=1, keepdim=True) * flow.shape[-1] > _TINY).float())
    # A sliver of a thing at the picture's edge says little, and of a picture that stands still every place counts.
    return apart.sum((1, 2, 3)) / moving.sum((1, 2, 3)).clamp_min(_FEW)


class LatentActionModel(nn.Module):
    """Frozen encoder ``s_t``; inverse dynamics ``z_t = g(s_t, s_t+1)``; world model ``p(s_0..t, z_t)``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        d, g, z = config.encoder.channels, config.encoder.grid, config.bottleneck.channels
        self.encoder = build_encoder(config.encoder)
        self.inverse_dynamics = InverseDynamics(config.inverse_dynamics, d, g)
        self.bottleneck = build_bottleneck(config.bottleneck, config.inverse_dynamics.hidden)
        self.world_model = WorldModel(config.world_model, d, z, g)
        self.decoder = Decoder(config.decoder, d, g)

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

    @torch.no_grad()
    def infer(self, states: Tensor, *, temperature: float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Latent actions ``[B, T-1, Z]`` between consecutive states ``[B, T, N, D]``.

        With a ``temperature`` above 0, that share of the posterior's noise is added (noisy family).
        """
        b, t = states.shape[:2]
        evidence = self.inverse_dynamics(states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1))
        z = self.bottleneck.infer(evidence.forward, evidence.backward, temperature=temperature, generator=generator)
        return z.reshape(b, t - 1, -1)

    @torch.no_grad()
    def render(self, states: Tensor, prediction: Prediction, pictures: Tensor) -> Rendering:
        """How to draw a one-step prediction (``T = 1``) from ``states [B, N, D]`` and their pictures."""
        return self.decoder(states, prediction.states[:, 0], prediction.flow[:, 0], prediction.gate[:, 0], pictures)

    def forward(
        self,
        pictures: Tensor,
        donors: Tensor | None = None,
        *,
        weights: LossConfig,
        motion: tuple[Tensor, Tensor, Tensor] | None = None,
        states: Tensor | None = None,
        strength: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss (paper, equation 1, and the terms of `LossConfig`).

        Args:
            pictures: clips ``[B, T, 3, H, W]`` in [0, 1].
            donors: for each clip, the clip of the batch whose latents it is given, ``[B]``: itself, or one in
                which the same action is carried out in another scene.
            weights: of the loss's terms.
            motion: true flow ``[K, T-1, 2, h, w]`` of the last K clips, how much of each cell belongs to what acts,
                and how much of it is known, both ``[K, T-1, 1, h, w]`` (see `lamdemo.data.scenes.TrueMotion`).
            states: of the pictures ``[B, T, N, D]``, where they are known already; the pictures can then be as
                small as the decoder's.
            strength: share of the bottleneck's constraint in force.
            generator: source of all randomness (noise, feedback).

        Returns:
            The loss, a scalar, and logs.
        """
        b, t = pictures.shape[:2]
        s = t - 1
        if states is None:
            states = self.encode(pictures)
        before, after = states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1)
        evidence = self.inverse_dynamics(before, after)
        latent: BottleneckOutput = self.bottleneck(
            evidence.forward, evidence.backward, strength=strength, generator=generator
        )
        z = latent.z.reshape(b, s, -1)
        if donors is not None:
            z = z[donors]

        past = self._disturbed(states[:, :-1], z, weights, generator)
        prediction = self.world_model(past, z)
        error = (prediction.states - states[:, 1:]).abs().mean((-1, -2))
        with torch.no_grad():
            copy = (states[:, :-1] - states[:, 1:]).abs().mean((-1, -2))

        side = 4 * self.config.encoder.grid
        small = F.interpolate(pictures.flatten(0, 1), (side, side), mode="area").reshape(b, t, 3, side, side)
        first, second = small[:, :-1].flatten(0, 1), small[:, 1:].flatten(0, 1)
        flow = prediction.flow.flatten(0, 1)
        with torch.no_grad():
            still = photometric_errors(first, second)
            share = (still.mean() / still.clamp_min(1e-4)) ** weights.balance
            share = share.clamp(max=6.0) / share.clamp(max=6.0).mean()
        moved = photometric_errors(warp(first, flow), second)
        matched = photometric_errors(warp(first, evidence.displacement), second)
        taught = _distances_from_matching(flow, evidence.displacement.detach(), first, second)
        seen, match = (share * moved).mean(), (share * matched).mean()
        teach = taught.mean() * self.config.encoder.grid
        smooth = _edge_aware_roughness(flow * self.config.encoder.grid, second)

        true = flow.new_zeros(())
        if motion is not None and weights.truth > 0:
            truths = [m.flatten(0, 1) for m in motion]
            for found in (flow, evidence.displacement):
                true = true + _distances_from_truth(found[-len(truths[0]) :], *truths).sum() / len(flow)
            true = true * self.config.encoder.grid

        drawn = self._drawing_loss(pictures, past, prediction, weights, generator)
        loss = (
            error.mean()
            + latent.loss
            + weights.motion * seen
            + weights.match * match
            + weights.teach * teach
            + weights.truth * true
            + weights.smooth * smooth
            + weights.decoder * drawn
        )
        logs = {
            "loss": loss,
            "state": error.mean(),
            "state_over_copy": error.mean() / copy.mean(),
            "motion_over_copy": moved.mean() / still.mean(),
            "match_over_copy": matched.mean() / still.mean(),
            "teach": teach,
            "truth": true,
            "drawn": drawn,
            "bottleneck": latent.loss,
            **latent.logs,
        }
        return loss, {k: v.detach() for k, v in logs.items()}

    def _disturbed(self, states: Tensor, z: Tensor, weights: LossConfig, generator: torch.Generator | None) -> Tensor:
        """Past states as a rollout would see them: noisy, or predicted by the model itself."""
        b, s = states.shape[:2]
        device = states.device

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=device)

        past = states
        # A fixed number of clips, so that a step always costs the same.
        count = round(b * weights.feedback)
        if count and s > 1:
            chosen = torch.randperm(b, generator=generator, device=device)[:count]
            with torch.no_grad():
                own = self.world_model(states[chosen], z[chosen].detach()).states
            fed = uniform(count, s - 1, 1, 1) < 0.5
            past = past.clone()
            past[chosen, 1:] = torch.where(fed, own[:, :-1], past[chosen, 1:])
        if weights.noise > 0:
            noise = torch.randn(past.shape, generator=generator, device=device)
            past = past + noise * weights.noise * uniform(b, 1, 1, 1)
        return past

    def _drawing_loss(
        self,
        pictures: Tensor,
        past: Tensor,
        prediction: Prediction,
        weights: LossConfig,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Error of the decoder's pictures; nothing but the decoder gets a gradient from it.

        One step of each clip is drawn: the decoder learns faster than the world model and costs as much.
        """
        b, t = pictures.shape[:2]
        clip = torch.arange(b, device=pictures.device)
        step = torch.randint(t - 1, (b,), generator=generator, device=pictures.device)
        side = self.config.decoder.picture
        shown = torch.cat([pictures[clip, step], pictures[clip, step + 1]])
        current, truth = F.interpolate(shown, (side, side), mode="area").chunk(2)
        drawing = self.decoder(
            past[clip, step],
            prediction.states[clip, step],
            prediction.flow[clip, step],
            prediction.gate[clip, step],
            current,
        )
        mask, colour = (
            F.interpolate(x, (side, side), mode="bilinear", align_corners=False) for x in (drawing.mask, drawing.colour)
        )
        made = warp(current, resize_flow(drawing.flow, side, side)) * (1 - mask) + mask * colour
        return photometric_error(made, truth) + weights.painting * drawing.mask.mean()
