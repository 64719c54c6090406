"""Readers of what strangers give, under a fuzzer that sees which lines an input reaches.

    python -m benchmarks.fuzz [--seconds 60] [--runs N] [--seed 0] [--only READER] [--out FILE]

Needs atheris (in requirements-dev.txt). Each reader gets a process of its own and bytes that libFuzzer makes of whole
files, and must give a result or one sentence; anything else is a crash, as are 1 GB of memory and 20 seconds for one
input.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Whose lines the fuzzer sees, beside those of the reader's own module: what takes the bytes apart.
SEEN = ("zipfile", "json", "numpy.lib.format", "lamdemo.core", "lamdemo.models", "lamdemo.latent_space.composition")
MEMORY, TIME = 1024, 20  # megabytes in all, seconds for one input


@dataclass(frozen=True)
class Reader:
    """What reads a file, and whole files to begin from."""

    read: Callable[[Path], object]  # raises an error of ``allowed`` where it reads nothing
    name: str  # of the file
    seeds: tuple[bytes, ...]  # whole files
    allowed: tuple[type[Exception], ...]


def _latents(folder: Path) -> Reader:
    import numpy as np

    from lamdemo.core.errors import LamdemoError
    from lamdemo.core.latent_actions import LatentActions

    path = folder / "seed.npz"
    LatentActions(np.ones((3, 8), np.float32), 4.0, "0" * 64).save(path)
    return Reader(LatentActions.load, "a.npz", (path.read_bytes(),), (LamdemoError,))


def _link(_: Path) -> Reader:
    """What stands in a link, too: no chance finds text that unpacks to something."""
    import zlib

    import numpy as np

    from lamdemo.core.errors import LamdemoError
    from lamdemo.latent_space import composition
    from lamdemo.latent_space.composition import Block, Composition

    text = Composition((Block.of(np.ones((2, 16), np.float32), "a"),), 4.0, "0" * 64).encode()
    prefix, packed = composition._PREFIX, composition._text
    inside = zlib.decompress(composition._bytes(text.removeprefix(prefix)))

    def read(path: Path) -> object:
        data = path.read_bytes()
        text = prefix + packed(zlib.compress(data)) if data[:1] == b"{" else data.decode("utf-8", "replace")
        return Composition.decode(text, channels=16)

    return Reader(read, "a.txt", (text.encode(), inside), (LamdemoError,))


def _config(_: Path) -> Reader:
    import dataclasses

    from lamdemo.core.errors import LamdemoError
    from lamdemo.models import ModelConfig, read_config
    from lamdemo.models.checkpoint import FORMAT

    whole = {"format": FORMAT, "model": dataclasses.asdict(ModelConfig()), "about": {}}
    return Reader(lambda path: read_config(path.parent), "config.json", (json.dumps(whole).encode(),), (LamdemoError,))


def _safetensors(_: Path) -> Reader:
    import torch
    from safetensors.torch import load_file, save

    from lamdemo.core.tensors import stored_tensors

    def read(path: Path) -> object:
        told = stored_tensors(path)
        held = load_file(path)
        assert held.keys() == told.keys() and all(tuple(held[n].shape) == t.shape for n, t in told.items())
        return told

    seed = save({"a": torch.ones(3, 4), "b": torch.ones(2, dtype=torch.int32)}, {"format": "pt"})
    return Reader(read, "a.safetensors", (seed,), (ValueError,))


READERS = {"latents": _latents, "link": _link, "config": _config, "safetensors": _safetensors}


def fuzz(name: str, folder: Path, arguments: list[str]) -> None:
    """Let the fuzzer run on a reader, in this process, which it ends."""
    import atheris

    with atheris.instrument_imports(include=list(SEEN), enable_loader_override=False):
        reader = READERS[name](folder)
    (folder / "inputs").mkdir()
    for n, seed in enumerate(reader.seeds):
        (folder / "inputs" / f"seed{n}").write_bytes(seed)
    path = folder / reader.name

    def once(data: bytes) -> None:
        path.write_bytes(data)
        try:
            reader.read(path)
        except reader.allowed as error:
            words = str(error)
            if str(folder) in words or "\n" in words or len(words) > 600:
                raise AssertionError(f"not one sentence: {words[:200]!r}") from error

    limits = [f"-rss_limit_mb={MEMORY}", f"-timeout={TIME}", "-print_final_stats=1", "-max_len=8192"]
    crash = f"-artifact_prefix={folder}/crash-"
    atheris.Setup([sys.argv[0], *limits, crash, *arguments, str(folder / "inputs")], once)
    atheris.Fuzz()


def told(code: int, log: str) -> dict[str, Any]:
    """What a run of the fuzzer came to, by what it said."""
    runs, reached = re.findall(r"stat::number_of_executed_units: (\d+)", log), re.findall(r"\bcov: (\d+)", log)
    fault = re.findall(r"^(?:\w+Error|AssertionError|\w+\.\w+Error|==\d+== ERROR).*$", log, re.M)
    return {
        "inputs": int(runs[-1]) if runs else 0,
        "places_reached": {"at_first": int(reached[0]), "at_last": int(reached[-1])} if reached else {},
        "crash": (fault[-1] if fault else log[-300:])[:300] if code else "",
    }


def run(name: str, arguments: list[str]) -> dict[str, Any]:
    """Fuzz a reader in a process of its own; gives what is to be reported."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        command = [sys.executable, "-m", "benchmarks.fuzz", "--within", name, place, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    return told(done.returncode, done.stderr + done.stdout)


def main() -> None:
    """See the module."""
    if sys.argv[1:2] == ["--within"]:
        fuzz(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=READERS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        raise SystemExit("There is no atheris here; install it with: pip install atheris.")
    from lamdemo.evaluation.report import git_state

    arguments = [f"-max_total_time={asked.seconds}", f"-runs={asked.runs}", f"-seed={asked.seed}"]
    report = {
        "command": shlex.join(["python", "-m", "benchmarks.fuzz", *sys.argv[1:]]),
        "seed": asked.seed,
        "git": git_state(),
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()},
        "readers": {name: run(name, arguments) for name in ([asked.only] if asked.only else READERS)},
    }
    if asked.out:
        asked.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report["readers"], indent=2))
    sys.exit(any(found["crash"] or not found["inputs"] for found in report["readers"].values()))


if __name__ == "__main__":
    main()
