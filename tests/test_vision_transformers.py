"""V-JEPA 2, DINOv2 and DINOv3 as encoders: transformers' own classes and layout, with small random weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from conftest import TINY, moving_square
from hub_stand_in import SHA, Hub, client
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import read_bank
from lamdemo.data.videos import Recording
from lamdemo.engine import TransferPipeline
from lamdemo.models import EncoderConfig, LatentActionModel, ModelConfig, load_checkpoint, save_checkpoint
from lamdemo.models import encoder as registry
from lamdemo.models import vision_transformers as vision
from lamdemo.models.encoder import build_encoder
from lamdemo.models.vision_transformers import SOURCES, FrozenTransformer
from lamdemo.training import TrainConfig, Trainer
from lamdemo.training.config import BatchConfig, OptimizerConfig

ROOT = Path(__file__).resolve().parents[1]
WIDTH, SIDE, GRID = 48, 64, 4
SMALL = {
    "vjepa2-tiny": transformers.VJEPA2Config(
        hidden_size=WIDTH,
        num_attention_heads=2,
        num_hidden_layers=2,
        pred_hidden_size=12,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=2,
    ),
    "dinov2-tiny": transformers.Dinov2Config(
        hidden_size=WIDTH, num_attention_heads=2, num_hidden_layers=2, image_size=518
    ),
    "dinov3-tiny": transformers.DINOv3ViTConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_attention_heads=2,
        num_hidden_layers=2,
        num_register_tokens=4,
    ),
}
LARGE = {"vjepa2-tiny": "vjepa2-l", "dinov2-tiny": "dinov2-b", "dinov3-tiny": "dinov3-b"}
# Names of weights as the repositories hold them, which are not always those of the class.
KEYS = {
    "vjepa2-tiny": "encoder.layer.1.attention.query.weight",
    "dinov2-tiny": "encoder.layer.1.attention.attention.query.weight",
    "dinov3-tiny": "layer.1.attention.q_proj.weight",
}
NAMES = list(SMALL)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each name with what its repository would hold."""
    place = tmp_path_factory.mktemp("repositories")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, config in SMALL.items():
            model = getattr(transformers, SOURCES[LARGE[name]].architecture)(config)
            with torch.no_grad():  # as they begin, layers add next to nothing
                for parameter in model.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
            model.save_pretrained(place / name)
            assert KEYS[name] in load_file(place / name / "model.safetensors")
    return place


@pytest.fixture(scope="module", autouse=True)
def small_sources(repositories: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The small encoders by name, their files in a cache of the Hub's client, which has no network; gives the cache."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        for name in NAMES:
            large = SOURCES[LARGE[name]]
            source = dataclasses.replace(large, repository=f"someone/{name}", revision=SHA, width=WIDTH)
            patch.setitem(SOURCES, name, source)
            patch.setitem(registry._REGISTRY, name, FrozenTransformer)
            shutil.copytree(repositories / name, cache / f"models--someone--{name}" / "snapshots" / SHA)
        vision._network.cache_clear()
        yield cache
    vision._network.cache_clear()


def config(name: str, channels: int = 24, **others: str) -> EncoderConfig:
    return EncoderConfig(name, SIDE, channels, **others)  # type: ignore[arg-type]


def model_config(name: str, *, layers: bool = False) -> ModelConfig:
    world = dataclasses.replace(TINY.world_model, layers=layers)
    return dataclasses.replace(TINY, encoder=config(name), world_model=world)


def pictures(count: int, seed: int = 0) -> Tensor:
    coarse = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(0, 1)


def fitted(name: str) -> torch.nn.Module:
    encoder = build_encoder(config(name))
    encoder.fit_whitening(pictures(32))
    return encoder


def built(folder: Path, name: str, *, layers: bool = False) -> Path:
    """Folder of a checkpoint with this encoder, under which actions do move and paint."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LatentActionModel(model_config(name, layers=layers))
        model.encoder.fit_whitening(pictures(32))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    save_checkpoint(model, folder, about={"steps": 0})
    return folder


@pytest.mark.parametrize("name", NAMES)
class TestStates:
    def test_one_for_every_16_pixels(self, name: str) -> None:
        states = fitted(name)(pictures(3))
        assert states.shape == (3, GRID**2, 24) and states.dtype == torch.float32
        assert states.std() > 0.5

    def test_a_frame_says_nothing_of_another(self, name: str) -> None:
        encoder, clip = fitted(name), pictures(8)
        other = clip.clone()
        other[5] = 1 - other[5]
        before, after = encoder(clip), encoder(other)
        unchanged = [0, 1, 2, 3, 4, 6, 7]
        assert torch.equal(before[unchanged], after[unchanged])
        assert not torch.allclose(before[5], after[5], atol=0.1)

    def test_are_the_tokens_of_the_patches_row_by_row(self, name: str, repositories: Path) -> None:
        """By the whole class, as its repository's readme calls it."""
        picture = pictures(2, seed=4)
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        patch = SOURCES[name].patch
        if patch != 16:
            side = GRID * patch
            picture = torch.nn.functional.interpolate(picture, (side, side), mode="bilinear", antialias=True)
        seen = (picture - mean[:, None, None]) / std[:, None, None]
        config_of = SMALL[name]
        if name == "vjepa2-tiny":
            config_of = transformers.VJEPA2Config(**{**config_of.to_dict(), "crop_size": SIDE})
        whole = getattr(transformers, SOURCES[name].architecture).from_pretrained(repositories / name, config=config_of)
        with torch.no_grad():
            if name == "vjepa2-tiny":
                wanted = whole.get_vision_features(torch.stack([seen, seen], 1))
            else:
                wanted = whole(seen).last_hidden_state[:, 5 if name == "dinov3-tiny" else 1 :]
        raw = build_encoder(config(name)).features(pictures(2, seed=4))
        torch.testing.assert_close(raw.flatten(1, 2), wanted, rtol=1e-4, atol=1e-5)

    def test_scaled_by_channels_keep_their_directions(self, name: str) -> None:
        encoder = build_encoder(config(name, WIDTH, whitening="channels"))
        assert encoder.fit_whitening(pictures(32)) == 1
        states = encoder(pictures(32)).flatten(0, 1).double()
        assert states.mean(0).abs().max() < 1e-4
        torch.testing.assert_close(states.std(0), torch.ones(WIDTH).double(), rtol=1e-4, atol=0)
        assert torch.equal(encoder.basis, encoder.basis.diag().diag())

    def test_a_checkpoint_holds_the_whitening_alone(self, name: str, tmp_path: Path) -> None:
        folder = built(tmp_path / "mine", name)
        kept = {k for k in load_file(folder / "model.safetensors") if k.startswith("encoder.")}
        assert kept == {"encoder.mean", "encoder.basis"}
        one, other = load_checkpoint(folder), load_checkpoint(folder)
        assert torch.equal(one.encode(pictures(2)), other.encode(pictures(2)))
        # One network for both, and in neither's parameters.
        assert one.encoder.fetch(torch.device("cpu")) is other.encoder.fetch(torch.device("cpu"))
        assert not list(one.encoder.parameters())

    @pytest.mark.parametrize("layers", [False, True])
    def test_a_transfer_goes_through(self, name: str, layers: bool, tmp_path: Path) -> None:
        pipeline = TransferPipeline.from_pretrained(built(tmp_path / "mine", name, layers=layers), device="cpu")
        target = moving_square(1, height=50, width=70)[0]
        moved = pipeline.transfer(moving_square(4), target)
        assert moved.frames.shape == (4, 50, 70, 3) and moved.frames.dtype == np.uint8
        assert not np.array_equal(moved.frames[-1], moved.frames[0])

    def test_a_model_learns_on_its_states(self, name: str, tmp_path: Path) -> None:
        recipe = TrainConfig(
            model=model_config(name),
            optimizer=OptimizerConfig(steps=4, learning_rate=2e-3, warmup=0.5, ema=0.9),
            batch=BatchConfig(clips=2, pairs=1, frames=3, photographs=3, workers=0),
            bf16=False,
        )
        recordings = [Recording("a.mp4", moving_square(12), 8.0)]
        bank = read_bank(frames=list(np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)))
        straight, stopped, again = (Trainer(recipe, recordings, bank) for _ in range(3))
        network = straight.model.encoder.fetch(torch.device("cpu"))
        before = [p.clone() for p in network.parameters()]
        logs = [straight.train_step() for _ in range(4)]
        assert all(np.isfinite(log["loss"]) and log["gradient"] > 0 for log in logs)
        assert all(torch.equal(p, q) for p, q in zip(before, network.parameters(), strict=True))
        for _ in range(2):
            stopped.train_step()
        stopped.save(tmp_path)
        again.resume(tmp_path)
        assert [again.train_step() for _ in range(2)] == logs[2:]


def test_a_picture_reaches_v_jepa_twice_and_not_once_with_another() -> None:
    """What slicing one pass over a clip would give: states of a frame that know of the other in its tubelet."""
    encoder = build_encoder(config("vjepa2-tiny"))
    network, (one, other) = encoder.fetch(torch.device("cpu")), pictures(2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = [(p - mean[:, None, None]) / std[:, None, None] for p in (one, other)]
    alone = network(torch.stack([seen[0], seen[0]])[None]).last_hidden_state
    mixed = network(torch.stack(seen)[None]).last_hidden_state
    given = encoder.features(one[None]).flatten(1, 2)
    torch.testing.assert_close(given, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(given, mixed, atol=0.05)


def test_names_are_pinned_to_commits() -> None:
    assert {"vjepa2-l", "vjepa2-h", "vjepa2-g", "dinov2-b", "dinov3-l"} <= SOURCES.keys()
    assert all(len(s.revision) == 40 and set(s.revision) <= set("0123456789abcdef") for s in SOURCES.values())
    # Made without any weights, so that a configuration can be read and checked on its own.
    for name, source in SOURCES.items():
        assert build_encoder(EncoderConfig(name, 256, WIDTH)).mean.shape == (source.width,)


def test_the_recipe_is_the_papers_and_its_steps_can_be_taken() -> None:
    """Smaller in every size, and otherwise as it stands."""
    recipe = TrainConfig.read(ROOT / "recipes" / "vjepa2-l.toml")
    assert recipe.batch.clips * recipe.batch.parts == 1024 and recipe.batch.frames == 16
    assert (recipe.optimizer.steps, recipe.optimizer.warmup, recipe.optimizer.weight_decay) == (30_000, 0.1, 0.04)
    world = recipe.model.world_model
    assert (world.width, world.depth, world.heads, recipe.model.bottleneck.channels) == (1024, 24, 16, 128)
    small = dataclasses.replace(
        recipe,
        model=dataclasses.replace(
            recipe.model,
            encoder=dataclasses.replace(recipe.model.encoder, name="vjepa2-tiny", picture=SIDE, channels=WIDTH),
            inverse_dynamics=dataclasses.replace(TINY.inverse_dynamics, reader=1),
            world_model=dataclasses.replace(world, width=32, depth=2, heads=2, map_channels=8, head_width=16),
            decoder=TINY.decoder,
        ),
        batch=dataclasses.replace(recipe.batch, clips=2, parts=2, workers=0),
        compile=False,
    )
    trainer = Trainer(small, [Recording("a.mp4", moving_square(60), 8.0)], None)
    assert len(trainer.optimizers) == 2  # AdamW and Muon
    logs = [trainer.train_step() for _ in range(2)]
    assert all(np.isfinite(log["loss"]) and log["gradient"] > 0 for log in logs)


def test_what_the_recipe_needs_is_what_was_counted() -> None:
    report = json.loads((ROOT / "benchmarks" / "vjepa2-l.json").read_text())
    text = (ROOT / "recipes" / "vjepa2-l.md").read_text()
    for name, gpu in report["GPUs"].items():
        row = [name, gpu["clips at once"], gpu["clips at once, nothing recomputed"], gpu["days of one"]]
        row += [gpu["hours of 8"], gpu["hours of 64"]]
        assert "| " + " | ".join(map(str, row)) + " |" in text
    work = report["TFLOP a clip"]
    assert f"{work['encoder']} + {work['forward']} + {work['backward']} = {work['together']} TFLOP" in text
    for key in ("GB kept a clip", "GB kept a clip, nothing recomputed", "GB of a block's inside a clip"):
        assert f"{report[key]} GB" in text
    assert f"{report['GB for weights, gradients, moments, average and encoder']} GB" in text


def test_sizes_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match="at most 48"):
        build_encoder(config("dinov2-tiny", 96))
    with pytest.raises(ValueError, match="multiple of 16"):
        build_encoder(EncoderConfig("dinov2-tiny", 72, 24))
    with pytest.raises(ValueError, match="must be 48"):
        build_encoder(config("dinov2-tiny", 24, whitening="channels"))


class TestFaults:
    @pytest.fixture(autouse=True)
    def nothing_is_kept(self) -> Iterator[None]:
        vision._network.cache_clear()
        yield
        vision._network.cache_clear()

    def test_without_transformers_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "transformers", None)
        with pytest.raises(LamdemoError, match=r"pip install 'lamdemo\[encoders\]'"):
            build_encoder(config("vjepa2-tiny"))(pictures(1))

    def test_without_the_network_a_checkpoint_says_what_it_lacks(self, tmp_path: Path) -> None:
        folder = built(tmp_path / "mine", "dinov2-tiny")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
            vision._network.cache_clear()
            with pytest.raises(LamdemoError, match=r"someone/dinov2-tiny is not on this machine.*network") as caught:
                load_checkpoint(folder)
        assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)

    @pytest.mark.parametrize("fault", ["cut", "lacking", "reshaped", "narrower"])
    def test_damaged_weights_are_told(self, fault: str, small_sources: Path, tmp_path: Path) -> None:
        name = "dinov3-tiny"
        shutil.copytree(small_sources, tmp_path / "cache")
        path = tmp_path / "cache" / f"models--someone--{name}" / "snapshots" / SHA / "model.safetensors"
        weights = load_file(path)
        if fault == "cut":
            path.write_bytes(path.read_bytes()[:-500])
        elif fault == "lacking":
            del weights[KEYS[name]]
            save_file(weights, path, {"format": "pt"})
        elif fault == "reshaped":
            weights[KEYS[name]] = weights[KEYS[name]][:-1].contiguous()
            save_file(weights, path, {"format": "pt"})
        else:
            narrow = transformers.DINOv3ViTConfig(**{**SMALL[name].to_dict(), "hidden_size": 32})
            transformers.DINOv3ViTModel(narrow).save_pretrained(path.parent)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
            with pytest.raises(LamdemoError, match=r"someone/dinov3-tiny are damaged; fetch them again") as caught:
                build_encoder(config(name))(pictures(1))
        assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)


PROGRAM = """
import sys
sys.modules["torchvision"] = None  # nobody needs it
import torch
from lamdemo.core.errors import LamdemoError
from lamdemo.models import EncoderConfig, FrozenTransformer, register_encoder
from lamdemo.models.encoder import build_encoder
from lamdemo.models.vision_transformers import SOURCES, Source
for name in sys.argv[1:]:
    SOURCES[name] = Source("VJEPA2Model", name, "SHA", 48)
    register_encoder(name)(FrozenTransformer)
    try:
        states = build_encoder(EncoderConfig(name, 64, 24))(torch.ones(1, 3, 64, 64))
        print(list(states.shape), f"{states.sum():.4f}")
    except LamdemoError as error:
        print(error)
""".replace("SHA", SHA)


def test_weights_come_from_their_own_repository_once(repositories: Path, tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in (repositories / "vjepa2-tiny").iterdir()}
    files |= {"modeling.py": b"raise SystemExit", "original.pt": b"x" * 1000}
    hub = Hub({"someone/vjepa": files})
    try:
        asked = "someone/vjepa", "someone/gated", "someone/nothing"
        done = client(tmp_path, hub.address, "-c", PROGRAM, *asked)
        assert done.returncode == 0, done.stderr
        states, gated, nothing = done.stdout.splitlines()
        assert states.startswith("[1, 16, 24] ")
        assert "gated" in gated and "hf auth login" in gated
        assert "someone/nothing is neither a folder here nor a model on the Hub" in nothing
        fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
        assert fetched == {"config.json", "model.safetensors"}
    finally:
        hub.stop()
    # The second time there is no Hub.
    again = client(tmp_path, hub.address, "-c", PROGRAM, "someone/vjepa", "someone/other", HF_HUB_OFFLINE="1")
    kept, missing = again.stdout.splitlines()
    assert kept == states
    assert "cannot be reached" in missing
