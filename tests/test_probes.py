"""Known actions beside clips, and probes of latents for them."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square

from lamdemo.core.errors import LamdemoError
from lamdemo.data.known_actions import IndexedClip, KnownActions, find_known_actions, read_known_actions
from lamdemo.data.scenes import Script, camera_velocity
from lamdemo.data.splits import Split
from lamdemo.engine import TransferPipeline
from lamdemo.evaluation import known_steps, probes
from lamdemo.evaluation.encoding import infer_all, same_encoders
from lamdemo.evaluation.known_steps import LAGS, clip_examples, plan_stretches
from lamdemo.evaluation.probe_maps import components, fit_mlp, fit_ridge, r_squared
from lamdemo.evaluation.probes import evaluate_probes
from lamdemo.video import write_image, write_video


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint: Path) -> TransferPipeline:
    return TransferPipeline.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(6):
        coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        write_image(folder / f"{i}.png", np.kron(coarse, np.ones((12, 12, 1), np.uint8)))
    return folder


def indexed(folder: Path, rows: list[tuple[str, str]]) -> None:
    lines = ["file\tseconds\tactions\tactions_note", *(f"{f}\t1\t{a}\t" for f, a in rows)]
    (folder / "INDEX.tsv").write_text("\n".join(lines) + "\n")


# Known actions.


def test_commands_are_averaged_and_changes_added():
    rows = np.array([[1.0], [3.0], [5.0], [7.0]])
    commands, changes = (KnownActions("c", ("steering",), rows, adds=a) for a in (False, True))
    np.testing.assert_allclose(commands.aligned(np.array([0, 1, 2]))[:, 0], [1, 3])
    np.testing.assert_allclose(commands.aligned(np.array([0, 2, 4]))[:, 0], [2, 6])
    np.testing.assert_allclose(changes.aligned(np.array([0, 2, 4]))[:, 0], [4, 12])
    # Half of row 0 and half of row 1.
    np.testing.assert_allclose(commands.aligned(np.array([0.5, 1.5]))[:, 0], [2])


def test_actions_outside_of_the_table_are_not_known():
    known = KnownActions("c", ("steering",), np.ones((3, 1)), adds=False)
    assert np.isnan(known.over(np.array([-1.0, 2.0]), np.array([1.0, 4.0]))).all()
    assert np.isfinite(known.over(np.array([2.0]), np.array([3.0]))).all()


def test_a_command_row_is_what_happened_until_the_next_frame(tmp_path):
    np.savez(tmp_path / "a.npz", actions=np.array([[1.0, 0.1], [2, 0.2], [9, 9]]), names=["steering", "throttle"])
    known = read_known_actions(tmp_path, IndexedClip("a.mp4", "a.npz", "nav"))
    assert known.names == ("steering", "throttle") and not known.adds
    np.testing.assert_allclose(known.rows, [[1, 0.1], [2, 0.2]])


def test_angles_change_the_short_way_round(tmp_path):
    states = np.zeros((2, 7))
    states[:, 0], states[:, 3] = (0.1, 0.3), (3.1, -3.1)
    np.savez(tmp_path / "a.npz", states=states)
    known = read_known_actions(tmp_path, IndexedClip("a.mp4", "a.npz", "arm"))
    assert known.adds
    np.testing.assert_allclose(known.rows[0, [0, 3]], [0.2, 2 * np.pi - 6.2], atol=1e-9)


def test_the_index_names_clips_with_actions_by_folder_and_camera(tmp_path):
    indexed(tmp_path, [("robot/arm/x_cam1.mp4", "robot/arm/x.npz"), ("wild/dog.mp4", ""), ("nav/a.mp4", "nav/a.npz")])
    assert [(c.clip, c.group) for c in find_known_actions(tmp_path)] == [
        ("nav/a.mp4", "nav"),
        ("robot/arm/x_cam1.mp4", "arm_cam1"),
    ]
    (tmp_path / "INDEX.tsv").unlink()
    assert find_known_actions(tmp_path) == []


@pytest.mark.parametrize("row", [("../a.mp4", "a.npz"), ("a.mp4", "/a.npz")])
def test_an_index_does_not_lead_out_of_the_folder(tmp_path, row):
    indexed(tmp_path, [row])
    with pytest.raises(LamdemoError, match="outside of the folder"):
        find_known_actions(tmp_path)


def test_damaged_files_are_told_in_one_sentence(tmp_path):
    (tmp_path / "INDEX.tsv").write_text("file\nx.mp4\n")
    with pytest.raises(LamdemoError, match="lacks the column"):
        find_known_actions(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(LamdemoError, match="cannot be read") as error:
        read_known_actions(tmp_path, IndexedClip("a.mp4", "a.npz", "nav"))
    assert str(tmp_path) not in str(error.value)
    np.savez(tmp_path / "b.npz", states=np.full((3, 7), np.nan))
    with pytest.raises(LamdemoError, match="no table of numbers"):
        read_known_actions(tmp_path, IndexedClip("b.mp4", "b.npz", "nav"))


# Maps.


def recordings(count: int, each: int) -> np.ndarray:
    return np.repeat([f"r{i:02d}" for i in range(count)], each)


def test_ridge_finds_a_linear_map_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    x, names = rng.normal(size=(300, 5)), recordings(15, 20)
    y = np.column_stack([x @ [1, -2, 0.5, 0, 3] + 4, rng.normal(size=300)])
    ridge = fit_ridge(x, y, names)
    fresh = rng.normal(size=(50, 5))
    np.testing.assert_allclose(ridge(fresh)[:, 0], fresh @ [1, -2, 0.5, 0, 3] + 4, atol=0.05)
    assert ridge.validated[0] > 0.999 and ridge.validated[1] < 0.1
    assert ridge.strengths[1] > ridge.strengths[0]


def test_ridge_does_not_mind_the_inputs_size():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4))
    y = x[:, :1] + 0.1 * rng.normal(size=(80, 1))
    small, large = (fit_ridge(s * x, y, recordings(8, 10))(s * x) for s in (1e-3, 1e3))
    np.testing.assert_allclose(small, large, rtol=1e-6)


def test_the_small_network_reads_what_no_line_does():
    rng = np.random.default_rng(0)
    x, names = rng.normal(size=(600, 3)), recordings(20, 30)
    y = x[:, :1] * x[:, 1:2]
    fresh = rng.normal(size=(300, 3))
    truth, who = fresh[:, :1] * fresh[:, 1:2], recordings(10, 30)
    line = r_squared(truth, fit_ridge(x, y, names)(fresh), who)["value"]
    bent = r_squared(truth, fit_mlp(x, y, names, 0)(fresh), who)["value"]
    assert line < 0.1 and bent > 0.6
    np.testing.assert_array_equal(fit_mlp(x, y, names, 0)(fresh), fit_mlp(x, y, names, 0)(fresh))


def test_components_are_those_of_the_training_rows():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 6)) * [5, 3, 1, 0.5, 0.2, 0.1]
    train, test = np.arange(30), np.arange(30, 40)
    one, other = components(rows @ rows.T, train, test)
    centred = rows - rows[train].mean(0)
    _, _, axes = np.linalg.svd(centred[train], full_matrices=False)
    np.testing.assert_allclose(np.abs(one), np.abs(centred[train] @ axes.T), atol=1e-6)
    np.testing.assert_allclose(np.abs(other), np.abs(centred[test] @ axes.T), atol=1e-6)


def test_r_squared_is_one_for_truth_and_zero_for_the_mean():
    truth, names = np.random.default_rng(0).normal(size=(60, 2)) * [1, 100], recordings(6, 10)
    assert r_squared(truth, truth, names)["value"] == pytest.approx(1)
    mean = np.repeat(truth.mean(0)[None], 60, 0)
    assert r_squared(truth, mean, names)["value"] == pytest.approx(0)
    # Each column counts alike, whatever its unit.
    half = np.column_stack([truth[:, 0], mean[:, 1]])
    found = r_squared(truth, half, names)
    assert found["value"] == pytest.approx(0.5)
    assert found["low"] <= 0.5 <= found["high"]
    alone = r_squared(truth, half, np.full(60, "r"))
    assert alone["value"] == pytest.approx(0.5) and alone["low"] is None
    assert r_squared(np.ones((5, 1)), np.ones((5, 1)), names[:5])["value"] is None


def test_camera_velocity_is_as_the_camera_sees_it():
    camera = np.zeros((3, 4))
    camera[:, 3] = np.pi / 2
    camera[:, 2] = np.log(2)
    camera[:, 0] = (0, 0.1, 0.2)
    things = np.zeros((1, 3, 4))
    things[0, :, 1] = (0, 0.05, 0.1)
    found = camera_velocity(Script("both", camera, things))
    np.testing.assert_allclose(found, [[0, -0.05, 0, 0, 0, 0.05]] * 2, atol=1e-12)


# Sharing, and the whole.


def test_equal_encoders_are_used_once(pipeline, tiny_checkpoint, monkeypatch):
    other = TransferPipeline.from_pretrained(tiny_checkpoint)
    changed = TransferPipeline.from_pretrained(tiny_checkpoint)
    changed.model.encoder.mean += 1
    three = {"a": pipeline, "b": other, "c": changed}
    groups = same_encoders(three)
    assert groups == [["a", "b"], ["c"]]
    frames = moving_square(4)
    expected = {n: p.infer(frames).z for n, p in three.items()}
    monkeypatch.setattr(other, "encode", lambda _: pytest.fail("encoded twice"))
    for name, actions in infer_all(three, groups, frames).items():
        np.testing.assert_allclose(actions.z, expected[name], atol=1e-6)
    with pytest.raises(LamdemoError, match="no checkpoint"):
        same_encoders({})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "TRAIN_SCENES", 24)
    monkeypatch.setattr(probes, "TEST_SCENES", 16)
    monkeypatch.setattr(known_steps, "STEPS", 4)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips at 8 frames a second, in which the square's speed is the steering."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "nav").mkdir()
    rows = []
    rng = np.random.default_rng(0)
    for i in range(12):
        speeds = rng.integers(-2, 3, 26)
        speeds[::2] = speeds[1::2]
        lefts = 60 + np.concatenate([[0], np.cumsum(speeds)])
        clip = np.zeros((27, 64, 160, 3), np.uint8) + 90
        for t, left in enumerate(lefts):
            clip[t, 20:44, left : left + 24] = (250, 230, 40)
        name = f"nav/{'train' if i < 6 else 'held'}_{i:02d}"
        write_video(folder / f"{name}.mp4", clip, 8)
        table = np.column_stack([np.append(speeds, 0), np.full(27, 0.5)]).astype(np.float64)
        np.savez(folder / f"{name}.npz", actions=table, names=["steering", "throttle"])
        rows.append((f"{name}.mp4", f"{name}.npz"))
    indexed(folder, rows)
    return folder


def test_probes_of_two_checkpoints_share_all_but_the_latents(pipeline, tiny_checkpoint, drives, photos, small):
    two = {"one": pipeline, "two": TransferPipeline.from_pretrained(tiny_checkpoint)}
    split = Split(validation=("nav/held_*",))
    found = evaluate_probes(two, drives, split=split, part="validation", photos=photos)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["one"] == found["two"]
    result = found["one"]
    assert set(result["scenes"]["targets"]) >= {"pan", "zoom", "roll", "move"}
    across = result["clips"]["nav"]["across"]
    assert across["fitted_on"]["parts"] == ["train"] and across["judged_on"]["parts"] == ["validation"]
    assert across["fitted_on"]["recordings"] == 6 and across["judged_on"]["recordings"] == 6
    steering = across["targets"]["steering"]
    assert set(steering) == {"z", "z_shuffled", "mean", "difference", "pooled"}
    assert steering["mean"]["linear"]["value"] <= 0
    assert steering["z"]["linear"]["lag"][0] in LAGS
    # A throttle that never changes has no R².
    assert across["targets"]["throttle"]["z"]["linear"]["value"] is None
    assert result["headline"]["steering_across"] == steering["z"]["linear"]


def test_probes_need_no_videos_but_photographs(pipeline, photos, small, tmp_path):
    found = evaluate_probes({"tiny": pipeline}, None, photos=photos)["tiny"]
    assert found["clips"] == {} and found["videos"]["files"] == 0
    pan = found["scenes"]["targets"]["pan"]
    assert pan["z"]["linear"]["own_kind"]["value"] is not None
    write_image(tmp_path / "one.png", np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(LamdemoError, match="at least four photographs"):
        evaluate_probes({"tiny": pipeline}, None, photos=tmp_path)


def test_known_windows_line_up_with_the_frames(pipeline, drives, small, monkeypatch):
    """The difference of frames follows the command of the very step: no lag may creep in between."""
    clips = [(c, "all") for c in find_known_actions(drives)]
    stretches, skipped = plan_stretches(drives, clips, "all", pipeline.fps, 0)
    assert not skipped and all(s.stride == 2 for s in stretches)
    seen = []

    class Watch(known_steps.Encoded):
        def add(self, frames: np.ndarray, rows: np.ndarray) -> None:
            yellow = np.clip(frames[..., 0].astype(float) - 100, 0, None)  # brighter than the ground
            x = (yellow * np.arange(frames.shape[2])).sum((1, 2)) / yellow.sum((1, 2))
            seen.append(np.diff(x)[rows] * 160 / frames.shape[2])
            super().add(frames, rows)

    monkeypatch.setattr(known_steps, "Encoded", Watch)
    examples = clip_examples({"t": pipeline}, [["t"]], drives, stretches, "nav", [])
    moved = np.concatenate(seen)
    by_lag = {lag: np.corrcoef(moved, k[:, 0])[0, 1] for lag, k in examples.known.items()}
    assert by_lag["now"] > 0.98
    assert max(by_lag, key=by_lag.get) == "now"
    np.testing.assert_allclose(moved, 2 * examples.known["now"][:, 0], atol=1.0)
