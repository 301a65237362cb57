"""Evaluation: what a circuit keeps of a behaviour."""

from edgewise.evaluation.faithfulness import evaluate
from edgewise.evaluation.report import MetricReport, Report

__all__ = ["MetricReport", "Report", "evaluate"]
