"""The Space: a folder that is written, and a page below a path of somebody else's address."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import ROOT, WAIT, chromiums, running
from proxy import below
from space_files import space_checkpoint
from test_cli import Done, refused, run

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.models import checkpoint_hash
from lamdemo.video import read_clip

__all__ = ["run"]  # a fixture


def head(readme: Path) -> dict[str, Any]:
    return yaml.safe_load(readme.read_text(encoding="utf-8").split("---\n")[1])


def test_this_repositorys_head_is_whole() -> None:
    told = head(ROOT / "README.md")
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert told["sdk"] == "gradio" and f"gradio=={told['sdk_version']}" in pinned
    assert (ROOT / told["app_file"]).is_file() and told["license"] and told["tags"] and told["suggested_hardware"]
    assert len(told["short_description"]) <= 60  # the Hub takes no more


def test_a_written_space_says_what_the_hub_asks_and_is_never_written_over_other_files(
    run: Callable[..., Done], tmp_path: Path
) -> None:
    hub = tmp_path / "hub"
    done = run("space", hub, "--checkpoint", "https://huggingface.co/me/model", "--hardware", "zero-a10g")
    assert done.code == 0, done
    told = head(hub / "README.md")
    assert told["models"] == ["me/model"] and told["preload_from_hub"] == ["me/model"]
    assert told["suggested_hardware"] == "zero-a10g" and told["app_file"] == "app.py" and len(told["tags"]) == 3
    wanted = (hub / "requirements.txt").read_text(encoding="utf-8").split()
    assert f"gradio=={told['sdk_version']}" in wanted and "spaces" in wanted and "torch>=2.11" in wanted
    assert "'me/model'" in (hub / "app.py").read_text(encoding="utf-8") and not (hub / "checkpoints").exists()
    assert (hub / "THIRD_PARTY_NOTICES.md").is_file() and not list(hub.rglob("__pycache__"))

    (hub / "notes.md").write_text("mine", encoding="utf-8")
    again = run("space", hub, "--checkpoint", "me/other@v1")
    assert again.code == 0 and (hub / "notes.md").read_text(encoding="utf-8") == "mine"
    told = head(hub / "README.md")
    assert told["models"] == ["me/other"] and "preload_from_hub" not in told

    other = tmp_path / "project"
    (other / "lamdemo").mkdir(parents=True)
    (other / "lamdemo" / "work.py").write_text("mine", encoding="utf-8")
    (other / "app.py").write_text("mine", encoding="utf-8")
    refused(run("space", other), "project holds other files")
    refused(run("space", tmp_path / "new", "--checkpoint", "nothing"), "owner/name")
    assert (other / "lamdemo" / "work.py").read_text(encoding="utf-8") == "mine" and not (tmp_path / "new").exists()


def test_a_written_space_serves_a_transfer(
    run: Callable[..., Done], tiny_checkpoint: Path, small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    from gradio_client import Client, handle_file

    space, scratch = tmp_path / "space", tmp_path / "scratch"
    scratch.mkdir()
    assert run("space", space, "--checkpoint", tiny_checkpoint).code == 0
    assert checkpoint_hash(space / "checkpoints" / "tiny") == checkpoint_hash(tiny_checkpoint)
    # In a folder of its own, and with nothing of this repository.
    start = [str(space / "app.py")]
    with running(start, scratch, PYTHONPATH="", TMPDIR=str(scratch)) as url:
        client = Client(url, verbose=False, download_files=str(tmp_path), analytics_enabled=False)
        video = client.predict(handle_file(str(small_clip)), handle_file(str(photo)), api_name="/transfer")
        assert len(read_clip(video)) > 8
        client.close()
    where = "import lamdemo; print(lamdemo.__file__)"
    told = subprocess.run([sys.executable, "-c", where], cwd=space, capture_output=True, text=True, env={"PATH": ""})
    assert Path(told.stdout.strip()).is_relative_to(space)


# Below a path.


@pytest.fixture(scope="module")
def mounted(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """The page's address below ``/my/lam`` of another, and what that answered with a fault."""
    bundled, scratch = tmp_path_factory.mktemp("bundled"), tmp_path_factory.mktemp("scratch")
    space_checkpoint(tiny_checkpoint, bundled / DEFAULT_CHECKPOINT)
    given = {"LAMDEMO_CHECKPOINTS": str(bundled), "TMPDIR": str(scratch), "GRADIO_ROOT_PATH": "/my/lam"}
    failed: list[str] = []
    with running(["app.py"], scratch, **given) as url, below("/my/lam", url, failed) as address:
        yield address, failed


def test_below_a_path_page_settings_files_and_calls_are_found(
    mounted: tuple[str, list[str]], small_clip: Path, photo: Path, tmp_path: Path
) -> None:
    from gradio_client import Client, handle_file

    address, failed = mounted
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def got(path: str) -> bytes:
        return direct.open(f"{address}/{path}", timeout=60).read()

    page = got("").decode()
    assert "lam-map" in page  # the map's looks
    config = json.loads(got("config"))
    assert config["root"] == address
    files = {name for name in re.findall(r'src=\\?"(gradio_api/file=[^"\\]+)', json.dumps(config))}
    assert any(name.endswith("transfer.mp4") for name in files), files
    assert all(len(got(name)) > 100 for name in files)
    scripts = set(re.findall(r'src="\./(assets/[^"]+\.js)"', page))
    assert scripts and all(got(name) for name in scripts)
    client = Client(f"{address}/", verbose=False, download_files=str(tmp_path), analytics_enabled=False)
    video = client.predict(handle_file(str(small_clip)), handle_file(str(photo)), api_name="/transfer")
    assert len(read_clip(video)) > 8
    client.close()
    assert failed == []


def test_below_a_path_a_browser_finds_all_that_is_made_by_hand(mounted: tuple[str, list[str]]) -> None:
    address, failed = mounted
    failed.clear()
    with chromiums() as launch:
        browser = launch("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
        page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
        page.set_default_timeout(WAIT)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector("video[data-lam-loop=lead]", state="attached")
        page.wait_for_function("[...document.querySelectorAll('video[data-lam-loop]')].every(v => v.readyState > 1)")
        page.get_by_role("tab", name="Action space").click()
        seen = "document.querySelector('#lam-space-plot').scrollIntoView({ block: 'nearest' })"
        page.wait_for_function(f"({seen}, window.lamMap && window.lamMap.state().ready)")
        page.get_by_role("tab", name="Drive").click()
        page.wait_for_selector("#lam-drive-view")
        said = page.inner_text("#lam-runs-on")
        assert "computes on" in said
    # The Hub's icon and such may lack; nothing of ours does.
    assert [f for f in failed if "favicon" not in f and "manifest" not in f] == [] and errors == []


def test_a_wheels_package_writes_a_space_too(tmp_path: Path) -> None:
    """From a package without a clone around it, whose requirements are those of its metadata."""
    site = tmp_path / "site-packages"
    shutil.copytree(ROOT / "lamdemo", site / "lamdemo", ignore=shutil.ignore_patterns("__pycache__"))
    info = site / "lamdemo-0.1.0.dist-info"
    (info / "licenses").mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: lamdemo\nVersion: 0.1.0\nRequires-Dist: torch>=2.11\n"
        "Requires-Dist: gradio<7,>=6.0\n"
        'Requires-Dist: mujoco==3.3.7; extra == "sim"\n',
        encoding="utf-8",
    )
    (info / "licenses" / "LICENSE").write_text("the licence", encoding="utf-8")
    (info / "RECORD").write_text("lamdemo-0.1.0.dist-info/licenses/LICENSE,,\n", encoding="utf-8")
    command = [sys.executable, "-m", "lamdemo", "space", str(tmp_path / "out"), "--checkpoint", "me/model"]
    done = subprocess.run(command, cwd=site, capture_output=True, text=True, env={"PATH": "", "PYTHONPATH": str(site)})
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "out" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "torch>=2.11" and lines[1].startswith("gradio==") and len(lines) == 2
    assert (tmp_path / "out" / "LICENSE").read_text(encoding="utf-8") == "the licence"
