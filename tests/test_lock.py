"""What the image installs: every package with its hashes, and what is said of advisories."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from container import audit, lock  # noqa: E402

FILES = ("requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock")


def locked(file: str) -> dict[str, str]:
    return lock.entries((ROOT / "container" / file).read_text(encoding="utf-8").removeprefix(lock.HEAD))


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, _, version in (x.partition("==") for x in lines if x[0] != "#")}


@pytest.mark.parametrize("file", FILES)
def test_every_entry_has_one_version_and_hashes_and_names_no_host(file: str) -> None:
    found = locked(file)
    assert found
    for name, text in found.items():
        for entry in re.split(r"\n(?=\S)", text):
            pin, *hashes = [line.strip().removesuffix(" \\") for line in entry.splitlines()]
            assert re.fullmatch(rf"{name}==[\w.+]+( ; .+)?", pin), pin
            assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), name
    assert "://" not in (ROOT / "container" / file).read_text(encoding="utf-8")


def test_what_is_asked_for_is_locked_as_it_is_asked_for() -> None:
    found = locked("requirements.lock") | locked("requirements-cuda.lock")
    for name, version in pins().items():
        assert found[name].startswith(f"{name}=={version} \\"), f"{name}: call container/lock.py"
    (cpu,) = locked("requirements-cpu.lock").values()
    assert cpu.startswith(f"torch=={pins()['torch']}+cpu \\")


def needed(name: str) -> Iterator[str]:
    """What an installed package needs here, of those whose version is the locked one: others may need other things."""
    for text in importlib.metadata.requires(name) or ():
        asked = Requirement(text)
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            yield canonicalize_name(asked.name)


def test_nothing_is_missing() -> None:
    found = locked("requirements.lock") | locked("requirements-cuda.lock")
    ways, seen, looked = list(pins()), set[str](), 0
    while ways:
        name = ways.pop()
        if name in seen:
            continue
        seen.add(name)
        assert name in found, f"{name} is needed and not locked; call container/lock.py"
        if f"{name}=={importlib.metadata.version(name).partition('+')[0]} " in found[name]:
            ways += needed(name)
            looked += 1
    assert looked > len(pins()) / 2  # the walk did go on


def test_the_image_takes_nothing_but_what_is_locked() -> None:
    script = (ROOT / "container" / "install.sh").read_text(encoding="utf-8")
    installs = re.findall(r'pip" install [^\n]*', script)
    assert installs and all("--require-hashes" in line or "--no-build-isolation ." in line for line in installs)
    assert all("--no-deps" in line for line in installs) and all(file in script for file in FILES)
    assert "setuptools" in locked("requirements.lock")  # which builds the wheel there


def test_a_wheel_of_another_version_is_not_locked(tmp_path: Path) -> None:
    wheel = tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"
    wheel.write_bytes(b"a wheel")
    entry = lock.of_wheels("torch==2.13.0 \\\n    --hash=sha256:00", [wheel])
    assert entry.startswith("torch==2.13.0+cpu \\\n    --hash=sha256:") and len(entry.splitlines()) == 2
    with pytest.raises(SystemExit, match="no build of what is locked"):
        lock.of_wheels("torch==2.14.0 \\\n    --hash=sha256:00", [wheel])


SKIPPED = {"name": "tqdm", "skip_reason": "not found"}
FINE = {"name": "numpy", "version": "2.4.6", "vulns": []}
BAD = {"name": "pillow", "version": "1.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["2.0", "3.0"]}]}


@pytest.mark.parametrize(
    ("packages", "content", "words"),
    [
        ([], True, ["The audit was skipped: no advisories can be asked for from here."]),
        ([SKIPPED], True, ["The audit was skipped: no advisories can be asked for from here."]),
        ([FINE], True, ["1 packages were audited, with 0 advisories."]),
        (
            [FINE, SKIPPED, BAD],
            False,
            [
                "pillow 1.0: GHSA-1, mended in 2.0, 3.0.",
                "Nothing can be learned of tqdm.",
                "2 packages were audited, with 1 advisories.",
            ],
        ),
    ],
)
def test_an_audit_that_learned_nothing_does_not_pass_for_one(
    packages: list[dict[str, Any]], content: bool, words: list[str]
) -> None:
    assert audit.judged({"dependencies": packages}) == (content, words)


def test_the_audit_runs_or_says_why_not(tmp_path: Path) -> None:
    """With a pip-audit that answers, one that fails, and one that is not there."""
    command = [sys.executable, "-P", str(ROOT / "container" / "audit.py")]
    for body, status, words in (
        (f"print({json.dumps({'dependencies': [BAD]})!r})", 1, "with 1 advisories"),
        ("raise OSError('no network')", 0, "skipped"),
        ("raise ModuleNotFoundError('pip_audit')", 0, "skipped"),
    ):
        (tmp_path / "pip_audit.py").write_text(body)
        done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
        assert done.returncode == status and words in done.stdout, done.stdout + done.stderr
