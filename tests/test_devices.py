"""Where it computes: the best device there is, what is told of it, and GPUs that are lent for seconds."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamdemo.core import devices
from lamdemo.core.devices import best_device, device_in_words
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline, zero_gpu
from lamdemo.jobs.transfer import Transferred, TransferRequest, transfer
from lamdemo.ui.models import Models, load
from lamdemo.video import read_clip, read_image


@pytest.mark.parametrize(
    ("there", "expected"),
    [({"cuda", "mps"}, "cuda"), ({"mps"}, "mps"), (set(), "cpu")],
)
def test_auto_takes_the_first_that_is_there_and_holds_numbers(
    there: set[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
    monkeypatch.setattr(devices, "_holds_numbers", lambda name: True)
    assert best_device() == best_device("auto") == expected
    # A driver that is there and does not work is no reason not to compute.
    monkeypatch.setattr(devices, "_holds_numbers", lambda name: name == "cpu")
    assert best_device() == "cpu"


def test_what_is_named_is_taken_or_refused() -> None:
    assert best_device("cpu") == "cpu" and best_device(torch.device("cpu")) == "cpu"
    for name in ("meta", "warp", "cuda:99", ""):
        with pytest.raises(LamdemoError, match="--device"):
            best_device(name)
    assert device_in_words("cpu") == "CPU" and device_in_words("mps") == "Apple GPU"


def test_a_page_loads_where_it_is_told_and_says_so(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    wanted = TransferPipeline.from_pretrained(tiny_checkpoint, device="cpu")
    monkeypatch.setattr(TransferPipeline, "from_pretrained", lambda name, device: asked.append(device) or wanted)
    assert Models(default=str(tiny_checkpoint), device="cuda:1").runs_on == "CPU"
    assert Models(default=str(tiny_checkpoint)).get() is wanted
    assert asked == ["cuda:1", "auto"]


class Lender(types.ModuleType):
    """A stand-in for the package ``spaces``: what is lent a GPU runs apart, with copies of what it is given.

    Attributes:
        asked: name of each function that was called, and seconds that it asked for.
        closed: of those, which were left before their end.
    """

    def __init__(self) -> None:
        super().__init__("spaces")
        self.__spec__ = types.SimpleNamespace(name="spaces")  # type: ignore[assignment]
        self.asked: list[tuple[str, float]] = []
        self.closed: list[str] = []

    def GPU(self, task: Callable[..., Any], *, duration: Callable[..., float]) -> Callable[..., Any]:
        def steps(*given: Any) -> Iterator[Any]:
            try:
                for made in task(*pickle.loads(pickle.dumps(given))):
                    yield pickle.loads(pickle.dumps(made))
            except GeneratorExit:
                self.closed.append(task.__name__)
                raise

        def lent(*given: Any) -> Any:
            self.asked.append((task.__name__, duration(*given)))
            if task.__name__ == "_run":
                return steps(*given)
            return pickle.loads(pickle.dumps(task(*pickle.loads(pickle.dumps(given)))))

        return lent


@pytest.fixture
def lender(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lender]:
    """A Space on ZeroGPU, whose GPU is this machine's CPU."""
    lender = Lender()
    monkeypatch.setitem(sys.modules, "spaces", lender)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr(zero_gpu, "DEVICE", "cpu")
    zero_gpu._lent.cache_clear(), zero_gpu._twin.cache_clear()
    yield lender
    zero_gpu._lent.cache_clear(), zero_gpu._twin.cache_clear()


def request_of(pipeline: TransferPipeline, clip: Path, photo: Path) -> TransferRequest:
    frames = read_clip(clip, fps=pipeline.fps * 3).frames[:19]
    return TransferRequest(frames, read_image(photo)[None], pipeline.fps, between=2)


def result(pipeline: TransferPipeline, clip: Path, photo: Path) -> Transferred:
    *_, done = transfer(pipeline, request_of(pipeline, clip, photo))
    assert isinstance(done, Transferred)
    return done


def test_on_zero_gpu_a_transfer_is_lent_a_gpu_for_as_long_as_it_takes(
    lender: Lender, tiny_checkpoint: Path, small_clip: Path, photo: Path
) -> None:
    here = result(TransferPipeline.from_pretrained(tiny_checkpoint), small_clip, photo)
    pipeline = load(str(tiny_checkpoint))
    assert isinstance(pipeline, zero_gpu.LentGpuPipeline)
    assert zero_gpu._twin.cache_info().currsize == 1  # placed at the start, not with the first transfer
    there = result(pipeline, small_clip, photo)
    assert np.array_equal(np.stack(here.smooth), np.stack(there.smooth))
    assert np.array_equal(here.actions.z, there.actions.z) and here.verdict == there.verdict
    assert [name for name, _ in lender.asked] == ["_run"]  # this checkpoint brings no rule to judge by

    # More steps and larger pictures ask for longer, and none for longer than is lent.
    (_, few) = lender.asked.pop()
    actions = here.actions
    many = zero_gpu.seconds_of_run("", actions.__class__(np.tile(actions.z, (4, 1)), 4.0), photo_of(60, 80), 2)
    large = zero_gpu.seconds_of_run("", actions, photo_of(1280, 1280), 2)
    most = zero_gpu.seconds_of_run("", actions.__class__(np.tile(actions.z, (40, 1)), 4.0), photo_of(1280, 1280), 2)
    assert few < many < most and few < large < most <= 120


def photo_of(height: int, width: int) -> np.ndarray:
    return np.zeros((1, height, width, 3), np.uint8)


def test_a_loan_ends_where_a_transfer_is_stopped(
    lender: Lender, tiny_checkpoint: Path, small_clip: Path, photo: Path
) -> None:
    pipeline = load(str(tiny_checkpoint))
    steps: list[Any] = []
    request = request_of(pipeline, small_clip, photo)
    *_, done = transfer(pipeline, request, keep=lambda s: steps.append(s) or s, should_stop=lambda: len(steps) > 2)
    assert isinstance(done, Transferred) and len(done.actions) == 2
    assert lender.closed == ["_run"]


def test_judging_is_lent_a_gpu_too(lender: Lender, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load(str(tiny_checkpoint))
    monkeypatch.setattr(TransferPipeline, "judge", lambda self, *given: ("judged by", type(self).__name__, len(given)))
    pipeline.verdict_rule = object()  # type: ignore[assignment]
    z = np.zeros((2, 16), np.float32)
    said = pipeline.judge(photo_of(8, 8), [1, 2, 3], zero_gpu.LatentActions(z, 4.0))  # type: ignore[list-item]
    assert said == ("judged by", "TransferPipeline", 3) and [name for name, _ in lender.asked] == ["_judge"]


@pytest.mark.parametrize("asked", ["", "0", "false"])
def test_elsewhere_nothing_is_lent(
    asked: str, lender: Lender, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", asked)
    assert type(load(str(tiny_checkpoint))) is TransferPipeline and not lender.asked
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.delitem(sys.modules, "spaces")
    monkeypatch.setattr(sys, "path", [])  # and no package of that name
    assert not zero_gpu.is_on()


@pytest.mark.parametrize(
    ("machine", "units", "wanted"),
    [
        ("x86_64", {"avx512_bf16": True, "amx_tile": False}, torch.bfloat16),
        ("AMD64", {"avx512_bf16": False, "amx_tile": True}, torch.bfloat16),
        ("x86_64", {"avx512_bf16": False, "amx_tile": False}, torch.float32),
    ],
)
def test_bfloat16_is_for_processors_that_multiply_in_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, units: dict[str, bool], wanted: torch.dtype
) -> None:
    from lamdemo.core.devices import fast_dtype

    monkeypatch.setattr("platform.machine", lambda: machine)
    for unit, there in units.items():
        monkeypatch.setattr(torch.cpu, f"_is_{unit}_supported", lambda there=there: there, raising=False)
    fast_dtype.cache_clear()
    try:
        assert fast_dtype("cpu") == wanted
        assert fast_dtype("mps") == torch.float32
    finally:
        fast_dtype.cache_clear()


def test_training_and_planning_ask_which_precision_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    from test_twins import sizes, traces

    from lamdemo.models import DistilledConfig, DistilledModel, WorldModelConfig
    from lamdemo.planning.dynamics import ByLatents, Imagination, ModelDynamics
    from lamdemo.training.action_conditioned import BaselineTrainer, BaselineTrainingConfig

    small = WorldModelConfig(width=16, depth=1, heads=2, patch=2, map_channels=8, head_width=8)
    model = DistilledModel(DistilledConfig(channels=8, world_model=small), *sizes())
    for wanted in (torch.bfloat16, torch.float32):
        for place in ("lamdemo.training.loop", "lamdemo.planning.dynamics"):
            monkeypatch.setattr(f"{place}.fast_dtype", lambda device, wanted=wanted: wanted)
        assert ModelDynamics(ByLatents(), Imagination.distilled(model), actions=3).dtype == wanted
        exact = ModelDynamics(ByLatents(), Imagination.distilled(model), actions=3, dtype=torch.float32)
        assert exact.dtype == torch.float32
        for asked in (True, False):
            config = BaselineTrainingConfig(condition="latents", frames=4, bf16=asked)
            trainer = BaselineTrainer(config, model.world_model, None, {"car": traces()})
            assert trainer.precision == (wanted if asked else torch.float32)
