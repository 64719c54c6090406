"""What is shown of reports: the marked places of the README and of model cards, and the page of all results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lamdemo import DEFAULT_CHECKPOINT
from lamdemo.core.errors import LamdemoError, as_text
from lamdemo.core.files import write_safely
from lamdemo.reporting.reports import FAMILIES, Reports
from lamdemo.reporting.tables import make_table
from lamdemo.reporting.view import View

PAGE = "results.md"
_MARK = re.compile(r"<!--\s*(/?)lamdemo:([\w-]+)(?:[ \t]+(\S+?))?\s*-->")
# Headings of the page, with the tables and the plots below each.
_SECTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "What was to be reached": (("targets",), ()),
    "Prediction, leakage, cycle": (("prediction", "baselines"), ("leakage",)),
    "Capacity": (("latents",), ("capacity", "use")),
    "Transfers with a known truth": (("secondhand", "secondhands", "transfer", "transfers", "pictures"), ("transfer",)),
    "Probes": (("probes",), ("probes",)),
    "What latents say of the look": (("content",), ()),
    "Locality": (("locality",), ()),
    "Entering": (("entering",), ()),
    "Long rollouts": (("rollouts",), ("rollouts",)),
    "The latent space": (("space", "spaces", "prior"), ()),
    "Known actions and plans": (("control", "controlplans", "controlloops"), ()),
    "What labels buy": (("labelcurve",), ("labelcurve",)),
    "Futures of commands": (("futures",), ()),
}


def chosen_of(reports: Sequence[Reports], checkpoint: str | None = None) -> str:
    """Name of the checkpoint that tables of a single one are about: the default one, or a family's, if it was judged.

    Raises:
        LamdemoError: there are none of ``checkpoint``.
    """
    names = [r.name for r in reports]
    if checkpoint is not None and checkpoint not in names:
        raise LamdemoError(f"There are no reports of {checkpoint!r}; choose from {', '.join(names)}.")
    return checkpoint or next((name for name in (DEFAULT_CHECKPOINT, *FAMILIES) if name in names), names[0])


def read_card(path: Path) -> str:
    """The text of a Markdown file.

    Raises:
        LamdemoError: it cannot be read.
    """
    try:
        # Bytes, so that the ends of lines stay as they are.
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LamdemoError(f"{path.name} cannot be read; give an existing Markdown file.") from error


def fill_card(path: Path, reports: Sequence[Reports], chosen: str) -> str:
    """The text of a Markdown file with its marked places filled; the file stays as it is.

    Raises:
        LamdemoError: it cannot be read, or see `fill`.
    """
    return fill(read_card(path), View(reports, chosen, path.absolute().parent), path.name)


def write_card(path: Path, text: str) -> None:
    """Write a Markdown file, if it has changed.

    Raises:
        LamdemoError: it cannot be written.
    """
    if text == read_card(path):
        return
    try:
        write_safely(path, text.encode())
    except OSError as error:
        raise LamdemoError(f"{path.name} cannot be written; give a file that you may write to.") from error


def results_text(reports: Sequence[Reports], chosen: str, folder: Path, *, pictures: bool) -> str:
    """The page of all results, Markdown, as it should stand in a folder."""
    from lamdemo.reporting.plots import make_plots

    view = View(reports, chosen, folder.absolute())
    titles = {name: str(figure.layout.meta["title"]) for name, figure in make_plots(view).items()}
    return results_page(view, titles, pictures=pictures)


def write_results(reports: Sequence[Reports], chosen: str, folder: Path, place: Path, *, png: bool) -> str:
    """Write the page of all results and its plots.

    Args:
        reports: of the checkpoints that are compared.
        chosen: see `chosen_of`.
        folder: to write to; it is there.
        place: where the files will stand in the end, from which links lead to the reports.
        png: make pictures of the plots, which needs Chromium.

    Returns:
        Why there are no pictures, in one sentence; "" where there are, or none were wanted.
    """
    from lamdemo.reporting.drawing import write_plots
    from lamdemo.reporting.plots import make_plots

    why = write_plots(make_plots(View(reports, chosen, place.absolute())), folder, png=png)
    text = results_text(reports, chosen, place, pictures=png and not why)
    (folder / PAGE).write_text(as_text(text), encoding="utf-8")
    return why


def results_page(view: View, plots: Mapping[str, str], *, pictures: bool) -> str:
    """A page of all tables and plots, Markdown.

    Args:
        view: what it is made of.
        plots: titles of the plots beside it, by name.
        pictures: they are there as PNG, too.
    """
    blocks = [
        "# Results",
        f"Made by `lamdemo report` from reports on {', '.join(r.name for r in view.reports)}; each table names them.",
    ]
    for title, (tables, shown) in _SECTIONS.items():
        blocks.append(f"## {title}")
        blocks += [make_table(name, view) for name in tables]
        for name in shown:
            if name in plots:
                link = f"({name}.html)"
                blocks.append(f"[![{plots[name]}]({name}.png)]{link}" if pictures else f"[{plots[name]}]{link}")
    return "\n\n".join(blocks) + "\n"


def fill(text: str, view: View, file: str) -> str:
    """Fill the marked places of a Markdown text.

    A place is ``<!-- lamdemo:NAME -->`` to ``<!-- /lamdemo:NAME -->``, each on a line of its own; what stands between
    is replaced by the table of that name. ``<!-- lamdemo:NAME CHECKPOINT -->`` asks for that checkpoint's.

    Args:
        text: of the file.
        view: what tables are made of.
        file: its name, for messages.

    Returns:
        The text with its tables; the same where they have not changed.

    Raises:
        LamdemoError: there is no such place, one is not closed, or names what there is not.
    """
    made: list[str] = []
    at = 0
    open_mark: re.Match[str] | None = None
    for mark in _MARK.finditer(text):
        closing, name = mark[1], mark[2]
        if not closing and open_mark is None:
            made += [text[at : mark.end()], "\n\n", make_table(name, view, mark[3]), "\n\n"]
            open_mark = mark
        elif closing and open_mark is not None and open_mark[2] == name:
            at, open_mark = mark.start(), None
        else:
            what = f"{'/' if closing else ''}lamdemo:{name}"
            raise LamdemoError(f"In {file} the mark {what} stands where it cannot; close each mark before the next.")
    if open_mark is not None:
        name = open_mark[2]
        raise LamdemoError(f"In {file} the mark lamdemo:{name} is not closed; add <!-- /lamdemo:{name} --> after it.")
    if not made:
        raise LamdemoError(
            f"{file} has no marked place; add <!-- lamdemo:targets --> and <!-- /lamdemo:targets --> where a table "
            "should be."
        )
    return "".join([*made, text[at:]])
