"""Two visitors at one model, in a browser: neither waits for the other's whole job."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import WAIT, chromiums, served

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.engine import save_latents

TAG = "document.querySelector('#lam-result-view .lam-tag')?.innerText ?? ''"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromiums() as launch:
        yield launch("--disable-gpu")


@pytest.fixture(scope="module")
def address(browser: Any, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    bundled = tmp_path_factory.mktemp("bundled")
    shutil.copytree(tiny_checkpoint, bundled / DEFAULT_CHECKPOINT)
    save_latents(bundled / DEFAULT_CHECKPOINT, np.random.default_rng(0).normal(0, 1, (200, 16)))
    with served(bundled, tmp_path_factory.mktemp("scratch")) as url:
        yield url


@pytest.fixture
def visitors(browser: Any, address: str) -> Iterator[list[Any]]:
    """Two pages, each of a visitor of its own."""
    contexts = [browser.new_context(viewport={"width": 1280, "height": 900}) for _ in range(2)]
    pages = [context.new_page() for context in contexts]
    for page in pages:
        page.set_default_timeout(WAIT)
        page.goto(address)
        page.wait_for_selector("#lam-go:not([disabled])")
    yield pages
    for context in contexts:
        context.close()


def test_while_one_plans_anothers_clip_tab_and_first_frame_come(visitors: list[Any], small_clip: Path) -> None:
    one, other = visitors
    one.get_by_role("tab", name="Plan").click()
    one.wait_for_selector("#lam-plan-ends img")
    for name, value in (("samples", "512"), ("iterations", "30")):
        box = one.locator(f"#lam-plan-{name} input[type=number]")
        box.fill(value)
        box.press("Enter")
    one.click("#lam-plan-go")
    one.wait_for_function("/iteration/.test(document.querySelector('#lam-plan-tries').innerText)")

    other.get_by_role("tab", name="Plan").click()
    other.wait_for_selector("#lam-plan-ends img")
    other.get_by_role("tab", name="Transfer").click()
    other.locator("#lam-source .lam-own input[type=file]").set_input_files(str(small_clip))
    other.wait_for_function("document.querySelectorAll('.lam-bars span').length === 8")
    other.click("#lam-go")
    other.wait_for_function(f"/^(the target|step)/.test({TAG})")
    assert one.locator("#lam-plan-go").is_disabled(), "the plan was over before the other's first frame"

    one.click("#lam-plan-stop")
    one.wait_for_selector("#lam-plan-view video")
    one.wait_for_selector("#lam-plan-go:not([disabled])")
    other.wait_for_selector("#lam-result-view video[data-lam-loop=lead]")
    other.wait_for_selector("#lam-go:not([disabled])")
    for page in visitors:
        # When all is over no line is left, and nothing of Gradio's own queue is in the page.
        page.wait_for_function("[...document.querySelectorAll('.lam-turn')].every(e => !e.innerText.trim())")
        assert "queue:" not in page.evaluate("document.body.innerText")


def test_an_example_that_is_clicked_during_a_transfer_takes_its_place(visitors: list[Any]) -> None:
    page, lead = visitors[0], "#lam-result-view video[data-lam-loop=lead]"
    page.click("#lam-go")
    page.wait_for_function(f"/^(the target|step)/.test({TAG})")
    page.click("button[data-example='1']")
    page.wait_for_function(f"document.querySelector('{lead}')?.src.includes('prepared')")
    shown = page.get_attribute(lead, "src")
    page.wait_for_selector("#lam-go:not([disabled])")
    page.wait_for_function("[...document.querySelectorAll('.lam-turn')].every(e => !e.innerText.trim())")
    assert page.get_attribute(lead, "src") == shown
    assert page.locator("#lam-result-view .lam-is-stale, .toast-body").count() == 0
