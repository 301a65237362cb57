"""Searches: methods that decide edge by edge."""

from edgewise.search.acdc import ACDC
from edgewise.search.base import Kept, Search, SharingSearch, at_value
from edgewise.search.eap_acdc import EAPThenACDC

SEARCHES: dict[str, type[Search]] = {search.name: search for search in (ACDC, EAPThenACDC)}

__all__ = ["SEARCHES", "EAPThenACDC", "Kept", "Search", "SharingSearch", "at_value"]
