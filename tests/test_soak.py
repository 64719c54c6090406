"""`lamdemo soak`: what it does and what it sees."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamdemo.cli import _run
from lamdemo.core.errors import LamdemoError
from lamdemo.ui import soak
from lamdemo.ui.soak import Material, Tally, Visitor


def test_visitors_come_and_the_report_tells(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "PAIRS", 1)
    out = tmp_path / "soak.json"
    code = _run(["soak", "--minutes", "0.1", "--clients", "2", "--checkpoint", str(tiny_checkpoint), "--out", str(out)])
    report = json.loads(out.read_text())
    assert code == 0, report["said"]
    assert report["clients"] == 2 and sum(report["ends"].values()) >= 2 and report["left_on_disk_after_the_end"] == []
    assert report["own_run_seconds"]["quiet"]["count"] == 1 and report["own_run_seconds"]["quiet"]["p50"] > 0
    assert report["visitors"]["threads"]["most"] > 2
    assert report["server"]["memory_kb"]["most"] > 100_000 and report["server"]["threads"]["end"] > 1


@pytest.fixture
def visitor(tmp_path: Path) -> Visitor:
    return Visitor(
        "http://127.0.0.1:9", Material([(tmp_path, tmp_path, 1.0, "hash")], {"a": tmp_path}), Tally(), 0, tmp_path
    )


def refuses(words: str) -> Callable[..., str]:
    def ask(*_: Any) -> str:
        raise LamdemoError(words)

    return ask


@pytest.mark.parametrize(
    ("asked", "end"),
    [
        (lambda *_: "hash", "done"),
        (lambda *_: "another", "wrong"),
        (refuses("24 jobs are under way or in line already; try again in a few minutes."), "busy"),
        (refuses("The source is too short; give a longer one."), "refused"),
    ],
)
def test_a_result_is_compared_with_the_quiet_one(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, asked: Callable[..., str], end: str
) -> None:
    monkeypatch.setattr(soak, "ask", asked)
    assert visitor._transferred(None, *visitor.material.pairs[0])[0] == end


def test_a_visit_that_breaks_off_is_lost_and_makes_the_report_bad(visitor: Visitor) -> None:
    with pytest.raises(OSError, match="refused"):
        visitor.look()  # nobody listens there
    visitor.chance.choices = lambda *_: [("look", visitor.look, 1)]  # type: ignore[method-assign]
    visitor.go_on(time.monotonic() + 0.2)
    assert visitor.tally.ends["look"]["lost"] > 0 and visitor.tally.words
    sample = {"memory_kb": 1}
    report = soak._report(visitor.tally, [sample] * 8, 1.0) | {"left_on_disk_after_the_end": []}
    assert not soak.good(report)
    visitor.tally.ends.clear()
    assert soak.good(soak._report(visitor.tally, [sample], 1.0) | {"left_on_disk_after_the_end": []})
    assert not soak.good(soak._report(visitor.tally, [sample], 1.0) | {"left_on_disk_after_the_end": ["a.mp4"]})


def test_what_a_transfer_takes_of_its_own_is_read_from_the_servers_log() -> None:
    lines = [
        "Running on a port",
        '{"event": "request", "ms": 5}',
        '{"event": "job", "kind": "program", "outcome": "done", "ms": 9000, "own_ms": 2000}',
        '{"event": "job", "kind": "program", "outcome": "refused", "ms": 9000, "own_ms": 2}',
        '{"event": "job", "kind": "program", "outcome": "done", "ms": 9000, "own_ms": 3000}',
        "17",
    ]
    seconds = soak.own_seconds("\n".join(lines))
    assert seconds == [2.0, 3.0]
    told = soak.own_run([2.0], seconds)
    assert told["quiet"] == {"count": 1, "p50": 2.0, "p95": 2.0}
    assert told["with visitors"]["p50"] == 2.5 and told["p95 over the quiet p95"] == 1.48
    assert "p95 over the quiet p95" not in soak.own_run([2.0], [])
