"""Models of others as readers of latents: their layouts, what they read, their maps. Random weights, no network."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import moving_square
from hub_stand_in import CLIENT, Hub, fetch
from other_files import (
    TINY_ADAWORLD,
    TINY_VILLAX,
    adaworld_shapes,
    random_weights,
    villax_shapes,
    write_adaworld,
    write_villax,
)
from safetensors.torch import load_file, save_file
from torch import nn

from lamdemo.cli import main
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline, resolve_checkpoint
from lamdemo.engine.others import OTHERS, OtherReader
from lamdemo.engine.readers import LatentReader, load_other, load_reader, player
from lamdemo.evaluation.of_atlas import judge_atlas
from lamdemo.latent_space.atlas import ATLAS_NAME, Atlas
from lamdemo.latent_space.building import build_atlas
from lamdemo.latent_space.recordings import AtlasConfig
from lamdemo.models.others.adaworld import AdaWorldEncoder
from lamdemo.models.others.villax import VillaXEncoder
from lamdemo.video import write_video

ADAWORLD, VILLAX = OTHERS
WRITERS = {"AdaWorld": write_adaworld, "villa-X": write_villax}
FAST = AtlasConfig(umap=False, thumb=(32, 24), scene_steps=4)
READER = CLIENT.replace("from lamdemo.engine import TransferPipeline", "from lamdemo.engine.readers import load_reader")
READER = READER.replace("TransferPipeline.from_pretrained(name)", "load_reader(name)")


def a_sentence(error: pytest.ExceptionInfo[LamdemoError], *words: str) -> None:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 400, text
    for word in words:
        assert word in text, text


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("others")
    return {name: write(root / name) for name, write in WRITERS.items()}


@pytest.fixture(scope="module")
def readers(folders: dict[str, Path]) -> dict[str, LatentReader]:
    return {name: load_reader(folder, device="cpu") for name, folder in folders.items()}


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return moving_square(7)


# Layouts.


def test_at_full_size_names_and_shapes_are_those_of_the_public_sources() -> None:
    built: list[tuple[type[nn.Module], dict[str, tuple[int, ...]]]] = [
        (AdaWorldEncoder, {n.removeprefix("lam."): s for n, s in adaworld_shapes().items()}),
        (VillaXEncoder, villax_shapes()),
    ]
    for encoder, published in built:
        with torch.device("meta"):
            ours = {name: tuple(t.shape) for name, t in encoder().state_dict().items()}
        parts = ("action_prompt", "encoder.", "fc.", "vq.")  # what reads; the rest predicts
        assert ours == {n: s for n, s in published.items() if n.startswith(parts)}
    with torch.device("meta"):
        assert AdaWorldEncoder().channels == 32 and VillaXEncoder().channels == 4 * 128


def test_sizes_are_read_off_the_weights_and_off_the_configuration(readers: dict[str, LatentReader]) -> None:
    ada, villa = readers["AdaWorld"], readers["villa-X"]
    assert isinstance(ada, OtherReader) and isinstance(villa, OtherReader)
    assert (ada.channels, ada.picture, ada.family) == (TINY_ADAWORLD["latent"], 256, "noisy")
    assert (villa.channels, villa.picture, villa.family) == (2 * 8, TINY_VILLAX["resolution"], "discrete")
    assert vars(ada.encoder.config) == TINY_ADAWORLD
    assert not [p for reader in (ada, villa) for p in reader.encoder.parameters() if p.requires_grad]
    assert all(isinstance(reader, LatentReader) and len(reader.checkpoint) == 64 for reader in (ada, villa))


def test_weights_that_were_converted_read_the_same(tmp_path: Path, frames: np.ndarray) -> None:
    state = random_weights(adaworld_shapes(width=64, latent=6, patch=64, blocks=2, heads=1))
    # Frequencies that a file leaves out follow from the width of a head, 64 as at the full size.
    kept = {n: t for n, t in state.items() if "freqs" not in n}
    assert len(kept) == len(state) - 2
    for name, held in (("given", state), ("converted", state), ("left out", kept)):
        (tmp_path / name).mkdir()
        if name == "given":
            torch.save({"state_dict": held}, tmp_path / name / "lam.ckpt")
        else:
            save_file(held, tmp_path / name / "lam.safetensors")
    given, *others = (load_reader(tmp_path / n, device="cpu").read(frames) for n in ("given", "converted", "left out"))
    assert all(np.array_equal(given, other) for other in others)


def test_files_in_the_folder_itself_will_do(folders: dict[str, Path], frames: np.ndarray) -> None:
    inner = load_reader(folders["villa-X"] / "lam", device="cpu")
    assert np.array_equal(inner.read(frames), load_reader(folders["villa-X"], device="cpu").read(frames))


# What is read.


@pytest.mark.parametrize("name", WRITERS)
def test_each_two_frames_have_a_latent_and_it_is_the_same_each_time(
    name: str, readers: dict[str, LatentReader], folders: dict[str, Path], frames: np.ndarray
) -> None:
    z = readers[name].read(frames)
    assert z.dtype == np.float32 and z.shape == (len(frames) - 1, readers[name].channels) and np.isfinite(z).all()
    assert np.array_equal(z, load_reader(folders[name], device="cpu").read(frames))
    assert len(np.unique(readers[name].read(_noise(7)), axis=0)) > 1  # it looks at them at all


@pytest.mark.parametrize("name", WRITERS)
def test_no_latent_sees_what_comes_after_its_second_frame(name: str, readers: dict[str, LatentReader]) -> None:
    frames = _noise(9)
    z = readers[name].read(frames)
    for t in range(7):
        changed = frames.copy()
        changed[t + 2 :] = 255 - changed[t + 2 :]
        again = readers[name].read(changed)
        assert np.array_equal(again[: t + 1], z[: t + 1])
    assert not np.array_equal(again[7:], z[7:])


def test_adaworld_sees_two_frames_and_villax_the_window_before_them_too(readers: dict[str, LatentReader]) -> None:
    frames = _noise(9)
    changed = frames.copy()
    changed[0] = 255 - changed[0]
    for name, reach in (("AdaWorld", 2), ("villa-X", TINY_VILLAX["d_t"])):
        z, again = readers[name].read(frames), readers[name].read(changed)
        assert np.array_equal(z[reach - 1 :], again[reach - 1 :])  # the first that the changed frame is too far from
        assert np.array_equal(readers[name].read(frames[:3])[:1], z[:1])


def test_villax_gives_its_codes(readers: dict[str, LatentReader], folders: dict[str, Path]) -> None:
    codes = load_file(folders["villa-X"] / "lam" / "model.safetensors")["vq.embedding.weight"].numpy()
    z = readers["villa-X"].read(_noise(9)).reshape(-1, codes.shape[1])
    assert all((codes == row).all(1).any() for row in z)


def test_adaworld_sees_the_square_in_the_middle(readers: dict[str, LatentReader]) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (3, 40, 80, 3)).astype(np.uint8)
    assert np.array_equal(readers["AdaWorld"].read(wide), readers["AdaWorld"].read(wide[:, :, 20:60].copy()))


def test_what_are_no_frames_is_told(readers: dict[str, LatentReader], frames: np.ndarray) -> None:
    for wrong in (frames[:1], frames[0], frames.astype(np.float32), frames[..., :2], frames[:0]):
        with pytest.raises(LamdemoError) as error:
            readers["AdaWorld"].read(wrong)
        a_sentence(error)


def _noise(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


# Files that are not what they should be.


class _Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code of a stranger ran",)


def test_a_checkpoint_that_would_run_something_is_not_opened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = random_weights(adaworld_shapes(**TINY_ADAWORLD))
    torch.save({"state_dict": state, "hyper_parameters": _Runs()}, tmp_path / "lam.ckpt")
    with pytest.raises(LamdemoError) as error:
        load_other(tmp_path, device="cpu")
    a_sentence(error, "lam.ckpt", "more than tensors", "lam.safetensors")
    assert "ran" not in capfd.readouterr().out


@pytest.mark.parametrize("data", [b"", b"no weights at all", pickle.dumps({"state_dict": {}}), b"PK\x03\x04 cut"])
def test_a_checkpoint_that_is_something_else_is_told(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "lam.ckpt").write_bytes(data)
    with pytest.raises(LamdemoError) as error:
        load_other(tmp_path, device="cpu")
    a_sentence(error, "lam.ckpt", "AdaWorld")


def test_weights_of_another_layout_are_told(tmp_path: Path) -> None:
    state = random_weights(adaworld_shapes(**TINY_ADAWORLD))
    changes = {
        "action_prompt or fc is missing": {n: t for n, t in state.items() if n != "lam.fc.weight"},
        "encoder.out.bias is missing": {n: t for n, t in state.items() if n != "lam.encoder.out.bias"},
        "left over": state | {"lam.encoder.more": torch.zeros(1)},
        "encoder.out.bias is 3 there": state | {"lam.encoder.out.bias": torch.zeros(3)},
        "no number": state | {"lam.fc.bias": torch.full((2 * TINY_ADAWORLD["latent"],), float("nan"))},
        "no model has these sizes": state | {"lam.action_prompt": torch.zeros(1, 1, 1, 10)},
    }
    for words, held in changes.items():
        torch.save({"state_dict": held}, tmp_path / "lam.ckpt")
        with pytest.raises(LamdemoError) as error:
            load_other(tmp_path, device="cpu")
        a_sentence(error, "lam.ckpt", words)
    torch.save([1, 2], tmp_path / "lam.ckpt")
    with pytest.raises(LamdemoError) as error:
        load_other(tmp_path, device="cpu")
    a_sentence(error, "no state_dict")


def test_a_configuration_of_something_else_is_told(tmp_path: Path) -> None:
    path = write_villax(tmp_path) / "lam" / "model_config.json"
    about = json.loads(path.read_text())
    wrong = {
        "IgorModel": about | {"architecture": "Other"},
        "encoder_depth": about | {"config": about["config"] | {"encoder_depth": "many"}},
        "layers": about | {"config": about["config"] | {"encoder_depth": 100_000}},
        "no model has these sizes": about | {"config": about["config"] | {"encoder_n_heads": 5}},
        "is 96×32 there": about | {"config": about["config"] | {"encoder_embed_dim": 64}},
        "missing or damaged": [],
    }
    for words, data in wrong.items():
        path.write_text(json.dumps(data) if data else "{")
        with pytest.raises(LamdemoError) as error:
            load_other(tmp_path, device="cpu")
        a_sentence(error, "villa-X", words.replace("is 96×32 there", "there"))


def test_what_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_adaworld(tmp_path)
    monkeypatch.setenv("LAMDEMO_MOST_GB", "0.00001")
    with pytest.raises(LamdemoError) as error:
        load_other(tmp_path, device="cpu")
    a_sentence(error, "over the limit")


# By their ids on the Hub.


def test_they_come_from_the_hub_by_their_ids_with_nothing_else_of_theirs(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    ada = (folders["AdaWorld"] / "lam.ckpt").read_bytes()
    villa = {f"lam/{p.name}": p.read_bytes() for p in (folders["villa-X"] / "lam").iterdir()}
    more = {"adaworld.safetensors": b"x" * 1000, "README.md": b"#"}
    hub = Hub({ADAWORLD.repository: {"lam.ckpt": ada} | more, VILLAX.repository: villa | {"act/model.bin": b"x"}})
    names = ["Little-Podi/AdaWorld", "https://huggingface.co/microsoft/villa-x/tree/main/lam", "microsoft/villa-x@v9"]
    try:
        first = fetch([*names], hub.address, tmp_path / "home", READER)
        files = [path for path in hub.asked if "/resolve/" in path]
        del hub.files[ADAWORLD.repository]["lam.ckpt"]
        (lacking,) = fetch(["little-podi/adaworld"], hub.address, tmp_path / "another", READER)
        # What only reads is no checkpoint of ours, and is not fetched as one.
        (ours,) = fetch(["microsoft/villa-x"], hub.address, tmp_path / "third")
    finally:
        hub.stop()
    assert [answer.get("name") for answer in first[:2]] == ["AdaWorld", "villa-X"]
    assert first[0]["hash"] == load_reader(folders["AdaWorld"], device="cpu").checkpoint
    assert "no revision v9" in first[2]["error"]
    assert not [path for path in files if path.endswith((".bin", "adaworld.safetensors", ".md"))]
    assert "lacks lam.ckpt" in lacking["error"] and "AdaWorld" in lacking["error"]
    assert "only reads latents" in ours["error"]
    # Without the network: what was fetched is there, the rest is told in one sentence.
    again = fetch(["microsoft/villa-x"], hub.address, tmp_path / "home", READER)
    assert again[0]["hash"] == first[1]["hash"]
    (gone,) = fetch(["microsoft/villa-x"], hub.address, tmp_path / "empty", READER)
    assert "cannot be reached" in gone["error"]


# Maps.


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "square.mp4", moving_square(9), 4)
    return folder


@pytest.fixture(scope="module")
def maps(
    readers: dict[str, LatentReader], videos: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Atlas, Path]]:
    root = tmp_path_factory.mktemp("maps")
    return {
        name: (build_atlas(reader, videos=videos, scenes=8, out=root / name, config=FAST), root / name)
        for name, reader in readers.items()
    }


@pytest.mark.parametrize("name", WRITERS)
def test_a_map_of_anothers_latents_opens_and_has_neighbours(
    name: str, maps: dict[str, tuple[Atlas, Path]], readers: dict[str, LatentReader]
) -> None:
    atlas = Atlas.load(maps[name][1])
    assert (atlas.name, atlas.family, atlas.channels) == (name, readers[name].family, readers[name].channels)
    assert atlas.checkpoint == readers[name].checkpoint and not atlas.plays and atlas.directions is None
    assert {r.part for r in atlas.recordings} == {"clips", "scenes"} and {"pca2", "pca3"} <= set(atlas.coordinates)
    near, distances = atlas.nearest(atlas.latents[0], 3, other_than=int(atlas.recording[0]))
    assert len(near) == 3 and (np.diff(distances) >= 0).all() and (atlas.recording[near] != atlas.recording[0]).all()
    assert atlas.thumbnail(int(atlas.frame[0])).shape == (24, 32, 3)
    assert atlas.to_bytes() == maps[name][0].to_bytes()


def test_the_same_scenes_are_on_the_maps_of_all(
    maps: dict[str, tuple[Atlas, Path]], pipeline: TransferPipeline
) -> None:
    ours = build_atlas(pipeline, scenes=8, out=maps["AdaWorld"][1].with_name("ours"), config=FAST)
    assert ours.plays
    for atlas, _ in maps.values():
        scenes = atlas.kind >= 0
        assert np.array_equal(atlas.kind[scenes], ours.kind) and np.array_equal(atlas.step[scenes], ours.step)
    assert {judge_atlas(a)["steps"] for a in (ours, *(atlas for atlas, _ in maps.values()))} == {len(ours)}


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint, device="cpu")


def test_what_needs_a_world_model_is_refused(
    maps: dict[str, tuple[Atlas, Path]],
    readers: dict[str, LatentReader],
    folders: dict[str, Path],
    videos: Path,
    pipeline: TransferPipeline,
    tmp_path: Path,
) -> None:
    for name, reader in readers.items():
        with pytest.raises(LamdemoError) as error:
            maps[name][0].check(pipeline)
        a_sentence(error, name, "not played")
        with pytest.raises(LamdemoError) as error:
            build_atlas(reader, drawn=videos, scenes=0, out=tmp_path / "a", config=FAST)
        a_sentence(error, name, "only reads")
        for refused in (resolve_checkpoint, TransferPipeline.from_pretrained):
            with pytest.raises(LamdemoError) as error:
                refused(folders[name])
            a_sentence(error, name, "lamdemo atlas")
    assert player(pipeline, "Playing") is pipeline and isinstance(pipeline, LatentReader)
    frames = moving_square(3)
    assert np.array_equal(pipeline.read(frames), pipeline.infer(frames, refinement=0).z)
    assert not (tmp_path / "a").exists()


def test_neighbours_are_judged_by_latents_alone(maps: dict[str, tuple[Atlas, Path]]) -> None:
    atlas = maps["AdaWorld"][0]
    found = judge_atlas(atlas)
    assert found["recordings"] == 8 and found["four"]["queries"] > 0 and 0 < found["four"]["chance"] < 1
    # Latents that say the kind alone are right about it each time there is another scene of it.
    told = replace(atlas, latents=np.eye(len(atlas.kinds) + 1)[atlas.kind], coordinates={})
    kinds = {k: len(np.unique(atlas.recording[atlas.kind == k])) for k in range(len(atlas.kinds))}
    twice = [k for k, scenes in kinds.items() if scenes > 1]
    table = np.array(judge_atlas(told)["confusion"]["counts"])
    assert all(table[k].sum() == table[k, k] for k in twice)
    with pytest.raises(LamdemoError) as error:
        judge_atlas(replace(atlas, kind=np.full(len(atlas), -1)))
    a_sentence(error, "scenes")


def test_the_command_line(
    folders: dict[str, Path], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ATLAS_NAME
    given = ["atlas", "--checkpoint", str(folders["villa-X"]), "--scenes", "8", "--no-umap", "--out", str(out)]
    assert _code([*given, "--judge", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "8 recordings" in said and said.count("by chance") == 2
    assert Atlas.load(out).name == "villa-X"
    assert _code([*given, "--drawn", str(videos), "--device", "cpu"]) == 2
    assert "villa-X only reads latents" in capsys.readouterr().err
    assert _code(["compose", "--list", "--checkpoint", "microsoft/villa-x"]) == 2
    assert "only reads latents here" in capsys.readouterr().err


def _code(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


# On the page.


def test_the_page_looks_at_anothers_map_and_plays_nothing_of_it(
    maps: dict[str, tuple[Atlas, Path]], pipeline: TransferPipeline, tmp_path: Path
) -> None:
    from lamdemo.ui.space.others import OtherMaps
    from lamdemo.ui.space.work import Places, SpaceSession

    folder = tmp_path / "checkpoint"
    shutil.copytree(pipeline.folder or Path(), folder)
    shutil.copy(maps["villa-X"][1], folder / "atlas-villa-x.safetensors")
    mine = TransferPipeline.from_pretrained(folder, device="cpu")
    places = Places(tmp_path / "served")
    assert places.beside(pipeline) == {} and list(places.beside(mine)) == ["villa-x"]
    place = places.other(places.beside(mine)["villa-x"])
    assert place is places.other(places.beside(mine)["villa-x"]) and place.data is not None and place.prior is None

    stage = SimpleNamespace(near="near", overlay="overlay")
    others, space = OtherMaps(SimpleNamespace(stage=stage)), SpaceSession()  # type: ignore[arg-type]
    for said in ({"kind": "point", "index": 3}, {"act": "point", "index": "3"}, {"kind": "lasso", "indices": [1, 3]}):
        shown = others.look(said, space, place)
        assert shown["near"].count("Look at") > 1 and "Play" not in shown["near"] and "sheet-000.jpg" in shown["near"]
        assert "pca2" in shown["overlay"] and space.chosen is None and space.performed is None
    for said in ({"kind": "point", "index": 9999}, {"kind": "point"}, {"kind": "lasso", "indices": []}):
        with pytest.raises(LamdemoError) as error:
            others.look(said, space, place)
        a_sentence(error)
    places.beside(mine)["villa-x"].unlink()
    with pytest.raises(LamdemoError) as error:
        places.other(folder / "atlas-villa-x.safetensors")
    a_sentence(error, "no atlas")
