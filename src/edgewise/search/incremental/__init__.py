"""What makes ACDC fast: cached sums, partial walks, batches planned ahead, behind `State`."""

from edgewise.search.incremental.search_state import SearchState

__all__ = ["SearchState"]
