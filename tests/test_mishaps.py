"""Training that something happens to: a full disk, a folder that may not be written, no memory, damaged clips.

Each ends in one sentence, leaves nothing half written that loads, and goes on bit for bit from what was saved before.
Kills are in ``test_kills.py``, losses that are no number in ``test_training.py``.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square
from torch import Tensor, nn

from lamdemo.core import files
from lamdemo.core.errors import LamdemoError
from lamdemo.data import videos
from lamdemo.data.videos import CacheConfig, ClipSampler
from lamdemo.models import load_checkpoint, read_config
from lamdemo.training import TrainConfig, Trainer, train, trainer, training_recordings
from lamdemo.training.config import BatchConfig, OptimizerConfig
from lamdemo.training.loop import Loop, LoopConfig
from lamdemo.training.mishaps import lack_of_memory
from lamdemo.video import write_video

RECIPE = TrainConfig(
    model=TINY,
    optimizer=OptimizerConfig(steps=4),
    batch=BatchConfig(clips=2, pairs=0, frames=3, workers=0),
    cache=CacheConfig(height=48, fps=8.0),
    bf16=False,
    save_minutes=0.0,  # after each step
)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    for k in range(3):
        write_video(folder / f"{k}.mp4", moving_square(12, step=1 + k), 8)
    return folder


@pytest.fixture(autouse=True)
def _random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "imagenet_weights", lambda: None)


@pytest.fixture(scope="module")
def whole(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nothing happened to, its clips decoded into a cache beside it."""
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "imagenet_weights", lambda: None)
        train(RECIPE, footage, place / "whole", cache=place / "cache")
    return place / "whole"


def tree(folder: Path) -> dict[str, bytes]:
    """What a run keeps, less its logs."""
    paths = [p for name in ("state", "checkpoint") for p in sorted((folder / name).rglob("*")) if p.is_file()]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def one_sentence(error: BaseException, *places: Path) -> str:
    words = str(error)
    assert words.endswith(".") and "\n" not in words and len(words) < 250
    assert not any(str(place) in words for place in places)
    return words


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails_at_any_write_leaves_what_was_saved_before(
    code: int, footage: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save writes four files; each is let fail, with its bytes partly on the disk, in the run's second save."""
    sync, writes = os.fsync, [0]

    def fails(at: int) -> Any:
        def fsync(number: int) -> None:
            writes[0] += 1
            if writes[0] == at:
                os.ftruncate(number, 100)
                raise OSError(code, os.strerror(code))
            sync(number)

        return fsync

    run, cache, saved = tmp_path / "run", whole.parent / "cache", 4
    train(RECIPE, footage, run, cache=cache, max_steps=1)
    for at in range(1, saved + 1):
        before, steps = tree(run), read_config(run / "checkpoint")[1]["steps"]
        writes[0] = 0
        monkeypatch.setattr(files.os, "fsync", fails(at))
        with pytest.raises(LamdemoError, match="go on with --resume") as caught:
            train(RECIPE, footage, run, cache=cache, resume=True, max_steps=3)
        monkeypatch.setattr(files.os, "fsync", sync)
        assert os.strerror(code).lower() in one_sentence(caught.value, tmp_path) and writes[0] == at
        # Each file is the old one or the new one, whole, and nothing is beside them.
        after = tree(run)
        assert after.keys() == before.keys()
        assert sum(after[name] != before[name] for name in after) <= at - 1
        load_checkpoint(run / "checkpoint")
        assert read_config(run / "checkpoint")[1]["steps"] == steps
    train(RECIPE, footage, run, cache=cache, resume=True)
    assert tree(run) == tree(whole)


def test_a_disk_that_is_full_from_the_beginning_leaves_no_checkpoint(
    footage: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(LamdemoError, match="nothing was saved yet, so begin again"):
        train(RECIPE, footage, tmp_path / "run", cache=whole.parent / "cache")
    assert tree(tmp_path / "run") == {}
    # Nor can clips be decoded there.
    with pytest.raises(LamdemoError, match="no space left") as caught:
        training_recordings(footage, tmp_path / "cache", RECIPE)
    one_sentence(caught.value, tmp_path)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root of a machine can make a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("room", [0.0, 0.5])
def test_a_real_disk_that_gets_full(
    room: float, small_disk: Path, footage: Path, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With no room at all the logs fail first, in a thread; with room for half of a state, the state in its middle."""
    run, cache = small_disk / "run", whole.parent / "cache"
    train(RECIPE, footage, run, cache=cache, max_steps=1)
    before = tree(run)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"), open(filler, "wb", 0) as stream:
        while True:
            stream.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - int(room * len(before["state/state.safetensors"])))
    with pytest.raises(LamdemoError, match="no space left on device") as caught:
        train(RECIPE, footage, run, cache=cache, resume=True)
    one_sentence(caught.value, small_disk)
    assert tree(run) == before and "Traceback" not in capfd.readouterr().err
    filler.unlink()
    train(RECIPE, footage, run, cache=cache, resume=True)
    assert tree(run) == tree(whole)


def test_a_folder_that_is_a_file(footage: Path, whole: Path, tmp_path: Path) -> None:
    """What may not be written is told by the system in many ways; root may write anywhere, but not into a file."""
    (tmp_path / "run").write_text("a letter")
    with pytest.raises(LamdemoError, match="run cannot be written") as caught:
        train(RECIPE, footage, tmp_path / "run", cache=whole.parent / "cache")
    one_sentence(caught.value, tmp_path)
    with pytest.raises(LamdemoError, match=r"run cannot|in run") as caught:
        training_recordings(footage, tmp_path / "run", RECIPE)
    one_sentence(caught.value, tmp_path)


class Hungry(Loop[nn.Module, LoopConfig]):
    """Asks for more memory than there is, at its third step."""

    ask: Any = None

    def step_loss(self, step: int) -> tuple[Tensor, dict[str, Tensor | float]]:
        if step == 2:
            self.ask()
        return self.module(torch.ones(1, 4)).square().mean(), {}


def torch_memory() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def numpy_memory() -> None:
    np.empty(1 << 60, np.uint8)


def gpu_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.mark.parametrize("ask", [torch_memory, numpy_memory, gpu_memory])
def test_no_memory_is_one_sentence_and_costs_what_was_not_saved(ask: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    hungry = Hungry(LoopConfig(steps=4, save_minutes=-1.0, bf16=False), nn.Linear(4, 4))
    hungry.ask = ask
    with pytest.raises(LamdemoError, match="not enough memory: what was saved before is kept, so call it") as caught:
        hungry.run(tmp_path)
    one_sentence(caught.value, tmp_path)
    torch.manual_seed(0)
    again = Hungry(LoopConfig(steps=4, save_minutes=-1.0, bf16=False), nn.Linear(4, 4))
    again.ask = lambda: None
    assert again.resume(tmp_path) and again.step == 2 and again.run(tmp_path)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    assert lack_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x4 and 5x4)")) is None
    assert lack_of_memory(KeyError("out of memory")) is None
    wrong = Hungry(LoopConfig(steps=4, bf16=False), nn.Linear(5, 4))
    with pytest.raises(RuntimeError, match="mat1"):
        wrong.run(tmp_path)


@pytest.mark.parametrize(("end", "words"), [("an error", "there is not enough"), ("the system", "the system ended a")])
def test_a_worker_without_memory(
    end: str, words: str, footage: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are made by a process of its own, which the system may end."""
    recipe = dataclasses.replace(RECIPE, batch=dataclasses.replace(RECIPE.batch, workers=1))
    begun, original = (
        Trainer(recipe, training_recordings(footage, whole.parent / "cache", recipe), None),
        ClipSampler.draw,
    )
    main = os.getpid()

    def draws(self: ClipSampler, rng: np.random.Generator, *sizes: int) -> Tensor:
        if os.getpid() != main:
            if end == "the system":
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError
        return original(self, rng, *sizes)

    monkeypatch.setattr(ClipSampler, "draw", draws)
    with pytest.raises(LamdemoError, match=f"{words}.* memory: nothing was saved") as caught:
        begun.train(tmp_path)
    one_sentence(caught.value, tmp_path)


def damaged(footage: Path, place: Path, names: list[str]) -> Path:
    """The clips, and beside them some that are none."""
    place.mkdir()
    for path in footage.iterdir():
        os.link(path, place / path.name)
    for name in names:
        (place / name).write_bytes(b"\0\0\0\x18ftypmp42 and then nothing" * 9)
    return place


def test_damaged_clips_are_named_and_left_out_up_to_a_limit(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"broken{k}.mp4" for k in range(3)]
    place, cache = damaged(footage, tmp_path / "some", names), tmp_path / "cache"
    half = dataclasses.replace(RECIPE, unreadable=0.5)
    assert [r.name for r in training_recordings(place, cache, half)] == ["0.mp4", "1.mp4", "2.mp4"]
    told = capsys.readouterr().err
    assert all(name in told for name in names)
    with pytest.raises(
        LamdemoError, match=r"3 of 6 videos in some cannot be read, more than unreadable = 0\.3"
    ) as caught:
        training_recordings(place, cache, dataclasses.replace(RECIPE, unreadable=0.3))
    one_sentence(caught.value, tmp_path)
    # One may always be, unless none may.
    for name in names[1:]:
        (place / name).unlink()
    assert len(training_recordings(place, cache, RECIPE)) == 3
    with pytest.raises(LamdemoError, match="1 of 4"):
        training_recordings(place, cache, dataclasses.replace(RECIPE, unreadable=0.0))


def test_a_cache_that_a_crash_cut_short_is_made_anew(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [np.array(r.frames) for r in training_recordings(footage, tmp_path, RECIPE)]
    for path in sorted(tmp_path.glob("*.npy"))[:2]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    next(iter(tmp_path.glob("*.json"))).write_bytes(b"")
    after = [np.array(r.frames) for r in training_recordings(footage, tmp_path, RECIPE)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    # And what is whole is read, not decoded.
    monkeypatch.setattr(videos, "read_clip", lambda *_, **__: pytest.fail("decoded again"))
    training_recordings(footage, tmp_path, RECIPE)
