"""From known or latent actions to plans: costs, spaces, dynamics, solvers and what puts them together."""

from lamdemo.planning.cem import CEM, CEMConfig
from lamdemo.planning.planner import Plan
from lamdemo.planning.solver import Iteration, Solution, Solver, SolverState

__all__ = ["CEM", "CEMConfig", "Iteration", "Plan", "Solution", "Solver", "SolverState"]
