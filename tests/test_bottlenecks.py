"""The three bottlenecks: their losses against values worked out by hand, their priors, their oddness."""

import math

import pytest
import torch
from torch import Tensor

from lamdemo.models.bottleneck import (
    Bottleneck,
    BottleneckConfig,
    DiscreteBottleneck,
    NoisyBottleneck,
    SparseBottleneck,
    build_bottleneck,
)

FAMILIES = {"noisy": 0.01, "sparse": 0.2, "discrete": 8.0}
HIDDEN, Z = 12, 6


def build(family: str, capacity: float | None = None, channels: int = Z, **more: float) -> Bottleneck:
    torch.manual_seed(0)
    config = BottleneckConfig(family, channels, FAMILIES[family] if capacity is None else capacity, **more)
    return build_bottleneck(config, HIDDEN)


def reading(bottleneck: Bottleneck) -> Bottleneck:
    """One whose mean is the first Z channels of the evidence of the step, the other way being zero."""
    with torch.no_grad():
        bottleneck.read.weight.zero_()
        bottleneck.read.weight[:, : bottleneck.config.channels] = 2 * torch.eye(bottleneck.config.channels)
    return bottleneck


def evidence(*rows: list[float]) -> tuple[Tensor, Tensor]:
    """Evidence from which a `reading` bottleneck reads these means."""
    forward = torch.zeros(len(rows), HIDDEN)
    forward[:, : len(rows[0])] = torch.tensor(rows)
    return forward, torch.zeros_like(forward)


def random_evidence(count: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    forward, backward = torch.randn(2, count, HIDDEN, generator=generator)
    return forward, backward


@pytest.mark.parametrize("family", FAMILIES)
class TestAll:
    def test_mean_is_odd_in_time(self, family: str) -> None:
        bottleneck = build(family)
        a, b = random_evidence()
        assert torch.equal(bottleneck.mean(a, b), -bottleneck.mean(b, a))
        assert not bottleneck.mean(a, a).any()
        assert bottleneck.mean(a, b).abs().min() > 0

    def test_inference_needs_no_noise(self, family: str) -> None:
        bottleneck = build(family).eval()
        a, b = random_evidence()
        assert torch.equal(bottleneck.infer(a, b), bottleneck.infer(a, b))
        assert torch.equal(bottleneck.infer(a, b), bottleneck(a, b).mean)
        assert not bottleneck.infer(a, a).any()

    def test_gradient_reaches_what_is_read(self, family: str) -> None:
        bottleneck = build(family)
        a, b = (x.requires_grad_() for x in random_evidence())
        bottleneck(a, b).z.sum().backward()
        for gradient in (a.grad, b.grad, bottleneck.read.weight.grad):
            assert gradient is not None
            assert gradient.any()

    def test_samples_are_latents_and_repeat_by_seed(self, family: str) -> None:
        bottleneck = build(family)
        one, again, other = (bottleneck.sample(5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert one.shape == (5, Z)
        assert one.dtype == torch.float32
        assert not one.requires_grad
        assert torch.equal(one, again)
        assert not torch.equal(one, other)


class TestConfig:
    @pytest.mark.parametrize("wrong", [{"family": "loud"}, {"channels": 1}, {"capacity": 0.0}, {"capacity": -2.0}])
    def test_what_cannot_be_is_refused(self, wrong: dict) -> None:
        with pytest.raises(ValueError, match="bottleneck"):
            BottleneckConfig(**wrong)

    def test_one_code_is_not_enough(self) -> None:
        with pytest.raises(ValueError, match="two codes"):
            build("discrete", 1.0)


class TestNoisy:
    def known(self, log_variance: float, capacity: float = 0.5) -> NoisyBottleneck:
        bottleneck = reading(build("noisy", capacity, channels=2))
        assert isinstance(bottleneck, NoisyBottleneck)
        with torch.no_grad():
            bottleneck.spread.weight.zero_()
            bottleneck.spread.bias.fill_(log_variance)
        return bottleneck

    def test_divergence_of_known_gaussians(self) -> None:
        mean, log_variance = torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, math.log(4.0)]])
        # 0; mean 2 costs 2^2/2; a variance of 4 costs (4 - 1 - ln 4)/2.
        expected = torch.tensor([[0.0, 2.0, (3 - math.log(4)) / 2]])
        torch.testing.assert_close(NoisyBottleneck.divergence(mean, log_variance), expected)

    def test_divergence_agrees_with_torch(self) -> None:
        mean, log_variance = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
        ours = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        standard = torch.distributions.Normal(torch.zeros(3, 4), torch.ones(3, 4))
        torch.testing.assert_close(
            NoisyBottleneck.divergence(mean, log_variance),
            torch.distributions.kl_divergence(ours, standard),
        )

    def test_loss_is_beta_times_the_sum_over_channels(self) -> None:
        variance = 0.25
        bottleneck = self.known(math.log(variance), capacity=0.5)
        out = bottleneck(*evidence([1.0, 0.0], [3.0, 1.0]))
        spread = (variance - 1 - math.log(variance)) / 2
        nats = ((0.5 + 2 * spread) + (4.5 + 0.5 + 2 * spread)) / 2
        assert out.logs["nats"].item() == pytest.approx(nats, rel=1e-5)
        assert out.loss.item() == pytest.approx(0.5 * nats, rel=1e-5)
        assert out.logs["active"] == 2

    def test_warm_up_scales_the_loss_from_nothing(self) -> None:
        bottleneck = self.known(0.0)
        given = evidence([1.0, 2.0])
        full = bottleneck(*given).loss
        assert full.item() > 0
        assert bottleneck(*given, strength=0.0).loss == 0
        torch.testing.assert_close(bottleneck(*given, strength=0.25).loss, 0.25 * full)

    def test_noise_has_the_posterior_s_spread(self) -> None:
        bottleneck = self.known(math.log(0.09))
        many = evidence(*[[1.0, -2.0]] * 20_000)
        z = bottleneck(*many, generator=torch.Generator().manual_seed(0)).z.detach()
        torch.testing.assert_close(z.mean(0), torch.tensor([1.0, -2.0]), rtol=0, atol=0.01)
        torch.testing.assert_close(z.std(0), torch.tensor([0.3, 0.3]), rtol=0, atol=0.01)

    def test_temperature_scales_that_noise(self) -> None:
        bottleneck = self.known(math.log(0.09))
        many = evidence(*[[1.0, -2.0]] * 20_000)
        z = bottleneck.infer(*many, temperature=2.0, generator=torch.Generator().manual_seed(0)).detach()
        torch.testing.assert_close(z.std(0), torch.tensor([0.6, 0.6]), rtol=0, atol=0.02)

    def test_sureness_is_even_in_time_and_bounded(self) -> None:
        bottleneck = build("noisy")
        assert isinstance(bottleneck, NoisyBottleneck)
        a, b = random_evidence()
        assert torch.equal(bottleneck.log_variance(a, b), bottleneck.log_variance(b, a))
        extreme = bottleneck.log_variance(1e6 * a, 1e6 * b)
        assert extreme.min() == -10
        assert extreme.max() == 2

    def test_prior_is_standard_normal(self) -> None:
        z = build("noisy").sample(20_000, torch.Generator().manual_seed(0))
        assert z.mean(0).abs().max() < 0.03
        torch.testing.assert_close(torch.cov(z.T), torch.eye(Z), rtol=0, atol=0.04)


class TestSparse:
    def test_energy_of_known_latents(self) -> None:
        z = torch.tensor([[3.0, 0, 0, 4.0], [0.5, 0, 0, 0], [0.5, 0.5, -0.5, -0.5]])
        # Norms 5, 0.5 and 1 against sqrt(4) = 2: lacking 0, 1.5 and 1; L1 norms 7, 0.5 and 2.
        expected = torch.tensor([0.1 * 7, 1.5 + 0.1 * 0.5, 1.0 + 0.1 * 2])
        torch.testing.assert_close(SparseBottleneck.energy(z, 0.1), expected)

    def test_few_large_coordinates_cost_less_than_many_small_ones(self) -> None:
        few, many = torch.tensor([[2.0, 0, 0, 0]]), torch.tensor([[1.0, 1, 1, 1]])
        assert few.norm() == many.norm()
        assert SparseBottleneck.energy(few, 0.1) < SparseBottleneck.energy(many, 0.1)

    def test_energy_has_a_slope_at_zero(self) -> None:
        z = torch.zeros(1, 4, requires_grad=True)
        (slope,) = torch.autograd.grad(SparseBottleneck.energy(z, 0.1).sum(), z)
        assert slope.isfinite().all()

    def test_collapse_of_a_known_batch(self) -> None:
        z = torch.tensor([[1.0, 0.0], [1.0, 2.0], [4.0, 4.0]])
        # Means 2 and 2; variances (1 + 1 + 4)/2 = 3 and (4 + 0 + 4)/2 = 4; covariance (2 + 0 + 4)/2 = 3.
        # Standard deviations are above 1, the covariance counts twice of d(d - 1) = 2.
        expected = 0.1 * 0 + 0.001 * (2 * 3**2) / 2 + 0.1 * (2**2 + 2**2) / 2
        assert SparseBottleneck.collapse(z).item() == pytest.approx(expected, rel=1e-5)

    def test_collapse_punishes_too_little_variance(self) -> None:
        z = torch.tensor([[0.25, -0.5], [-0.25, 0.5]])
        deviations = math.sqrt(2 * 0.25**2), math.sqrt(2 * 0.5**2)
        covariance = -2 * 0.25 * 0.5
        expected = 0.1 * sum(1 - d for d in deviations) / 2 + 0.001 * covariance**2
        assert SparseBottleneck.collapse(z).item() == pytest.approx(expected, rel=1e-5)
        assert SparseBottleneck.collapse(z[:1]) == 0

    def test_loss_is_both_together_weighted_and_warmed(self) -> None:
        bottleneck = reading(build("sparse", 0.1, channels=4, weight=3.0))
        rows = [[3.0, 0, 0, 4.0], [0.5, 0, 0, 0]]
        z = torch.tensor(rows)
        given = evidence(*rows)
        expected = 3.0 * (SparseBottleneck.collapse(z) + (0.7 + 1.55) / 2)
        out = bottleneck(*given)
        torch.testing.assert_close(out.loss, expected)
        torch.testing.assert_close(out.z, z)
        assert out.logs["active"].item() == pytest.approx(1.5)
        assert bottleneck(*given, strength=0.0).loss == 0
        torch.testing.assert_close(bottleneck(*given, strength=0.5).loss, expected / 2)

    def test_langevin_samples_follow_the_energy(self) -> None:
        l1 = 2.0
        z = build("sparse", l1, channels=32).sample(400, torch.Generator().manual_seed(0))
        start = torch.randn(400, 32, generator=torch.Generator().manual_seed(0))
        assert SparseBottleneck.energy(z, l1).mean() < 0.8 * SparseBottleneck.energy(start, l1).mean()
        # exp(-l1 |z|) is a Laplace distribution of mean absolute value 1 / l1, its tail heavier than the
        # normal's; the pull towards a norm of sqrt(Z) and steps of finite size widen it a little.
        assert z.abs().mean().item() == pytest.approx(1 / l1, rel=0.25)
        kurtosis = (z.pow(4).mean() / z.square().mean().square()).item()
        assert kurtosis > 4

    def test_langevin_samples_do_not_run_away(self) -> None:
        z = build("sparse", 0.01, channels=32).sample(100, torch.Generator().manual_seed(0))
        # With next to no slope it is diffusion: variance 1 + 200 * 2 * 0.01.
        assert z.var().item() == pytest.approx(5.0, rel=0.15)


class TestDiscrete:
    CODES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])

    def known(self, weight: float = 1.0) -> DiscreteBottleneck:
        bottleneck = reading(build("discrete", 4.0, channels=2, weight=weight))
        assert isinstance(bottleneck, DiscreteBottleneck)
        bottleneck.codes.copy_(self.CODES)
        bottleneck.sums.copy_(self.CODES)
        return bottleneck

    def test_quantizes_to_the_nearest_code(self) -> None:
        bottleneck = self.known().eval()
        given = evidence([0.9, 0.1], [0.1, -0.2], [-2.0, 0.5], [0.2, 1.4])
        out = bottleneck(*given)
        assert bottleneck.nearest(bottleneck.mean(*given)).tolist() == [1, 0, 3, 2]
        torch.testing.assert_close(out.z, self.CODES[[1, 0, 3, 2]])
        assert torch.equal(out.mean, self.CODES[[1, 0, 3, 2]])
        assert torch.equal(bottleneck.infer(*given), self.CODES[[1, 0, 3, 2]])
        assert out.logs["codes"] == 4
        assert out.logs["nats"].item() == pytest.approx(math.log(4), rel=1e-5)

    def test_commitment_of_a_known_codebook(self) -> None:
        # Squared distances 0.01 + 0.04 and 1 to the codes (1, 0) and (-3, 0).
        out = self.known(weight=2.0).eval()(*evidence([0.9, 0.2], [-2.0, 0.0]))
        assert out.loss.item() == pytest.approx(2.0 * 0.25 * (0.05 + 1.0) / 2, rel=1e-5)

    def test_commitment_pulls_the_mean_to_the_code_and_moves_no_code(self) -> None:
        bottleneck = self.known().eval()
        forward, backward = evidence([0.9, 0.2])
        forward.requires_grad_()
        bottleneck(forward, backward).loss.backward()
        assert forward.grad is not None
        # d/dmean of 0.25 |mean - code|^2 is 0.5 (mean - code).
        torch.testing.assert_close(forward.grad[0, :2], 0.5 * torch.tensor([-0.1, 0.2]))
        assert not bottleneck.codes.requires_grad

    def test_gradient_passes_straight_through(self) -> None:
        bottleneck = self.known().eval()
        forward, backward = evidence([0.9, 0.2], [-2.0, 0.3])
        forward.requires_grad_()
        slope = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
        (bottleneck(forward, backward).z * slope).sum().backward()
        assert forward.grad is not None
        torch.testing.assert_close(forward.grad[:, :2], slope)

    def test_codes_are_moving_averages_of_what_they_stand_for(self) -> None:
        bottleneck = self.known().train()
        bottleneck(*evidence([0.8, 0.4], [1.0, 0.2], [0.1, 1.8]))
        # Sums and counts start at the code and 1; each keeps 0.99 and gains 0.01 of its members.
        torch.testing.assert_close(bottleneck.counts, torch.tensor([0.99, 1.01, 1.0, 0.99]))
        expected = torch.stack(
            [
                torch.zeros(2),
                (0.99 * self.CODES[1] + 0.01 * torch.tensor([1.8, 0.6])) / 1.01,
                0.99 * self.CODES[2] + 0.01 * torch.tensor([0.1, 1.8]),
                self.CODES[3],
            ]
        )
        torch.testing.assert_close(bottleneck.codes, expected)

    def test_codes_converge_to_the_means_of_clusters(self) -> None:
        bottleneck = self.known().train()
        generator = torch.Generator().manual_seed(0)
        centres = torch.tensor([[1.5, 0.5], [-2.0, -1.0], [0.5, 2.5]])
        for _ in range(600):
            points = centres.repeat(4, 1) + 0.05 * torch.randn(12, 2, generator=generator)
            bottleneck(*evidence(*points.tolist()))
        assert torch.cdist(centres, bottleneck.codes).min(1).values.max() < 0.05

    def test_evaluation_learns_nothing(self) -> None:
        bottleneck = self.known().eval()
        bottleneck(*evidence([0.8, 0.4]))
        assert torch.equal(bottleneck.codes, self.CODES)
        assert not bottleneck.idle.any()

    def test_unused_codes_are_put_where_latents_are(self) -> None:
        bottleneck = self.known().train()
        given = evidence([0.9, 0.1], [1.1, -0.1])
        for _ in range(bottleneck.patience):
            bottleneck(*given)
        torch.testing.assert_close(bottleneck.codes[2:], self.CODES[2:])
        bottleneck(*given, generator=torch.Generator().manual_seed(0))
        latents = torch.tensor([[0.9, 0.1], [1.1, -0.1]])
        assert torch.cdist(bottleneck.codes[2:], latents).min(1).values.max() < 1e-6
        assert not bottleneck.idle[1:].any()
        assert bottleneck.counts[2:].tolist() == [1, 1]

    def test_code_zero_stays_zero_used_or_not(self) -> None:
        used, unused = self.known().train(), self.known().train()
        for _ in range(used.patience + 5):
            used(*evidence([0.2, 0.1], [0.1, 0.2]))
            unused(*evidence([0.9, 0.1], [1.1, -0.1]))
        assert used.counts[0] > 1
        # It is never put elsewhere, so its count only fades.
        assert unused.counts[0].item() == pytest.approx(unused.decay ** (unused.patience + 5), rel=1e-4)
        for bottleneck in (used, unused):
            assert not bottleneck.codes[0].any()
            assert not bottleneck.sums[0].any()

    def test_samples_are_codes_all_alike_often(self) -> None:
        bottleneck = self.known()
        z = bottleneck.sample(4000, torch.Generator().manual_seed(0))
        distance = torch.cdist(z, self.CODES)
        assert distance.min(1).values.max() == 0
        shares = distance.argmin(1).bincount(minlength=4) / 4000
        torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.03)

    def test_capacity_is_the_number_of_codes(self) -> None:
        assert build("discrete", 16.0).codes.shape == (16, Z)
