"""A sample of strangers' files through the page's readers; ``python -m benchmarks.hostile`` goes through them all."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import all_cases, gif, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.hostile import NoModel, listening, resident, run
from lamdemo.core.errors import LamdemoError
from lamdemo.latent_space.composition import Block, Composition
from lamdemo.ui.inputs import look_at_source, look_at_target
from lamdemo.video import reading

SAMPLE = 150
SLOW = ("100,000 frames", "gif bomb", "text bomb", "holes")  # kinds of which some take many seconds
LARGE = ("7680x4320",)


def test_a_sample_of_hostile_files_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("seeds", "work", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with listening() as (address, asked):
        cases = all_cases(tmp_path / "seeds", 1500, 18, address)
        cases = [c for c in cases if c.kind not in SLOW and not c.name.startswith(LARGE) and "3600" not in c.name]
        pick = np.random.default_rng(18).choice(len(cases), SAMPLE, replace=False)
        before = resident()
        report = run([cases[n] for n in sorted(pick)], tmp_path / "work", asked)
    assert report["wrong"] == [] and report["requests_to_this_machine"] == 0
    assert sum(report["outcomes"].values()) == SAMPLE and report["outcomes"]["read"] > 10
    assert resident() - before < 300_000


def test_what_is_checked_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check itself: a file left behind, a path in a sentence and a request are faults."""
    from benchmarks import hostile

    for name in ("work", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def read(case: hostile.Case, path: Path, out: Path) -> list[str]:
        (out / "left.bin").write_bytes(b"0")
        return [f"{path} is bad."]

    monkeypatch.setattr(hostile, "read", read)
    case = hostile.Case("polyglot", "a.zip", lambda path: path.write_bytes(zipped(a=b"x")), reads=True)
    report = run([case], tmp_path / "work", ["/asked"])
    told = " ".join(word for fault in report["wrong"] for word in fault["problems"])
    assert "left.bin" in told and "a path" in told and "refused" in told and "/asked" in told


def test_a_film_of_many_large_frames_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb, fine = tmp_path / "bomb.gif", tmp_path / "fine.gif"
    bomb.write_bytes(gif(4000, 4000, 3000))
    fine.write_bytes(gif(64, 48, 3000))
    pipeline: Any = NoModel()
    assert len(look_at_source(pipeline, str(fine), 0.0, tmp_path).sizes) == 80
    # Its beginning is short enough, its end is not: a GIF is read from its beginning.
    assert look_at_target(str(bomb), 0.1, tmp_path).moment == 0.1
    monkeypatch.setattr(reading, "_decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(LamdemoError, match=r"2,0.. frames of 4000×4000 pixels there, too many"):
        look_at_source(pipeline, str(bomb), 0.0, tmp_path)
    with pytest.raises(LamdemoError, match=r"2,0.. frames of 4000×4000 pixels there, too many"):
        look_at_target(str(bomb), 20.5, tmp_path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_shared_link_is_read_or_refused(data: st.DataObject) -> None:
    """hypothesis: the text of a link, changed, or any text."""
    text = Composition((Block.of(np.ones((2, 16), np.float32), "a"),), 4.0, "0" * 64).encode()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=4)) + text[at + data.draw(st.integers(0, 4)) :]
    for given_text in (text, data.draw(st.text(max_size=200))):
        try:
            made = Composition.decode(given_text, channels=16)
            assert np.isfinite(made.latents().z).all()
        except LamdemoError as error:
            assert len(str(error)) < 300
