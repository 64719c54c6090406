"""How good a model is, beside what needs no model: on real clips, and on transfers whose truth is known."""

from lamdemo.evaluation.case_folder import find_cases
from lamdemo.evaluation.cases import write_cases
from lamdemo.evaluation.clips import ClipSet
from lamdemo.evaluation.latents import evaluate_latents
from lamdemo.evaluation.pairs import evaluate_pairs
from lamdemo.evaluation.report import write_report
from lamdemo.evaluation.rollouts import evaluate_rollouts
from lamdemo.evaluation.second_hand import write_second_hand
from lamdemo.evaluation.suite import SuiteConfig, load_checkpoints, run_suite
from lamdemo.evaluation.videos import evaluate_videos

__all__ = [
    "ClipSet",
    "SuiteConfig",
    "evaluate_latents",
    "evaluate_pairs",
    "evaluate_rollouts",
    "evaluate_videos",
    "find_cases",
    "load_checkpoints",
    "run_suite",
    "write_cases",
    "write_report",
    "write_second_hand",
]
