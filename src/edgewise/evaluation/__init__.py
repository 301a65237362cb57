"""Evaluation: what a circuit keeps of a behaviour, and how much of a known circuit it finds."""

from edgewise.evaluation.areas import SizeCurve, size_curve
from edgewise.evaluation.bootstrap import Bootstrap, Resampling, bootstrap
from edgewise.evaluation.by_faithfulness import select
from edgewise.evaluation.by_size import curve_sizes, faithfulness_curve
from edgewise.evaluation.faithfulness import evaluate, evaluate_each
from edgewise.evaluation.grid import Grid, GridPoint, measure_grid
from edgewise.evaluation.heads import HeadRow, HeadStudy, study_heads
from edgewise.evaluation.look import look
from edgewise.evaluation.measured_roles import HeadRoles, MeasuredHead, measure_roles
from edgewise.evaluation.mib import Benchmark, auroc, benchmark
from edgewise.evaluation.recovery import Recovery, measure_recovery
from edgewise.evaluation.report import MetricReport, NeuronCount, Report
from edgewise.evaluation.seen import Look, NodeLook, Pattern

__all__ = [
    "Benchmark",
    "Bootstrap",
    "Grid",
    "GridPoint",
    "HeadRoles",
    "HeadRow",
    "HeadStudy",
    "Look",
    "MeasuredHead",
    "MetricReport",
    "NeuronCount",
    "NodeLook",
    "Pattern",
    "Recovery",
    "Report",
    "Resampling",
    "SizeCurve",
    "auroc",
    "benchmark",
    "bootstrap",
    "curve_sizes",
    "evaluate",
    "evaluate_each",
    "faithfulness_curve",
    "look",
    "measure_grid",
    "measure_recovery",
    "measure_roles",
    "select",
    "size_curve",
    "study_heads",
]
