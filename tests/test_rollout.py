"""Acting on a picture step by step: the same as a transfer, with a way back that leaves no trace."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, Rollout, TransferPipeline, TransferStep

FRAMES = moving_square(6)
Z = TINY.bottleneck.channels
LATENTS = np.random.default_rng(3).normal(size=(40, Z)).astype(np.float32)


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


def same(a: TransferStep, b: TransferStep) -> None:
    assert (a.index, a.painted) == (b.index, b.painted)
    for name in ("frame", "idle", "flow", "between", "state", "idle_state"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


class TestSteps:
    @pytest.mark.parametrize("target", [FRAMES[2], FRAMES])
    def test_are_those_of_a_transfer(self, pipeline: TransferPipeline, target: np.ndarray) -> None:
        rollout = pipeline.begin(target, idle=True, between=2)
        np.testing.assert_array_equal(rollout.frame, target if target.ndim == 3 else target[-1])
        streamed = list(pipeline.stream(LatentActions(LATENTS[:6], 4.0), target, between=2))
        same(rollout.now(), streamed[0])
        for z, expected in zip(LATENTS, streamed[1:], strict=False):
            same(rollout.step(z), expected)
            np.testing.assert_array_equal(rollout.frame, expected.frame)
            np.testing.assert_array_equal(rollout.state, expected.state)
            assert rollout.count == expected.index

    def test_without_the_idle_half_are_the_same_to_rounding(self, pipeline: TransferPipeline) -> None:
        both, alone = (pipeline.begin(FRAMES, idle=idle, between=1) for idle in (True, False))
        for z in LATENTS[:4]:
            a, b = both.step(z), alone.step(z)
            np.testing.assert_allclose(b.state, a.state, atol=1e-4)
            assert np.abs(b.frame.astype(int) - a.frame).max() <= 1
            assert np.abs(b.between.astype(int) - a.between).max() <= 1
            np.testing.assert_array_equal(b.idle, FRAMES[-1])
            assert b.idle_state is None
            assert a.idle_state is not None
            assert np.abs(a.idle_state - a.state).max() > 0.1

    def test_no_action_is_idleness(self, pipeline: TransferPipeline) -> None:
        rollout = pipeline.begin(FRAMES[0], idle=True)
        for _ in range(3):
            step = rollout.step(np.zeros(Z))
            np.testing.assert_array_equal(step.frame, step.idle)
            np.testing.assert_array_equal(step.state, step.idle_state)

    @pytest.mark.parametrize("z", [np.zeros(Z + 1), np.zeros((1, Z)), np.full(Z, np.nan), np.zeros(0)])
    def test_what_is_no_action_is_refused_and_changes_nothing(self, pipeline: TransferPipeline, z: np.ndarray) -> None:
        rollout = pipeline.begin(FRAMES[0])
        with pytest.raises(LamdemoError, match=f"{Z} finite numbers"):
            rollout.step(z)
        untouched = pipeline.begin(FRAMES[0])
        same(rollout.step(LATENTS[0]), untouched.step(LATENTS[0]))

    @pytest.mark.parametrize("target", [FRAMES[0, 0], FRAMES[:0], FRAMES.astype(np.float32), np.zeros((4, 4, 4), "u1")])
    def test_what_is_no_target_is_refused(self, pipeline: TransferPipeline, target: np.ndarray) -> None:
        with pytest.raises(LamdemoError):
            pipeline.begin(target)

    def test_keep_no_gradients_and_not_the_target(self, pipeline: TransferPipeline) -> None:
        target = FRAMES[0].copy()
        rollout = pipeline.begin(target)
        assert torch.is_grad_enabled()
        target[:] = 0
        np.testing.assert_array_equal(rollout.frame, FRAMES[0])


class TestUndo:
    @pytest.mark.parametrize("idle", [False, True])
    @pytest.mark.parametrize("target", [FRAMES[2], FRAMES])
    def test_leaves_no_trace(self, pipeline: TransferPipeline, target: np.ndarray, idle: bool) -> None:
        # Over 20 steps, past snapshots and the reach of the context, in every depth up to 11.
        straight = pipeline.begin(target, idle=idle, between=1)
        expected = [straight.step(z) for z in LATENTS[:20]]
        winding = pipeline.begin(target, idle=idle, between=1)
        for i in range(20):
            depth = i % 12
            for z in LATENTS[20 : 20 + depth]:
                winding.step(z)
            for _ in range(depth):
                assert winding.undo()
            assert winding.count == i
            if i:
                np.testing.assert_array_equal(winding.frame, expected[i - 1].frame)
                np.testing.assert_array_equal(winding.state, expected[i - 1].state)
            same(winding.step(LATENTS[i]), expected[i])

    def test_all_the_way_is_the_target(self, pipeline: TransferPipeline) -> None:
        rollout = pipeline.begin(FRAMES)
        state = rollout.state
        assert not rollout.can_undo
        assert not rollout.undo()
        for z in LATENTS[:18]:
            rollout.step(z)
        assert (rollout.frame != FRAMES[-1]).any()
        for left in range(17, -1, -1):
            assert rollout.can_undo
            assert rollout.undo()
            assert rollout.count == left
        assert not rollout.undo()
        np.testing.assert_array_equal(rollout.frame, FRAMES[-1])
        np.testing.assert_array_equal(rollout.state, state)

    def test_reaches_as_far_as_its_history(self, pipeline: TransferPipeline) -> None:
        straight = pipeline.begin(FRAMES)
        expected = [straight.step(z) for z in LATENTS]
        for history in (0, 1, 5, 13):
            rollout = pipeline.begin(FRAMES, history=history)
            for z in LATENTS[:27]:
                rollout.step(z)
            taken = 0
            while rollout.undo():
                taken += 1
                np.testing.assert_array_equal(rollout.frame, expected[26 - taken].frame)
            assert taken == history
            for i in range(27 - history, 30):
                same(rollout.step(LATENTS[i]), expected[i])

    def test_reset_begins_anew(self, pipeline: TransferPipeline) -> None:
        rollout = pipeline.begin(FRAMES, idle=True)
        first = [rollout.step(z) for z in LATENTS[:10]]
        rollout.undo()
        rollout.reset()
        assert (rollout.count, rollout.can_undo) == (0, False)
        np.testing.assert_array_equal(rollout.frame, FRAMES[-1])
        for z, expected in zip(LATENTS, first, strict=False):
            same(rollout.step(z), expected)


def _held(rollout: Rollout) -> int:
    """Bytes of all tensors that a rollout alone keeps alive."""
    seen: dict[int, int] = {}
    stack: list[object] = [vars(rollout)]
    model = rollout.inference.model
    while stack:
        thing = stack.pop()
        if isinstance(thing, torch.Tensor):
            storage = thing.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        elif isinstance(thing, dict):
            stack += list(thing.values())
        elif hasattr(thing, "__iter__") and not isinstance(thing, (str, np.ndarray)):
            stack += list(thing)
        elif hasattr(thing, "__dict__") and thing is not rollout.inference and thing is not model:
            stack.append(vars(thing))
    return sum(seen.values())


def test_the_way_back_takes_little_memory(pipeline: TransferPipeline) -> None:
    target = np.random.default_rng(0).integers(0, 255, (128, 160, 3), np.uint8)
    rollout = pipeline.begin(target)
    for z in LATENTS[:8]:
        rollout.step(z)
    sizes = []
    for k in range(160):
        rollout.step(0.1 * LATENTS[k % 40])
        sizes.append(_held(rollout))
    canvas = 6 * 4 * 128 * 160
    # Eight to ten canvases for 64 steps, not 64; and it stops to grow.
    assert sizes[-1] < 16 * canvas
    assert max(sizes[64:112]) == max(sizes[112:])


def test_is_gone_with_its_last_reference(pipeline: TransferPipeline) -> None:
    rollout = pipeline.begin(FRAMES)
    rollout.step(LATENTS[0])
    gone = weakref.ref(rollout)
    del rollout
    gc.collect()
    assert gone() is None
