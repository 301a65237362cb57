"""Evaluation: what a circuit keeps of a behaviour, and how much of a known circuit it finds."""

from edgewise.evaluation.curve import Curve, faithfulness_curve
from edgewise.evaluation.faithfulness import evaluate
from edgewise.evaluation.mib import Benchmark, auroc, benchmark
from edgewise.evaluation.recovery import Recovery, measure_recovery
from edgewise.evaluation.report import MetricReport, Report

__all__ = [
    "Benchmark",
    "Curve",
    "MetricReport",
    "Recovery",
    "Report",
    "auroc",
    "benchmark",
    "evaluate",
    "faithfulness_curve",
    "measure_recovery",
]
