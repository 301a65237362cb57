"""Evaluation: what a circuit keeps of a behaviour, and how much of a known circuit it finds."""

from edgewise.evaluation.curve import curve_sizes, faithfulness_curve
from edgewise.evaluation.faithfulness import evaluate
from edgewise.evaluation.recovery import Recovery, measure_recovery
from edgewise.evaluation.report import MetricReport, Report

__all__ = ["MetricReport", "Recovery", "Report", "curve_sizes", "evaluate", "faithfulness_curve", "measure_recovery"]
