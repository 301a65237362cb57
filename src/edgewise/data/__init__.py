"""Prompt pairs from outside: files of the user's own, data sets of the hub, rows of benchmarks."""

from edgewise.data.pair_files import read_rows, to_pairs
from edgewise.data.rows import Row

__all__ = ["Row", "read_rows", "to_pairs"]
