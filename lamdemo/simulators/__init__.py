"""Simulators: worlds where the action and the truth are known, to learn controllers in and to try plans out.

``make("doom")`` or ``make("fetch")`` makes one (:mod:`.simulator`), :mod:`lamdemo.simulators.recording`
records episodes in it, :mod:`lamdemo.simulators.tasks` makes goals to reach.
"""

from lamdemo.simulators.simulator import FPS, Observation, Simulator, Truth, available, make, names

__all__ = ["FPS", "Observation", "Simulator", "Truth", "available", "make", "names"]
