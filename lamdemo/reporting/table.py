"""Tables as data: columns that say where their figure stands in a report, rows that say of which report it is.

A path such as ``"pairs/all/motion_over_copy/{method}"`` leads to a figure. Its braces are filled from the row: each row
has a label, the reports that it is read from, and words for the braces. A checkpoint's own row has the method "model";
the rows below it, of methods that need no model, are read from the first checkpoint's report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lamdemo.reporting.reports import Figure, Reports
from lamdemo.reporting.view import View, nothing

METHODS = {
    "model": "**model**",
    "copy": "copying",
    "zero": "no action",
    "shuffled": "another’s action",
    "copied_flow": "copied flow",
    "true_flow": "true flow ¹",
    "own_flow": "flow of the step itself ¹",
    "truth": "the truth itself",
}


def said(value: Figure | float | None, digits: int = 2) -> str:
    """A figure with its interval as words; "–" where there is none."""
    if value is None:
        return "–"
    one = value if isinstance(value, Figure) else Figure(value)
    words = _rounded(one.value, digits)
    if one.low is None or one.high is None:
        return words
    return f"{words} [{_rounded(one.low, digits)}, {_rounded(one.high, digits)}]"


def _rounded(value: float, digits: int) -> str:
    words = f"{value:.{digits}f}"
    return words.replace("-", "−") if float(words) else words.lstrip("-")


def digits_for(value: float, bound: float) -> int:
    """Decimals that do not round a figure onto or across the bound it missed, two at least."""
    digits = 2
    while digits < 5 and value != bound and round(value, digits) == round(bound, digits):
        digits += 1
    return digits


def counted(value: float | None) -> str:
    """A number of things."""
    return "–" if value is None else f"{value:.0f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


@dataclass(frozen=True)
class Bound:
    """What a figure is to reach: ``least`` or ``most``, one of the two."""

    least: float | None = None
    most: float | None = None

    @property
    def value(self) -> float:
        """The bound as a number."""
        bound = self.most if self.least is None else self.least
        assert bound is not None
        return bound

    def __str__(self) -> str:
        return f"at {'most' if self.least is None else 'least'} {self.value:.2f}"

    def reached(self, figure: Figure) -> bool:
        """Whether the figure's value keeps it; its interval does not count."""
        return figure.value <= self.value if self.least is None else figure.value >= self.value

    def said(self, figure: Figure | None) -> str:
        """The figure, with as many digits as tell on which side of the bound it lies."""
        return said(figure) if figure is None else said(figure, digits_for(figure.value, self.value))

    def verdict(self, figure: Figure | None) -> str:
        """Whether it is reached: yes, or **no**."""
        return "–" if figure is None else "yes" if self.reached(figure) else "**no**"


@dataclass(frozen=True)
class Row:
    """A row: the cells that name it, the reports it is read from, and words for the braces of the columns' paths."""

    labels: tuple[str, ...]
    reports: Reports
    words: Mapping[str, str] = field(default_factory=dict)


Cell = Figure | float | str | None


@dataclass(frozen=True)
class Column:
    """One figure of each row."""

    head: str  # what stands above it
    path: str | Callable[[Row], Cell]  # to the figure, with braces that the row fills; or what makes the cell of a row
    digits: int = 2  # of the figure
    bound: Bound | None = None  # that it is to keep; a second column then says whether it does
    # By method, other paths for the rows of methods that need no model.
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def heads(self) -> list[str]:
        """Heads of its one or two columns."""
        return [self.head] if self.bound is None else [self.head, "reached"]

    def cells(self, row: Row) -> list[str]:
        """Its one or two cells in a row."""
        path = self.elsewhere.get(row.words.get("method", ""), self.path)
        value = row.reports.figure(path.format(**row.words)) if isinstance(path, str) else path(row)
        if isinstance(value, str):
            return [value]
        if self.bound is None:
            return [said(value, self.digits)]
        assert value is None or isinstance(value, Figure)
        return [self.bound.said(value), self.bound.verdict(value)]


def grid(heads: Sequence[str], rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """A Markdown table of rows and columns; ``heads`` stand above the rows' labels."""
    cells = [[*row.labels, *(c for column in columns for c in column.cells(row))] for row in rows]
    return markdown([*heads, *(h for column in columns for h in column.heads)], cells)


# Tables that compare checkpoints, a row each.


@dataclass(frozen=True)
class Reference:
    """A row below the checkpoints': of a method that needs no model, or of chance."""

    method: str  # for the braces of the columns' paths, and for `Column.elsewhere`
    label: str = ""  # of the row; by `METHODS` without it
    where: str = ""  # path without which the row is left out
    named: bool = False  # the label also names the checkpoint that the row is read from

    def row(self, first: Reports, blanks: int, words: Mapping[str, str]) -> list[Row]:
        """Its row, read from the first checkpoint's report."""
        words = {**words, "method": self.method}
        if self.where and first.dig(self.where.format(**words)) is None:
            return []
        label = (self.label or METHODS[self.method]) + (f" ({first.name})" if self.named else "")
        return [Row((label, *[""] * blanks), first, words)]


@dataclass(frozen=True)
class Block:
    """One of several grids with the same columns."""

    title: str = ""  # above it, in bold; none for an only one
    words: Mapping[str, str] = field(default_factory=dict)  # for the braces of the columns' paths
    references: tuple[Reference, ...] = ()  # rows below the checkpoints'
    aside: str = ""  # after the title, plain


def compared(found: Sequence[Reports], columns: Sequence[Column], block: Block) -> str:
    """A grid with a row a checkpoint; a column for the dial of its family where any has one."""
    dials = any(r.dial for r in found)
    heads = ["checkpoint", "latents", *(["limit"] if dials else [])]
    rows = [
        Row((r.name, r.family, *([r.dial or "–"] if dials else [])), r, {**block.words, "method": "model"})
        for r in found
    ]
    for reference in block.references:
        rows += reference.row(found[0], len(heads) - 1, block.words)
    made = grid(heads, rows, columns)
    return f"**{block.title}**{block.aside}\n\n{made}" if block.title else made


@dataclass(frozen=True)
class Comparison:
    """A table with a row for each checkpoint that was judged in a part."""

    part: str  # of the reports
    # The figures; or what makes them of the reports that there are.
    columns: tuple[Column, ...] | Callable[[Sequence[Reports]], tuple[Column, ...]]
    note: str | Callable[[Reports], str]  # below them; or what makes it of the first checkpoint's reports
    # The grids; or what makes them of the reports that there are.
    blocks: tuple[Block, ...] | Callable[[Sequence[Reports]], tuple[Block, ...]] = (Block(),)

    def __call__(self, view: View) -> str:
        """The table as Markdown."""
        found = view.having(self.part)
        if not found:
            return nothing(view, self.part)
        columns = self.columns(found) if callable(self.columns) else self.columns
        blocks = self.blocks(found) if callable(self.blocks) else self.blocks
        note = self.note(found[0]) if callable(self.note) else self.note
        grids = [compared(found, columns, block) for block in blocks]
        return "\n\n".join([*grids, f"{note} {view.source(found, self.part)}"])


@dataclass(frozen=True)
class OfOne:
    """A table about the chosen checkpoint."""

    part: str  # of its reports
    made: Callable[[Reports], tuple[str, str]]  # its grids and the note below them, made of its reports

    def __call__(self, view: View) -> str:
        """The table as Markdown."""
        one = view.one
        if one is None or self.part not in one.results:
            return nothing(view, self.part, alone=True)
        return self.about(view, one)

    def about(self, view: View, one: Reports) -> str:
        """The table of a checkpoint that has such a report."""
        grids, note = self.made(one)
        return f"{grids}\n\n{note} {view.source([one], self.part)}"
