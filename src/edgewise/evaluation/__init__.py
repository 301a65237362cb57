"""Evaluation: what a circuit keeps of a behaviour, and how much of a known circuit it finds."""

from edgewise.evaluation.curve import Curve, faithfulness_curve
from edgewise.evaluation.faithfulness import evaluate
from edgewise.evaluation.mib import Benchmark, auroc, benchmark
from edgewise.evaluation.recovery import Recovery, measure_recovery
from edgewise.evaluation.report import MetricReport, Report
from edgewise.evaluation.stability import Resampling, Stability, stability

__all__ = [
    "Benchmark",
    "Curve",
    "MetricReport",
    "Recovery",
    "Report",
    "Resampling",
    "Stability",
    "auroc",
    "benchmark",
    "evaluate",
    "faithfulness_curve",
    "measure_recovery",
    "stability",
]
