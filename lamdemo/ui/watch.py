"""What happens on a served page, in numbers and as lines of JSON: who asked is in neither.

Lines go to the logger ``lamdemo.requests``. A request's is tied to the events that it set going by no name: sessions,
addresses, names of files and what was asked are left out.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lamdemo.core.errors import LamdemoError
from lamdemo.jobs.turns import Busy, Cancelled

log = logging.getLogger("lamdemo.requests")

MOST_LABELS = 500  # of all counts: anybody can ask for a path that nobody asked for before
BOUNDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)  # seconds, of what is counted as how long


class Tally:
    """Counts since the start, by name and label; and gauges, which are asked when they are looked at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[str, tuple[list[int], float]] = {}  # how many took up to each bound, and all together
        self.gauges: dict[str, Callable[[], float]] = {}

    def add(self, name: str, label: str, amount: int = 1) -> None:
        """Count."""
        with self._lock:
            if len(self.counts) >= MOST_LABELS and (name, label) not in self.counts:
                label = "other"
            self.counts[name, label] += amount

    def took(self, label: str, seconds: float) -> None:
        """Count how long something took."""
        with self._lock:
            found, total = self.seconds.get(label, ([0] * (len(BOUNDS) + 1), 0.0))
            found[sum(seconds > bound for bound in BOUNDS)] += 1
            self.seconds[label] = found, total + seconds


tally = Tally()


@contextmanager
def job(kind: str) -> Iterator[dict[str, object]]:
    """Count a job, with how it ended; what is put into the dict stands in its line too."""
    began, outcome, more = time.monotonic(), "done", dict[str, object]()
    try:
        yield more
    except Busy:
        outcome = "busy"
        raise
    except Cancelled:
        outcome = "cancelled"
        raise
    except LamdemoError:
        outcome = "refused"
        raise
    except GeneratorExit:
        outcome = "left"
        raise
    except BaseException:
        outcome = "failed"
        raise
    finally:
        seconds = time.monotonic() - began
        tally.add("jobs", f"{kind}/{outcome}")
        tally.took(kind, seconds)
        say(event="job", kind=kind, outcome=outcome, ms=round(1000 * seconds), **more)


def say(**told: object) -> None:
    """Write a line, if anybody listens."""
    if log.isEnabledFor(logging.INFO):
        log.info(json.dumps({"time": round(time.time(), 3), **told}))


def write_lines() -> None:
    """Let the lines go to the standard error."""
    if log.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def exposition() -> bytes | None:
    """All of it as Prometheus reads it; None where its package is not installed."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    except ImportError:
        return None

    class Collected:
        def collect(self) -> Iterator[Metric]:
            with tally._lock:
                counts, seconds = dict(tally.counts), dict(tally.seconds)
            for name in sorted({name for name, _ in counts}):
                family = CounterMetricFamily(f"lamdemo_{name}", f"{name} since the start", labels=["what"])
                for (other, label), count in sorted(counts.items()):
                    if other == name:
                        family.add_metric([label], count)
                yield family
            times = HistogramMetricFamily("lamdemo_job_seconds", "time from asking to the end", labels=["what"])
            for label, (found, total) in sorted(seconds.items()):
                ends = [*map(str, BOUNDS), "+Inf"]
                times.add_metric([label], [(end, sum(found[: i + 1])) for i, end in enumerate(ends)], total)
            yield times
            for name, ask in tally.gauges.items():
                with suppress(Exception):
                    yield GaugeMetricFamily(f"lamdemo_{name}", f"{name} now", ask())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected())
    return generate_latest(registry)
