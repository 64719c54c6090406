"""Many sources on many targets with one command, and what a transfer is written as beside its MP4."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square
from PIL import Image
from test_cli import Done, refused, run, tree

from lamdemo.cli import carrying, many
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import LatentActions, TransferPipeline
from lamdemo.video import add_sound, contact_sheet, probe, read_clip, read_image, write_gif, write_video, write_webp
from lamdemo.video.ffmpeg import ffmpeg

__all__ = ["run"]  # a fixture

Run = Callable[..., Done]


@pytest.fixture
def inputs(tmp_path: Path, small_clip: Path, photo: Path) -> Path:
    """A folder with a clip, a folder of two clips (one of the same name) and a folder of two targets."""
    (tmp_path / "clips" / "deep").mkdir(parents=True)
    shutil.copy(small_clip, tmp_path / "walk.mp4")
    write_video(tmp_path / "clips" / "walk.mp4", moving_square(9)[:, ::-1], 4)
    write_video(tmp_path / "clips" / "deep" / "run.mp4", moving_square(9, step=5), 4)
    (tmp_path / "clips" / "notes.txt").write_text("no clip")
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos" / "scene.png")
    write_video(tmp_path / "photos" / "film.mp4", moving_square(5)[:, :, ::-1], 4)
    return tmp_path


def table(out: Path) -> list[dict[str, str]]:
    with open(out / "results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def command(inputs: Path, checkpoint: Path, *more: object) -> tuple[object, ...]:
    return (
        *("transfer", inputs / "walk.mp4", inputs / "clips", "--target", inputs / "photos"),
        *("--out", inputs / "out", "--checkpoint", checkpoint, "--max-steps", 3, *more),
    )


def test_every_source_is_done_to_every_target_with_one_loading_and_one_reading(
    run: Run, inputs: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, read, inferred = [], [], []
    made, infer = many.read_source, TransferPipeline.infer
    monkeypatch.setattr(many, "read_source", lambda p, s, t: read.append(s.name) or made(p, s, t))
    monkeypatch.setattr(TransferPipeline, "infer", lambda self, *a, **k: inferred.append(1) or infer(self, *a, **k))
    load = TransferPipeline.from_pretrained
    monkeypatch.setattr(TransferPipeline, "from_pretrained", lambda *a, **k: loaded.append(1) or load(*a, **k))
    done = run(*command(inputs, tiny_checkpoint))
    assert done.code == 0, done
    assert len(loaded) == 1 and len(inferred) == 3 and sorted(read) == ["run.mp4", "walk.mp4", "walk.mp4"]
    out = inputs / "out"
    names = {f"{s}--{t}" for s in ("walk", "walk-2", "run") for t in ("scene", "film")}
    assert {p.name for p in out.iterdir()} == {*names, "results.csv", "sheet.jpg"}
    lines = table(out)
    assert {line["folder"] for line in lines} == names and not any(line["error"] for line in lines)
    assert all(line["steps"] == "3" and float(line["motion"]) > 0 for line in lines)
    assert "6 transfers" in done.out

    # Each is what it would be by itself.
    alone = run(
        *("transfer", inputs / "walk.mp4", inputs / "photos" / "scene.png", "--out", inputs / "alone"),
        *("--checkpoint", tiny_checkpoint, "--max-steps", 3),
    )
    assert alone.code == 0
    here, there = inputs / "alone", out / "walk--scene"
    assert np.array_equal(read_clip(here / "transfer.mp4").frames, read_clip(there / "transfer.mp4").frames)
    assert np.array_equal(LatentActions.load(here / "latents.npz").z, LatentActions.load(there / "latents.npz").z)
    reports = [json.loads((f / "report.json").read_text(encoding="utf-8")) for f in (here, there)]
    for name in ("inputs", "checkpoint", "settings", "steps", "size", "verdict", "measures", "familiarity"):
        assert reports[0][name] == reports[1][name]


def test_it_goes_on_where_it_stopped_and_does_anew_what_has_changed(
    run: Run, inputs: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    write = many.write_results

    def stops(folder: Path, *given: object) -> object:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(folder.parent.name)
        return write(folder, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(many, "write_results", stops)
    assert run(*command(inputs, tiny_checkpoint)).code == 130
    assert len(table(inputs / "out")) == 4
    assert not any(".part" in name for name in tree(inputs / "out"))
    first, made[:] = set(made), []
    done = run(*command(inputs, tiny_checkpoint))
    assert done.code == 0 and "2 transfers" in done.out and "4 were there" in done.out
    assert len(made) == 2 and not first & set(made) and len(table(inputs / "out")) == 6

    # What lacks a file is not whole; what is of other settings or of another clip is another transfer.
    made.clear()
    (inputs / "out" / "walk--scene" / "side_by_side.mp4").unlink()
    assert run(*command(inputs, tiny_checkpoint)).code == 0 and made == ["walk--scene"]
    made.clear()
    shutil.copy(inputs / "clips" / "walk.mp4", inputs / "walk.mp4")
    assert run(*command(inputs, tiny_checkpoint)).code == 0 and sorted(made) == ["walk--film", "walk--scene"]
    made.clear()
    monkeypatch.setattr(many, "write_results", lambda folder, *g: made.append("") or write(folder, *g))
    assert run(*command(inputs, tiny_checkpoint, "--reverse")).code == 0 and len(made) == 6


def test_what_cannot_be_done_is_told_at_the_end_and_stops_nothing_else(
    run: Run, inputs: Path, tiny_checkpoint: Path
) -> None:
    (inputs / "clips" / "letter.mp4").write_text("Dear reader,\n" * 100)
    (inputs / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    done = run(*command(inputs, tiny_checkpoint))
    assert done.code == 2 and "6 of 12" in done.err and "results.csv" in done.err and str(inputs) not in done.err
    lines = table(inputs / "out")
    assert len(lines) == 12 and sum(bool(line["error"]) for line in lines) == 6
    assert all(("letter" in line["source"]) or ("broken" in line["target"]) for line in lines if line["error"])
    assert (inputs / "out" / "sheet.jpg").is_file()


def test_what_has_no_meaning_is_refused(run: Run, inputs: Path, tiny_checkpoint: Path) -> None:
    clip, photo = inputs / "walk.mp4", inputs / "photos" / "scene.png"
    out = ("--out", inputs / "out", "--checkpoint", tiny_checkpoint)
    refused(run("transfer", clip, photo, clip, *out), "--target")
    (inputs / "none").mkdir()
    refused(run("transfer", inputs / "none", "--target", photo, *out), "no clip in none")
    refused(run("transfer", clip, "--target", inputs / "none", *out), "no picture or clip in none")
    refused(run("transfer", clip, photo, "--format", "avi", *out), "avi")
    assert not (inputs / "out").exists()


# Beside the MP4.


def test_gif_and_webp_are_written_beside_the_video(run: Run, inputs: Path, tiny_checkpoint: Path) -> None:
    done = run(
        *("transfer", inputs / "walk.mp4", inputs / "photos" / "scene.png", "--out", inputs / "one"),
        *("--checkpoint", tiny_checkpoint, "--max-steps", 4, "--format", "webp", "--format", "gif"),
    )
    assert done.code == 0, done
    film = read_clip(inputs / "one" / "transfer.mp4")
    for name in ("transfer.gif", "transfer.webp"):
        info, moving = probe(inputs / "one" / name), read_clip(inputs / "one" / name)
        assert not info.is_image and info.seconds == pytest.approx(len(film) / film.fps, abs=0.1)
        assert len(moving) == len(film) == 13
        # The same pictures, as well as either can hold them.
        assert np.abs(moving.frames[:, :60, :80].astype(int) - film.frames[:, :60, :80]).mean() < 12


def test_times_of_a_webp_do_not_drift(tmp_path: Path) -> None:
    write_webp(tmp_path / "a.webp", moving_square(30, step=1), 7)  # no two alike, which would be one
    with Image.open(tmp_path / "a.webp") as image:
        lengths = []
        for at in range(image.n_frames):
            image.seek(at)
            image.load()
            lengths.append(image.info["duration"])
    assert len(lengths) == 30 and abs(sum(lengths) - 30_000 / 7) <= 1
    with pytest.raises(LamdemoError):
        write_webp(tmp_path / "nowhere" / "a.webp", moving_square(2), 7)


def with_sound(path: Path, clip: Path, seconds: float) -> Path:
    """The clip with a tone that begins after half a second and lasts ``seconds``."""
    tone = f"aevalsrc='if(gt(t,0.5),0.5*sin(2*PI*440*t),0)':d={seconds}"
    given = ["-i", str(clip), "-f", "lavfi", "-i", tone]
    subprocess.run([ffmpeg(), "-v", "error", *given, "-c:v", "copy", "-c:a", "aac", str(path)], check=True)
    return path


def heard(path: Path) -> np.ndarray:
    """Whether there is sound in each tenth of a second."""
    command = [ffmpeg(), "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "f32le", "-ac", "1", "-ar", "8000", "-"]
    samples = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.float32)
    return np.abs(samples[: len(samples) // 800 * 800].reshape(-1, 800)).mean(1) > 0.05


def test_the_sources_sound_is_taken_along_in_step(run: Run, inputs: Path, tiny_checkpoint: Path) -> None:
    loud = with_sound(inputs / "loud.mp4", inputs / "walk.mp4", 2.0)
    given = ("transfer", loud, inputs / "photos" / "scene.png", "--checkpoint", tiny_checkpoint)
    assert run(*given, "--out", inputs / "a", "--audio", "keep", "--max-steps", 6, "--repeat", 2).code == 0
    for name in ("transfer.mp4", "side_by_side.mp4"):
        sound = heard(inputs / "a" / name)  # 1.5 seconds of the source, twice
        assert len(sound) == pytest.approx(30, abs=1)
        assert not sound[1:4].any() and sound[6:14].all() and not sound[16:19].any() and sound[21:29].all()
    # A part begins where the range does, and a sound that ends early leaves silence.
    assert run(*given, "--out", inputs / "b", "--audio", "keep", "--source-range", "0.5:1.5").code == 0
    assert heard(inputs / "b" / "transfer.mp4")[1:9].all()
    frames = read_clip(inputs / "b" / "transfer.mp4").frames
    assert run(*given, "--out", inputs / "c", "--source-range", "0.5:1.5").code == 0
    assert np.array_equal(frames, read_clip(inputs / "c" / "transfer.mp4").frames)
    with pytest.raises(subprocess.CalledProcessError):
        heard(inputs / "c" / "transfer.mp4")


def test_a_source_without_sound_is_told_and_costs_nothing(run: Run, inputs: Path, tiny_checkpoint: Path) -> None:
    given = ("transfer", inputs / "walk.mp4", inputs / "photos" / "scene.png", "--checkpoint", tiny_checkpoint)
    done = run(*given, "--out", inputs / "a", "--audio", "keep", "--max-steps", 2)
    assert done.code == 0 and "walk.mp4 has no sound" in done.out
    assert run(*given, "--out", inputs / "b", "--max-steps", 2).code == 0
    assert (inputs / "a" / "transfer.mp4").read_bytes() == (inputs / "b" / "transfer.mp4").read_bytes()
    stored = ("transfer", inputs / "a" / "latents.npz", inputs / "photos" / "scene.png", "--audio", "keep")
    refused(run(*stored, "--out", inputs / "c", "--checkpoint", tiny_checkpoint), "no sound")
    with pytest.raises(LamdemoError, match="no file"):
        add_sound(inputs / "a" / "transfer.mp4", inputs / "missing.mp4", seconds=1)
    assert (inputs / "a" / "transfer.mp4").read_bytes() == (inputs / "b" / "transfer.mp4").read_bytes()


def test_a_gif_is_small_enough_to_send(tmp_path: Path) -> None:
    frames = np.zeros((3, 600, 1200, 3), np.uint8)
    assert carrying._within(frames, 480).shape == (3, 240, 480, 3)
    write_gif(tmp_path / "a.gif", carrying._within(frames, 480), 12)


def test_a_contact_sheet_puts_each_picture_in_its_place() -> None:
    red, wide = np.full((10, 10, 3), (255, 0, 0), np.uint8), np.full((10, 40, 3), (0, 0, 255), np.uint8)
    sheet = contact_sheet([[None, red], [wide]], width=40, height=20, gap=4)
    assert sheet.shape == (44, 84, 3)
    assert (sheet[:20, :40] == 255).all() and (sheet[10, 64] == (255, 0, 0)).all() and (sheet[10, 45] == 255).all()
    assert (sheet[34, 1] == (0, 0, 255)).all() and (sheet[25, 20] == 255).all() and (sheet[24:, 44:] == 255).all()
    with pytest.raises(ValueError, match="contact sheet"):
        contact_sheet([], width=4, height=4)


# In Python.


def test_in_python_each_source_goes_to_each_target(tiny_checkpoint: Path, small_clip: Path, photo: Path) -> None:
    pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
    clip, picture = read_clip(small_clip, fps=4).frames[:4], read_image(photo)
    sources = iter([clip, pipeline.infer(clip[::-1])])
    made = {(i, j): result for i, j, result in pipeline.transfer_each(sources, [picture, picture[:, ::-1]])}
    assert list(made) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    alone = pipeline.transfer(clip, picture)
    assert np.array_equal(made[0, 0].frames, alone.frames) and made[0, 0].measures == alone.measures
    assert not np.array_equal(made[0, 1].frames, alone.frames)
