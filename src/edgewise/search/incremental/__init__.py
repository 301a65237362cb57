"""What makes ACDC fast: nodes run again only where something changed, many removals at once, behind `State`."""

from edgewise.search.incremental.search_state import SearchState

__all__ = ["SearchState"]
