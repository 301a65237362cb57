"""Comparison: methods for finding circuits beside one another, with tables, pictures and a run folder."""

from edgewise.comparison.compare import compare
from edgewise.comparison.compare_heads import compare_heads
from edgewise.comparison.compare_recipe import CompareRecipe, Entry
from edgewise.comparison.comparison import Comparison
from edgewise.comparison.head_report import HeadReport
from edgewise.comparison.result import Measured, Result

__all__ = ["CompareRecipe", "Comparison", "Entry", "HeadReport", "Measured", "Result", "compare", "compare_heads"]
