"""Evaluation: what a circuit keeps of a behaviour, and how much of a known circuit it finds."""

from edgewise.evaluation.faithfulness import evaluate, evaluate_each
from edgewise.evaluation.recovery import Recovery, measure_recovery
from edgewise.evaluation.report import MetricReport, Report

__all__ = ["MetricReport", "Recovery", "Report", "evaluate", "evaluate_each", "measure_recovery"]
