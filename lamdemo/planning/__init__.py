"""From known or latent actions to plans: costs, spaces, dynamics, solvers and what puts them together.

Letters beside those of `lamdemo`: A numbers of a known action, C commands that a controller sees, K candidates,
H steps of a plan, U standard coordinates of a step, M numbers of a flattened state, I iterations of a solver.
"""

from lamdemo.planning.building import SOLVERS, build_planner, build_solver
from lamdemo.planning.cem import CEM, CEMConfig
from lamdemo.planning.costable import PlannerCost
from lamdemo.planning.costs import Cost, GoalDistance, PathLength, PriorPenalty, Sum, averages
from lamdemo.planning.dynamics import ByController, ByLabel, ByLatents, Dynamics, Imagination, ModelDynamics
from lamdemo.planning.gradient import Gradient, GradientConfig
from lamdemo.planning.icem import ICEM, ICEMConfig
from lamdemo.planning.mppi import MPPI, MPPIConfig
from lamdemo.planning.planner import MAX_HORIZON, CostWeights, Planner
from lamdemo.planning.plans import Imagined, Landscape, Plan, Problem
from lamdemo.planning.random import RandomConfig, RandomShooting
from lamdemo.planning.recorded import RecordedCEM, RecordedCEMConfig
from lamdemo.planning.solver import Callback, Iteration, Objective, Solution, Solver, SolverState
from lamdemo.planning.spaces import KnownSpace, LatentSpace, Space

__all__ = [
    "CEM",
    "ICEM",
    "MAX_HORIZON",
    "MPPI",
    "SOLVERS",
    "ByController",
    "ByLabel",
    "ByLatents",
    "CEMConfig",
    "Callback",
    "Cost",
    "CostWeights",
    "Dynamics",
    "GoalDistance",
    "Gradient",
    "GradientConfig",
    "ICEMConfig",
    "Imagination",
    "Imagined",
    "Iteration",
    "KnownSpace",
    "Landscape",
    "LatentSpace",
    "MPPIConfig",
    "ModelDynamics",
    "Objective",
    "PathLength",
    "Plan",
    "Planner",
    "PlannerCost",
    "PriorPenalty",
    "Problem",
    "RandomConfig",
    "RandomShooting",
    "RecordedCEM",
    "RecordedCEMConfig",
    "Solution",
    "Solver",
    "SolverState",
    "Space",
    "Sum",
    "averages",
    "build_planner",
    "build_solver",
]
