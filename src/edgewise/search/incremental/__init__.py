"""What makes ACDC fast: nodes run again only where something changed, many removals at once, behind `State`."""

from edgewise.search.incremental.pairs_at_once import sizes_of_search
from edgewise.search.incremental.search_state import SearchState

__all__ = ["SearchState", "sizes_of_search"]
