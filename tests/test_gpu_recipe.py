"""The GPU recipe, rehearsed on the CPU: a pack goes there, a small model trains, its weights come back in shards."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, moving_square

from lamdemo.data.packs import pack_pictures, packed_pictures, write_pack
from lamdemo.data.scenes import bundled_things
from lamdemo.data.videos import Recording
from lamdemo.models import load_checkpoint, read_config
from lamdemo.training import TrainConfig

ROOT = Path(__file__).parents[1]
STEPS = 20
_SIZES = {
    "encoder": TINY.encoder,
    "inverse_dynamics": dataclasses.replace(TINY.inverse_dynamics, reader=1),
    "bottleneck": TINY.bottleneck,
    "world_model": dataclasses.replace(TINY.world_model, depth=2, layers=True),
    "decoder": TINY.decoder,
}


def recipe() -> str:
    """The standing recipe with the sizes of a tiny model and a batch of one pair and one clip."""
    lines = ["save_minutes = 60.0", "bottleneck_warmup = 0.0"]
    for name, part in _SIZES.items():
        lines.append(f"[model.{name}]")
        for key, value in dataclasses.asdict(part).items():
            shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
            lines.append(f"{key} = {shown}")
    lines += ["[optimizer]", f"steps = {STEPS}", "fresh = 2.0", "[batch]", "clips = 1", "pairs = 1", "frames = 3"]
    return "\n".join([*lines, "workers = 2", "photographs = 3"]) + "\n"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "pack"
    clips = [Recording(f"wild/{i}.mp4", moving_square(12, step=2 + i), 8.0) for i in range(2)]
    write_pack(clips, folder, height=48)
    assert pack_pictures([bundled_things()], [], folder) > 0
    assert [len(found) for found in packed_pictures(folder)] == [1, 0]
    return folder


def call(*words: object, **settings: object) -> None:
    environment = {**os.environ, **{k: str(v) for k, v in settings.items()}}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "recipes/gpu.sh", *map(str, words)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_twenty_steps_in_two_calls_and_back_in_shards(pack: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(recipe())
    shared = {"CONFIG": tmp_path / "recipe.toml", "DEVICE": "cpu", "RUN": tmp_path / "run", "SHARD": 100_000}
    for number, steps in enumerate((STEPS // 2, STEPS)):
        out = tmp_path / f"out{number}"
        out.mkdir()
        call(pack, out, START=tiny_checkpoint, STOP=steps, **shared)
        assert len(list(out.glob("model.safetensors.part-*"))) > 1
        call("--join", out, tmp_path / f"back{number}")
        assert read_config(tmp_path / f"back{number}")[1]["steps"] == steps
    load_checkpoint(tmp_path / "back1")
    first, last = ((tmp_path / f"back{i}" / "model.safetensors").read_bytes() for i in (0, 1))
    assert first != last
    assert last == (tmp_path / "run" / "checkpoint" / "model.safetensors").read_bytes()


def test_the_standing_recipe_has_the_sizes_of_the_one_for_the_cpu() -> None:
    """So that weights can go from one machine to the other."""
    gpu, cpu = (TrainConfig.read(ROOT / "configs" / f"layers-{name}.toml") for name in ("gpu", "cpu"))
    assert gpu.model == cpu.model
    assert gpu.loss == cpu.loss
