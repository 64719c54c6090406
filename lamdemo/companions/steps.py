"""Steps in the order of need: which of them are up to date, and making those that are not.

What a file says of itself tells which weights it belongs to. Beside it a record, ``companions.json`` in the folder of
the checkpoint, notes of each step: the weights, what of its needs it was made with, and how long it took.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lamdemo.core.errors import LamdemoError
from lamdemo.core.files import write_safely

RECORD_NAME = "companions.json"
FORMAT = "lamdemo-companions/1"


def _nothing() -> str:
    return ""


@dataclass(frozen=True, eq=False)
class Step:
    """One companion."""

    name: str  # of the step; what stands before a slash is the name of its group
    files: tuple[Path, ...]  # what it makes
    # Makes it, or goes on making it, for so many minutes at most (None: to the end); whether it is finished.
    make: Callable[[float | None], bool]
    # Why its files, which are there, do not belong to what there is now, half a sentence; "" where they do. None
    # where they say nothing of themselves, so that the record alone can tell.
    outdated: Callable[[], str] | None = None
    needs: tuple[str, ...] = ()  # names of the steps that it is made with
    lacks: Callable[[], str] = _nothing  # why it cannot be made here, half a sentence; "" where it can

    @property
    def group(self) -> str:
        """What stands before the slash in its name."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class State:
    """Whether a step's files are up to date."""

    kind: Literal["fresh", "stale", "missing"]
    why: str = ""  # half a sentence; "" for fresh ones
    lacks: str = ""  # why it cannot be made here; "" where it can, or where it need not be
    minutes: float | None = None  # what it took when it was last made; None where that is not known


class Companions:
    """Steps that belong to one checkpoint.

    Args:
        steps: in the order of need.
        folder: of the checkpoint, which has the record.
        checkpoint: hash of its weights.

    Raises:
        ValueError: a step needs one that does not stand before it.
    """

    def __init__(self, steps: Sequence[Step], folder: Path, checkpoint: str) -> None:
        self.steps = {step.name: step for step in steps}
        for i, step in enumerate(steps):
            late = set(step.needs) - {s.name for s in steps[:i]}
            if late:
                raise ValueError(f"{step.name} needs {', '.join(sorted(late))}, which must stand before it")
        self.path, self.checkpoint = folder / RECORD_NAME, checkpoint

    def states(self) -> dict[str, State]:
        """The state of each step, in the order of need."""
        found: dict[str, State] = {}
        for step in self.steps.values():
            found[step.name] = self._state(step, found)
        return found

    def run(
        self, only: Iterable[str] = (), *, minutes: float | None = None, say: Callable[[str], None] = print
    ) -> bool:
        """Make what is stale or missing, in the order of need.

        Args:
            only: names of steps or of groups; all without them.
            minutes: stop after about so many; the step at hand is gone on with by the next call.
            say: is told of each step.

        Returns:
            Whether all that was asked for is up to date, apart from what cannot be made here.

        Raises:
            LamdemoError: there is no such step, or one cannot be made for a reason that the user can mend.
        """
        chosen, start = self.chosen(only), time.monotonic()
        known: dict[str, State] = {}
        for step in self.steps.values():
            state = known[step.name] = self._state(step, known)
            if step.name not in chosen or state.kind == "fresh":
                continue
            if state.lacks:
                say(f"{step.name}: {state.kind} and left out, {state.lacks}.")
                continue
            left = None if minutes is None else minutes - (time.monotonic() - start) / 60
            if left is not None and left <= 0:
                say(f"{step.name}: not begun, the time is over; call it again to go on.")
                return False
            say(f"{step.name}: {state.why}; it is made.")
            if not self._make(step, left):
                say(f"{step.name}: not finished; call it again to go on.")
                return False
            state = known[step.name] = self._state(step, known)
            if state.kind != "fresh":
                raise LamdemoError(f"{step.name} was made and is still not up to date: {state.why}.")
        return True

    def chosen(self, only: Iterable[str]) -> set[str]:
        """Names of the steps that are meant by names of steps or groups; all without them.

        Raises:
            LamdemoError: there is no such step.
        """
        only = list(only) or list(self.steps)
        groups = list(dict.fromkeys(step.group for step in self.steps.values()))
        unknown = [n for n in only if n not in self.steps and n not in groups]
        if unknown:
            raise LamdemoError(
                f"There is no companion {unknown[0]!r}; choose from {', '.join(dict.fromkeys([*groups, *self.steps]))}."
            )
        return {n for n, step in self.steps.items() if n in only or step.group in only}

    def _make(self, step: Step, minutes: float | None) -> bool:
        """Make a step and note it; what other calls spent on it counts into its time."""
        self._adopt(step)
        begun, done = time.monotonic(), False
        needs = {need: self._digest(need) for need in step.needs}
        try:
            done = step.make(minutes)
        finally:
            record = self._read()
            spent = record["begun"].pop(step.name, 0.0) + (time.monotonic() - begun) / 60
            if done:
                record["made"][step.name] = {"checkpoint": self.checkpoint, "needs": needs, "minutes": round(spent, 2)}
            else:
                record["begun"][step.name] = round(spent, 2)
            self._write(record)
        return done

    def _adopt(self, step: Step) -> None:
        """Note what those depend on that are up to date, before it becomes another.

        Files that single commands made, or an earlier version, have no entry and are taken on trust; once a need of
        theirs is made anew they must not be.
        """
        record = self._read()
        for other in self.steps.values():
            noted = other.outdated is None or other.name in record["made"]
            if step.name in other.needs and not noted and all(f.is_file() for f in other.files):
                record["made"][other.name] = {
                    "checkpoint": self.checkpoint,
                    "needs": {need: self._digest(need) for need in other.needs},
                    "minutes": None,
                }
        self._write(record)

    def _state(self, step: Step, known: Mapping[str, State]) -> State:
        """The state of a step, given those before it."""
        record = self._read()
        entry, begun = record["made"].get(step.name), record["begun"].get(step.name)
        minutes = None if entry is None else entry["minutes"]
        absent = [f.name for f in step.files if not f.is_file()]
        kind: Literal["stale", "missing"] = "missing" if absent else "stale"
        why = f"there is no {absent[0]}" if absent else self._stale(step, known, entry)
        if not why:
            return State("fresh", minutes=minutes)
        if begun is not None:
            why = f"{why}; begun, {begun:.1f} minutes so far"
        blocked = next((f"it needs {n}, which is {known[n].kind}" for n in step.needs if known[n].kind != "fresh"), "")
        return State(kind, why, blocked or step.lacks(), minutes)

    def _stale(self, step: Step, known: Mapping[str, State], entry: Mapping[str, Any] | None) -> str:
        for need in step.needs:
            if known[need].kind != "fresh":
                return f"{need}, which it was made with, is {known[need].kind}"
            if entry is not None and entry["needs"].get(need, "") != self._digest(need):
                return f"{need} is another than the one that it was made with"
        if step.outdated is not None:
            try:
                return step.outdated()
            except LamdemoError as error:  # of a damaged file, or of files that do not belong together
                return str(error).rstrip(".")
        if entry is None:
            return "nothing tells which weights it belongs to"
        return "" if entry["checkpoint"] == self.checkpoint else "it belongs to other weights"

    def _digest(self, name: str) -> str:
        """Of a step's files; "" where one is missing."""
        found = hashlib.sha256()
        for file in self.steps[name].files:
            if not file.is_file():
                return ""
            found.update(file.read_bytes())
        return found.hexdigest()[:16]

    def _read(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {"format": FORMAT, "made": {}, "begun": {}}
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT or not isinstance(record["made"], dict):
                raise ValueError("another format")
            return {"format": FORMAT, "made": record["made"], "begun": record.get("begun", {})}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LamdemoError(f"{self.path.name} is damaged; copy it again, or remove it.") from error

    def _write(self, record: Mapping[str, Any]) -> None:
        kept = {key: value for key, value in record.items() if value}
        if record["made"] or record["begun"]:
            text = json.dumps({"made": {}, **kept}, indent=1, sort_keys=True) + "\n"
            write_safely(self.path, text.encode())
