"""Checkpoints from the Hub and to it: huggingface_hub's own client against a small stand-in on this machine."""

from __future__ import annotations

import contextvars
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_stand_in import SHA, Hub, client, fetch

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.errors import LamdemoError
from lamdemo.engine import TransferPipeline, resolve_checkpoint, save_latents
from lamdemo.engine.hub import is_wanted
from lamdemo.models import checkpoint_hash
from lamdemo.ui import notices
from lamdemo.ui.models import Fetching
from lamdemo.video import read_clip, read_image


@pytest.fixture
def hub(tiny_checkpoint: Path) -> Iterator[Hub]:
    files = {p.name: p.read_bytes() for p in tiny_checkpoint.iterdir()}
    # Neither is wanted, and the second must never be run: a checkpoint holds no code.
    files |= {"optimizer.bin": b"x" * 100_000, "modeling.py": b"raise SystemExit"}
    hub = Hub({"someone/tiny": files, "someone/else": {"README.md": b"# Something else"}})
    yield hub
    if hub.thread.is_alive():
        hub.stop()


def test_models_come_from_the_hub_once_and_from_this_machine_after(
    hub: Hub, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    wanted = checkpoint_hash(tiny_checkpoint)
    online = ["someone/tiny@v1", "someone/tiny", "someone/nothing", "someone/tiny@v9", "someone/gated"]
    online += ["someone/else", "someone/broken", "some--one/tiny", "someone/portal", "someone/cut"]
    first = fetch([*online], hub.address, tmp_path)
    assert first[0] == {"name": "someone/tiny@v1", "hash": wanted}
    assert first[1] == {"name": "someone/tiny", "hash": wanted}
    assert "someone/nothing" in first[2]["error"] and "spelling" in first[2]["error"]
    assert "no revision v9" in first[3]["error"]
    assert "gated" in first[4]["error"] and "log in" in first[4]["error"]
    assert "lacks config.json" in first[5]["error"]
    assert "cannot be reached" in first[6]["error"]
    assert "spelling" in first[7]["error"]
    assert "could not be fetched" in first[8]["error"]
    assert "could not be fetched" in first[9]["error"]

    files = [path for path in hub.asked if "/resolve/" in path]
    assert any(path.endswith("model.safetensors") for path in files)
    assert not any(path.endswith((".bin", ".py")) for path in files)
    hub.stop()

    # Without any network: what was fetched is there, what was not is told, and nothing at all is needed for
    # the checkpoint that comes with the code.
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled" / DEFAULT_CHECKPOINT).symlink_to(tiny_checkpoint)
    names = ["someone/tiny@v1", "someone/tiny", "someone/never", "someone/tiny@v2", None]
    then = fetch(names, hub.address, tmp_path, LAMDEMO_CHECKPOINTS=str(tmp_path / "bundled"))
    assert then[0]["hash"] == then[1]["hash"] == wanted
    assert "cannot be reached" in then[2]["error"] and "someone/never" in then[2]["error"]
    assert "cannot be reached" in then[3]["error"]
    assert then[4] == {"name": DEFAULT_CHECKPOINT, "hash": wanted}


def test_the_sample_of_latents_comes_with_a_model_that_has_one(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
    save_latents(mine, np.random.default_rng(0).normal(size=(50, 16)))
    hub = Hub({"someone/sampled": {p.name: p.read_bytes() for p in mine.iterdir()}})
    try:
        (answer,) = fetch(["someone/sampled"], hub.address, tmp_path / "home")
    finally:
        hub.stop()
    assert answer == {"name": "someone/sampled", "hash": checkpoint_hash(mine)}
    assert any(path.endswith("/latents.safetensors") for path in hub.asked)
    (fetched,) = (tmp_path / "home").rglob("latents.safetensors")
    assert fetched.read_bytes() == (mine / "latents.safetensors").read_bytes()


def test_an_atlas_and_a_learned_prior_come_with_a_model_that_has_them(tiny_checkpoint: Path, tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in tiny_checkpoint.iterdir()}
    more = {"atlas.safetensors": b"an atlas", "prior.json": b"{}", "prior.safetensors": b"a prior"}
    hub = Hub({"someone/more": files | more})
    try:
        fetch(["someone/more"], hub.address, tmp_path / "home")
    finally:
        hub.stop()
    (folder,) = (p.parent for p in (tmp_path / "home").rglob("config.json"))
    assert {name: (folder / name).read_bytes() for name in more} == more


def test_a_place_that_cannot_be_written_is_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, where a folder should be")
    (answer,) = fetch(["someone/tiny"], hub.address, tmp_path / "home")
    assert "cannot be kept on this machine" in answer["error"] and "HF_HOME" in answer["error"]


def test_bundled_checkpoints_and_folders_need_no_hub(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / DEFAULT_CHECKPOINT).symlink_to(tiny_checkpoint)
    monkeypatch.setenv("LAMDEMO_CHECKPOINTS", str(tmp_path))
    assert TransferPipeline.from_pretrained().checkpoint == checkpoint_hash(tiny_checkpoint)
    assert resolve_checkpoint(DEFAULT_CHECKPOINT) == tmp_path / DEFAULT_CHECKPOINT
    assert resolve_checkpoint(tiny_checkpoint) == tiny_checkpoint


@pytest.mark.parametrize("name", ["nothing here", "../up", "a/b/c", "x" * 5000, "owner/na me", "owner/name@"])
def test_what_is_no_checkpoint_is_told_without_asking_the_hub(name: str) -> None:
    with pytest.raises(LamdemoError, match="no checkpoint") as caught:
        resolve_checkpoint(name)
    assert len(str(caught.value)) < 300


def test_without_a_bundled_checkpoint_the_default_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMDEMO_CHECKPOINTS", str(tmp_path))
    with pytest.raises(LamdemoError, match="--checkpoint"):
        resolve_checkpoint()


def test_a_busy_hub_and_a_token_that_does_not_do_are_told(hub: Hub, tmp_path: Path) -> None:
    busy, token = fetch(["someone/busy", "someone/token"], hub.address, tmp_path, HF_TOKEN="old")
    assert "too many requests" in busy["error"] and "minutes" in busy["error"]
    assert "token" in token["error"] and "hf auth login" in token["error"]


def test_nothing_is_fetched_of_what_is_too_large_or_of_no_known_size(hub: Hub, tmp_path: Path) -> None:
    hub.said["model.safetensors"] = 5 << 30
    (large,) = fetch(["someone/tiny"], hub.address, tmp_path)
    assert "5.0 GB" in large["error"] and "at most 4" in large["error"] and "LAMDEMO_MOST_GB" in large["error"]
    hub.said = {"config.json": 5 << 20}
    (long,) = fetch(["someone/tiny"], hub.address, tmp_path)
    assert "config.json" in long["error"] and "too much" in long["error"]
    hub.said = {"model.safetensors": None}  # type: ignore[dict-item]
    (unknown,) = fetch(["someone/tiny"], hub.address, tmp_path)
    assert "how large" in unknown["error"]
    assert not any("/resolve/" in path for path in hub.asked)
    hub.said = {"model.safetensors": 5 << 30}
    fetch(["someone/tiny"], hub.address, tmp_path, LAMDEMO_MOST_GB="6")
    assert any("/resolve/" in path for path in hub.asked)


def test_a_newer_format_is_refused_before_its_weights_are_fetched(hub: Hub, tmp_path: Path) -> None:
    told = json.loads(hub.files["someone/tiny"]["config.json"])
    hub.files["someone/tiny"]["config.json"] = json.dumps({**told, "format": "lamdemo/2", "needs": "0.4.0"}).encode()
    (answer,) = fetch(["someone/tiny"], hub.address, tmp_path)
    assert "lamdemo/2" in answer["error"] and "needs lamdemo 0.4.0 or newer" in answer["error"]
    assert not any(path.endswith(".safetensors") for path in hub.asked)


def test_a_folder_of_a_newer_format_is_refused_too(tiny_checkpoint: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
    told = json.loads((mine / "config.json").read_text(encoding="utf-8"))
    (mine / "config.json").write_text(json.dumps({**told, "format": "lamdemo/9", "needs": None}), encoding="utf-8")
    with pytest.raises(LamdemoError, match="needs a newer lamdemo"):
        TransferPipeline.from_pretrained(mine)


def test_a_download_goes_on_after_a_cut_a_wait_and_a_move(hub: Hub, tiny_checkpoint: Path, tmp_path: Path) -> None:
    hub.faults["model.safetensors"] = ["cut", "slow", "503"]
    hub.faults["config.json"] = ["moved"]
    failed, then = fetch(["someone/tiny"] * 2, hub.address, tmp_path, HF_HUB_DOWNLOAD_TIMEOUT="1")
    # The client waits for what is cut and slow; a Hub that answers with a fault is left alone until it is asked again.
    assert "503" in failed["error"]
    assert then == {"name": "someone/tiny", "hash": checkpoint_hash(tiny_checkpoint)}
    assert hub.faults == {"model.safetensors": [], "config.json": []}  # each did happen


def test_weights_that_are_not_what_the_hub_says_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.faults["model.safetensors"] = ["other"]
    (answer,) = fetch(["someone/tiny"], hub.address, tmp_path)
    assert "model.safetensors" in answer["error"] and "--force-download" in answer["error"]


PUSHER = """
import sys
from lamdemo.engine import TransferPipeline
pipeline = TransferPipeline.from_pretrained(sys.argv[1])
print(pipeline.push_to_hub("me/mine", license="cc-by-nc-4.0", datasets=["me/clips"], token="mine"))
"""


def test_what_is_pushed_is_loaded_elsewhere_with_the_same_hash(
    hub: Hub, tiny_checkpoint: Path, tmp_path: Path, small_clip: Path, photo: Path
) -> None:
    mine = shutil.copytree(tiny_checkpoint, tmp_path / "mine")
    save_latents(mine, np.random.default_rng(0).normal(size=(50, 16)))
    (mine / "notes.txt").write_text("not for others", encoding="utf-8")
    done = client(tmp_path / "one", hub.address, "-c", PUSHER, str(mine))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.address}/me/mine/commit/{SHA}"
    files = hub.files["me/mine"]
    assert set(files) == {"config.json", "model.safetensors", "latents.safetensors", "README.md"}
    assert len(hub.uploaded) == 2 and "lamdemo" in hub.heads[0]["summary"]
    card = files["README.md"].decode()
    assert card.startswith("---\n") and 'from_pretrained("me/mine")' in card
    for line in ("license: cc-by-nc-4.0", "library_name: lamdemo", "pipeline_tag: video-to-video", "- me/clips"):
        assert line in card.split("\n---\n")[0], card

    (answer,) = fetch(["me/mine"], hub.address, tmp_path / "two")
    assert answer == {"name": "me/mine", "hash": checkpoint_hash(mine)}
    (elsewhere,) = (p.parent for p in (tmp_path / "two").rglob("config.json"))
    clip, picture = read_clip(small_clip, fps=4).frames, read_image(photo)
    here, there = (TransferPipeline.from_pretrained(p).transfer(clip, picture).frames for p in (mine, elsewhere))
    assert np.array_equal(here, there)


def test_pushing_is_refused_in_one_sentence(hub: Hub, tiny_checkpoint: Path, tmp_path: Path) -> None:
    def refusal(repo: str, address: str = hub.address, **environment: str) -> str:
        done = client(tmp_path, address, "-m", "lamdemo", "push", str(tiny_checkpoint), repo, **environment)
        assert done.returncode == 2 and done.stdout == "", done
        *_, sentence = done.stderr.strip().splitlines()
        assert str(tmp_path) not in sentence and "Traceback" not in done.stderr
        return sentence

    assert "hf auth login" in refusal("me/mine")
    assert "hf auth login" in refusal("me/mine", HF_TOKEN="another")
    assert "may not write" in refusal("other/model", HF_TOKEN="mine")
    assert "owner/name" in refusal("a/b/c", HF_TOKEN="mine")
    assert "try again later" in refusal("me/mine", "http://127.0.0.1:9", HF_TOKEN="mine")
    assert not hub.heads


def test_a_bundled_card_keeps_its_words_and_gets_what_its_head_lacks(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    done = client(tmp_path, "", "-m", "lamdemo", "push", DEFAULT_CHECKPOINT, "--out", str(tmp_path / "out"))
    assert done.returncode == 0 and done.stderr == "", done
    (tmp_path / "out" / "README.md").read_text(encoding="utf-8").index("## Limits")
    head = ModelCard.load(tmp_path / "out" / "README.md").data
    assert head.license == "cc-by-nc-4.0" and head.library_name == "lamdemo" and "world-model" in head.tags
    values = {r.metric_name: r.metric_value for r in head.eval_results}
    report = Path(__file__).parents[1] / "reports" / DEFAULT_CHECKPOINT / "secondhand.json"
    if report.is_file():
        wanted = json.loads(report.read_text(encoding="utf-8"))
        if wanted["checkpoint"]["sha256"] == checkpoint_hash(tmp_path / "out"):
            motion = round(wanted["results"]["headline"]["motion"]["value"], 3)
            assert values["Motion error over that of a still picture (lower is better)"] == motion
    assert checkpoint_hash(tmp_path / "out") == TransferPipeline.from_pretrained().checkpoint


def test_a_model_that_was_changed_is_saved_as_it_is(tiny_checkpoint: Path, tmp_path: Path) -> None:
    pipeline = TransferPipeline.from_pretrained(tiny_checkpoint)
    same = pipeline.save_pretrained(tmp_path / "same")
    assert checkpoint_hash(same) == checkpoint_hash(tiny_checkpoint)
    next(iter(pipeline.model.world_model.parameters())).data += 1
    changed = TransferPipeline.from_pretrained(pipeline.save_pretrained(tmp_path / "changed"))
    assert changed.checkpoint != checkpoint_hash(tiny_checkpoint)
    before, after = (next(iter(p.model.world_model.parameters())) for p in (pipeline, changed))
    assert np.allclose(before.detach().numpy(), after.detach().numpy(), atol=1e-2)


def test_progress_is_told_while_it_downloads(hub: Hub, tmp_path: Path) -> None:
    code = (
        "import json\nfrom lamdemo.engine import resolve_checkpoint\ntold = []\n"
        "resolve_checkpoint('someone/tiny', tell=lambda done, total: told.append((done, total)))\n"
        "print(json.dumps(told))"
    )
    done = client(tmp_path, hub.address, "-c", code)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    wanted = sum(len(data) for name, data in hub.files["someone/tiny"].items() if is_wanted(name))
    assert all(total == wanted for _, total in told)
    # The configuration comes first, by itself, and is not counted again.
    assert told and told[-1][0] >= wanted - len(hub.files["someone/tiny"]["config.json"])


def test_the_page_tells_each_quarter_once_to_whoever_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: contextvars.ContextVar[str] = contextvars.ContextVar("asked", default="nobody")
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(notices, "tell", lambda words: told.append((asked.get(), words)))
    asked.set("a visitor")
    fetching = Fetching("someone/large")
    # The client's threads know nothing of the page.
    for done in (0, 10_000_000, 26_000_000, 30_000_000, 99_000_000, 100_000_000):
        thread = threading.Thread(target=fetching, args=(done, 100_000_000))
        thread.start()
        thread.join()
    assert [words.split(": ")[1] for _, words in told] == ["0 of 100 MB.", "26 of 100 MB.", "99 of 100 MB."]
    assert {who for who, _ in told} == {"a visitor"}
    told.clear()
    Fetching("someone/small")(1, 1_000_000)  # over before it is read
    assert not told
