"""Shards hold the clips they were cut from, are read piece by piece, and can be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from conftest import TINY
from torch import Tensor

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.data.packs import frames_of
from lamdemo.data.shards import INDEX_NAME, ShardConfig, ShardFrames, is_shards, read_shards, write_shards
from lamdemo.data.videos import AugmentConfig, ClipSampler
from lamdemo.models import load_checkpoint
from lamdemo.training import TrainConfig, train, trainer
from lamdemo.training.config import BatchConfig, OptimizerConfig
from lamdemo.video import write_video

CONFIG = ShardConfig(height=48, fps=8.0, seconds=1.0, crf=10, megabytes=0.005)


def brightening(frames: int, base: int) -> np.ndarray:
    """Frames that can be told apart by their brightness."""
    shades = (base + 3 * np.arange(frames)).astype(np.uint8)
    return np.repeat(shades, 48 * 64 * 3).reshape(frames, 48, 64, 3)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    (folder / "wild").mkdir()
    write_video(folder / "wild" / "dark.mp4", brightening(20, 10), 8, crf=10)  # two pieces and a half
    write_video(folder / "light.mp4", brightening(8, 180), 8, crf=10)
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


@pytest.fixture(scope="module")
def shards(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sets") / "shards"
    count, problems = write_shards(clips, ["wild/dark.mp4", "broken.mp4", "light.mp4"], out, CONFIG)
    assert count == 4 and len(problems) == 1 and "broken.mp4" in problems[0]
    return out


def test_every_frame_is_there_once_and_in_order(shards: Path, clips: Path) -> None:
    assert is_shards(shards) and not is_shards(clips)
    read = read_shards(shards)
    assert [(r.name, len(r.frames), r.fps) for r in read] == [
        ("wild/dark.mp4", 8, 8.0),
        ("wild/dark.mp4", 8, 8.0),
        ("wild/dark.mp4", 4, 8.0),
        ("light.mp4", 8, 8.0),
    ]
    means = np.concatenate([np.asarray(r.frames).mean((1, 2, 3)) for r in read])
    wanted = np.concatenate([10 + 3 * np.arange(20), 180 + 3 * np.arange(8)])
    assert np.abs(means - wanted).max() < 2
    assert read[0].frames.shape == (8, 48, 64, 3) and read[0].frames[2:4, 5:9].shape == (2, 4, 64, 3)


def test_readers_of_webdataset_take_them(shards: Path) -> None:
    tars = sorted(map(str, shards.glob("*.tar")))
    assert len(tars) > 1  # begun anew when one is full
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode())
    assert [s["json"] for s in samples] == [
        {"name": r["name"], "piece": r["piece"], "fps": 8.0}
        for rows in json.loads((shards / INDEX_NAME).read_text())["shards"].values()
        for r in rows
    ]
    frames = frames_of(samples[3]["mp4"])
    assert np.array_equal(np.stack(frames), np.asarray(read_shards(shards)[3].frames))


def test_only_what_a_clip_needs_is_read(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, int]] = []
    whole = ShardFrames.__array__

    def noted(self: ShardFrames, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        read.append((self.path.name, self.offset))
        return whole(self)

    monkeypatch.setattr(ShardFrames, "__array__", noted)
    sampler = ClipSampler(read_shards(shards), {}, AugmentConfig())
    assert not read

    def drawn(seed: int) -> Tensor:
        return sampler.draw(np.random.default_rng(seed), 1, 3, 32)

    one = drawn(3)
    assert len(read) == 1 and one.shape == (1, 3, 3, 32, 32)
    # The same whenever it is asked for, whatever was read in between.
    drawn(4)
    assert torch.equal(drawn(3), one)


def test_a_model_learns_from_shards_and_decodes_nothing_beforehand(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "imagenet_weights", lambda: None)
    recipe = TrainConfig(
        model=TINY,
        optimizer=OptimizerConfig(steps=4, warmup=0.5),
        batch=BatchConfig(clips=2, pairs=1, frames=3, photographs=3, workers=1),
        bf16=False,
    )
    checkpoint = train(recipe, shards, tmp_path / "run")
    assert load_checkpoint(checkpoint).config == TINY
    assert not (tmp_path / "run" / "cache").exists()
    train(recipe, shards, tmp_path / "cut", max_steps=2)
    train(recipe, shards, tmp_path / "cut", resume=True)
    assert (checkpoint / "model.safetensors").read_bytes() == (
        tmp_path / "cut" / "checkpoint" / "model.safetensors"
    ).read_bytes()


def test_the_command_leaves_out_what_is_held_out(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = tmp_path / "split.toml"
    split.write_text('validation = []\ntest = ["light.mp4"]\n')
    command = ["shards", str(clips), "--out", str(tmp_path / "out"), "--height", "48", "--split", str(split)]
    with pytest.raises(SystemExit) as left:
        main(command)
    told = capsys.readouterr()
    assert left.value.code == 0, told.err
    assert "(1 pieces of 1 videos" in told.out and "skipped: broken.mp4" in told.err.replace("\n", " ")
    assert {r.name for r in read_shards(tmp_path / "out")} == {"wild/dark.mp4"}
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2 and "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["index", "version", "gone", "cut", "rotten", "none"])
def test_damage_is_told(fault: str, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_shards(clips, ["light.mp4"], out, CONFIG)
    (shard,) = out.glob("*.tar")
    index = json.loads((out / INDEX_NAME).read_text())
    if fault == "index":
        (out / INDEX_NAME).write_text("{}")
    elif fault == "version":
        (out / INDEX_NAME).write_text(json.dumps({**index, "format": "lamdemo-shards/9"}))
    elif fault == "none":
        (out / INDEX_NAME).write_text(json.dumps({**index, "shards": {}}))
    elif fault == "gone":
        shard.unlink()
    elif fault == "cut":
        shard.write_bytes(shard.read_bytes()[:700])
    else:
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(LamdemoError, match=r"make the(m| shards) again") as caught:
        np.asarray(read_shards(out)[0].frames)
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_without_videos_is_told(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(LamdemoError, match="holds no video that can be read"):
        write_shards(clips, ["broken.mp4"], tmp_path / "out")
    assert not is_shards(tmp_path / "out")
