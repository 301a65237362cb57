"""Searches: methods that decide edge by edge."""

from edgewise.search.acdc import ACDC
from edgewise.search.base import Found, Search, SharingSearch, dialled

SEARCHES: dict[str, type[Search]] = {search.name: search for search in (ACDC,)}

__all__ = ["SEARCHES", "Found", "Search", "SharingSearch", "dialled"]
