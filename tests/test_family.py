"""Families: nine bottlenecks, one stem, the very same batches, and runs that go on where they stopped."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, moving_square
from safetensors.torch import load_file

from lamdemo.core.errors import LamdemoError
from lamdemo.data.videos import CacheConfig
from lamdemo.engine import TransferPipeline
from lamdemo.models import read_config
from lamdemo.models.checkpoint import checkpoint_hash
from lamdemo.training import FamilyConfig, TrainConfig, train_family
from lamdemo.training import family as family_module
from lamdemo.training.config import BatchConfig, OptimizerConfig
from lamdemo.training.family import MemberConfig, PreparedBatches, spread_codes
from lamdemo.training.material import training_material
from lamdemo.training.objective import Objective
from lamdemo.training.trainer import Trainer
from lamdemo.video import write_video

Z = TINY.bottleneck.channels
STEM = TrainConfig(
    model=TINY,
    optimizer=OptimizerConfig(steps=3, learning_rate=2e-3, ema=0.9),
    batch=BatchConfig(clips=2, pairs=1, frames=3, photographs=3),
    cache=CacheConfig(height=48, fps=8.0),
    bf16=False,
)
RECIPE = FamilyConfig(
    stem=STEM,
    members={
        "noisy": MemberConfig("noisy", Z, 1e-3),
        "sparse": MemberConfig("sparse", Z, 0.1, 0.01),
        "discrete": MemberConfig("discrete", Z, 8),
        "disentangled": MemberConfig("noisy", Z, 1e-3, structure=8, memory=3, cycle=0.1),
        "residual": MemberConfig("free", Z, reads="residual"),
    },
    branch=OptimizerConfig(steps=2, learning_rate=1e-3, ema=0.5),
    finish=OptimizerConfig(steps=2, learning_rate=1e-3, ema=0.5),
    finish_frames=4,
)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    write_video(folder / "right.mp4", moving_square(12, step=3), 8)
    write_video(folder / "left.mp4", moving_square(12, step=2)[::-1], 8)
    return folder


@pytest.fixture(scope="module")
def made(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("family")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family_module, "imagenet_weights", lambda: None)
        done = train_family(RECIPE, footage, place)
    assert sorted(p.name for p in done) == sorted(RECIPE.members)
    return place


def test_every_member_is_a_whole_checkpoint_with_what_it_has_seen(made: Path) -> None:
    for name in RECIPE.members:
        folder = made / "checkpoints" / name
        config, about = read_config(folder)
        assert config == RECIPE.member(name).model
        assert about["family"] == name
        pipeline = TransferPipeline.from_pretrained(folder)
        assert pipeline.training_latents is not None
        actions = pipeline.infer(moving_square(4, step=3), pipeline.fps)
        assert actions.z.shape == (3, Z)
    assert not list((made / "checkpoints").glob("*.part"))


def test_members_share_the_encoder_and_differ_in_the_rest(made: Path) -> None:
    weights = {n: load_file(made / "checkpoints" / n / "model.safetensors") for n in RECIPE.members}
    stem = load_file(made / "stem" / "checkpoint" / "model.safetensors")
    for name, tensors in weights.items():
        for key, value in tensors.items():
            if key.startswith("encoder."):
                assert torch.equal(value, stem[key]), (name, key)
        assert not torch.equal(tensors["world_model.tokens.weight"], stem["world_model.tokens.weight"])
    assert not torch.equal(weights["sparse"]["bottleneck.read.weight"], weights["discrete"]["bottleneck.read.weight"])


def test_a_family_can_begin_with_a_finished_checkpoint(footage: Path, made: Path, tmp_path: Path) -> None:
    begin = made / "checkpoints" / "noisy"
    recipe = FamilyConfig(
        stem=dataclasses.replace(STEM, optimizer=OptimizerConfig(steps=0)),
        members={"on": MemberConfig("noisy", Z, 1e-3), "residual": MemberConfig("free", Z, reads="residual")},
        default="on",
        branch=OptimizerConfig(steps=1, learning_rate=1e-3, ema=0.5),
        finish=OptimizerConfig(steps=0),
    )
    done = train_family(recipe, footage, tmp_path, start_from=begin)
    assert sorted(p.name for p in done) == ["on", "residual"]
    for folder in done:
        config, about = read_config(folder)
        assert config == recipe.member(folder.name).model
        assert about["began_with"] == {"name": "noisy", "sha256": checkpoint_hash(begin)}
        assert checkpoint_hash(folder) != checkpoint_hash(begin)


def test_only_the_default_is_trained_further(made: Path) -> None:
    steps = {n: read_config(made / "checkpoints" / n)[1] for n in RECIPE.members}
    assert steps["noisy"]["finish_steps"] == 2
    assert "finish_steps" not in steps["sparse"]
    assert {about["branch_steps"] for about in steps.values()} == {2}
    branch, final = (checkpoint_hash(made / p) for p in ("noisy/checkpoint", "checkpoints/noisy"))
    assert branch != final


def test_a_family_stopped_again_and_again_ends_the_same(
    footage: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family_module, "imagenet_weights", lambda: None)
    rounds = 0
    while len(train_family(RECIPE, footage, tmp_path, stop_after=0.0)) < len(RECIPE.members):
        rounds += 1
        assert rounds < 40
    assert rounds > 2
    for name in RECIPE.members:
        one, other = (load_file(p / "checkpoints" / name / "model.safetensors") for p in (made, tmp_path))
        for key, value in one.items():
            torch.testing.assert_close(other[key], value, rtol=0, atol=0)


def test_a_family_of_an_earlier_version_is_gone_on_with(tmp_path: Path) -> None:
    recipe = json.loads(json.dumps(dataclasses.asdict(RECIPE)))
    del recipe["stem"]["unreadable"]  # which that version did not know
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    family_module._check_recipe(tmp_path, RECIPE)
    for text in (json.dumps({**recipe, "finish_frames": 3}), json.dumps({**recipe, "of_later": 1}), "{"):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(LamdemoError, match="another recipe"):
            family_module._check_recipe(tmp_path, RECIPE)


def test_another_recipe_is_not_mixed_into_a_family(footage: Path, made: Path) -> None:
    other = dataclasses.replace(RECIPE, finish_frames=3)
    with pytest.raises(LamdemoError, match="another recipe") as caught:
        train_family(other, footage, made)
    assert str(made) not in str(caught.value)
    # The same recipe is at its end at once.
    assert len(train_family(RECIPE, footage, made)) == len(RECIPE.members)


def test_prepared_batches_are_those_of_the_sampler_and_not_the_stems_own(footage: Path, tmp_path: Path) -> None:
    trainer = Trainer(STEM, *training_material(STEM, footage, tmp_path))
    prepared = PreparedBatches(trainer, 2)
    assert len(prepared) == 2
    batch, fresh = prepared(1), trainer.batch(STEM.optimizer.steps + 1)
    assert batch.states is not None
    assert batch.truth is not None
    assert fresh.truth is not None
    torch.testing.assert_close(batch.states, trainer.model.encode(fresh.pictures), rtol=2e-3, atol=2e-3)
    assert torch.equal(batch.truth.ground, fresh.truth.ground)
    assert torch.equal(batch.swap, fresh.swap)
    torch.testing.assert_close(batch.pictures.mean(), fresh.pictures.mean(), rtol=0, atol=4e-3)
    # The same batch again, and another for another step.
    assert torch.equal(prepared(0).states, prepared(0).states)  # type: ignore[arg-type]
    assert not torch.equal(prepared(0).states, prepared(1).states)  # type: ignore[arg-type]


def test_prepared_batches_give_the_loss_of_fresh_ones(footage: Path, tmp_path: Path) -> None:
    trainer = Trainer(STEM, *training_material(STEM, footage, tmp_path))
    prepared, fresh = PreparedBatches(trainer, 1)(0), trainer.batch(STEM.optimizer.steps)
    losses = []
    for batch in (prepared, fresh):
        loss, _ = Objective(trainer.model)(
            batch.pictures,
            batch.swap,
            weights=STEM.loss,
            truth=batch.truth,
            states=batch.states,
            generator=torch.Generator().manual_seed(0),
        )
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)


def test_codes_are_spread_over_the_latents() -> None:
    rng = np.random.default_rng(0)
    centres = torch.tensor([[5.0, 0], [0, 5], [-5, 0]])
    latents = torch.cat([c + 0.1 * torch.tensor(rng.normal(size=(50, 2))).float() for c in centres])
    codes = spread_codes(8, latents, 0)
    assert not codes[0].any()
    distance = torch.cdist(latents, codes).amin(-1)
    assert distance.max() < 1
    # More codes than latents: some are alike, none is lost.
    assert torch.isfinite(spread_codes(300, latents[:20], 0)).all()


class TestRecipe:
    def test_the_bundled_recipes_are_nine_of_three_kinds_and_one_of_each_other_idea(self) -> None:
        folder = Path(__file__).resolve().parents[1] / "recipes"
        found = sorted(folder.glob("family-*.toml"))
        assert len(found) >= 2
        for path in found:
            recipe = FamilyConfig.read(path)
            kinds = [recipe.member(name).model.family for name in recipe.members]
            wanted = {"noisy": 3, "sparse": 3, "discrete": 3, "disentangled": 1, "residual": 1}
            assert {k: kinds.count(k) for k in kinds} == wanted
            assert recipe.default == "noisy"

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("default = 'noisy'", "not among the members"),
            ("default = 'a'\n[members.a]\nfamily = 'fuzzy'", "fuzzy"),
            ("default = 'a'\n[members.a]\nfamily = 'noisy'\nsize = 3", "no field 'size'"),
            ("default = '../a'\n[members.'../a']\nfamily = 'noisy'", "letters"),
            ("[", "cannot be used"),
        ],
    )
    def test_what_cannot_be_used_is_said_in_one_sentence(self, text: str, words: str, tmp_path: Path) -> None:
        (tmp_path / "mine.toml").write_text(text)
        with pytest.raises(LamdemoError, match=words) as caught:
            FamilyConfig.read(tmp_path / "mine.toml")
        assert str(tmp_path) not in str(caught.value)

    def test_members_differ_in_their_bottleneck_alone(self) -> None:
        one, other = RECIPE.member("noisy"), RECIPE.member("sparse")
        model = dataclasses.replace(other.model, bottleneck=one.model.bottleneck)
        assert dataclasses.replace(other, model=model) == one
