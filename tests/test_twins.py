import dataclasses
import json

import pytest
import torch
from conftest import TINY
from safetensors.torch import load_file, save_file

from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.engine.controls import command_windows
from lamdemo.models import (
    ActionConditioned,
    ActionConditionedConfig,
    DistilledConfig,
    DistilledModel,
    LatentActionModel,
    WorldModelConfig,
    load_action_conditioned,
    load_distilled,
    save_checkpoint,
    save_companion,
)
from lamdemo.training.action_conditioned import BaselineTrainer, BaselineTrainingConfig, windows
from lamdemo.training.cached_features import CachedEpisode
from lamdemo.training.distillation import DistillationConfig, DistillationTrainer, mixed_latents

SMALL = WorldModelConfig(width=32, depth=1, heads=2, patch=2, map_channels=8, head_width=8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LatentActionModel(TINY).eval()


def sizes():
    return TINY.encoder.channels, TINY.bottleneck.channels, TINY.encoder.grid


def new_twin(seed=0):
    torch.manual_seed(seed)
    return ActionConditioned(
        ActionConditionedConfig({"car": 2, "arm": 3}, history=2, hidden=16, world_model=TINY.world_model), *sizes()
    )


def traces(count=3, frames=8, width=2, seed=0):
    d, z, grid = sizes()
    g = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        actions = torch.randn(frames - 1, width, generator=g)
        # What happens is what the first command says: the whole state rises by it.
        rise = torch.cat([torch.zeros(1), actions[:, 0].cumsum(0)])
        states = torch.randn(1, grid**2, d, generator=g) + rise[:, None, None]
        made.append(
            CachedEpisode(
                f"r{i}",
                states.half().numpy(),
                torch.randn(frames - 1, z, generator=g),
                actions,
                torch.randint(0, 255, (frames, 4 * grid, 4 * grid, 3), dtype=torch.uint8, generator=g).numpy(),
            )
        )
    return made


def test_a_step_sees_its_own_command_last_and_those_before_it():
    rows = torch.arange(8.0).reshape(4, 2)
    seen = windows(rows, 3)
    assert seen.shape == (4, 3, 2)
    assert torch.equal(seen[:, -1], rows)
    assert torch.equal(seen[3], rows[1:])
    # What was before the first is nothing, as it is for those who plan with the twin.
    spec = ActionSpec("car", (Channel("a", "rate", -9, 9), Channel("b", "rate", -9, 9)))
    assert torch.equal(seen, torch.from_numpy(command_windows(spec, 3, rows.numpy())))


def test_a_twin_begins_as_the_checkpoints_world_model(model):
    baseline = new_twin()
    BaselineTrainer(
        BaselineTrainingConfig(frames=4), model.world_model, baseline, {"car": traces(), "arm": traces(width=3)}
    )
    mine, theirs = baseline.world_model.state_dict(), model.world_model.state_dict()
    assert all(torch.equal(mine[n], theirs[n]) for n in theirs)


def test_a_twin_learns_what_a_label_does_and_nothing_of_the_checkpoint_changes(model):
    before = {n: p.clone() for n, p in model.named_parameters()}
    kinds = {"car": traces(), "arm": traces(width=3, seed=1)}
    config = BaselineTrainingConfig(
        steps=250, clips=4, frames=4, learning_rate=5e-3, noise=0.0, feedback=0.0, motion=0.0, bf16=False, ema=0.5
    )
    trainer = BaselineTrainer(config, model.world_model, new_twin(), kinds)
    first = trainer.judge(kinds)
    while trainer.step < config.steps:
        trainer.train_step()
    last = trainer.judge(kinds)
    for name in kinds:
        assert last[name]["state_over_copy"] < 0.8 * first[name]["state_over_copy"]
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


@pytest.mark.parametrize("condition", ["labels", "latents"])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, condition):
    config = BaselineTrainingConfig(condition=condition, steps=6, clips=2, frames=4, bf16=False)
    kinds = {"car": traces()}

    def start():
        torch.manual_seed(0)
        whole = LatentActionModel(TINY).eval()
        baseline = new_twin() if condition == "labels" else None
        if baseline is not None:
            baseline = ActionConditioned(dataclasses.replace(baseline.config, widths={"car": 2}), *sizes())
        return BaselineTrainer(config, whole.world_model, baseline, kinds)

    straight = start()
    for _ in range(6):
        straight.train_step()
    stopped = start()
    for _ in range(3):
        stopped.train_step()
    stopped.save(tmp_path)
    again = start()
    assert again.resume(tmp_path) and again.step == 3
    assert again.run(tmp_path, report=lambda words: None)
    for name, value in straight.average.items():
        assert torch.equal(value, again.average[name])


def test_a_state_of_an_earlier_version_is_gone_on_with(tmp_path, model):
    config, kinds = BaselineTrainingConfig(steps=6, clips=2, frames=4, bf16=False), {"car": traces()}

    def start():
        torch.manual_seed(0)
        sizes_of = ActionConditionedConfig({"car": 2}, hidden=16, world_model=TINY.world_model)
        return BaselineTrainer(config, model.world_model, ActionConditioned(sizes_of, *sizes()), kinds)

    stopped = start()
    for _ in range(2):
        stopped.train_step()
    stopped.save(tmp_path)
    path = tmp_path / stopped.state_name
    old = {}
    for name, value in load_file(path).items():
        name = name.replace("model/", "module.", 1).replace("average/", "average.", 1)
        old[name.replace("optimizer/0/", "optimizer.", 1).replace("/", ".") if "optimizer" in name else name] = value
    run = {k: v for k, v in stopped.progress.items() if k != "from"}  # earlier versions did not note it
    save_file(old, path, metadata={"run": json.dumps(run)})
    again = start()
    assert again.resume(tmp_path) and again.step == 2
    assert again.train_step() == stopped.train_step()
    assert all(torch.equal(v, again.average[n]) for n, v in stopped.average.items())


def test_a_run_of_other_settings_is_refused(tmp_path, model):
    baseline = ActionConditioned(ActionConditionedConfig({"car": 2}, hidden=16, world_model=TINY.world_model), *sizes())
    BaselineTrainer(BaselineTrainingConfig(frames=4, steps=9), model.world_model, baseline, {"car": traces()}).save(
        tmp_path
    )
    other = BaselineTrainer(BaselineTrainingConfig(frames=4, steps=8), model.world_model, baseline, {"car": traces()})
    with pytest.raises(LamdemoError, match="other settings"):
        other.resume(tmp_path)


def test_a_run_of_another_checkpoint_or_of_other_sizes_is_refused(tmp_path, model):
    kinds, config = {"car": traces()}, BaselineTrainingConfig(frames=4, steps=9)
    sizes_of = ActionConditionedConfig({"car": 2}, hidden=16, world_model=TINY.world_model)
    BaselineTrainer(config, model.world_model, ActionConditioned(sizes_of, *sizes()), kinds).save(tmp_path)
    assert BaselineTrainer(config, model.world_model, ActionConditioned(sizes_of, *sizes()), kinds).resume(tmp_path)
    torch.manual_seed(9)
    for other, own in (
        (LatentActionModel(TINY).eval(), sizes_of),
        (model, dataclasses.replace(sizes_of, history=4)),
    ):
        with pytest.raises(LamdemoError, match="other settings"):
            BaselineTrainer(config, other.world_model, ActionConditioned(own, *sizes()), kinds).resume(tmp_path)


def test_a_damaged_state_is_told_in_one_sentence(tmp_path, model):
    baseline = ActionConditioned(ActionConditionedConfig({"car": 2}, hidden=16, world_model=TINY.world_model), *sizes())
    trainer = BaselineTrainer(BaselineTrainingConfig(frames=4), model.world_model, baseline, {"car": traces()})
    (tmp_path / trainer.state_name).write_bytes(b"no")
    with pytest.raises(LamdemoError, match="damaged; remove it"):
        trainer.resume(tmp_path)


def test_a_run_that_is_stopped_in_time_says_so_and_what_goes_astray_is_told(tmp_path, model):
    baseline = ActionConditioned(ActionConditionedConfig({"car": 2}, hidden=16, world_model=TINY.world_model), *sizes())
    trainer = BaselineTrainer(
        BaselineTrainingConfig(steps=3, clips=2, frames=4, bf16=False), model.world_model, baseline, {"car": traces()}
    )
    assert not trainer.run(tmp_path, minutes=0, report=lambda words: None)
    assert trainer.step == 1 and (tmp_path / trainer.state_name).is_file()
    with torch.no_grad():
        next(baseline.world_model.parameters()).fill_(float("nan"))
    with pytest.raises(LamdemoError, match="astray"):
        trainer.train_step()


def test_what_is_too_short_to_be_judged_on_is_left_out(model):
    kinds = {"car": traces(), "arm": traces(width=3)}
    trainer = BaselineTrainer(BaselineTrainingConfig(frames=6, bf16=False), model.world_model, new_twin(), kinds)
    assert set(trainer.judge({"car": traces(1), "arm": traces(1, frames=5, width=3)}, 1)) == {"car"}


def test_a_label_that_never_changes_keeps_its_unit():
    baseline = new_twin()
    rows = torch.tensor([[1.0, 0.5], [3.0, 0.5]])
    baseline.fit({"car": rows})
    assert torch.equal(baseline.labels["car"].std, torch.ones(2))
    assert torch.equal(baseline.labels["car"].mean, torch.tensor([2.0, 0.5]))


def test_episodes_that_are_too_short_are_told(model):
    baseline = ActionConditioned(ActionConditionedConfig({"car": 2}, hidden=16, world_model=TINY.world_model), *sizes())
    with pytest.raises(LamdemoError, match="No episode of car has 9 frames"):
        BaselineTrainer(BaselineTrainingConfig(frames=9), model.world_model, baseline, {"car": traces(frames=8)})


def test_the_drafts_map_keeps_the_principal_components_and_lifts_them_back():
    d, z, grid = sizes()
    distilled = DistilledModel(DistilledConfig(pool=2, channels=8, world_model=SMALL), d, z, grid)
    states = torch.randn(20, grid**2, d) * torch.linspace(3, 0.1, d)
    kept = distilled.fit(states)
    coarse = distilled.project(states)
    assert coarse.shape == (20, grid**2 // 4, 8)
    assert torch.allclose(distilled.basis @ distilled.basis.T, torch.eye(8), atol=1e-4)
    back = distilled.lift(coarse)
    # Projecting what was lifted gives the same: lifting loses nothing that projecting kept.
    assert torch.allclose(distilled.project(back), coarse, atol=1e-3)
    left = ((states - back) ** 2).sum() / ((states - states.reshape(20, -1).mean(0).reshape(grid**2, d)) ** 2).sum()
    assert 0 < kept < 1 and abs(float(1 - left) - kept) < 0.1


def test_a_lifted_patch_is_back_at_its_place():
    d, z, grid = sizes()
    distilled = DistilledModel(DistilledConfig(pool=2, channels=4 * d, world_model=SMALL), d, z, grid)
    states = torch.randn(3, grid**2, d)
    distilled.fit(torch.randn(60, grid**2, d))
    assert torch.allclose(distilled.lift(distilled.project(states)), states, atol=1e-3)


def test_a_new_draft_imagines_that_nothing_changes():
    d, z, grid = sizes()
    distilled = DistilledModel(DistilledConfig(pool=2, channels=8, world_model=SMALL), d, z, grid).eval()
    coarse = torch.randn(2, 1, grid**2 // 4, 8)
    assert torch.allclose(distilled(coarse, torch.randn(2, 1, z)).states, coarse, atol=1e-5)


def test_a_draft_comes_nearer_to_its_teacher_and_goes_on_bit_for_bit(tmp_path, model):
    d, z, grid = sizes()
    torch.manual_seed(3)
    teacher = LatentActionModel(TINY).world_model.eval()
    with torch.no_grad():  # a teacher that does something
        for p in teacher.parameters():
            p.add_(0.05 * torch.randn_like(p))
    rows = traces()
    config = DistillationConfig(steps=40, batch=6, learning_rate=3e-3, ema=0.5, bf16=False)

    def start():
        torch.manual_seed(0)
        distilled = DistilledModel(DistilledConfig(pool=2, channels=24, world_model=SMALL), d, z, grid)
        return DistillationTrainer(config, distilled, teacher, [t.states for t in rows], [t.latents for t in rows])

    one = start()
    assert one.judge() == pytest.approx(1.0, abs=1e-4)  # a new draft imagines no change
    for _ in range(40):
        one.train_step()
    assert one.judge() < 0.9
    stopped = start()
    for _ in range(20):
        stopped.train_step()
    stopped.save(tmp_path)
    again = start()
    assert again.resume(tmp_path)
    again.run(tmp_path, report=lambda words: None)
    assert all(torch.equal(v, again.average[n]) for n, v in one.average.items())


def test_a_drafts_run_does_not_go_on_with_another_teacher(tmp_path, model):
    rows, config = traces(), DistillationConfig(steps=2, batch=2, bf16=False)

    def start(teacher):
        distilled = DistilledModel(DistilledConfig(pool=2, channels=24, world_model=SMALL), *sizes())
        return DistillationTrainer(config, distilled, teacher, [t.states for t in rows], [t.latents for t in rows])

    start(model.world_model).save(tmp_path)
    assert start(model.world_model).resume(tmp_path)
    torch.manual_seed(9)
    with pytest.raises(LamdemoError, match="other settings"):
        start(LatentActionModel(TINY).world_model).resume(tmp_path)


def test_half_of_what_is_asked_is_what_followed():
    import numpy as np

    true, pool = torch.randn(200, 3, 5), torch.randn(50, 5)
    made = mixed_latents(true, pool, DistillationConfig(followed=0.5), np.random.default_rng(0))
    same = (made == true).all(-1).all(-1).float().mean()
    assert 0.35 < same < 0.65
    assert made.shape == true.shape and torch.isfinite(made).all()


def test_companions_come_back_as_they_were_and_know_their_weights(tmp_path, model):
    folder = tmp_path / "ck"
    save_checkpoint(model, folder)
    assert load_action_conditioned(folder) is None and load_distilled(folder) is None
    d, z, grid = sizes()
    baseline, distilled = new_twin(), DistilledModel(DistilledConfig(pool=2, channels=8, world_model=SMALL), d, z, grid)
    baseline.fit({"car": torch.randn(9, 2) * 5})
    save_companion(baseline, folder, "twin", {"steps": 3})
    save_companion(distilled, folder, "draft")
    read, small = load_action_conditioned(folder), load_distilled(folder)
    actions = torch.randn(4, 2, 2)
    assert torch.allclose(read.latents("car", actions), baseline.eval().latents("car", actions), atol=2e-2)
    assert torch.equal(small.basis, distilled.basis)
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    save_checkpoint(model, folder)
    with pytest.raises(LamdemoError, match="made for other weights"):
        load_action_conditioned(folder)


@pytest.mark.parametrize("damage", ["json", "weights", "missing", "kind"])
def test_a_damaged_companion_is_told_in_one_sentence(tmp_path, model, damage):
    folder = tmp_path / "ck"
    save_checkpoint(model, folder)
    save_companion(new_twin(), folder, "twin")
    if damage == "json":
        (folder / "twin.json").write_text("{")
    elif damage == "weights":
        (folder / "twin.safetensors").write_bytes(b"no")
    elif damage == "kind":
        (folder / "twin.json").write_text((folder / "twin.json").read_text().replace('"twin"', '"draft"'))
    else:
        (folder / "twin.safetensors").unlink()
    with pytest.raises(LamdemoError) as told:
        load_action_conditioned(folder)
    assert str(told.value).count(".") <= 3 and str(tmp_path) not in str(told.value)
