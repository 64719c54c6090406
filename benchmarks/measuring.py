"""How the benchmarks measure: medians with spread, floors from counted work, and the memory of a process."""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
CLIP = EXAMPLES / "clips" / "meadow_tilt.mp4"
"""The clip of the page's first example."""
PHOTO = EXAMPLES / "photos" / "mountain_path.jpg"
"""The picture of the page's first example, whose own size is 1024×768."""
SIZES = ((256, 256), (1024, 768), (1280, 720))
"""Widths and heights of the pictures that are drawn, in pixels."""
BETWEEN = 2
"""Frames between two steps, as page and command line make them."""


class Missing(Exception):
    """Something that a section needs is not on this machine; the message is a whole sentence."""


@dataclass(frozen=True)
class Settings:
    """How a section is measured."""

    checkpoint: str | None = None  # a folder, a bundled name or a Hub id; the default without it
    repeats: int = 5  # times that each thing is measured, after one that is not counted
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)) if sys.platform == "linux" else 2)
    transfers: int = 50  # transfers that the page makes while its memory is watched


# Seconds.


def rounded(value: float) -> float:
    """Four digits, which is more than repeats agree on."""
    return float(f"{value:.4g}")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of some measurements, and how many they are."""
    import numpy as np

    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": rounded(median), "low": rounded(low), "high": rounded(high), "runs": len(values)}


def timed(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Seconds that ``work`` takes, after one call that warms up; see `spread`."""
    import torch

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    work()
    seconds = []
    for _ in range(repeats):
        wait()
        begun = time.perf_counter()
        work()
        wait()
        seconds.append(time.perf_counter() - begun)
    return spread(seconds)


def entry(seconds: dict[str, float], floor: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """One line of the report.

    Args:
        seconds: from `timed` or `spread`.
        floor: with ``seconds`` that nothing could be below, and ``of``, what they are.
        more: told beside it.
    """
    told: dict[str, Any] = {"seconds": seconds, **more}
    if floor is not None:
        told |= {"floor": floor, "ratio": rounded(seconds["median"] / floor["seconds"])}
    return told


# Floors.


@dataclass(frozen=True)
class Machine:
    """What the machine can do, measured in the section's own process."""

    products: float  # floating-point operations a second of a large matrix product in float32
    half: float  # the same in bfloat16
    copies: float  # bytes a second, read and written, of a copy too large for any cache

    @classmethod
    def measured(cls, device: str = "cpu") -> Machine:
        """Measure."""
        import torch

        from lamdemo.training.throughput import matrix_rate

        large = torch.ones(1 << 26, device=device)  # 256 MiB
        target = torch.empty_like(large)
        seconds = min(timed(lambda: target.copy_(large), 3)["low"] for _ in range(2))
        products, half = (matrix_rate(torch.device(device), kind) for kind in (torch.float32, torch.bfloat16))
        return cls(products, half, 2 * large.numel() * large.element_size() / seconds)

    def as_dict(self) -> dict[str, float]:
        """For the report."""
        return {
            "operations a second": rounded(self.products),
            "operations a second in bfloat16": rounded(self.half),
            "bytes copied a second": rounded(self.copies),
        }

    def floor(self, work: Callable[[], object]) -> dict[str, Any]:
        """The seconds that the matrix products and convolutions in ``work`` take at least.

        Each costs its operations at the rate of a large product, or its bytes (inputs, weights and outputs, once) at
        the rate of a copy, whichever is longer. All else (norms, activations, sampling) is taken to cost nothing.
        """
        import torch

        from benchmarks.counting import Counted

        # In one thread, or what a planner does in threads of its own would not be seen.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with Counted() as counted:
                work()
        finally:
            torch.set_num_threads(threads)
        seconds = sum(
            max(one.operations / (self.half if one.half else self.products), one.bytes / self.copies)
            for one in counted.products
        )
        return {
            "seconds": rounded(seconds),
            "of": "its matrix products and convolutions at the measured rates",
            "operations": sum(one.operations for one in counted.products),
            "bytes": sum(one.bytes for one in counted.products),
        }


# Memory.


def memory() -> dict[str, float | None]:
    """Megabytes: the most that this process ever had, what stays when the garbage is gone, the most of any it ran."""
    gc.collect()
    unit = 1e-6 if sys.platform == "darwin" else 1.024e-3
    most, ran = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    resting = status_of("self", "VmRSS")
    return {
        "peak MB": rounded(most * unit),
        "resting MB": None if resting is None else rounded(resting),
        "peak MB of what it ran": rounded(ran * unit),
    }


def status_of(process: int | str, key: str) -> float | None:
    """Megabytes that Linux tells of a process, such as "VmRSS" or "VmHWM"; None elsewhere."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1.024e-3 for line in lines if line.startswith(f"{key}:")), None)


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """How fast something grows where it is largest: its power of the size, over the last two measurements."""
    return math.log(seconds[-1] / seconds[-2]) / math.log(sizes[-1] / sizes[-2])


def give(report: dict[str, Any], out: Path | None) -> None:
    """Write a report, or print it where no file is named."""
    text = json.dumps(report, indent=2) + "\n"
    if out is None:
        print(text, end="")
    else:
        from lamdemo.core.files import write_safely

        write_safely(out, text.encode())


def machine_in_words() -> dict[str, Any]:
    """What the report says of the machine."""
    import torch

    name = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load average at the start": round(os.getloadavg()[0], 2),
    }
