"""Benchmarks: this project beside its bound, in one process, as ratios of interleaved medians. `python -m benchmarks`."""
