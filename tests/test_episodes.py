"""Episodes: what they are, their files, other people's files, and the command that makes them."""

import json
import sys

import cv2
import numpy as np
import pytest
from video_files import colour_of, index_of

from lamdemo.cli import main
from lamdemo.core.actions import ActionSpec, Channel
from lamdemo.core.errors import LamdemoError
from lamdemo.data.episodes import CONFIG_NAME, Episode, EpisodeWriter, open_episodes
from lamdemo.data.episodes.overview import contact_sheet, figures
from lamdemo.data.splits import Split
from lamdemo.simulators import Observation
from lamdemo.video import read_image, write_video

SPEC = ActionSpec(
    "cart",
    (
        Channel("steering", "rate", -1, 1, words=("left", "right"), mirror=-1),
        Channel("dx", "change", -0.1, 0.1, "m", mirror=None),
        Channel("gripper", "target", 0, 1, mirror=1),
    ),
)


def an_episode(frames=9, name="one", fps=8.0, spec=SPEC, size=(32, 48), seed=0, **rest):
    """An episode of smooth pictures that drift to the right."""
    rng = np.random.default_rng(seed)
    across = np.linspace(0, 4, size[1] + 4 * frames)
    row = 120 + 80 * np.sin(across + rng.uniform(0, 6))
    pictures = np.stack([np.tile(row[4 * t : 4 * t + size[1], None], (size[0], 1, 3)) for t in range(frames)])
    actions = rng.uniform(spec.low, spec.high, (frames - 1, spec.width))
    return Episode(name, pictures.astype(np.uint8), actions, fps, spec, **rest)


def test_kinds_are_combined_each_in_its_way():
    actions = np.array([[0.2, 0.01, 0], [0.4, 0.02, 1], [1, 0.05, 0.3], [0, -0.01, 0.6], [9, 9, 9]], np.float32)
    got = SPEC.combine(actions, 2)
    np.testing.assert_allclose(got, [[0.3, 0.03, 1], [0.5, 0.04, 0.6]], atol=1e-7)


def test_a_slower_rate_keeps_frames_actions_and_truth_in_step():
    # A place that is the sum of its changes stays so at any rate.
    changes = np.random.default_rng(1).normal(0, 1, (20, 1)).astype(np.float32)
    place = np.concatenate([np.zeros((1, 1)), np.cumsum(changes, 0)])
    spec = ActionSpec("slide", (Channel("dx", "change", -9, 9),))
    frames = np.arange(21, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    episode = Episode("a", frames, changes, 15, spec, {"position": place})
    slow = episode.at(5)
    assert slow.fps == 5 and len(slow) == 7 and len(slow.actions) == 6
    assert slow.frames[:, 0, 0, 0].tolist() == [0, 3, 6, 9, 12, 15, 18]
    np.testing.assert_allclose(np.diff(slow.truth["position"], axis=0), slow.actions, atol=1e-5)
    assert episode.at(14) is episode and episode.at(99) is episode
    assert episode.at(0.1).frames.shape[0] == 1 and episode.at(0.1).actions.shape == (0, 1)


def test_a_part_keeps_frames_actions_and_truth_in_step():
    episode = an_episode(9, truth={"place": np.arange(9.0)})
    part = episode.part(2, 6)
    np.testing.assert_array_equal(part.frames, episode.frames[2:6])
    np.testing.assert_array_equal(part.actions, episode.actions[2:5])
    assert part.truth["place"].tolist() == [2, 3, 4, 5]
    with pytest.raises(LamdemoError, match="none in the part"):
        episode.part(5, 5)


def test_lengths_that_do_not_fit_are_told_in_one_sentence():
    frames = np.zeros((40, 4, 4, 3), np.uint8)
    with pytest.raises(LamdemoError, match=r"^Episode x has 40 frames and 38 actions; there must be one action fewer"):
        Episode("x", frames, np.zeros((38, 3)), 4, SPEC)
    with pytest.raises(LamdemoError, match="39 rows of place"):
        Episode("x", frames, np.zeros((39, 3)), 4, SPEC, {"place": np.zeros((39, 2))})
    with pytest.raises(LamdemoError, match="above zero"):
        Episode("x", frames, np.zeros((39, 3)), 0, SPEC)


def test_actions_of_another_width_and_holes_are_told():
    with pytest.raises(LamdemoError, match=r"^These actions have 2 numbers a step where cart takes 3 \(steering, dx, "):
        SPEC.check(np.zeros((5, 2)))
    with pytest.raises(LamdemoError, match=r"^Yours hold no number for dx at step 1;"):
        SPEC.check([[0, 0, 0], [0, np.nan, 0]], "Yours")
    with pytest.raises(LamdemoError, match="no table of numbers"):
        SPEC.check([["a", "b", "c"]])
    assert SPEC.check([0, 0, 1]).shape == (1, 3)


def test_a_spec_survives_json():
    assert ActionSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC
    for damaged in ({}, {"name": "x", "channels": [{"name": "a"}]}, None, {"name": "x", "channels": []}):
        with pytest.raises(LamdemoError):
            ActionSpec.from_json(damaged)


def test_nothing_done_and_flipping():
    spec = ActionSpec("s", (Channel("go", "rate", 0.2, 1, mirror=1), Channel("turn", "rate", -1, 1, mirror=-1)))
    assert spec.zero.tolist() == pytest.approx([0.2, 0])
    assert spec.mirror.tolist() == [1, -1]
    assert SPEC.mirror is None  # one channel does not say


def test_channels_that_make_no_sense_are_refused():
    with pytest.raises(LamdemoError, match="low must be below high"):
        Channel("a", "rate", 1, 1)
    with pytest.raises(LamdemoError, match="must be one of rate, change, target"):
        Channel("a", "speed", 0, 1)
    with pytest.raises(LamdemoError, match="two channels of one name"):
        ActionSpec("x", (Channel("a", "rate", 0, 1), Channel("a", "rate", 0, 1)))


# Files of our own


def a_folder(folder, count=3, **rest):
    writer = EpisodeWriter(folder, SPEC, {"source": "here"})
    made = [an_episode(name=f"e{i}", seed=i, recording=f"r{i // 2}", **rest) for i in range(count)]
    for episode in made:
        writer.add(episode)
    return made


@pytest.mark.parametrize(("fps", "size"), [(8.0, (32, 48)), (5 / 3, (33, 47)), (7.5, (32, 32)), (29.97, (48, 32))])
def test_what_is_written_is_read_again(tmp_path, fps, size):
    made = a_folder(tmp_path / "x", fps=fps, size=size, truth={"place": np.arange(18.0).reshape(9, 2)})
    found = open_episodes(tmp_path / "x")
    assert found.spec == SPEC and found.about == {"source": "here"}
    assert found.names == ("e0", "e1", "e2") and found.recordings == ("r0", "r0", "r1")
    for before, after in zip(made, found, strict=True):
        np.testing.assert_array_equal(before.actions, after.actions)
        np.testing.assert_array_equal(before.truth["place"], after.truth["place"])
        assert before.frames.shape == after.frames.shape and after.fps == pytest.approx(fps)
        assert np.abs(before.frames.astype(int) - after.frames).mean() < 4
    assert found.named("e1").name == "e1" and len(found[1:]) == 2
    with pytest.raises(LamdemoError, match="no episode 'z'"):
        found.named("z")


def test_reading_at_a_rate_is_reading_all_and_thinning(tmp_path):
    a_folder(tmp_path / "x", 1, frames=12, truth={"place": np.arange(12.0)})
    found = open_episodes(tmp_path / "x")
    whole, thin = found[0].at(3), found.read(0, fps=3)
    np.testing.assert_array_equal(whole.frames, thin.frames)
    np.testing.assert_array_equal(whole.actions, thin.actions)
    assert thin.truth["place"].tolist() == [0, 3, 6, 9] and thin.fps == whole.fps
    assert max(found.read(0, max_side=24).frames.shape[1:3]) == 24


def test_one_frame_without_an_action_is_an_episode(tmp_path):
    EpisodeWriter(tmp_path / "x", SPEC).add(an_episode(1))
    assert open_episodes(tmp_path / "x")[0].actions.shape == (0, 3)


def test_a_writer_adds_to_its_own_kind_only(tmp_path):
    a_folder(tmp_path / "x", 1)
    again = EpisodeWriter(tmp_path / "x", SPEC)
    assert again.names == {"e0"}
    again.add(an_episode(name="e9"))
    assert open_episodes(tmp_path / "x").names == ("e0", "e9")
    other = ActionSpec("other", SPEC.channels)
    with pytest.raises(LamdemoError, match="holds episodes of other actions"):
        EpisodeWriter(tmp_path / "x", other)
    with pytest.raises(LamdemoError, match="not of cart"):
        again.add(an_episode(spec=other))


def test_an_episode_cut_short_is_none(tmp_path, monkeypatch):
    a_folder(tmp_path / "x", 1)
    before = sorted(p.name for p in (tmp_path / "x").iterdir())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lamdemo.data.episodes.files.write_safely", full)
    with pytest.raises(LamdemoError, match=r"e1\.npz cannot be written: No space left"):
        EpisodeWriter(tmp_path / "x", SPEC).add(an_episode(name="e1"))
    monkeypatch.undo()
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == before
    # A machine that went off leaves the video alone.
    write_video(tmp_path / "x" / "e1.mp4", an_episode().frames, 8)
    assert open_episodes(tmp_path / "x").names == ("e0",)
    EpisodeWriter(tmp_path / "x", SPEC).add(an_episode(name="e1"))
    assert open_episodes(tmp_path / "x").names == ("e0", "e1")


def test_damage_is_told_in_one_sentence(tmp_path):
    folder = tmp_path / "x"
    a_folder(folder, 2)
    longer = an_episode(10, name="e0").frames
    write_video(folder / "e0.mp4", longer, 8)
    with pytest.raises(LamdemoError, match=r"^Episode e0 has more than 9 frames and 8 actions; there must be one"):
        open_episodes(folder)[0]
    write_video(folder / "e0.mp4", longer[:7], 8)
    with pytest.raises(LamdemoError, match=r"^Episode e0 has 7 frames and 8 actions; there must be one action fewer"):
        open_episodes(folder).read(0, fps=4)
    with np.load(folder / "e1.npz") as data:
        np.savez(folder / "e1.npz", **(dict(data) | {"fps": np.float64(0)}))
    with pytest.raises(LamdemoError, match=r"e1\.npz cannot be read"):
        open_episodes(folder).table(1)
    (folder / "e1.npz").write_bytes(b"nothing")
    with pytest.raises(LamdemoError, match=r"e1\.npz cannot be read"):
        open_episodes(folder)
    (folder / "e1.npz").unlink()
    (folder / "e0.mp4").unlink()
    with pytest.raises(LamdemoError, match="video of episode e0 is missing"):
        open_episodes(folder)
    (folder / CONFIG_NAME).write_text(json.dumps({"format": "lamdemo-episodes/9"}))
    with pytest.raises(LamdemoError, match="this version of lamdemo reads lamdemo-episodes/1"):
        open_episodes(folder)


def test_actions_of_another_width_in_a_file_are_told(tmp_path):
    a_folder(tmp_path / "x", 1)
    with np.load(tmp_path / "x" / "e0.npz") as data:
        arrays = dict(data)
    np.savez(tmp_path / "x" / "e0.npz", **{**arrays, "actions": arrays["actions"][:, :2]})
    with pytest.raises(LamdemoError, match="The actions of episode e0 have 2 numbers a step where cart takes 3"):
        open_episodes(tmp_path / "x")[0]


def test_a_recording_is_never_on_both_sides_of_a_split(tmp_path):
    a_folder(tmp_path / "x", 4)
    found = open_episodes(tmp_path / "x")
    split = Split(validation=("e0", "e1"))
    assert found.split(split, "validation").names == ("e0", "e1")
    assert found.split(split, "train").names == ("e2", "e3") and len(found.split(split, "all")) == 4
    with pytest.raises(LamdemoError, match="recording r0 into validation and train"):
        found.split(Split(validation=("e0",)), "train")
    assert found.spread(2).names == ("e0", "e3") and found.spread(None) is found


def test_what_holds_no_episodes_is_told(tmp_path):
    with pytest.raises(LamdemoError, match="There is no folder nothing"):
        open_episodes(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LamdemoError, match="empty holds no episodes"):
        open_episodes(tmp_path / "empty")
    EpisodeWriter(tmp_path / "new", SPEC)
    with pytest.raises(LamdemoError, match="holds no episode yet"):
        open_episodes(tmp_path / "new")
    with pytest.raises(LamdemoError, match="leave the part out"):
        open_episodes(tmp_path / "new", part="car")


# LeRobot's datasets


def lerobot_columns(episode, actions):
    """Columns of a table, whose states are ten times the actions' rows."""
    count = len(actions)
    return {
        "action": actions.tolist(),
        "observation.state": (10 * actions).tolist(),
        "timestamp": [t / 10 for t in range(count)],
        "frame_index": list(range(count)),
        "episode_index": [episode] * count,
    }


def write_table(path, columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def counted_frames(first, count):
    """Frames of one colour each, by which `index_of` tells their number."""
    return np.stack([np.full((32, 48, 3), colour_of(first + t), np.uint8) for t in range(count)])


LENGTHS = (13, 9, 20)


def a_lerobot_dataset(
    folder, version, keys=("observation.images.top", "observation.images.wrist"), dtype="video", late=0.0
):
    """Three episodes; frame t of episode i has number 40 i + t, that of the second camera one more."""
    rng = np.random.default_rng(0)
    actions = [rng.uniform(-1, 1, (n, 2)).astype(np.float32) for n in LENGTHS]
    v2 = version.startswith("v2")
    info = {
        "codebase_version": version,
        "fps": 10,
        "robot_type": "so100",
        "chunks_size": 2,
        "features": {
            "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["shoulder", "elbow"]}},
            "observation.state": {"dtype": "float32", "shape": [2], "names": None},
            **{k: {"dtype": dtype, "shape": [32, 48, 3], "names": ["height", "width", "channel"]} for k in keys},
        },
    }
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    tables = [lerobot_columns(i, a) for i, a in enumerate(actions)]
    if dtype == "image":
        for i, table in enumerate(tables):
            coded = [cv2.imencode(".png", f[..., ::-1])[1].tobytes() for f in counted_frames(40 * i, LENGTHS[i])]
            table[keys[0]] = [{"bytes": c, "path": None} for c in coded]
    if v2:
        lines = [json.dumps({"episode_index": i, "tasks": ["push"], "length": n}) for i, n in enumerate(LENGTHS)]
        (folder / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
        for i, table in enumerate(tables):
            write_table(folder / f"data/chunk-{i // 2:03d}/episode_{i:06d}.parquet", table)
            for c, key in enumerate(keys if dtype == "video" else ()):
                path = folder / f"videos/chunk-{i // 2:03d}/{key}/episode_{i:06d}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, counted_frames(40 * i + c, LENGTHS[i]), 10, crf=1)
        return actions
    write_table(folder / "data/chunk-000/file-000.parquet", {k: tables[0][k] + tables[1][k] for k in tables[0]})
    write_table(folder / "data/chunk-000/file-001.parquet", tables[2])
    # The first two episodes share a table, the last two share a video.
    # It begins where durations that were rounded say.
    files, starts = (0, 1, 1), (0.0, 0.0, LENGTHS[1] / 10 + late)
    columns = {
        "episode_index": [0, 1, 2],
        "tasks": [["push"]] * 3,
        "length": list(LENGTHS),
        "data/chunk_index": [0, 0, 0],
        "data/file_index": [0, 0, 1],
    }
    for c, key in enumerate(keys if dtype == "video" else ()):
        columns[f"videos/{key}/chunk_index"] = [0, 0, 0]
        columns[f"videos/{key}/file_index"] = list(files)
        columns[f"videos/{key}/from_timestamp"] = list(starts)
        (folder / f"videos/{key}/chunk-000").mkdir(parents=True)
        own = [counted_frames(40 * i + c, n) for i, n in enumerate(LENGTHS)]
        write_video(folder / f"videos/{key}/chunk-000/file-000.mp4", own[0], 10, crf=1)
        write_video(folder / f"videos/{key}/chunk-000/file-001.mp4", np.concatenate(own[1:]), 10, crf=1)
    write_table(folder / "meta/episodes/chunk-000/file-000.parquet", columns)
    return actions


@pytest.mark.parametrize(("version", "late"), [("v2.0", 0), ("v2.1", 0), ("v3.0", 0), ("v3.0", 0.03), ("v3.0", -0.03)])
def test_lerobot_datasets_are_read_frame_by_frame(tmp_path, version, late):
    actions = a_lerobot_dataset(tmp_path / "pusher", version, late=late)
    found = open_episodes(tmp_path / "pusher")
    assert len(found) == 6 and found.names[:2] == ("episode_000000.top", "episode_000000.wrist")
    # Both cameras of an episode go together.
    assert found.recordings[0] == found.recordings[1] and len(set(found.recordings)) == 3
    assert found.spec.names == ("shoulder", "elbow") and found.spec.name == "pusher"
    assert {c.kind for c in found.spec.channels} == {"target"}
    every = np.concatenate(actions)
    assert (found.spec.low <= every.min(0)).all() and (every.max(0) <= found.spec.high).all()
    for k, episode in enumerate(found):
        i, camera = divmod(k, 2)
        assert [index_of(f) for f in episode.frames] == [40 * i + camera + t for t in range(LENGTHS[i])]
        # Row t is what was sent when frame t was seen; the last one leads nowhere.
        np.testing.assert_array_equal(episode.actions, actions[i][:-1])
        np.testing.assert_allclose(episode.truth["state"], 10 * actions[i], rtol=1e-6)
        assert episode.fps == 10 and episode.about["task"] == "push"
    thin = found.read(4, fps=5)
    assert [index_of(f) for f in thin.frames] == [80 + 2 * t for t in range(10)]
    np.testing.assert_array_equal(thin.actions, actions[2][1:-1:2][: len(thin.actions)])


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_lerobot_pictures_in_tables_are_read(tmp_path, version):
    a_lerobot_dataset(tmp_path / "p", version, keys=("observation.image",), dtype="image")
    found = open_episodes(tmp_path / "p", kind="change")
    assert found.names[1] == "episode_000001" and found.spec.channels[0].kind == "change"
    assert [index_of(f) for f in found[1].frames] == [40 + t for t in range(9)]
    assert found.read(1, max_side=24).frames.shape == (9, 16, 24, 3)


def test_lerobot_cameras_and_what_is_wrong_with_a_dataset(tmp_path):
    folder = tmp_path / "p"
    a_lerobot_dataset(folder, "v2.1")
    assert open_episodes(folder, cameras=["wrist"]).names[0] == "episode_000000"
    assert len(open_episodes(folder, cameras=["observation.images.top", "wrist"])) == 6
    with pytest.raises(LamdemoError, match="no camera 'side'; it has top, wrist"):
        open_episodes(folder, cameras=["side"])
    (folder / "videos/chunk-000/observation.images.top/episode_000000.mp4").unlink()
    with pytest.raises(LamdemoError, match=r"lacks the file episode_000000\.mp4"):
        open_episodes(folder)[0]
    write_video(folder / "videos/chunk-000/observation.images.top/episode_000000.mp4", counted_frames(0, 11), 10)
    with pytest.raises(LamdemoError, match=r"Episode episode_000000\.top has 11 frames and 12 actions"):
        open_episodes(folder)[0]
    info = json.loads((folder / "meta/info.json").read_text())
    for change, words in (
        ({"codebase_version": "v1.6"}, "version 1"),
        ({"features": {}}, "no actions"),
        ({"fps": None}, "damaged"),
        ({"data_path": "../{episode_index}.parquet"}, "outside of the dataset"),
    ):
        (folder / "meta/info.json").write_text(json.dumps({**info, **change}))
        with pytest.raises(LamdemoError, match=words):
            open_episodes(folder)


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    a_lerobot_dataset(tmp_path / "p", "v3.0")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(LamdemoError, match=r'pip install "lamdemo\[lerobot\]"'):
        open_episodes(tmp_path / "p")


def test_from_the_hub_come_only_the_files_that_are_read(tmp_path, monkeypatch):
    a_lerobot_dataset(tmp_path / "abc123", "v3.0")
    asked = []

    def snapshot(repo, *, repo_type, revision, allow_patterns):
        assert (repo, repo_type, revision, allow_patterns) == ("me/pusher", "dataset", "v2", "meta/*")
        return str(tmp_path / "abc123")

    def file(repo, path, *, repo_type, revision):
        assert (repo, repo_type, revision) == ("me/pusher", "dataset", "abc123")
        asked.append(path)
        return str(tmp_path / "abc123" / path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", file)
    found = open_episodes("hf:me/pusher@v2", cameras=["top"])
    assert found.about["source"] == "me/pusher@abc123"
    assert not any(p.endswith(".mp4") for p in asked)
    assert index_of(found[0].frames[-1]) == 12
    assert [p for p in asked if p.endswith(".mp4")] == ["videos/observation.images.top/chunk-000/file-000.mp4"]
    with pytest.raises(LamdemoError, match="is no dataset of the Hub"):
        open_episodes("hf:nothing")


def test_what_goes_wrong_at_the_hub_is_told(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_, **__):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(LamdemoError, match=r"^me/x is not on this machine and the Hub cannot be reached"):
        open_episodes("hf:me/x")


# A folder with an index


def an_indexed_folder(folder):
    """Two cars, a run of an arm with two cameras of which one shows a frame more, and a humanoid."""
    rows = ["file\tfps\tsource\tlicence\tactions"]
    rng = np.random.default_rng(3)
    for place in ("nav", "robot/arm", "robot/g1_lerobot"):
        (folder / place).mkdir(parents=True)
    for i in range(2):
        np.savez(folder / f"nav/a_{i}.npz", actions=rng.uniform(-1, 1, (10, 2)), names=["steering", "throttle"])
        write_video(folder / f"nav/a_{i}.mp4", counted_frames(0, 10), 8, crf=1)
        rows.append(f"nav/a_{i}.mp4\t8\there\tMIT\tnav/a_{i}.npz")
    states = np.concatenate([rng.uniform(-0.1, 0.1, (10, 3)), rng.uniform(-3.1, 3.1, (10, 4))], 1)
    np.savez(folder / "robot/arm/run.npz", states=states)
    for camera, frames in (("cam0", 10), ("cam1", 11)):
        write_video(folder / f"robot/arm/run_{camera}.mp4", counted_frames(0, frames), 5, crf=1)
        rows.append(f"robot/arm/run_{camera}.mp4\t5\there\tMIT\trobot/arm/run.npz")
    joints = rng.uniform(0, 1, (10, 2))
    np.savez(
        folder / "robot/g1_lerobot/g.npz", actions=joints, states=joints - 1, names=["kLeftElbow", "kLeftHandIndex"]
    )
    write_video(folder / "robot/g1_lerobot/g.mp4", counted_frames(0, 10), 7.5, crf=1)
    rows.append("robot/g1_lerobot/g.mp4\t7.5\there\tMIT\trobot/g1_lerobot/g.npz")
    (folder / "INDEX.tsv").write_text("\n".join(rows) + "\n")
    return states, joints


def test_parts_of_an_indexed_folder(tmp_path):
    states, joints = an_indexed_folder(tmp_path / "d")
    car = open_episodes(tmp_path / "d", part="car")
    assert car.names == ("a_0", "a_1") and car.clips == ("nav/a_0.mp4", "nav/a_1.mp4")
    with np.load(tmp_path / "d/nav/a_0.npz") as data:
        np.testing.assert_allclose(car[0].actions, data["actions"][:-1], rtol=1e-6)
    assert car[0].fps == 8 and car[0].about["licence"] == "MIT"
    assert car.split(Split(test=("nav/a_1*",)), "test").names == ("a_1",)

    arm = open_episodes(tmp_path / "d", part="arm")
    assert arm.names == ("run_cam0", "run_cam1") and arm.recordings == ("run", "run")
    for episode in arm:
        assert len(episode) == 10
        np.testing.assert_allclose(episode.actions[:, :3], np.diff(states[:, :3], axis=0), atol=1e-6)
        np.testing.assert_allclose(episode.actions[:, 6], np.diff(states[:, 6]), atol=1e-5)
        # Angles go the short way round, and arrive.
        assert np.abs(episode.actions[:, 3:6]).max() <= np.pi + 1e-6
        arrived = states[:-1, 3:6] + episode.actions[:, 3:6]
        np.testing.assert_allclose(np.cos(arrived - states[1:, 3:6]), 1, atol=1e-6)
        np.testing.assert_allclose(episode.truth["position"], states[:, :3], atol=1e-6)
    assert open_episodes(tmp_path / "d", part="arm", cameras=["cam1"]).names == ("run_cam1",)
    # What the picture would show is known of a car that is flipped, and not of an arm.
    assert car.spec.mirror.tolist() == [-1, 1] and arm.spec.mirror is None

    humanoid = open_episodes(tmp_path / "d", part="humanoid")
    assert humanoid.spec.names == ("left_elbow", "left_hand_index")
    np.testing.assert_allclose(humanoid[0].actions, joints[:-1], rtol=1e-6)
    np.testing.assert_allclose(humanoid[0].truth["joints"], joints - 1, rtol=1e-5)


def test_what_is_wrong_with_an_indexed_folder_is_told(tmp_path):
    an_indexed_folder(tmp_path / "d")
    with pytest.raises(LamdemoError, match="say which of car, arm, humanoid"):
        open_episodes(tmp_path / "d")
    with pytest.raises(LamdemoError, match="no part 'boat'"):
        open_episodes(tmp_path / "d", part="boat")
    with pytest.raises(LamdemoError, match="no camera 'cam9'; it has cam0, cam1"):
        open_episodes(tmp_path / "d", part="arm", cameras=["cam9"])
    write_video(tmp_path / "d/nav/a_0.mp4", counted_frames(0, 8), 8)
    with pytest.raises(LamdemoError, match="Episode a_0 has 8 frames and 9 actions"):
        open_episodes(tmp_path / "d", part="car")[0]


# Overview and command line


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return stopped.value.code


def test_figures_count_what_is_out_of_range(tmp_path):
    spec = ActionSpec("s", (Channel("a", "rate", -1, 1),))
    writer = EpisodeWriter(tmp_path / "x", spec)
    frames = counted_frames(0, 5)
    writer.add(Episode("e", frames, np.array([[1], [-1], [3], [1]]), 4, spec))
    told = figures(open_episodes(tmp_path / "x"))
    assert (told.steps, told.seconds, told.rates) == (4, 1.0, (4.0,))
    assert told.mean[0] == 1 and told.most[0] == 3 and told.outside[0] == 0.25


def test_a_sheet_shows_the_actions_size_and_side(tmp_path):
    spec = ActionSpec("s", (Channel("a", "rate", -1, 1),))
    white = np.full((9, 40, 80, 3), 255, np.uint8)

    def ink(value):
        """Where the bar of one value has its colour, from 0 (left) to 1 (right)."""
        folder = tmp_path / f"v{value}"
        EpisodeWriter(folder, spec).add(Episode("e", white, np.full((8, 1), value), 4, spec))
        sheet = contact_sheet(open_episodes(folder), columns=2, height=120)
        tile = sheet[-12:, 8:248].astype(int)
        coloured = np.flatnonzero((np.abs(tile - (214, 96, 40)).sum(-1) < 30).any(0))
        return coloured.min() / 240, coloured.max() / 240

    assert ink(1.0) == pytest.approx((0.5, 1), abs=0.02)
    assert ink(-0.5) == pytest.approx((0.25, 0.5), abs=0.02)


def test_convert_and_show(tmp_path, capsys):
    an_indexed_folder(tmp_path / "d")
    out = tmp_path / "car"
    assert run("episodes", "convert", tmp_path / "d", "--part", "car", "--fps", 4, "--out", out) == 0
    assert "2 episodes converted" in capsys.readouterr().out
    assert run("episodes", "convert", tmp_path / "d", "--part", "car", "--fps", 4, "--out", out) == 0
    assert "0 episodes converted, 2 were there" in capsys.readouterr().out
    found, before = open_episodes(out), open_episodes(tmp_path / "d", part="car")
    np.testing.assert_array_equal(found[1].actions, before[1].at(4).actions)
    assert [index_of(f) for f in found[1].frames] == [0, 2, 4, 6, 8]
    # A split of the source holds for what was made of it.
    assert found.clips == before.clips
    assert run("episodes", "show", out, "--sheet", tmp_path / "s.png") == 0
    told = capsys.readouterr().out
    assert "2 episodes of car, 2 recordings, 8 steps" in told and "left / right" in told
    assert read_image(tmp_path / "s.png").shape[2] == 3


def test_convert_leaves_out_what_is_bad_and_nothing_behind(tmp_path, capsys):
    an_indexed_folder(tmp_path / "d")
    write_video(tmp_path / "d/nav/a_0.mp4", counted_frames(0, 8), 8)
    assert run("episodes", "convert", tmp_path / "d", "--part", "car", "--out", tmp_path / "car") == 0
    said = capsys.readouterr()
    assert "note: Episode a_0 has 8 frames and 9 actions" in said.err and "1 episodes converted" in said.out
    write_video(tmp_path / "d/nav/a_1.mp4", counted_frames(0, 8), 8)
    assert run("episodes", "convert", tmp_path / "d", "--part", "car", "--out", tmp_path / "none") == 2
    assert not (tmp_path / "none").exists()
    (tmp_path / "s.toml").write_text('validation = ["nav/a_0*"]\ntest = []\n')
    split = ("--split", tmp_path / "s.toml", "--only", "test")
    assert run("episodes", "convert", tmp_path / "d", "--part", "car", *split, "--out", tmp_path / "none") == 2
    assert "leaves no episode" in capsys.readouterr().err
    assert run("episodes", "convert", tmp_path / "d", "--part", "car", "--only", "test", "--out", tmp_path / "n") == 2
    assert "give --split too" in capsys.readouterr().err


def test_record_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    made = []

    class Sim:
        name, spec, fps = "cart", SPEC, 4.0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def reset(self, seed):
            made.append(seed)
            return Observation(np.full((32, 32, 3), seed, np.uint8), {"place": np.zeros(2, np.float32)})

        def step(self, action):
            return Observation(np.zeros((32, 32, 3), np.uint8), {"place": action[:2]})

    monkeypatch.setattr("lamdemo.simulators.make", lambda name, size: Sim())
    arguments = ("episodes", "record", "cart", "--out", tmp_path / "x", "--steps", 5, "--behaviour", "random")
    assert run(*arguments, "--episodes", 2, "--seed", 7) == 0
    assert run(*arguments, "--episodes", 4, "--seed", 7) == 0
    assert made == [7, 8, 9, 10]
    assert "2 episodes recorded, 2 were there" in capsys.readouterr().out
    found = open_episodes(tmp_path / "x")
    assert found.names == ("cart-00007", "cart-00008", "cart-00009", "cart-00010") and len(found[0]) == 6
    np.testing.assert_array_equal(found[0].truth["place"][1:], found[0].actions[:, :2])
    assert run("episodes", "record", "nothing", "--out", tmp_path / "x", "--behaviour", "wild") == 2
    assert "no behaviour 'wild'" in capsys.readouterr().err


def test_episodes_alone_tells_its_commands_and_errors_name_them(tmp_path, capsys):
    assert run("episodes") == 0
    assert "convert" in capsys.readouterr().out
    assert run("episodes", "convert", tmp_path) == 2
    assert "see lamdemo episodes convert --help" in capsys.readouterr().err
    assert run("episodes", "show", tmp_path / "nothing") == 2
    said = capsys.readouterr().err
    assert "There is no folder nothing" in said and str(tmp_path) not in said
