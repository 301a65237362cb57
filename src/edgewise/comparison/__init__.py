"""Comparison: methods for finding circuits beside one another, with tables, pictures and a run folder."""

from edgewise.comparison.compare import compare
from edgewise.comparison.compare_recipe import CompareRecipe, Entry
from edgewise.comparison.comparison import Comparison
from edgewise.comparison.result import Measured, Result

__all__ = ["CompareRecipe", "Comparison", "Entry", "Measured", "Result", "compare"]
