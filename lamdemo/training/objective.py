"""What a model is trained for: the paper's loss (section 3.2), and the terms that teach motion, layers and drawing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamdemo.models.latent_action_model import LatentActionModel
from lamdemo.training.drawing_losses import drawing_losses
from lamdemo.training.layer_losses import (
    FlowLayers,
    SceneTruth,
    StepTruth,
    flow_layer_loss,
    layer_losses,
    readout_loss,
    tell_carried,
    uniform,
)
from lamdemo.training.motion_losses import motion_losses


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms beside the state's L1 error. Lengths are in cells of the state's grid."""

    motion: float = 2.0  # photometric error of the composed layers on the small pictures
    match: float = 1.0  # the same for the displacement that inverse dynamics reads from correlations
    # Distance of the world model's flow from that displacement, where the latter explains the next picture better
    # than no motion does: matching sees far, the photometric error only near.
    teach: float = 0.3
    # Distance of that displacement (and, without layers, of the flow) from the true motion, where it is known, which
    # is in scenes; for each place that moves, so that small things count.
    truth: float = 0.3
    # How far steps in which little changes are weighted up in the first two terms, so that a small thing that moves
    # counts beside a camera that does: the exponent of mean change over the step's.
    balance: float = 0.5
    smooth: float = 0.1  # first differences of the ground's flow, less across edges of the picture
    ground: float = 1.0  # distance of the ground's flow from the true one, over its length
    # Distance of the acting layer's flow under the true matte from the true one, over its length, so that a small
    # turn counts as much as a large step.
    acting: float = 1.0
    votes: float = 0.5  # the same for what each place proposes
    # Error of the acting thing's displacement, turn and growth as a linear map reads them from z, over their length:
    # z itself shall say them, whatever the thing's size and place.
    readout: float = 0.3
    matte: float = 1.0  # cross-entropy and overlap of the coarse matte
    cover: float = 0.5  # the same for the acting layer after the step, and for what enters
    flow_layers: float = 0.3  # how far layers of real clips are from those that their optical flow suggests
    remainder: float = 0.1  # mean length of what is added to the acting layer's similarity
    sparse: float = 0.1  # mean of the matte on real clips
    decoder: float = 1.0  # the decoder's picture error (it has no gradient to anything but the decoder)
    sharp: float = 1.0  # cross-entropy and overlap of the decoder's matte
    entering: float = 0.5  # the same for where the decoder paints what enters, and the error of the colours there
    painter: float = 1.0  # the painter's picture error (no gradient to anything but the painter)
    painting: float = 0.02  # mean of the decoder's mask on real clips: painting over is the last resort
    noise: float = 0.1  # largest standard deviation of the noise on past states, in units of the whitened state
    # Share of clips, half of whose past states are replaced by the model's own predictions of them.
    feedback: float = 0.3
    # Distance of the latent that is read again from a step's prediction from that it was made with, over its length.
    cycle: float = 0.0
    carried: float = 0.5  # share of scenes in which the model is told where the acting layer is, roughly


class Objective(nn.Module):
    """The joint loss of a model; a module, so that it can be compiled."""

    def __init__(self, model: LatentActionModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        pictures: Tensor,
        swap: Tensor | None = None,
        *,
        weights: LossConfig,
        truth: SceneTruth | None = None,
        seen: FlowLayers | None = None,
        states: Tensor | None = None,
        strength: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss (paper, equation 1, and the terms of `LossConfig`).

        Args:
            pictures: clips ``[B, T, 3, H, W]`` in [0, 1].
            swap: for each clip, the clip of the batch whose latents it is given, ``[B]``: itself, or one in
                which the same action is carried out in another scene.
            weights: of the loss's terms.
            truth: of the last K clips, which are scenes.
            seen: of the first R clips, which are real.
            states: of the pictures ``[B, T, N, D]``, where they are known already; the pictures can then be as
                small as the decoder's.
            strength: share of the bottleneck's constraint in force.
            generator: source of all randomness (noise, feedback).

        Returns:
            The loss, a scalar, and logs.
        """
        model = self.model
        b, t = pictures.shape[:2]
        grid = model.config.encoder.grid
        if states is None:
            states = model.encode(pictures)
        evidence = model.evidence(states[:, :-1], states[:, 1:])
        latent = model.bottleneck(evidence.forward, evidence.backward, strength=strength, generator=generator)
        z = latent.z.reshape(b, t - 1, -1)
        if swap is not None:
            z = z[swap]
        known = StepTruth(truth, grid) if truth is not None else None
        carried = tell_carried(known, states, grid, weights.carried, generator)
        past, carried = disturbed(model, states[:, :-1], z, carried, weights, generator)
        prediction, layers = model.world_model.predict(past, z, carried=carried)
        error = (prediction.states - states[:, 1:]).abs().mean((-1, -2))
        with torch.no_grad():
            copy = (states[:, :-1] - states[:, 1:]).abs().mean((-1, -2))

        terms, logs = motion_losses(
            pictures, prediction, evidence.displacement, known, balance=weights.balance, layers=layers is not None
        )
        if layers is not None:
            terms["remainder"] = layers.remainder.abs().mean() * grid
            real = b * (t - 1) - (known.count if known is not None else 0)
            terms["sparse"] = prediction.matte.flatten(0, 1)[:real].sum() / (b * (t - 1) * grid**2)
            if seen is not None:
                terms["flow_layers"] = flow_layer_loss(prediction, seen, b * (t - 1))
            if known is not None:
                terms |= layer_losses(prediction, layers, carried, known)
                assert model.readout is not None
                terms["readout"] = readout_loss(model.readout(latent.z[-known.count :]), known)
        if weights.cycle > 0:
            again = model.evidence(past, prediction.states)
            mean = latent.mean.reshape(b, t - 1, -1)
            mean = (mean if swap is None else mean[swap]).flatten(0, 1).detach()
            apart = model.bottleneck.mean(again.forward, again.backward) - mean
            terms["cycle"] = apart.square().sum() / mean.square().sum().clamp_min(1e-6)
        terms |= drawing_losses(model, pictures, states, past, prediction, truth, weights.painting, generator)
        loss = error.mean() + latent.loss + sum(getattr(weights, name) * term for name, term in terms.items())
        logs |= {"loss": loss, "state": error.mean(), "state_over_copy": error.mean() / copy.mean(), **terms}
        if known is not None:
            scenes = known.count // (t - 1)
            logs["scenes_over_copy"] = error[-scenes:].mean() / copy[-scenes:].mean().clamp_min(1e-6)
        logs |= {"bottleneck": latent.loss, **latent.logs}
        return loss, {k: v.detach() for k, v in logs.items()}


def disturbed(
    model: LatentActionModel,
    states: Tensor,
    z: Tensor,
    carried: Tensor,
    weights: LossConfig,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Past states ``[B, S, N, D]`` as a rollout would see them: noisy, or predicted by the model itself.

    Returns:
        The states, and with them where the acting layer was left, as ``carried [B, S, 1, h, w]``.
    """
    b, s = states.shape[:2]
    device = states.device
    past = states
    # A fixed number of clips, so that a step always costs the same.
    count = round(b * weights.feedback)
    if count and s > 1:
        chosen = torch.randperm(b, generator=generator, device=device)[:count]
        with torch.no_grad():
            own = model.world_model(states[chosen], z[chosen].detach(), carried=carried[chosen])
        fed = uniform(generator, device, count, s - 1, 1, 1) < 0.5
        past, carried = past.clone(), carried.clone()
        past[chosen, 1:] = torch.where(fed, own.states[:, :-1], past[chosen, 1:])
        carried[chosen, 1:] = torch.where(fed[..., None], own.cover[:, :-1].to(carried.dtype), carried[chosen, 1:])
    if weights.noise > 0:
        noise = torch.randn(past.shape, generator=generator, device=device)
        past = past + noise * weights.noise * uniform(generator, device, b, 1, 1, 1)
    return past, carried
