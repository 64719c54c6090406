"""Latents refined on their own clip."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square

from lamdemo.core.errors import LamdemoError
from lamdemo.engine import ActionEdit, LatentActions, TransferPipeline, TransferStep
from lamdemo.engine.refinement import RefinementConfig, _unexplained, refine
from lamdemo.jobs.transfer import Transferred, TransferRequest, transfer
from lamdemo.video import read_clip

EXAMPLE = Path(__file__).parents[1] / "examples" / "clips" / "meadow_tilt.mp4"


@pytest.fixture(scope="module")
def pipeline() -> TransferPipeline:
    return TransferPipeline.from_pretrained()


@pytest.fixture(scope="module")
def frames(pipeline: TransferPipeline) -> np.ndarray:
    return read_clip(EXAMPLE, fps=pipeline.fps, max_frames=4, max_side=320).frames


@torch.no_grad()
def unexplained(pipeline: TransferPipeline, frames: np.ndarray, actions: LatentActions) -> np.ndarray:
    states, z = pipeline.encode(frames), torch.from_numpy(actions.z)
    pictures = torch.nn.functional.interpolate(pipeline.to_tensor(frames), (64, 64), mode="area")
    return _unexplained(pipeline.model.world_model(states[:-1, None], z[:, None]), pictures).numpy()


def test_every_step_is_explained_better(pipeline: TransferPipeline, frames: np.ndarray) -> None:
    glance = pipeline.infer(frames, refinement=0)
    refined = pipeline.refined(frames, glance)
    before, after = (unexplained(pipeline, frames, actions) for actions in (glance, refined))
    assert (after < 0.98 * before).all()
    # It stays near: an action, and not the next picture in disguise.
    assert (np.linalg.norm(refined.z - glance.z, axis=1) < glance.size).all()


def test_it_is_the_default_and_the_same_each_time(pipeline: TransferPipeline, frames: np.ndarray) -> None:
    weights = [p.clone() for p in pipeline.model.parameters()]
    by_default = pipeline.infer(frames)
    glance = pipeline.infer(frames, refinement=0)
    assert not np.array_equal(by_default.z, glance.z)
    np.testing.assert_array_equal(by_default.z, pipeline.refined(frames, glance).z)
    assert all(p.grad is None and torch.equal(p, w) for p, w in zip(pipeline.model.parameters(), weights, strict=True))


def test_no_step_of_the_search_changes_nothing(pipeline: TransferPipeline, frames: np.ndarray) -> None:
    glance = pipeline.infer(frames, refinement=0)
    np.testing.assert_array_equal(pipeline.refined(frames, glance, 0).z, glance.z)


def test_long_clips_are_refined_in_parts(pipeline: TransferPipeline) -> None:
    """As the steps are refined each by itself, where a part ends makes no difference."""
    squares = moving_square(20)
    states, z = pipeline.encode(squares), torch.from_numpy(pipeline.infer(squares, refinement=0).z)
    pictures, config = pipeline.to_tensor(squares), RefinementConfig(steps=1)
    whole = refine(pipeline.model, states, pictures, z, config)
    last = refine(pipeline.model, states[-2:], pictures[-2:], z[-1:], config)
    assert whole.shape == z.shape
    torch.testing.assert_close(whole[-1:], last, atol=1e-3, rtol=1e-3)


def test_a_transfer_refines_what_was_read_at_a_glance(pipeline: TransferPipeline, frames: np.ndarray) -> None:
    glance = pipeline.infer(frames, refinement=0)
    made = {}
    for name, actions, refinement in (("asked", None, None), ("kept", glance, None), ("glance", glance, 0)):
        request = TransferRequest(
            frames, frames[:1], pipeline.fps, ActionEdit(), 0, actions=actions, refinement=refinement
        )
        last = list(transfer(pipeline, request))[-1]
        assert isinstance(last, Transferred)
        made[name] = last.inferred.z
    np.testing.assert_array_equal(made["asked"], made["kept"])
    np.testing.assert_array_equal(made["glance"], glance.z)


def test_the_first_step_does_not_wait_for_what_comes_later(
    pipeline: TransferPipeline, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are refined a few at a time, and it makes no difference which of them together; repeats find them done."""
    parts: list[int] = []
    refined = TransferPipeline.refined
    monkeypatch.setattr(
        TransferPipeline, "refined", lambda self, f, z, *a, **k: parts.append(len(z)) or refined(self, f, z, *a, **k)
    )
    request = TransferRequest(frames, frames[:1], pipeline.fps, ActionEdit(scale=0.5, repeat=2), 0)
    seen = {}
    for event in transfer(pipeline, request):
        if isinstance(event, TransferStep):
            seen[event.index] = list(parts)
    assert isinstance(event, Transferred)
    assert seen[0] == [] and seen[1] == seen[2] == [2] and seen[3] == seen[6] == [2, 1]
    whole = refined(pipeline, frames, pipeline.infer(frames, refinement=0))
    np.testing.assert_allclose(event.inferred.z, whole.z, atol=2e-3)
    np.testing.assert_array_equal(event.actions.z, ActionEdit(scale=0.5, repeat=2).apply(event.inferred).z)
    # Where a GPU is lent for all steps together, all are known before the first.
    parts.clear()
    monkeypatch.setattr(TransferPipeline, "all_at_once", True)
    steps = (e for e in transfer(pipeline, request) if isinstance(e, TransferStep))
    assert next(steps).index == 0 and parts == [2, 1]


def test_what_cannot_be_refined_is_said(pipeline: TransferPipeline, frames: np.ndarray, tiny_checkpoint: Path) -> None:
    with pytest.raises(LamdemoError, match="have 2 actions between them, not 3; give the frames"):
        pipeline.refined(frames[:3], pipeline.infer(frames, refinement=0))
    codes = TransferPipeline.from_pretrained("discrete")
    with pytest.raises(LamdemoError, match="Codes cannot be moved a little"):
        codes.infer(frames, refinement=3)
    # Without layers nothing is refined unless it is asked for.
    plain = TransferPipeline.from_pretrained(tiny_checkpoint)
    assert not TINY.world_model.layers
    np.testing.assert_array_equal(plain.infer(frames).z, plain.infer(frames, refinement=0).z)
