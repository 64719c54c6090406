"""Training in several processes: they do one run together, whatever their number, and stop and go on together."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import TINY, moving_square
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from test_training import RECIPE, bank, recordings
from torch import Tensor, nn

from lamdemo.core.errors import LamdemoError
from lamdemo.models import BottleneckConfig
from lamdemo.training import TrainConfig, Trainer, train
from lamdemo.training.batches import Batch
from lamdemo.training.config import BatchConfig
from lamdemo.training.loop import Loop, LoopConfig
from lamdemo.training.objective import LossConfig
from lamdemo.training.processes import Processes
from lamdemo.video import write_video

ROOT = Path(__file__).resolve().parents[1]
TOML = """
bf16 = false
save_minutes = 0.0001
model.encoder = { picture = 64, channels = 24 }
model.inverse_dynamics = { width = 32, match = 16, reach = 2, window = 1, hidden = 64, depth = 1 }
model.bottleneck = { channels = 16 }
model.world_model = { width = 32, depth = 1, heads = 2, map_channels = 8, head_width = 16 }
model.decoder = { width = 16, picture = 32 }
optimizer = { steps = 8, learning_rate = 2e-3, ema = 0.9 }
batch = { clips = 1, pairs = 1, frames = 3, parts = 2, photographs = 3, workers = 1 }
"""


def launched(count: int, *arguments: str) -> subprocess.Popen[str]:
    """What ``accelerate launch`` makes of this many processes."""
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    options = "--num_machines 1 --mixed_precision no --dynamo_backend no --num_cpu_threads_per_process 1"
    return subprocess.Popen(
        [*launcher, *options.split(), "--main_process_port", "0", "--num_processes", str(count), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips and a recipe of two parts, the clips decoded, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "clips").mkdir()
    write_video(folder / "clips" / "right.mp4", moving_square(12, step=3), 8)
    write_video(folder / "clips" / "left.mp4", moving_square(12, step=2)[::-1], 8)
    (folder / "recipe.toml").write_text(TOML)
    train(TrainConfig.read(folder / "recipe.toml"), folder / "clips", folder / "alone", cache=folder / "cache")
    return folder


def command(place: Path, out: str, *more: str) -> list[str]:
    run = ["-m", "lamdemo", "train", str(place / "recipe.toml"), "--videos", str(place / "clips"), "--device", "cpu"]
    return [*run, "--out", str(place / out), "--cache", str(place / "cache"), *more]


def assert_equal_runs(one: Path, other: Path) -> None:
    """To rounding: sums may be made in another order."""
    a, b = (load_file(run / "state" / "state.safetensors") for run in (one, other))
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], rtol=1e-4, atol=1e-5, msg=name)


def steps_done(run: Path) -> int:
    try:
        with safe_open(run / "state" / "state.safetensors", "pt") as stream:
            return int(json.loads(stream.metadata()["progress"])["step"])
    except (OSError, SafetensorError):
        return 0


def scripted(script: str, place: Path, out: str, tools: Path, **environment: str) -> str:
    """What a script of recipes/ prints, with programs of this environment and those in ``tools``."""
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    given = map(str, (place / "recipe.toml", place / "clips", place / out, "--cache", place / "cache"))
    done = subprocess.run(
        ["bash", str(ROOT / "recipes" / script), *given],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "DEVICE": "cpu", "THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_do_the_run_of_one(place: Path, tmp_path: Path) -> None:
    """As a machine with two GPUs would."""
    tools = program(tmp_path / "nvidia-smi", "echo GPU 0; echo GPU 1")
    output = scripted("node.sh", place, "two", tools)
    assert output.split() == [str(place / "two" / "checkpoint")]  # one of them speaks
    assert_equal_runs(place / "two", place / "alone")
    assert len(list((place / "two" / "logs").iterdir())) == 1


def test_two_machines_do_the_run_of_one(place: Path, tmp_path: Path) -> None:
    """As Slurm would start it: a launcher on each, here on one and the same."""
    program(tmp_path / "scontrol", "echo 127.0.0.1; echo 127.0.0.2")
    program(
        tmp_path / "srun",
        'shift; SLURM_NODEID=1 "$@" & SLURM_NODEID=0 "$@"; mine=$?; wait $! && exit $mine',
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    slurm = {"SLURM_JOB_NODELIST": "a[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "1"}
    output = scripted("cluster.slurm", place, "cluster", tmp_path, PORT=port, **slurm)
    assert output.split() == [str(place / "cluster" / "checkpoint")]
    assert_equal_runs(place / "cluster", place / "alone")


def program(path: Path, script: str) -> Path:
    """Write a program; returns its folder."""
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)
    return path.parent


def test_a_killed_process_stops_the_run_and_one_alone_goes_on_with_it(place: Path) -> None:
    running = launched(2, *command(place, "killed"))
    deadline = time.monotonic() + 400
    while steps_done(place / "killed") < 2 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    them = [p for p in psutil.Process(running.pid).children(recursive=True) if p.environ().get("RANK") == "1"]
    them.sort(key=lambda p: p.create_time())
    everybody = psutil.Process(running.pid).children(recursive=True)
    them[0].send_signal(signal.SIGKILL)  # the first of them: its workers came later
    _, errors = running.communicate(timeout=300)
    assert running.returncode != 0, errors
    psutil.wait_procs(everybody, timeout=20)
    assert not [p for p in everybody if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    done = steps_done(place / "killed")
    assert 2 <= done < 8
    recipe = TrainConfig.read(place / "recipe.toml")
    train(recipe, place / "clips", place / "killed", cache=place / "cache", resume=True)
    assert_equal_runs(place / "killed", place / "alone")


def test_parts_that_cannot_be_shared_out_are_told(place: Path) -> None:
    running = launched(3, *command(place, "three"))
    _, errors = running.communicate(timeout=600)
    assert running.returncode != 0
    assert "A step's batch has 2 parts and there are 3 processes; set parts under [batch]" in errors
    assert not (place / "three").exists()


PROGRAM = """
import os, sys, torch
from lamdemo.core.errors import LamdemoError
from lamdemo.training.processes import Processes
us = Processes.joined("cpu")
assert (us.count, us.index, us.main) == (2, int(os.environ["RANK"]), os.environ["RANK"] == "0")
one, two, three = (torch.zeros(2, 3, requires_grad=True) for _ in range(3))
one.grad = torch.full((2, 3), 1.0 + us.index)
if us.main:
    two.grad = torch.ones(2, 3)
us.add_up([one, two, three])
assert (one.grad == 3).all() and (two.grad == 1).all() and three.grad is None
assert us.mean({"a": 2.0 * us.index, "b": 1.0}) == {"a": 1.0, "b": 1.0}
assert us.all(True) and not us.all(us.main) and us.as_main(us.main) and not us.as_main(not us.main)
value = torch.full((3,), float(us.index), requires_grad=True)
us.copy_main([value])
assert (value == 0).all()
assert list(us.own(4)) == [us.index, us.index + 2]
us.wait()
if not us.main:
    os._exit(0)
try:
    for _ in range(3):  # what is on its way may still arrive
        us.mean({"a": 1.0})
except LamdemoError as error:
    print(error)
"""


def test_what_processes_tell_each_other(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    running = launched(2, str(tmp_path / "program.py"))
    output, errors = running.communicate(timeout=200)
    assert output.strip() == "Another process of this run has stopped, and so does this one; go on with --resume.", (
        errors
    )


def test_without_accelerate_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(LamdemoError, match="pip install accelerate"):
        Processes.joined("cpu")


class Line(Loop[nn.Linear, LoopConfig]):
    """Fits a line to points, so many a part."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        torch.manual_seed(0)
        super().__init__(LoopConfig(steps=20, learning_rate=0.1), nn.Linear(4, 1))

    @property
    def parts(self) -> int:
        return self._parts

    def step_loss(self, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.part_loss(step, 0)

    def part_loss(self, step: int, part: int) -> tuple[Tensor, dict[str, Tensor]]:
        points = torch.rand(8, 4, generator=torch.Generator().manual_seed(step)).chunk(self._parts)[part]
        loss = (self.module(points) - points.sum(-1, keepdim=True)).square().mean()
        return loss, {"part": torch.tensor(float(part))}


def test_parts_are_one_batch() -> None:
    whole, parted = Line(1), Line(4)
    for _ in range(20):
        one, other = whole.train_step(), parted.train_step()
        assert other["part"] == 1.5  # the mean of 0 to 3
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    torch.testing.assert_close(whole.module.weight, parted.module.weight, rtol=1e-4, atol=1e-5)


def test_a_model_learns_from_two_parts_as_from_a_batch_of_twice_the_size() -> None:
    """But for what is random, and what compares the clips of a batch."""
    quiet = LossConfig(noise=0, feedback=0, carried=0, balance=0, decoder=0)
    recipe = dataclasses.replace(
        RECIPE,
        model=dataclasses.replace(TINY, bottleneck=BottleneckConfig("sparse", 16, 0.1, weight=0)),
        loss=quiet,
        batch=BatchConfig(clips=2, pairs=0, frames=3, photographs=3, workers=0),
    )

    def grads(parts: int) -> tuple[float, dict[str, Tensor]]:
        batch = dataclasses.replace(recipe.batch, parts=parts)
        clips = moving_clips()

        def give(index: int) -> Batch:
            # What it whitens over is the same.
            mine = clips if index >= 10_000_000 else clips.chunk(parts)[index % parts]
            return Batch(mine, torch.arange(len(mine)), None)

        trainer = Trainer(dataclasses.replace(recipe, batch=batch), recordings(), bank(), batches=give)
        logs = trainer.train_step()
        return logs["loss"], {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}

    (loss, one), (other_loss, other) = grads(1), grads(2)
    assert loss == pytest.approx(other_loss, rel=1e-4)
    assert one.keys() == other.keys()
    for name, grad in one.items():
        torch.testing.assert_close(grad, other[name], rtol=1e-3, atol=1e-6, msg=name)


def moving_clips() -> Tensor:
    clips = [torch.from_numpy(moving_square(3, 64, 64, step)).movedim(-1, 1) for step in (1, 2, 3, 4)]
    return torch.stack(clips)


def test_each_part_is_drawn_by_itself_and_prefetched_in_order() -> None:
    recipe = dataclasses.replace(RECIPE, batch=dataclasses.replace(RECIPE.batch, parts=4, workers=1))
    trainer = Trainer(recipe, recordings(), bank())
    drawn = [trainer.maker[i].pictures for i in range(8)]
    assert all(not torch.equal(drawn[i], drawn[j]) for i in range(8) for j in range(i))
    for own in (range(4), range(1, 4, 2)):
        wanted = [drawn[4 * step + part] for step in range(2) for part in own]
        assert all(torch.equal(b.pictures, w) for b, w in zip(trainer.maker.prefetch(0, 2, own), wanted, strict=True))


def test_recipes_need_a_part() -> None:
    with pytest.raises(ValueError, match="one part at least"):
        BatchConfig(parts=0)
