"""Where to compute: what a machine has, or what a person names."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from functools import cache
from typing import TYPE_CHECKING

from lamdemo.core.errors import LamdemoError

if TYPE_CHECKING:
    import torch

AUTO = "auto"


def make_ready() -> None:
    """Let Hugging Face's ZeroGPU take the place of CUDA, which it must before torch is imported; nothing elsewhere."""
    if os.environ.get("SPACES_ZERO_GPU"):
        with contextlib.suppress(ImportError):
            import spaces  # noqa: F401


def let_threads_wait() -> None:
    """Let GNU's OpenMP threads, which wait for work at the end of each operation, spin for microseconds, then sleep.

    As it is they spin for milliseconds, and take the cores from OpenCV's threads and other programs; where they sleep
    at once, waking them makes a transfer a quarter slower. "Active" alone would have them spin for minutes; with the
    count it only sets how long they do where there are more threads than cores, as on the page. To be called before
    torch is imported; what the environment says already stays.
    """
    if sys.platform == "linux" and not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ |= {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "10000"}


def best_device(asked: torch.device | str = AUTO) -> str:
    """The device to compute on.

    Args:
        asked: a device's name, or "auto": CUDA where this machine has it, then Apple's MPS, then the CPU.

    Returns:
        A name that torch takes, of a device that holds numbers.

    Raises:
        LamdemoError: this machine does not have what was named.
    """
    if str(asked) == AUTO:
        return next((name for name in ("cuda", "mps") if _there(name) and _holds_numbers(name)), "cpu")
    if not _holds_numbers(str(asked)):
        raise LamdemoError(f"There is no device {str(asked)!r} here; leave out --device to use the best there is.")
    return str(asked)


@cache
def fast_dtype(device: torch.device | str) -> torch.dtype:
    """The type in which a device multiplies matrices fastest: bfloat16 where it has units for that, else float32.

    A processor without them emulates bfloat16, at a sixtieth of float32's speed (measured with AVX2 alone, one thread).
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind != "cpu":
        native = False
    elif platform.machine().lower() in ("aarch64", "arm64"):
        native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    else:
        # Of AVX-512 alone torch says that it takes bfloat16; only these two multiply in it.
        native = any(bool(getattr(torch.cpu, f"_is_{unit}_supported", bool)()) for unit in ("avx512_bf16", "amx_tile"))
    return torch.bfloat16 if native else torch.float32


def device_in_words(name: torch.device | str) -> str:
    """What a device is called, for people: the maker's name of a GPU, "Apple GPU", or "CPU"."""
    import torch

    device = torch.device(name)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"mps": "Apple GPU", "cpu": "CPU"}.get(device.type, device.type)


def _there(kind: str) -> bool:
    import torch

    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


def _holds_numbers(name: str) -> bool:
    import torch

    try:
        # And back: there are devices that torch knows and that hold no numbers.
        torch.zeros((), device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        return False
    return True
