"""The page as tools for assistants: a real client of the Model Context Protocol calls them."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, running

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.video import read_clip


def test_without_its_package_it_is_told(tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, sys\nfound = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'mcp' else found(name, *a)\n"
        "from lamdemo.cli import main\nmain(['app', '--mcp'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "lamdemo[app]" in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def address(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("mcp", reason="tools for assistants need the package mcp")
    bundled, scratch = tmp_path_factory.mktemp("bundled"), tmp_path_factory.mktemp("scratch")
    (bundled / DEFAULT_CHECKPOINT).symlink_to(tiny_checkpoint)
    given = {"LAMDEMO_CHECKPOINTS": str(bundled), "TMPDIR": str(scratch)}
    with running(["app.py", "--mcp"], scratch, **given) as url:
        yield url


def with_session(address: str, work: Any) -> Any:
    """What a coroutine function gives for a session of a client that has met the server."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def run() -> Any:
        async with streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _):
            async with ClientSession(read, write) as session:
                await session.initialize()
                return await work(session)

    return asyncio.run(asyncio.wait_for(run(), 300))


def test_tools_say_what_they_do_and_what_they_take(address: str) -> None:
    tools = {tool.name: tool for tool in with_session(address, lambda session: session.list_tools()).tools}
    assert {"transfer", "compare", "familiarity", "apply"} <= set(tools)
    assert len(tools) <= 5  # and an upload's; none of the page's own events
    for name in ("transfer", "compare", "familiarity", "apply"):
        tool = tools[name]
        assert any(word in (tool.description or "") for word in ("picture", "video")), tool
        for field, told in tool.inputSchema["properties"].items():
            assert told.get("description"), (name, field)


def test_an_assistant_makes_a_transfer(address: str, small_clip: Path, photo: Path, tmp_path: Path) -> None:
    def inline(path: Path, kind: str) -> str:
        """The file itself: Gradio fetches addresses of the open network only, and this machine is none."""
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"

    given = {"source": inline(small_clip, "video/mp4"), "target": inline(photo, "image/png"), "strength": 1}
    given |= {"reverse": False, "repeat": 1}

    async def call(session: Any) -> Any:
        (name,) = (t.name for t in (await session.list_tools()).tools if t.name.endswith("transfer"))
        return await session.call_tool(name, given), await session.call_tool(name, {**given, "source": given["target"]})

    done, refused = with_session(address, call)
    assert not done.isError, done
    (where,) = (part.text for part in done.content if part.type == "text")
    url = where[where.index("http") :].split()[0].rstrip(")")
    film = tmp_path / "result.mp4"
    film.write_bytes(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).read())
    assert len(read_clip(film)) > 8
    assert refused.isError and "single picture" in refused.content[0].text
