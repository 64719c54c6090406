"""Arrays from strangers: what a file may make the reader do, and what it may not."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdemo.core.arrays import MOST, read_arrays
from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import UNREADABLE
from lamdemo.core.latent_actions import LatentActions
from lamdemo.latent_space.composition import Composition


def member(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array)
    return stream.getvalue()


def header(text: str) -> bytes:
    line = text.encode().ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(line)) + line


def archive(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def latents(path: Path, **changes: bytes) -> Path:
    arrays = {"z": np.ones((3, 8), np.float32), "fps": np.float64(4), "checkpoint": np.str_("c" * 64)}
    members = {f"{name}.npy": member(np.asarray(array)) for name, array in arrays.items()}
    return archive(path, members | {f"{name}.npy": data for name, data in changes.items()})


def peak(read) -> int:
    """Bytes that were taken at most while ``read`` was refused."""
    tracemalloc.start()
    try:
        with pytest.raises(LamdemoError) as refused:
            read()
        assert str(refused.value).count(". ") == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_arrays_come_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    wanted = {
        "a": rng.normal(size=(5, 3)).astype(np.float32),
        "columns": np.asfortranarray(rng.normal(size=(4, 6))),
        "big_endian": np.arange(5, dtype=">i4"),
        "words": np.array(["one", "three"]),
        "none": np.zeros((0, 3)),
        "single": np.float64(4),
    }
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **wanted)
        found = read_arrays(tmp_path / "a.npz")
        assert found.keys() == wanted.keys()
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype.isnative
        assert read_arrays(tmp_path / "a.npz", ("a", "absent")).keys() == {"a"}


@pytest.mark.parametrize(
    ("reader", "changed"), [(LatentActions.load, "z"), (Composition.load, "z"), (Composition.load, "term_0")]
)
def test_a_bomb_is_refused_in_one_sentence_and_little_memory(tmp_path, reader, changed):
    """300 kB that are 307 MB once they are inflated."""
    path = latents(tmp_path / "a.npz", **{changed: member(np.zeros((600_000, 128), np.float32))})
    assert path.stat().st_size < 350_000
    assert peak(lambda: reader(path)) < 4 << 20
    with pytest.raises(LamdemoError, match=r"\.npz holds 307 MB of numbers, over the limit of 67"):
        reader(path)


@pytest.mark.parametrize("lie", ["member", "array", "both"])
def test_a_size_that_lies_inflates_nothing(tmp_path, lie):
    """The archive's directory, the array's header or both say less than is there."""
    body = bytes(50 << 20)
    shape = "(16,)" if lie != "member" else f"({len(body) // 4},)"
    head = header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}")
    path = latents(tmp_path / "a.npz", z=head + body)
    if lie != "array":
        data = bytearray(path.read_bytes())
        at = data.rfind(b"PK\1\2", 0, data.rfind(b"z.npy"))
        struct.pack_into("<I", data, at + 24, len(head) + 64)
        path.write_bytes(data)
    assert peak(lambda: LatentActions.load(path)) < 4 << 20


def test_a_directory_without_end_is_not_read(tmp_path):
    path = archive(tmp_path / "many.npz", {f"{n}.npy": b"" for n in range(50_000)}, zipfile.ZIP_STORED)
    assert peak(lambda: LatentActions.load(path)) < 1 << 20


def test_pickles_are_never_opened(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harmed"),)

    harm = pickle.dumps(Harm())
    objects = header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")
    records = header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }")
    for z in (objects + harm, records + harm, harm):
        with pytest.raises(LamdemoError, match="holds no latent actions"):
            LatentActions.load(latents(tmp_path / "a.npz", z=z))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"z": member(np.full((3, 8), np.nan, np.float32))},
        {"z": member(np.ones((3, 8)))},
        {"z": member(np.ones(8, np.float32))},
        {"z": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }") + bytes(64)},
        {"z": header("{'descr': '<f4', 'fortran_order': False, 'shape': (9, 9), }") + bytes(64)},
        {"z": header("(" * 90) + bytes(64)},
        {"z": b""},
        {"fps": member(np.float64(0))},
        {"fps": member(np.float64(1e9))},
        {"fps": member(np.float64(np.nan))},
        {"checkpoint": member(np.str_("c" * 1000))},
    ],
)
def test_what_cannot_be_latents_gets_one_sentence(tmp_path, change):
    with pytest.raises(LamdemoError, match=r"a\.npz holds no latent actions"):
        LatentActions.load(latents(tmp_path / "a.npz", **change))


def test_odd_files_get_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "nowhere")
    np.save(tmp_path / "single.npy", np.ones((3, 8), np.float32))
    twice = tmp_path / "twice.npz"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(latents(twice), "a") as file:
        file.writestr("z.npy", b"")
    packed = archive(tmp_path / "packed.npz", {"z.npy": bytes(1000)}, zipfile.ZIP_LZMA)
    for path in (*(tmp_path / n for n in ("pipe.npz", "folder.npz", "link.npz", "single.npy")), twice, packed):
        with pytest.raises(LamdemoError, match="holds no latent actions"):
            LatentActions.load(path)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_file_is_read_or_refused(tmp_path_factory, data):
    """hypothesis: bytes of a file of latents changed, cut out or doubled."""
    folder = tmp_path_factory.mktemp("npz")
    whole = bytearray(latents(folder / "a.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        cut = data.draw(st.integers(0, 8))
        whole[at : at + cut] = data.draw(st.binary(max_size=8))
    (folder / "a.npz").write_bytes(whole)
    try:
        found = LatentActions.load(folder / "a.npz")
        assert found.z.ndim == 2 and np.isfinite(found.z).all() and found.z.nbytes <= MOST
    except LamdemoError:
        pass
    try:
        read_arrays(folder / "a.npz")
    except (LamdemoError, *UNREADABLE):
        pass
