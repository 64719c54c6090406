"""The state in colours and where an action acts."""

from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, moving_square

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline
from lamdemo.latent_space import state_view
from lamdemo.latent_space.state_view import (
    StateColours,
    action_heat,
    colour_picture,
    overlay,
    state_colours,
    step_heat,
)

FRAMES = moving_square(4)
Z, D = TINY.bottleneck.channels, TINY.encoder.channels


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


def patches(seed: int = 0, pictures: int = 5) -> np.ndarray:
    """States ``[M, 64, 12]``: each quarter of a picture shares one of four features, drowned in noise of a cell."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 4, (pictures, 2, 2)).repeat(4, 1).repeat(4, 2).reshape(pictures, 64)
    shared = np.eye(4, 12)[kinds] * 2
    return (shared + rng.normal(size=(pictures, 64, 12))).astype(np.float32)


class TestColours:
    def test_cells_that_share_features_share_a_colour(self) -> None:
        states = patches(pictures=40)
        colours = StateColours.fit(states)
        # Of what is shared by a patch, though the noise of a cell is as strong: the first four features.
        assert (colours.axes[:, :4] ** 2).sum(1).min() > 0.8
        drawn = colours.colours(states[0]).astype(float)
        assert drawn.shape == (8, 8, 3)
        quarters = drawn.reshape(2, 4, 2, 4, 3).swapaxes(1, 2).reshape(4, 16, 3)
        means = quarters.mean(1)
        kinds = patches(pictures=40)[0].reshape(2, 4, 2, 4, 12).mean((1, 3)).reshape(4, 12)[:, :4].argmax(1)
        for a in range(4):
            for b in range(a):
                apart = np.abs(means[a] - means[b]).max()
                assert (apart < 45) == (kinds[a] == kinds[b])

    def test_do_not_flip_between_fits(self) -> None:
        one, other = StateColours.fit(patches(0, 300)), StateColours.fit(patches(1, 300))
        strongest = np.abs(one.axes).argmax(1)
        assert (one.axes[np.arange(3), strongest] > 0).all()
        assert (np.abs(other.axes).max(1) == other.axes.max(1)).all()
        again = StateColours.fit(patches(0, 300))
        np.testing.assert_array_equal(one.axes, again.axes)

    def test_use_the_whole_range_and_no_more(self) -> None:
        states = patches(pictures=20)
        colours = StateColours.fit(states)
        drawn = np.stack([colours.colours(s) for s in states]).reshape(-1, 3)
        for channel in drawn.T:
            assert 0.01 < (channel == 0).mean() < 0.04
            assert 0.01 < (channel == 255).mean() < 0.04

    def test_of_flat_states_are_flat(self) -> None:
        flat = np.ones((2, 16, 5), np.float32)
        assert len(np.unique(StateColours.fit(flat).colours(flat[0]))) == 1

    @pytest.mark.parametrize("shape", [(16, 5), (2, 15, 5), (2, 16, 2), (0, 16, 5)])
    def test_what_are_no_states(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="state"):
            StateColours.fit(np.zeros(shape, np.float32))

    def test_of_a_model_are_fitted_once(self, pipeline: TransferPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        real = state_view.reference_pictures
        monkeypatch.setattr(state_view, "reference_pictures", lambda: calls.append(1) or real())
        other = TransferPipeline(pipeline.model)
        first = state_colours(other)
        assert state_colours(other) is first
        assert len(calls) == 1
        cells = TINY.encoder.grid
        assert first.colours(pipeline.begin(FRAMES[0]).state).shape == (cells, cells, 3)

    def test_blown_up_keep_their_cells(self) -> None:
        colours = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        big = colour_picture(colours, 30, 50)
        assert big.shape == (30, 50, 3)
        np.testing.assert_array_equal(big[0, 0], colours[0, 0])
        np.testing.assert_array_equal(big[-1, -1], colours[1, 1])
        assert len(np.unique(big.reshape(-1, 3), axis=0)) == 4


class TestHeat:
    def test_is_where_states_differ(self, pipeline: TransferPipeline) -> None:
        z = np.random.default_rng(0).normal(size=Z).astype(np.float32)
        heat = action_heat(pipeline, FRAMES[0], z)
        assert heat.shape == (TINY.encoder.grid,) * 2
        step = pipeline.begin(FRAMES[0], idle=True).step(z)
        other = pipeline.begin(FRAMES[0], idle=True).step(np.zeros(Z))
        expected = np.sqrt(((step.state - other.state) ** 2).sum(-1)).reshape(heat.shape)
        np.testing.assert_allclose(heat, expected, rtol=1e-3, atol=1e-4)
        assert heat.max() > 0.1

    def test_of_no_action_is_none(self, pipeline: TransferPipeline) -> None:
        np.testing.assert_array_equal(action_heat(pipeline, FRAMES, np.zeros(Z)), 0)

    def test_needs_the_idle_half(self, pipeline: TransferPipeline) -> None:
        with pytest.raises(ValueError, match="idle"):
            step_heat(pipeline.begin(FRAMES[0]).step(np.zeros(Z)))

    def test_of_another_width_is_refused(self, pipeline: TransferPipeline) -> None:
        with pytest.raises(LamdemoError):
            action_heat(pipeline, FRAMES[0], np.zeros(Z + 3))


class TestOverlay:
    picture = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)

    def test_shows_the_picture_where_nothing_acts(self) -> None:
        heat = np.zeros((4, 4), np.float32)
        np.testing.assert_array_equal(overlay(self.picture, heat), self.picture)
        heat[3, 3] = 5
        drawn = overlay(self.picture, heat)
        np.testing.assert_array_equal(drawn[:16, :24], self.picture[:16, :24])
        # Bright yellow in the hot corner, whatever was there.
        hot = drawn[-1, -1].astype(int)
        assert hot[0] > 150
        assert hot[1] > 150
        assert hot[2] < hot[0]

    def test_gets_brighter_with_heat(self) -> None:
        black = np.zeros((40, 40, 3), np.uint8)
        ramp = np.tile(np.linspace(0, 1, 8, dtype=np.float32), (8, 1))
        light = overlay(black, ramp).astype(float).sum(-1).mean(0)
        assert (np.diff(light) >= -2).all()
        assert light[-1] > light[0] + 200

    def test_is_on_one_scale_where_one_is_given(self) -> None:
        heat = np.full((4, 4), 2.0, np.float32)
        assert (overlay(self.picture, heat, top=2.0) == overlay(self.picture, heat)).all()
        weak = np.abs(overlay(self.picture, heat, top=20.0).astype(int) - self.picture).mean()
        strong = np.abs(overlay(self.picture, heat, top=2.0).astype(int) - self.picture).mean()
        assert weak < 0.3 * strong
        np.testing.assert_array_equal(overlay(self.picture, 100 * heat, top=2.0), overlay(self.picture, heat))
