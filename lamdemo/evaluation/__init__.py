"""How good a model is, beside what needs no model: on real clips, and on transfers whose truth is known."""

from lamdemo.evaluation.cases import find_cases, write_cases
from lamdemo.evaluation.pairs import evaluate_pairs
from lamdemo.evaluation.report import write_report
from lamdemo.evaluation.videos import evaluate_videos

__all__ = ["evaluate_pairs", "evaluate_videos", "find_cases", "write_cases", "write_report"]
