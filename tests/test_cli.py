"""The command line from end to end, with a tiny checkpoint: results, refusals, and what is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square

import lamdemo
from lamdemo.cli import main
from lamdemo.cli.common import Span, command_line, span
from lamdemo.core.devices import let_threads_wait
from lamdemo.engine import LatentActions, TransferPipeline, save_latents
from lamdemo.models import checkpoint_hash, read_config
from lamdemo.video import read_clip, read_image, write_video

ROOT = Path(__file__).parents[1]
RESULTS = {"transfer.mp4", "side_by_side.mp4", "latents.npz", "report.json"}


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Done]]:
    """Runs a command in this process."""
    monkeypatch.delenv("LAMDEMO_DEBUG", raising=False)
    for name in (
        "HF_HUB_VERBOSITY",
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "OPENCV_LOG_LEVEL",
        "TF_CPP_MIN_LOG_LEVEL",
    ):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what the command sets is undone

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        said = capsys.readouterr()
        return Done(int(caught.value.code or 0), said.out, said.err)

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)


def in_a_process(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lamdemo", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}
    )


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, however deep."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def refused(done: Done, *words: str) -> None:
    """One line that says what is wrong, in which there is no folder of this machine."""
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("lamdemo: ") and done.err.count("\n") == 1 and done.err.endswith(".\n")
    assert not any(part in done.err for part in ("/tmp", "pytest", str(Path.home()) + "/", "Traceback"))
    for word in words:
        assert word in done.err, done.err


# Help and version.


def test_help_answers_without_importing_what_computes() -> None:
    code = (
        "import sys\nfrom lamdemo.cli import main\n"
        "for command in ([], ['transfer'], ['compare'], ['train'], ['evaluate'], ['scenes'], ['app']):\n"
        "    try:\n        main([*command, '--help'])\n"
        "    except SystemExit as leave:\n        assert leave.code == 0\n"
        "heavy = {'torch', 'numpy', 'cv2', 'gradio', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    # Nor does the package itself, nor an import of its parts that only tell.
    code = "import sys, lamdemo, lamdemo.ui, lamdemo.cli\nprint({'torch', 'numpy', 'cv2', 'gradio'} & set(sys.modules))"
    plain = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert plain.stdout == "set()\n", plain
    # And the page opens before torch is there.
    code = "import sys, lamdemo.ui.page\nprint('torch' in sys.modules)"
    page = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert page.stdout == "False\n", page
    for words in ("lamdemo transfer walk.mp4 street.jpg --out result", "lamdemo train configs/", "--pairs"):
        assert words in done.stdout


def test_version_and_no_command(run: Callable[..., Done]) -> None:
    assert run("--version") == Done(0, f"lamdemo {lamdemo.__version__}\n", "")
    done = run()
    assert done.code == 0 and "transfer" in done.out


# Transfer.


def test_transfer_writes_its_results_and_says_nothing_else(
    tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "result"
    done = in_a_process("transfer", small_clip, photo, "--out", out, "--checkpoint", tiny_checkpoint)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == f"{out / 'transfer.mp4'} (8 steps)\n"
    assert {p.name for p in out.iterdir()} == RESULTS
    assert [p.name for p in out.parent.iterdir()] == ["result"]

    # 17 frames at 8 a second are 9 at the model's 4: eight steps, and two frames between each two.
    film, both = read_clip(out / "transfer.mp4"), read_clip(out / "side_by_side.mp4")
    assert film.frames.shape == (25, 60, 80, 3) and film.fps == 12
    assert len(both) == 25 and both.fps == 12
    target = read_image(photo)
    assert np.abs(film.frames[0].astype(int) - target).mean() < 4
    assert np.abs(film.frames[-1].astype(int) - target).mean() > 8

    actions = LatentActions.load(out / "latents.npz")
    assert actions.z.shape == (8, 16) and actions.fps == 4
    report = json.loads((out / "report.json").read_text())
    assert report["inputs"]["source"] == "square.mp4" and report["inputs"]["target"] == "scene.png"
    assert report["checkpoint"]["sha256"] == actions.checkpoint == checkpoint_hash(tiny_checkpoint)
    assert report["settings"]["smooth"] == 2 and report["settings"]["max_steps"] == 32
    assert report["steps"] == {"available": 8, "used": 8, "made": 8}
    assert report["lamdemo"] == lamdemo.__version__
    assert report["command"].startswith("lamdemo transfer square.mp4 scene.png --out result")
    assert report["measures"]["motion"] > 0 and report["seconds"]["all"] > 0
    assert str(tmp_path.parents[1]) not in json.dumps(report)


def test_a_transfer_warns_of_steps_unlike_those_seen_in_training(
    run: Callable[..., Done], tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    mine = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
    inferred = TransferPipeline.from_pretrained(mine).infer(read_clip(small_clip, fps=4).frames).z
    noise = np.random.default_rng(0).normal(1, 0.02, (160, 1))
    for sample, far in ((np.repeat(inferred, 20, 0) * noise, 0), (-np.repeat(inferred, 20, 0) * noise, 8)):
        save_latents(mine, sample)
        done = run("transfer", small_clip, photo, "--out", tmp_path / "out", "--checkpoint", mine)
        told = json.loads((tmp_path / "out" / "report.json").read_text())["familiarity"]
        assert done.code == 0 and told["far_steps"] == far and len(told["unfamiliarity"]) == told["steps"] == 8
        assert done.out.count("\n") == (2 if far else 1)
        assert ("warning: 8 of 8 steps lie outside what this model saw" in done.out) == bool(far)


def test_source_and_transfer_run_in_step(
    run: Callable[..., Done], tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "long.mp4", moving_square(36, step=1), 12)
    done = run(
        "transfer", clip, photo, "--out", tmp_path / "o", "--checkpoint", tiny_checkpoint, "--max-steps", 5,
        "--repeat", 2, "--source-range", "0.5:",
    )  # fmt: skip
    assert done.code == 0 and "(5 steps of 9, see --max-steps)" in done.out
    both = read_clip(tmp_path / "o" / "side_by_side.mp4").frames
    assert len(both) == 2 * 5 * 3 + 1

    def left_edge(picture: np.ndarray) -> float:
        """Where the bright square begins, as a share of the clip's width."""
        lit = (picture[..., 0] > 200) & (picture[..., 1] > 180) & (picture[..., 2] < 110)
        return float(np.nonzero(lit.sum(0) > 5)[0][0])

    # The square of the source is where it was at that time: 6 + t pixels on in frame t, twice over.
    strip = both.shape[1] - 60
    width = round(64 * 60 / 48)
    for t in (0, 1, 7, 14, 15, 22, 30):
        moved = 6 + (t % 15 if t < 30 else 15)
        seen = left_edge(both[t, strip:, :width])
        assert abs(seen - (4 + moved) * width / 64) < 2, (t, seen)


def test_latents_are_a_source_too(
    run: Callable[..., Done], tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    common = ("--checkpoint", tiny_checkpoint, "--smooth", 1)
    assert run("transfer", small_clip, photo, "--out", tmp_path / "a", *common, "--strength", 2).code == 0
    again = run("transfer", tmp_path / "a" / "latents.npz", photo, "--out", tmp_path / "b", *common)
    assert again.code == 0
    first, second = (read_clip(tmp_path / x / "transfer.mp4").frames for x in "ab")
    assert np.array_equal(first, second)
    three, two = (read_clip(tmp_path / x / "side_by_side.mp4").frames for x in "ab")
    assert np.abs(three[:, :, -two.shape[2] :].astype(int) - two).mean() < 2

    part = run(
        "transfer", tmp_path / "a" / "latents.npz", photo, "--out", tmp_path / "c", *common,
        "--source-range", "0.5:1.25", "--reverse",
    )  # fmt: skip
    assert part.code == 0
    whole, cut = (LatentActions.load(tmp_path / x / "latents.npz").z for x in "ac")
    assert np.array_equal(cut, -whole[2:5])


def test_a_target_clip_is_taken_over_at_a_moment_with_its_past(
    run: Callable[..., Done], tiny_checkpoint: Path, small_clip: Path, tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "target.mp4", moving_square(17, step=2), 8)

    def at(*moment: object) -> tuple[dict[str, dict[str, object]], np.ndarray]:
        out = tmp_path / "o"
        done = run(
            "transfer", small_clip, clip, "--out", out, "--checkpoint", tiny_checkpoint, "--max-steps", 2,
            *moment,
        )  # fmt: skip
        assert done.code == 0, done
        return json.loads((out / "report.json").read_text()), read_clip(out / "transfer.mp4").frames[0]

    frames = read_clip(clip).frames.astype(int)
    for moment, past, frame in (((), 1, 0), (("--target-time", 0.5), 3, 4), (("--target-time", 1.99), 4, 15)):
        report, first = at(*moment)
        assert report["inputs"]["target_context"] == past
        errors = np.abs(frames - first).mean((1, 2, 3))
        assert errors.argmin() == frame and errors.min() < 3


def test_settings_change_the_latents_as_they_say(
    run: Callable[..., Done], tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    def latents(*settings: object) -> np.ndarray:
        done = run(
            "transfer", small_clip, photo, "--out", tmp_path / "o", "--checkpoint", tiny_checkpoint,
            "--max-steps", 2, "--smooth", 0, *settings,
        )  # fmt: skip
        assert done.code == 0, done
        return LatentActions.load(tmp_path / "o" / "latents.npz").z

    plain = latents()
    assert plain.shape == (2, 16)
    assert np.allclose(latents("--strength", -1.5), -1.5 * plain)
    assert np.array_equal(latents("--reverse", "--repeat", 3), np.tile(-plain, (3, 1)))
    warm = latents("--temperature", 1, "--seed", 3)
    assert not np.allclose(warm, plain)
    assert np.array_equal(latents("--temperature", 1, "--seed", 3), warm)
    assert not np.allclose(latents("--temperature", 1, "--seed", 4), warm)
    # Twice the rate: the steps between all frames of the clip.
    fast = latents("--fps", 8)
    assert not np.allclose(fast, plain)
    frames = read_clip(small_clip, fps=8).frames[:3]
    np.testing.assert_allclose(fast, TransferPipeline.from_pretrained(tiny_checkpoint).infer(frames).z, atol=1e-4)


def test_results_replace_earlier_ones_and_leave_other_files(
    run: Callable[..., Done], tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "report.json").write_text("old")
    done = run("transfer", small_clip, photo, "--out", out, "--checkpoint", tiny_checkpoint, "--max-steps", 1)
    assert done.code == 0
    assert {p.name for p in out.iterdir()} == {*RESULTS, "notes.txt"}
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "report.json").read_text())["steps"]["used"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["o"]


# Refusals.


def _checkpoint_without(name: str) -> Callable[[Path, Path], Path]:
    def make(folder: Path, tiny: Path) -> Path:
        shutil.copytree(tiny, folder / "ckpt")
        (folder / "ckpt" / name).unlink()
        return folder / "ckpt"

    return make


def _checkpoint_with(name: str, data: bytes) -> Callable[[Path, Path], Path]:
    def make(folder: Path, tiny: Path) -> Path:
        shutil.copytree(tiny, folder / "ckpt")
        (folder / "ckpt" / name).write_bytes(data)
        return folder / "ckpt"

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_checkpoint_without("config.json"), ("ckpt", "lacks config.json")),
        (_checkpoint_without("model.safetensors"), ("ckpt", "lacks model.safetensors")),
        (_checkpoint_with("config.json", b'{"model_type": "llama"}'), ("config.json", "ckpt")),
        (_checkpoint_with("config.json", b"\x00not json"), ("config.json", "damaged")),
        (_checkpoint_with("model.safetensors", b"\x08" + bytes(20)), ("model.safetensors", "damaged")),
        (lambda folder, tiny: folder / "nowhere", ("nowhere", "Hub id")),
    ],
)
def test_damaged_checkpoints_are_refused(
    run: Callable[..., Done],
    make: Callable[[Path, Path], Path],
    words: tuple[str, ...],
    tiny_checkpoint: Path,
    small_clip: Path,
    photo: Path,
    tmp_path: Path,
) -> None:
    checkpoint = make(tmp_path, tiny_checkpoint)
    before = tree(tmp_path)
    done = run("transfer", small_clip, photo, "--out", tmp_path / "a" / "o", "--checkpoint", checkpoint)
    refused(done, *words)
    assert tree(tmp_path) == before


def _png(path: Path, width: int, height: int) -> None:
    """A black PNG of one bit a pixel: small as a file, however large as a picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 1)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, small_clip: Path, photo: Path, tiny_checkpoint: Path) -> Path:
    """A folder of inputs, some of which cannot be used."""
    folder = tmp_path_factory.mktemp("bad")
    shutil.copy(small_clip, folder / "clip.mp4")
    shutil.copy(photo, folder / "photo.png")
    (folder / "letter.mp4").write_text("Dear reader,\n" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes(small_clip.read_bytes()[:300])
    write_video(folder / "one.mp4", moving_square(1), 4)
    write_video(folder / "one_long.mp4", moving_square(1), 0.25)
    write_video(folder / "hours.mp4", moving_square(3), 1 / 12_000)
    _png(folder / "huge.png", 20_000, 20_000)
    (folder / "folder").mkdir()
    (folder / "file").write_text("")
    (folder / "damaged.npz").write_bytes(b"PK\x03\x04" + bytes(50))
    z = np.ones((3, 16), np.float32)
    LatentActions(z, 4.0, "of another checkpoint").save(folder / "foreign.npz")
    LatentActions(z[:, :5], 4.0, "").save(folder / "narrow.npz")
    LatentActions(z, 4.0, checkpoint_hash(tiny_checkpoint)).save(folder / "good.npz")
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("letter.mp4", "photo.png"), ("letter.mp4", "not a video")),
        (("clip.mp4", "letter.mp4"), ("letter.mp4", "not a video")),
        (("empty.mp4", "photo.png"), ("empty.mp4 is empty",)),
        (("cut.mp4", "photo.png"), ("cut.mp4",)),
        (("one.mp4", "photo.png"), ("one.mp4", "single picture")),
        (("one_long.mp4", "photo.png"), ("one_long.mp4", "single picture")),
        (("photo.png", "photo.png"), ("photo.png", "single picture")),
        (("hours.mp4", "photo.png"), ("36000 seconds", "hours.mp4", "--source-range")),
        (("clip.mp4", "huge.png"), ("huge.png", "20000×20000")),
        (("huge.png", "photo.png"), ("huge.png", "20000×20000")),
        (("folder", "photo.png"), ("folder is a folder",)),
        (("missing.mp4", "photo.png"), ("no file missing.mp4",)),
        (("clip.mp4", "missing.png"), ("no file missing.png",)),
        (("damaged.npz", "photo.png"), ("damaged.npz", "no latent actions")),
        (("foreign.npz", "photo.png"), ("another checkpoint",)),
        (("narrow.npz", "photo.png"), ("5 channels", "16")),
        (("good.npz", "photo.png", "--fps", "8"), ("good.npz", "--fps")),
        (("good.npz", "photo.png", "--source-range", "9:"), ("good.npz", "0.75 seconds")),
        (("clip.mp4", "photo.png", "--source-range", "7:9"), ("clip.mp4 ends after", "--source-range")),
        (("clip.mp4", "photo.png", "--source-range", "1:1.1"), ("Only one frame of clip.mp4",)),
        (("clip.mp4", "photo.png", "--target-time", "1"), ("photo.png", "no times")),
        (("clip.mp4", "clip.mp4", "--target-time", "5"), ("clip.mp4 ends after", "--target-time")),
        (("clip.mp4", "photo.png", "--repeat", "50"), ("256 steps", "400")),
        (("clip.mp4", "photo.png", "--device", "warp"), ("device 'warp'",)),
        (("clip.mp4", "photo.png", "--source-range", "4:1"), ("4:1", "range")),
        (("clip.mp4", "photo.png", "--source-range", "nan:"), ("nan:", "range")),
        (("clip.mp4", "photo.png", "--strength", "11"), ("--strength", "10")),
        (("clip.mp4", "photo.png", "--checkpoint", ""), ("--checkpoint", "empty")),
        (("", "photo.png"), ("SOURCE", "empty")),
        (("clip.mp4", " "), ("TARGET", "empty")),
        (("clip.mp4",), ("TARGET", "Missing")),
        (("clip.mp4", "photo.png", "--speed", "2"), ("--speed", "see lamdemo transfer --help")),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, tuple) else None,
)
def test_unusable_input_is_refused_and_leaves_nothing(
    run: Callable[..., Done],
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    tiny_checkpoint: Path,
    bad: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(bad)
    files = {p.name for p in bad.iterdir()}
    checkpoint = () if "--checkpoint" in arguments else ("--checkpoint", tiny_checkpoint)
    done = run("transfer", *arguments, *checkpoint, "--out", tmp_path / "deep" / "out")
    refused(done, *words)
    assert tree(tmp_path) == {}
    assert {p.name for p in bad.iterdir()} == files


def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    for out in ("taken", "taken/below"):
        refused(run("transfer", "none.mp4", "none.png", "--out", tmp_path / out), out.rpartition("/")[2])
    refused(run("transfer", "none.mp4", "none.png", "--out", ""), "--out", "empty")
    assert set(tree(tmp_path)) == {"taken"}


def test_unknown_commands_are_refused(run: Callable[..., Done]) -> None:
    refused(run("transfur"), "transfur", "lamdemo --help")


# What goes wrong on the way.


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("happens", "code", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGINT), 130, "lamdemo: interrupted.\n"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, ""),
        (lambda: 1 / 0, 1, "LAMDEMO_DEBUG=1"),
    ],
    ids=["interrupted", "terminated", "fault"],
)
def test_results_are_whole_or_as_they_were(
    run: Callable[..., Done],
    happens: Callable[[], object],
    code: int,
    words: str,
    there: bool,
    tiny_checkpoint: Path,
    small_clip: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "above" / "o"
    if there:
        out.mkdir(parents=True)
        (out / "transfer.mp4").write_text("old")
    before = tree(tmp_path)
    seen = []

    def save(actions: LatentActions, path: Path) -> None:
        # By now both videos are written.
        seen.extend(p.name for p in Path(path).parent.iterdir())
        happens()

    monkeypatch.setattr(LatentActions, "save", save)
    done = run("transfer", small_clip, photo, "--out", out, "--checkpoint", tiny_checkpoint, "--max-steps", 1)
    assert set(seen) == {"transfer.mp4", "side_by_side.mp4"}
    assert done.code == code and done.out == "" and words in done.err
    assert done.err.count("\n") <= 1 and "Traceback" not in done.err
    assert tree(tmp_path) == before


def test_the_trace_of_a_fault_is_shown_on_demand(
    run: Callable[..., Done], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object, **__: object) -> None:
        raise RuntimeError("of all things")

    monkeypatch.setattr(TransferPipeline, "from_pretrained", fault)
    command = ("transfer", "a.mp4", "b.png", "--out", tmp_path / "o")
    short = run(*command)
    assert short.code == 1 and short.err.count("\n") == 1 and "RuntimeError: of all things" in short.err
    monkeypatch.setenv("LAMDEMO_DEBUG", "1")
    long = run(*command)
    assert long.code == 1 and "Traceback" in long.err and "in fault" in long.err


# The other commands.


def test_train_goes_on_where_it_stopped_and_its_checkpoint_is_of_use(
    run: Callable[..., Done], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Random weights in the encoder: ImageNet's come in a package that is for training only.
    monkeypatch.setattr("lamdemo.training.trainer.imagenet_weights", lambda: None)
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(2):
        write_video(videos / f"{i}.mp4", moving_square(24, step=1 + i), 8)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    out = tmp_path / "run"
    command = ("train", tmp_path / "recipe.toml", "--videos", videos, "--out", out, "--threads", 1)
    first = run(*command, "--max-steps", 1)
    assert first == Done(0, f"{out / 'checkpoint'}\n", "")
    assert json.loads((out / "state" / "progress.json").read_text())["step"] == 1
    refused(run(*command), "run already holds", "--resume")
    assert run(*command, "--resume", "--max-steps", 3).code == 0
    assert json.loads((out / "state" / "progress.json").read_text())["step"] == 3
    done = run(
        "transfer", videos / "0.mp4", photo, "--out", tmp_path / "o", "--checkpoint", out / "checkpoint",
        "--max-steps", 1,
    )  # fmt: skip
    assert done.code == 0


RECIPE = """
seed = 1
bf16 = false
[model.encoder]
picture = 64
channels = 24
[model.inverse_dynamics]
width = 16
match = 8
reach = 2
window = 1
hidden = 32
depth = 1
[model.bottleneck]
channels = 8
[model.world_model]
width = 32
depth = 1
heads = 2
map_channels = 8
head_width = 16
[model.decoder]
width = 16
picture = 32
[batch]
clips = 2
pairs = 1
frames = 3
photographs = 4
[optimizer]
steps = 4
"""


def test_train_refuses_what_it_cannot_use_and_leaves_nothing(run: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "letter.mp4").write_text("Dear reader,")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "odd.toml").write_text("[optimizer]\nspeed = 3\n")
    before = tree(tmp_path)
    out = ("--out", tmp_path / "runs" / "first")
    videos = ("--videos", tmp_path / "videos")
    refused(run("train", tmp_path / "none.toml", *videos, *out), "none.toml")
    refused(run("train", tmp_path / "odd.toml", *videos, *out), "odd.toml", "speed")
    refused(run("train", tmp_path / "recipe.toml", "--videos", tmp_path / "none", *out), "none")
    refused(run("train", tmp_path / "recipe.toml", *videos, *out, "--split", tmp_path / "odd.toml"), "odd.toml")
    refused(run("train", tmp_path / "recipe.toml", *videos, *out), "videos")
    assert tree(tmp_path) == before


def test_a_family_is_one_command_that_is_called_until_it_is_done(
    run: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamdemo.training.family.imagenet_weights", lambda: None)
    stem = "".join(f"[stem.{line[1:]}" if line.startswith("[") else line for line in RECIPE.splitlines(True))
    recipe = "finish_frames = 3\n[stem]" + stem.replace("steps = 4", "steps = 1")
    for part in ("branch", "finish"):
        recipe += f"[{part}]\nsteps = 2\n"
    for family, dial in (("noisy", 0.01), ("discrete", 4)):
        recipe += f"[members.{family}]\nfamily = '{family}'\nchannels = 8\ncapacity = {dial}\n"
    (tmp_path / "recipe.toml").write_text(recipe)
    (tmp_path / "videos").mkdir()
    for i in range(2):
        write_video(tmp_path / "videos" / f"{i}.mp4", moving_square(24, step=1 + i), 8)
    out = tmp_path / "family"
    command = ("family", tmp_path / "recipe.toml", "--videos", tmp_path / "videos", "--out", out, "--no-reports")
    stopped = run(*command, "--stop-after", 0)
    assert stopped.code == 0
    assert "call it again" in stopped.out
    done = run(*command)
    assert done.code == 0
    assert {line.rpartition("/")[2] for line in done.out.split()} == {"noisy", "discrete"}
    for name in ("noisy", "discrete"):
        assert read_config(out / "checkpoints" / name)[1]["family"] == name
    odd = ("family", tmp_path / "none.toml", "--videos", tmp_path / "videos", "--out", tmp_path / "new")
    refused(run(*odd), "none.toml")
    assert not (tmp_path / "new").exists()


def test_scenes_are_made_and_judged(
    run: Callable[..., Done], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, report = tmp_path / "made" / "cases", tmp_path / "reports" / "pairs.json"
    settings = ("--cases", 2, "--steps", 2, "--size", 64, "--kind", "pan")
    done = run("scenes", "--out", cases, *settings)
    assert done == Done(0, f"{cases} (2 cases)\n", "")
    assert [p.name for p in sorted(cases.iterdir())] == ["0000_pan", "0001_pan"]
    refused(run("scenes", "--out", cases, *settings), "cases is not an empty folder")

    judged = run("evaluate", "--pairs", cases, "--checkpoint", tiny_checkpoint, "--out", report, "--seed", 5)
    assert (judged.code, judged.err) == (0, "") and judged.out.endswith(f"\n\n{report}\n")
    assert "| motion error over copying | cases | **model** |" in judged.out and "| pan | 2 | " in judged.out
    written = json.loads(report.read_text())
    assert written["seed"] == 5
    assert written["checkpoint"]["sha256"] == checkpoint_hash(tiny_checkpoint)
    assert written["command"].startswith("lamdemo evaluate --pairs cases --checkpoint tiny")
    assert len(written["results"]["cases"]) == 2

    before = tree(tmp_path)
    refused(run("scenes", "--out", tmp_path / "x", "--cases", 1, "--kind", "dance"), "dance", "pan")
    refused(run("scenes", "--out", tmp_path / "x", "--cases", 1, "--part", "train"), "--part", "--hand other")
    other = ("scenes", "--hand", "other", "--out", tmp_path / "x", "--cases", 1)
    refused(run(*other, "--photos", cases), "--photos", "--backgrounds")
    refused(run(*other, "--things", tmp_path / "none"), "no folder none")
    refused(run("evaluate", "--out", report), "--videos", "--pairs")
    refused(run("evaluate", "--out", report, "--pairs", cases, "--videos", cases), "either")
    refused(run("evaluate", "--out", cases, "--pairs", cases), "cases is a folder")
    refused(
        run(
            "evaluate",
            "--out",
            tmp_path / "y" / "r.json",
            "--pairs",
            tmp_path,
            "--checkpoint",
            tiny_checkpoint,
        ),
    )
    assert tree(tmp_path) == before


def test_a_suite_of_several_checkpoints(
    run: Callable[..., Done], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, out = tmp_path / "cases", tmp_path / "reports"
    assert run("scenes", "--out", cases, "--cases", 2, "--steps", 2, "--size", 64, "--kind", "pan").code == 0
    other = shutil.copytree(tiny_checkpoint, tmp_path / "other" / "tiny")
    two = ("--checkpoint", tiny_checkpoint, "--checkpoint", other, "--pairs", cases)
    before = tree(tmp_path)
    refused(run("evaluate", *two, "--out", cases / "0000_pan" / "case.json"), "case.json is a file")
    refused(run("evaluate", *two, "--out", out, "--only", "dance"), "dance", "pairs")
    refused(run("evaluate", *two, "--out", out, "--only", "videos"), "--videos")
    refused(run("evaluate", *two, "--out", out, "--split", cases / "case.json"), "--split", "--videos")
    refused(run("evaluate", *two, "--out", out, "--photos", tmp_path / "none"), "none")
    refused(run("evaluate", "--suite", "paper", "--checkpoint", "nothing", "--out", out), "nothing")
    refused(run("evaluate", *two[:2], *two[4:], "--out", out, "--only", "pairs"), "--only", "--suite")
    assert tree(tmp_path) == before

    done = run("evaluate", *two, "--out", out, "--only", "pairs")
    assert (done.code, done.err) == (0, "") and done.out.endswith(f"\n\n{out}\n")
    assert done.out.count("| pan | 2 | ") == 2
    # Both are called tiny: their folders' names tell them apart.
    names = {tiny_checkpoint.parent.name, "other"}
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.json")} == {f"{n}/pairs.json" for n in names}
    written = json.loads((out / "other" / "pairs.json").read_text())
    expected = {"name": "other", "sha256": checkpoint_hash(other), "family": "noisy"}
    assert expected.items() <= written["checkpoint"].items()
    assert written["command"].startswith("lamdemo evaluate --checkpoint tiny --checkpoint tiny --pairs cases")

    kept = run("evaluate", *two[:2], *two[4:], "--suite", "paper", "--only", "pairs", "--out", out / "one")
    assert kept.code == 0 and kept.err == "" and (out / "one" / "tiny" / "pairs.json").is_file()
    again = run("evaluate", *two, "--out", out, "--only", "pairs")
    assert again.code == 0 and again.err.count("kept") == 2


def test_the_page_opens_where_it_is_told_to(
    run: Callable[..., Done], tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr("lamdemo.ui.serve", lambda pipeline, **where: opened.append((pipeline, where)))
    assert run("app", "--port", 8080, "--checkpoint", tiny_checkpoint).code == 0
    pipeline, where = opened.pop()
    assert pipeline.checkpoint == checkpoint_hash(tiny_checkpoint)
    assert where == {"host": None, "port": 8080, "device": "auto"}
    assert run("app", "--host", "0.0.0.0").code == 0
    assert opened == [(None, {"host": "0.0.0.0", "port": None, "device": "auto"})]


def test_a_port_that_is_taken_is_told(run: Callable[..., Done]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(run("app", "--port", port), str(port), "--port")


# Small parts.


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.5:4", Span(1.5, 4)), (":3", Span(0, 3)), ("2:", Span(2, None)), (":", Span(0, None))],
)
def test_ranges(text: str, expected: Span) -> None:
    assert span(text) == expected
    assert span(str(expected)) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch has another OpenMP")
def test_threads_that_wait_spin_for_a_moment_unless_somebody_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in ({}, {"OMP_WAIT_POLICY": "passive"}, {"GOMP_SPINCOUNT": "7"}):
        monkeypatch.setattr(os, "environ", dict(said))
        let_threads_wait()
        assert os.environ == (said or {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "10000"})


def test_commands_in_reports_hold_no_folders_of_this_machine() -> None:
    command = command_line(["transfer", "/home/me/my clip.mp4", "b/c.png", "--out=/srv/x", "--strength", "-1"])
    assert command == "lamdemo transfer 'my clip.mp4' b/c.png --out=x --strength -1"
