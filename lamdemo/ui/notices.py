"""How errors are told: one sentence on the page, or to a program that called."""

from __future__ import annotations

import html
import logging

import gradio as gr

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Cancelled

_log = logging.getLogger(__name__)

_SORRY = "Something went wrong on the server; nothing on the page was lost, so try again or change an input."


def say(sentence: str, *, title: str = "That did not work") -> None:
    """Show one sentence as a notice. It is escaped, since it may hold the name of a visitor's file."""
    gr.Warning(html.escape(sentence, quote=False), title=title, duration=12)


def tell(sentence: str) -> None:
    """Show one sentence on the page of whoever asked, while they wait; escaped as in `say`."""
    gr.Info(html.escape(sentence, quote=False), title="A moment", duration=8)


class Notice:
    """Turns an error into a sentence on the page, so that the code after the block puts things right.

    Attributes:
        said: whether there was one; of what was cancelled nothing is said.
    """

    said = False

    def __enter__(self) -> Notice:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Cancelled):
            pass  # who cancelled knows
        elif isinstance(error, LamdemoError):
            say(str(error))
        elif isinstance(error, Exception):
            _log.error("An event of the page failed", exc_info=error)
            say(_SORRY)
        else:  # nothing, or the end of the session (GeneratorExit)
            return False
        self.said = True
        return True


class Refusal:
    """Turns an error into one sentence for a program that called."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LamdemoError):
            raise gr.Error(str(error), print_exception=False) from error
        if isinstance(error, Exception):
            _log.error("A call of a program failed", exc_info=error)
            raise gr.Error(_SORRY, print_exception=False) from error
