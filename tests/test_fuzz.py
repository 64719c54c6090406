"""The harnesses of ``benchmarks.fuzz``, for a moment each: what they find in minutes is in its report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import fuzz  # noqa: E402


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_whole_file_is_read(name: str, tmp_path: Path) -> None:
    """A harness that refused what it begins with would look at nothing but refusals."""
    reader = fuzz.READERS[name](tmp_path)
    for seed in reader.seeds:
        (tmp_path / reader.name).write_bytes(seed)
        reader.read(tmp_path / reader.name)
    (tmp_path / reader.name).write_bytes(b"\x00\xff" * 9)
    with pytest.raises(reader.allowed):
        reader.read(tmp_path / reader.name)


@pytest.mark.parametrize("name", fuzz.READERS)
def test_a_reader_under_the_fuzzer(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    out = tmp_path / "fuzz.json"
    command = [sys.executable, "-m", "benchmarks.fuzz", "--only", name, "--runs", "300", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())["readers"][name]
    assert found["inputs"] >= 300 and found["places_reached"]["at_last"] > 3 and not found["crash"]


def test_a_crash_is_seen() -> None:
    log = "INFO: seed corpus\n#5 INITED cov: 7 ft: 9\n=== Uncaught Python exception: ===\nKeyError: 'z'\n"
    log += "stat::number_of_executed_units: 12\n"
    found = {"inputs": 12, "places_reached": {"at_first": 7, "at_last": 7}, "crash": "KeyError: 'z'"}
    assert fuzz.told(77, log) == found and fuzz.told(0, log)["crash"] == ""
    assert fuzz.told(1, "killed")["crash"] == "killed"
