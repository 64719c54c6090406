"""One engine of each simulator for everybody, in a thread of its own, lent to one owner at a time."""

from __future__ import annotations

import atexit
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar, cast

import numpy as np

from lamdemo import simulators
from lamdemo.simulators.simulator import Observation, Simulator, Truth

T = TypeVar("T")


class SimulatorPool:
    """Simulators that run on this machine, each started once; all of their work is done in one thread.

    A renderer's context belongs to the thread that made it, and Gradio calls from many.

    Args:
        make: makes one of a name, as `lamdemo.simulators.make` does.
    """

    def __init__(self, make: Callable[..., Simulator] | None = None) -> None:
        self._make = make
        self._engines: dict[str, Simulator] = {}
        self._owners: dict[str, object] = {}
        self._orders: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def missing(self, name: str) -> str | None:
        """An empty text where a simulator can be made, else what to install; None where there is none of that name."""
        return simulators.available().get(name)

    def names(self) -> list[str]:
        """Names of those that are installed."""
        return [name for name, missing in simulators.available().items() if not missing]

    def do(self, work: Callable[[], T]) -> T:
        """Call something in the simulators' thread, and wait for what it gives."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="lamdemo-simulators", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        if threading.current_thread() is self._thread:
            return work()
        given: Future[T] = Future()
        self._orders.put((work, given))
        return given.result()

    def engine(self, name: str, owner: object, seed: int = 0) -> tuple[Simulator, bool]:
        """The engine of a name; only in the simulators' thread.

        Args:
            name: of the simulator.
            owner: who uses it from now on.
            seed: of the scene that a new engine begins with.

        Returns:
            The engine, and whether it was another owner's until now and may show another scene.

        Raises:
            LamdemoError: there is none of that name, it is not installed, or the seed is none.
        """
        if name not in self._engines:
            self._engines[name] = (self._make or simulators.make)(name, seed=seed)
        lent = self._owners.get(name) is not owner
        self._owners[name] = owner
        return self._engines[name], lent

    def look(self, name: str) -> Simulator:
        """The engine of a name as it is, for what changes nothing in it; only in the simulators' thread."""
        return self._engines[name]

    def using(self, name: str, work: Callable[[Simulator], T]) -> T:
        """Do something with a simulator from its reset on, after whatever is being done with one.

        Raises:
            LamdemoError: there is none of that name, or it is not installed.
        """
        return self.do(lambda: work(self.engine(name, work)[0]))

    def lend(self, name: str) -> Simulator:
        """A simulator for one user, call by call: others may use its engine in between, which makes no difference.

        Raises:
            LamdemoError: there is none of that name, or it is not installed.
        """
        return cast(Simulator, _Lent(self, name))

    def close(self) -> None:
        """Let all engines go; the next use starts them anew."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            atexit.unregister(self.close)
            self._orders.put(None)
            thread.join(10)

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            work, given = order
            try:
                given.set_result(work())
            except BaseException as error:  # it is the caller's
                given.set_exception(error)
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
        self._owners.clear()


class _Lent:
    """What `Simulator` says, but for the end; after others used the engine it is put back to where it was left."""

    def __init__(self, pool: SimulatorPool, name: str) -> None:
        self._pool, self.name = pool, name
        self._moment: object | None = None
        engine = pool.do(lambda: pool.engine(name, self)[0])
        self.spec, self.fps, self.size = engine.spec, engine.fps, engine.size

    def _do(self, act: Callable[[Simulator], T]) -> T:
        def work() -> T:
            engine, others = self._pool.engine(self.name, self)
            if others and self._moment is not None:
                engine.restore(self._moment)
            found = act(engine)
            self._moment = engine.snapshot()
            return found

        return self._pool.do(work)

    def reset(self, seed: int) -> Observation:
        return self._do(lambda engine: engine.reset(seed))

    def step(self, action: np.ndarray) -> Observation:
        return self._do(lambda engine: engine.step(action))

    def observe(self) -> Observation:
        return self._do(lambda engine: engine.observe())

    def snapshot(self) -> object:
        return self._do(lambda engine: engine.snapshot())

    def restore(self, snapshot: object) -> Observation:
        return self._do(lambda engine: engine.restore(snapshot))

    def distance(self, a: Truth, b: Truth) -> dict[str, float]:
        return self._do(lambda engine: engine.distance(a, b))

    def reached(self, distance: Mapping[str, float]) -> bool:
        return self._do(lambda engine: engine.reached(distance))
