"""Places, names and surroundings that fail: one sentence each, and finished results are never lost."""

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lamdemo.ui
from lamdemo.cli import main
from lamdemo.cli.common import appearing_whole, checked_place, some_path
from lamdemo.core.devices import best_device
from lamdemo.core.errors import LamdemoError, as_text, shown_name
from lamdemo.core.files import write_safely
from lamdemo.data.episodes import open_episodes
from lamdemo.data.splits import Split
from lamdemo.engine.pretrained import hub_id
from lamdemo.latent_space.composition import Composition
from lamdemo.ui.views import CLIP_FILES, TARGET_FILES
from lamdemo.video import ffmpeg as process
from lamdemo.video import probe, read_image, write_image, write_video

ROOT = Path(__file__).parents[1]


def refusal(call: Callable, *arguments: object, **named: object) -> str:
    with pytest.raises(LamdemoError) as caught:
        call(*arguments, **named)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and "/tmp" not in sentence
    return sentence


# ---- Where results go


def results(out: Path, text: str = "new") -> None:
    with appearing_whole(out) as folder:
        (folder / "a.json").write_text(text)


def test_results_are_staged_in_the_folder_they_go_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    moved: list[tuple[Path, Path]] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append((Path(a), Path(b))), replace(a, b)))
    real, link = tmp_path / "disk" / "results", tmp_path / "link"
    real.mkdir(parents=True)
    link.symlink_to(real)
    (real / "kept.txt").touch()
    for out in (tmp_path / "new" / "deep", real, link):
        results(out)
        assert (out / "a.json").read_text() == "new"
    assert all(b.parent in a.parents for a, b in moved) and len(moved) == 3
    assert sorted(p.name for p in real.iterdir()) == ["a.json", "kept.txt"]
    monkeypatch.chdir(real)
    results(Path("."), "again")
    assert (real / "a.json").read_text() == "again" and link.is_symlink()


def test_what_fails_leaves_no_folder_and_keeps_what_was_there(tmp_path: Path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.json").write_text("old")
    for out in (tmp_path / "new" / "deep", tmp_path / "old"):
        with pytest.raises(RuntimeError), appearing_whole(out) as folder:
            (folder / "a.json").write_text("half")
            raise RuntimeError
        with pytest.raises(LamdemoError, match="cannot be written"), appearing_whole(out) as folder:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["old", "old/a.json"]
    assert (tmp_path / "old" / "a.json").read_text() == "old"


def test_a_link_that_a_result_replaces_stays_a_link(tmp_path: Path):
    target, picture = tmp_path / "elsewhere", np.zeros((16, 16, 3), np.uint8)
    target.mkdir()
    writers: dict[str, Callable[[Path], object]] = {
        "a.mp4": lambda path: write_video(path, picture[None], 5),
        "a.png": lambda path: write_image(path, picture),
        "a.bin": lambda path: write_safely(path, b"new"),
        "a.json": lambda path: results(path.parent),
    }
    for name, write in writers.items():
        (target / name).write_text("old")
        (tmp_path / name).symlink_to(target / name)
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink() and (target / name).read_bytes() != b"old"
    assert sorted(p.name for p in target.iterdir()) == sorted(writers)
    # A name as long as names may be has room for none beside it that is longer.
    long = tmp_path / ("n" * 250 + ".json")
    write_safely(long, b"whole")
    assert long.read_bytes() == b"whole"


# ---- Questions to the file system


def test_what_cannot_be_asked_for_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    names = ["n" * 300, str(circle), str(circle / "below"), "nul\0l", "https://example.org/a.mp4"]
    for name in names:
        for arguments in ((name, "t.png", "--out", "o"), ("s.mp4", "t.png", "--out", name)):
            with pytest.raises(SystemExit) as caught:
                main(["transfer", *arguments])
            said = capsys.readouterr().err
            assert caught.value.code == 2 and said.count("\n") == 1 and "unexpected" not in said
    for name in names[:4]:
        refusal(probe, name)
    assert "download it first" in refusal(probe, "https://example.org/a.mp4")
    assert "home folder" in refusal(probe, "~/no such file.mp4")
    assert some_path("~") == Path.home()


def test_a_place_below_a_file_or_a_closed_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        refusal(checked_place, place, folder=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    refusal(checked_place, tmp_path / "new", folder=True)
    monkeypatch.undo()

    def closed(*_: object, **__: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "place")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", closed)
        with pytest.raises(Exception, match="cannot be used, permission denied"):
            some_path("closed/a")


def test_an_error_of_the_disk_anywhere_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("LAMDEMO_DEBUG", raising=False)

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "secret"))

    monkeypatch.setattr("lamdemo.data.episodes.open_episodes", closed)
    with pytest.raises(SystemExit) as caught:
        main(["episodes", "show", "anything"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("lamdemo: secret cannot be used, permission denied;")


# ---- Text


def test_names_that_are_no_text_can_be_shown_and_written(tmp_path: Path):
    latin = os.fsdecode(b"caf\xe9.mp4")
    assert as_text(latin) == "caf\ufffd.mp4" and shown_name(tmp_path / latin) == "caf\ufffd.mp4"
    assert as_text("結果".encode().decode("ascii", "surrogateescape")) == "結果"  # as the C locale has it
    picture = np.full((16, 16, 3), 90, np.uint8)
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    write_image(path, picture)
    assert np.array_equal(read_image(path), picture)
    assert "caf" in refusal(probe, tmp_path / latin)


def test_a_line_that_cannot_be_printed_costs_nothing(tmp_path: Path):
    code = (
        "import sys, typer\nfrom lamdemo.cli import _be_printable\n_be_printable()\n"
        "typer.echo('\\u7d50\\u679c \\u00d7 ' + sys.argv[1])\nprint('done', file=sys.stderr)"
    )
    for locale in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}):
        environment = {**os.environ, **locale, "COLUMNS": "0"}
        command = [sys.executable, "-c", code, os.fsdecode(b"caf\xe9")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment)
        assert done.returncode == 0 and done.stderr == b"done\n" and b"caf" in done.stdout
    narrow = {**os.environ, "COLUMNS": "0"}
    assert subprocess.run([sys.executable, "-m", "lamdemo", "--help"], cwd=ROOT, env=narrow, stdout=-3).returncode == 0


def test_every_reader_says_its_encoding_and_takes_a_byte_order_mark(tmp_path: Path):
    split = tmp_path / "split.toml"
    split.write_text('validation = ["走る*"]\ntest = []\n', encoding="utf-8-sig")
    assert Split.read(split).part("走る 1.mp4") == "validation"
    # In a locale that is not UTF-8, text without an encoding would be read as something else.
    checked = [*ROOT.glob("lamdemo/**/*.py")]
    assert checked and not [p for p in checked if ".read_text()" in p.read_text(encoding="utf-8")]


# ---- The environment's fault


@pytest.mark.parametrize(("says", "expected"), [("ffmpeg version 5.1.6 built", "too old"), ("hello", "no ffmpeg")])
def test_an_ffmpeg_that_does_not_do_is_blamed_and_not_the_file(
    says: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_video(tmp_path / "a.mp4", np.zeros((2, 16, 16, 3), np.uint8), 5)
    other = tmp_path / "ffmpeg"
    other.write_text(f"#!/bin/sh\necho '{says}'\n")
    for mode, words in ((stat.S_IRWXU, expected), (stat.S_IRUSR, "cannot be run")):
        other.chmod(mode)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(other))
        for call in (probe, read_image):
            sentence = refusal(call, tmp_path / "a.mp4")
            assert "IMAGEIO_FFMPEG_EXE" in sentence and words in sentence and "a.mp4" not in sentence
    other.unlink()
    assert "cannot be run" in refusal(process.ffmpeg)


def test_devices_that_torch_knows_and_this_machine_lacks():
    assert best_device("cpu") == "cpu"
    for name in ("meta", "xla", "nonsense", "cuda:99"):
        assert name in refusal(best_device, name)


# ---- Starting the page


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What Gradio is told, without it."""
    told: list[dict] = []

    class Blocks:
        def launch(self, **options: object) -> None:
            told.append(options)

    monkeypatch.setattr(lamdemo.ui, "build_page", lambda pipeline, device: Blocks())
    monkeypatch.setattr(lamdemo.ui, "launch_options", dict)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    for name in ("LAMDEMO_HOST", "SPACE_ID", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return told


def test_the_page_goes_past_proxies_and_listens_where_it_is_told(launched: list[dict], monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("no_proxy", "example.org")
    lamdemo.ui.serve(port=port)
    assert launched.pop() == {"server_name": "127.0.0.1", "server_port": port}
    assert os.environ["no_proxy"] == "example.org,localhost,127.0.0.1,::1"
    monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    lamdemo.ui.serve()
    assert launched.pop() == {"server_name": "0.0.0.0", "server_port": port}
    assert os.environ["LAMDEMO_HOST"] == "0.0.0.0"  # the page knows that others see it
    if socket.has_ipv6:
        lamdemo.ui.serve(host="::1", port=port)
        assert launched.pop()["server_name"] == "[::1]"


def test_an_address_that_does_not_do_is_told_before_anything_is_loaded(
    launched: list[dict], monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "is taken" in refusal(lamdemo.ui.serve, port=taken.getsockname()[1])
    assert "no host" in refusal(lamdemo.ui.serve, host="no-such-host.invalid", port=7999)
    assert "no address of this machine" in refusal(lamdemo.ui.serve, host="192.0.2.1", port=7999)
    for nonsense in ("abc", "0", "70000", "-1"):
        monkeypatch.setenv("GRADIO_SERVER_PORT", nonsense)
        assert "GRADIO_SERVER_PORT" in refusal(lamdemo.ui.serve)
    assert not launched


# ---- What people paste


def test_links_and_addresses_are_taken_with_what_stands_around_them():
    for text in ("hf:a/b", "hf://a/b", "https://huggingface.co/a/b", "https://hf.co/a/b/?x=1", "huggingface.co/a/b/"):
        assert hub_id(text) == "a/b"
    assert hub_id("https://huggingface.co/a/b/tree/v1") == hub_id("hf:a/b@v1") == "a/b@v1"
    for text in ("noisy", "a/b", "a/b@v1", "./folder", "https://example.org/a/b"):
        assert hub_id(text) == text
    assert "no folder" not in refusal(open_episodes, "https://huggingface.co/datasets/-/-")
    with pytest.raises(LamdemoError, match="no latent actions"):
        Composition.decode("https://example.org/?actions=2.nonsense&__theme=dark")


def test_every_tab_takes_the_same_kinds_of_file():
    assert {"video", ".gif", ".webp", ".apng", ".png", ".avif", ".mkv"} <= set(CLIP_FILES)
    assert set(CLIP_FILES) | {"image", ".heic", ".tif", ".bmp", ".jxl"} <= set(TARGET_FILES)
