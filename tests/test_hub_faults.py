"""The page while the Hub is slow, broken or cuts off: only who asked for a model from there waits or is refused."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_stand_in import Hub
from pages import running, troubles

from lamdemo import DEFAULT_CHECKPOINT

pytest.importorskip("gradio_client")
SOON = 300.0  # seconds, for what takes a hundredth of that on an idle machine
SLOW = 4  # models that the page loads at once


@pytest.fixture(scope="module")
def hub(tiny_checkpoint: Path) -> Iterator[Hub]:
    files = {p.name: p.read_bytes() for p in tiny_checkpoint.iterdir()}
    hub = Hub({f"someone/{name}": files for name in ("torn", *(f"slow{k}" for k in range(SLOW + 1)))})
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def address(hub: Hub, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bundled, scratch = tmp_path_factory.mktemp("bundled"), tmp_path_factory.mktemp("scratch")
    shutil.copytree(tiny_checkpoint, bundled / DEFAULT_CHECKPOINT)
    online = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": str(int(SOON)),
        "no_proxy": "127.0.0.1",
    }
    page = running(["app.py"], scratch, LAMDEMO_CHECKPOINTS=str(bundled), TMPDIR=str(scratch), **online)
    with page as url:
        yield url
    assert "Traceback" not in troubles(scratch)


class Visitors:
    """Programs that call the page, each a visitor of its own."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder, self.clients = address, folder, list[Any]()

    def _client(self) -> Any:
        from gradio_client import Client

        self.clients.append(
            Client(self.address, verbose=False, download_files=str(self.folder), analytics_enabled=False)
        )
        return self.clients[-1]

    def familiarity(self, clip: Path, name: str) -> Any:
        from gradio_client import handle_file

        return self._client().submit(handle_file(str(clip)), name, api_name="/familiarity")

    def transfer(self, clip: Path, photo: Path) -> bytes:
        from gradio_client import handle_file

        files = handle_file(str(clip)), handle_file(str(photo))
        job = self._client().submit(*files, 1, False, 1, api_name="/transfer")
        return Path(job.result(timeout=SOON)).read_bytes()


@pytest.fixture
def visitors(address: str, tmp_path: Path) -> Iterator[Visitors]:
    made = Visitors(address, tmp_path)
    yield made
    for client in made.clients:
        client.close()


def refusal(job: Any) -> str:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError) as caught:
        job.result(timeout=SOON)
    return str(caught.value)


def test_what_ails_the_hub_holds_up_nobody_else(hub: Hub, visitors: Visitors, small_clip: Path, photo: Path) -> None:
    quiet = visitors.transfer(small_clip, photo)

    # Slow: as many as are loaded at once, and as can be under way at once, stop in the middle of the weights.
    hub.faults["model.safetensors"] = ["held"] * SLOW
    slow = [visitors.familiarity(small_clip, f"someone/slow{k}") for k in range(SLOW)]
    for _ in slow:
        assert hub.held.acquire(timeout=SOON), "the page asks for no more of the models"
    assert visitors.transfer(small_clip, photo) == quiet
    assert "try again in a few minutes" in refusal(visitors.familiarity(small_clip, f"someone/slow{SLOW}"))
    with urllib.request.urlopen(f"{visitors.address}ready", timeout=SOON) as answer:
        assert json.load(answer)["ready"]
    assert not any(job.done() for job in slow)
    hub.released.set()
    assert [job.result(timeout=SOON) for job in slow] == [None] * SLOW  # a checkpoint without a sample of latents

    # Broken: with a status, and with a body that ends too early, again and again.
    assert "cannot be reached (it says 500)" in refusal(visitors.familiarity(small_clip, "someone/broken"))
    hub.faults["model.safetensors"] = ["cut"] * 1000
    torn = visitors.familiarity(small_clip, "someone/torn")
    assert visitors.transfer(small_clip, photo) == quiet
    assert "could not be fetched" in refusal(torn)
    # And it is fetched once the Hub is well.
    hub.faults.clear()
    assert visitors.familiarity(small_clip, "someone/torn").result(timeout=SOON) is None
