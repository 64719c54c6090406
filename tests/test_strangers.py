"""Checkpoints from strangers: what their files may say, and what is made of it."""

from __future__ import annotations

import json
import resource
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.core.tensors import stored_tensors
from lamdemo.engine import TransferPipeline
from lamdemo.models import load_checkpoint
from lamdemo.models.checkpoint import read_config
from lamdemo.models.companion_files import load_distilled
from lamdemo.models.controller import Controller, ControllerConfig, load_controller, save_controller
from lamdemo.models.prior import FlowPrior, FlowPriorConfig, load_prior, save_prior

Change = Callable[[Any], object]


def change_json(path: Path, change: Change) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def change_tensors(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def put(*keys: str, value: object) -> Change:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


def nan(tensors: dict[str, Tensor]) -> None:
    tensors[max(tensors)].view(-1)[0] = float("nan")


CONFIGS = {
    "a wide layer": put("model", "world_model", "width", value=10**12),
    "a deep one": put("model", "world_model", "depth", value=10**9),
    "as wide as may be": put("model", "world_model", "width", value=1 << 17),
    "as deep as may be": put("model", "world_model", "depth", value=64),
    "a large picture": put("model", "encoder", "picture", value=10**6),
    "a long reach": put("model", "inverse_dynamics", "reach", value=10**9),
    "codes without end": put("model", "bottleneck", "capacity", value=1e300),
    "no rate": put("model", "fps", value=float("nan")),
    "less than nothing": put("model", "world_model", "width", value=-4),
    "widths without end": put("model", "painter", "widths", value=[1] * 10**6),
    "a name without end": put("model", "x" * 10**6, value=1),
    "a number without end": put("model", "fps", value=10**4000),
}
WEIGHTS = {
    "numbers that are none": nan,
    "another type": lambda t: t.update({k: v.double() for k, v in t.items()}),
    "whole numbers": lambda t: t.update({k: v.to(torch.int32) for k, v in t.items()}),
    "one too few": lambda t: t.pop(max(t)),
    "one too many": lambda t: t.update(extra=torch.zeros(2)),
    "another shape": lambda t: t.update({max(t): torch.zeros(3, 5)}),
}
FILES = {
    "too large": lambda p: p.open("r+b").truncate(3 << 30),  # holes take no room
    "a header without end": lambda p: p.write_bytes(struct.pack("<Q", 1 << 62) + bytes(100)),
    "a header of another length": lambda p: p.write_bytes(struct.pack("<Q", 10_000) + p.read_bytes()[8:]),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "something behind": lambda p: p.write_bytes(p.read_bytes() + b"PK"),
    "a pickle": lambda p: p.write_bytes(b"\x80\x04\x95" + bytes(200)),
    "one byte": lambda p: p.write_bytes(b"{"),
    "a link": lambda p: (p.unlink(), p.symlink_to("/etc/passwd")),
    "a link to weights": lambda p: (shutil.move(p, p.parent.parent / "w"), p.symlink_to(p.parent.parent / "w")),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
}


def refused(read: Callable[[], object]) -> str:
    """The sentence with which a checkpoint is refused: soon, and with little memory."""
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LamdemoError) as error:
        read()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB: the most ever taken
    assert time.process_time() - began < 10
    text = str(error.value)
    assert len(text) < 600 and "\n" not in text and "/" not in text and "Traceback" not in text
    return text


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "of_a_stranger"))


@pytest.mark.parametrize("how", CONFIGS)
def test_a_config_of_any_size_allocates_nothing(checkpoint: Path, how: str) -> None:
    change_json(checkpoint / "config.json", CONFIGS[how])
    assert "of_a_stranger" in refused(lambda: load_checkpoint(checkpoint))


@pytest.mark.parametrize("how", [*WEIGHTS, *FILES])
def test_weights_of_any_kind_get_one_sentence(checkpoint: Path, how: str) -> None:
    path = checkpoint / "model.safetensors"
    if how in WEIGHTS:
        change_tensors(path, WEIGHTS[how])
    else:
        FILES[how](path)
    assert "of_a_stranger" in refused(lambda: load_checkpoint(checkpoint))


def test_a_config_may_not_be_endless(checkpoint: Path) -> None:
    with open(checkpoint / "config.json", "r+b") as file:
        file.truncate(2 << 30)
    assert "damaged" in refused(lambda: load_checkpoint(checkpoint))


def test_the_hubs_own_links_are_taken(checkpoint: Path, tmp_path: Path) -> None:
    """Its cache keeps a file once, as ``blobs/<hash>``, and a revision's folder holds links to these."""
    blobs, revision = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    for folder in (blobs, revision):
        folder.mkdir(parents=True)
    for path in checkpoint.iterdir():
        shutil.move(path, blobs / path.name)
        (revision / path.name).symlink_to(Path("../../blobs") / path.name)
    assert load_checkpoint(revision).config == read_config(revision)[0]


def test_weights_come_as_they_were(tiny_checkpoint: Path) -> None:
    model, kept = load_checkpoint(tiny_checkpoint), load_file(tiny_checkpoint / "model.safetensors")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, kept[name].to(tensor.dtype), rtol=0, atol=0)


class TestCompanions:
    @pytest.fixture
    def prior(self, checkpoint: Path) -> Path:
        config, _ = read_config(checkpoint)
        sizes = FlowPriorConfig(config.bottleneck.channels, config.encoder.channels, token_width=8, heads=2, width=8)
        save_prior(FlowPrior(sizes), checkpoint, {})
        assert load_prior(checkpoint) is not None
        return checkpoint / "prior.safetensors"

    @pytest.mark.parametrize("how", [*WEIGHTS, *FILES, "width", "depth", "sizes"])
    def test_a_prior(self, prior: Path, how: str) -> None:
        if how in WEIGHTS:
            change_tensors(prior, WEIGHTS[how])
        elif how in FILES:
            FILES[how](prior)
        else:
            change_json(prior.with_suffix(".json"), put("prior", how, value=10**12))
        if how == "a folder":
            assert "lacks prior.safetensors" in refused(lambda: load_prior(prior.parent))
        else:
            assert "damaged" in refused(lambda: load_prior(prior.parent))

    @pytest.mark.parametrize("how", [*WEIGHTS, *FILES, "actions", "width", "depth", "history", "hidden"])
    def test_a_controller(self, checkpoint: Path, how: str) -> None:
        config, _ = read_config(checkpoint)
        sizes = config.encoder.channels, config.bottleneck.channels, config.encoder.grid
        made = Controller(ControllerConfig(2, width=8, heads=2, hidden=8, patch=1), *sizes)
        save_controller(made, checkpoint, "car", checkpoint="", spec={"name": "car"})
        path = checkpoint / "controllers" / "car.safetensors"
        if how in WEIGHTS:
            change_tensors(path, WEIGHTS[how])
        elif how in FILES:
            FILES[how](path)
        else:
            change_json(path.with_suffix(".json"), put("config", how, value=10**12))
        told = dict(zip(("channels", "latent", "grid"), sizes, strict=True))
        assert "controller car" in refused(lambda: load_controller(checkpoint, "car", **told))

    @pytest.mark.parametrize("name", ["draft.json", "draft.safetensors"])
    def test_a_companion_that_lacks_its_other_half(self, checkpoint: Path, name: str) -> None:
        (checkpoint / name).write_text("{}")
        assert "draft" in refused(lambda: load_distilled(checkpoint))

    @pytest.mark.parametrize("name", ["verdict.json", "latents.safetensors", "atlas.safetensors"])
    @pytest.mark.parametrize("content", [b"", b"{}", b"[" * 10**6, struct.pack("<Q", 1 << 40), b"\x80\x04" * 50])
    def test_the_rest(self, checkpoint: Path, name: str, content: bytes) -> None:
        from lamdemo.latent_space.atlas import Atlas

        (checkpoint / name).write_bytes(content)

        def use() -> None:
            TransferPipeline.from_pretrained(checkpoint)
            Atlas.read(checkpoint)

        assert name in refused(use)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_header_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """hypothesis: the header of a safetensors file, changed."""
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(3, 4), "b": torch.ones(2, dtype=torch.int32)}, path)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at, cut = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 6))
        whole[at : at + cut] = data.draw(st.binary(max_size=6))
    path.write_bytes(whole)
    try:
        found = stored_tensors(path)
    except ValueError:
        return
    assert all(tuple(tensor.shape) == found[name].shape for name, tensor in load_file(path).items())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_config_is_read_or_refused(tiny_checkpoint: Path, tmp_path: Path, data: st.DataObject) -> None:
    """hypothesis: one entry of a configuration, whatever it is."""
    whole = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    part = data.draw(st.sampled_from(sorted(set(whole["model"]) - {"fps"})))
    key = data.draw(st.sampled_from(sorted(whole["model"][part])))
    whole["model"][part][key] = data.draw(JSON | st.integers(-(10**13), 10**13))
    (tmp_path / "config.json").write_text(json.dumps(whole), encoding="utf-8")
    shutil.copy(tiny_checkpoint / "model.safetensors", tmp_path)
    try:
        load_checkpoint(tmp_path)
    except LamdemoError as error:
        assert len(str(error)) < 600
