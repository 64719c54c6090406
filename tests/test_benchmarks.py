"""The one command that measures: what it counts is true, and its sections run and keep their keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.__main__ import SECTIONS, lines_of, main, measure
from benchmarks.counting import Counted
from benchmarks.growth import growth_plots
from benchmarks.measuring import Machine, Settings, entry, exponent, spread


def test_operations_are_those_that_torch_counts_and_bytes_those_of_the_tensors() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 16, 5, bias=False))
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad(), FlopCounterMode(display=False) as torchs, Counted() as ours:
        net(x)
    assert sum(one.operations for one in ours.products) == torchs.get_total_flops()
    numbers = [x.numel() + 8 * 3 * 9 + 8 + 2 * 8 * 16, 2 * 8 * 16 + 8 * 16 * 5 + 2 * 5]
    assert [one.bytes for one in ours.products] == [4 * n for n in numbers]


def test_attention_on_a_cpu_is_counted_too() -> None:
    q, k = torch.randn(1, 2, 6, 8), torch.randn(1, 2, 10, 8)
    with torch.no_grad(), Counted() as counted:
        nn.functional.scaled_dot_product_attention(q, k, k)
    # Two products, of 2 operations for each query, key and channel of each head.
    assert sum(one.operations for one in counted.products) == 2 * 2 * (2 * 6 * 10 * 8)


def test_a_fused_layer_is_counted_by_its_products() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 64, batch_first=True, norm_first=True, activation="gelu").eval()
    x = torch.randn(3, 5, 16)
    with torch.no_grad(), Counted() as counted:
        layer(x)
    linear = 2 * 3 * 5 * (4 * 16 * 16 + 2 * 16 * 64)
    assert sum(one.operations for one in counted.products) == linear + 2 * 2 * (3 * 2 * 5 * 5 * 8)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_floor_is_the_longer_of_computing_and_moving() -> None:
    def work() -> None:
        torch.randn(4, 8) @ torch.randn(8, 2)

    computing, moving = Machine(2.0, 4.0, copies=1e9), Machine(1e9, 1e9, copies=3.0)
    assert computing.floor(work)["seconds"] == 2 * 4 * 8 * 2 / 2.0
    assert computing.floor(lambda: torch.ones(4, 8).bfloat16() @ torch.ones(8, 2).bfloat16())["seconds"] == 32.0
    assert moving.floor(work)["seconds"] == pytest.approx(4 * (32 + 16 + 8) / 3.0, rel=1e-3)


def test_growth_is_the_power_over_the_last_two() -> None:
    assert exponent([1, 2, 4], [9.0, 4.0, 16.0]) == pytest.approx(2)
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.5, "high": 2.5, "runs": 3}
    assert entry(spread([3.0]), {"seconds": 2.0, "of": "it"})["ratio"] == 1.5


def test_peers_have_the_sizes_that_were_published() -> None:
    from benchmarks.peers import Transformer
    from benchmarks.unet import AdaWorldNet

    with torch.device("meta"), torch.no_grad():
        encoder, video = Transformer(16, 1024, 16, 24, tubelet=2), AdaWorldNet()
        made = video(torch.randn(7, 8, 32, 32), torch.randn(7, 1280), torch.randn(7, 1, 1056))
    assert made.shape == (7, 4, 32, 32)
    for net, millions in ((encoder, 304), (video, 1500)):
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.06)


def entries(section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: one for name, one in section.items() if isinstance(one, dict) and "seconds" in one}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures, and a machine that is not measured."""
    monkeypatch.setattr("benchmarks.drawing.SIZES", ((96, 64),))
    monkeypatch.setattr("benchmarks.media.SIZES", ((96, 64),))
    monkeypatch.setattr("benchmarks.jobs.SIZES", ((96, 64),))
    monkeypatch.setattr("benchmarks.jobs._RUNS", ((2, (96, 64)),))
    monkeypatch.setattr(Machine, "measured", classmethod(lambda cls, device="cpu": cls(1e11, 1e11, 1e10)))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "promised", "with_floor"),
    [
        ("load", "load", True),
        ("network", "one step", True),
        ("decode", "decode and resample 4 s at 12 frames a second", True),
        ("draw", "draw a step's frame, 96x64", True),
        ("write", "write 49 frames, 96x64", True),
        ("transfers", "2 steps, 96x64: first frame", False),
        ("drive", "a step of Drive, 96x64", False),
        ("start", "start to usable page", False),
    ],
)
def test_a_section_gives_medians_with_spread_floors_and_memory(
    tiny_checkpoint: Path, name: str, promised: str, with_floor: bool
) -> None:
    section = measure(name, Settings(str(tiny_checkpoint), repeats=1, threads=1, transfers=1))
    found = entries(section)
    for one in found.values():
        assert set(one["seconds"]) == {"median", "low", "high", "runs"} and one["seconds"]["median"] > 0
        assert ("ratio" in one) == ("floor" in one)
    assert ("floor" in found[promised]) == with_floor
    assert section["memory"]["peak MB"] > 0
    assert len(lines_of(section)) == len(found) + 1


def test_what_is_not_there_is_left_out_with_a_sentence(tiny_checkpoint: Path) -> None:
    section = measure("atlas", Settings(str(tiny_checkpoint), repeats=1, threads=1))
    assert section == {"left out": "This checkpoint brings no atlas; measure one that does."}


def test_growth_names_what_grows_too_fast_and_is_plotted(tiny_checkpoint: Path) -> None:
    section = measure("growth", Settings(str(tiny_checkpoint), repeats=1, threads=1))
    curves = {name for name, one in section.items() if isinstance(one, dict) and "sizes" in one}
    assert len(curves) >= 5 and set(section["grows faster than it must"]) <= curves
    assert len(growth_plots({"sections": {"growth": section}})["growth"].data) == len(curves) + 1


def test_the_report_says_how_it_was_made(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    main(
        ["--out", str(out), "--only", "load", "--repeats", "1", "--threads", "1", "--checkpoint", str(tiny_checkpoint)]
    )
    text = out.read_text(encoding="utf-8")
    report = json.loads(text)
    assert set(report) == {
        *("command", "git", "checkpoint", "seed", "repeats", "threads", "machine", "sections", "seconds"),
    }
    assert len(report["checkpoint"]["sha256"]) == 64 and set(report["sections"]) == {"load"}
    assert "ratio" in report["sections"]["load"]["load"] and str(tmp_path) not in text


def test_every_section_is_a_function_of_its_module() -> None:
    import importlib

    for name, module in SECTIONS.items():
        assert callable(getattr(importlib.import_module(f"benchmarks.{module}"), name))
