"""Files: circuits and scores as documents of edgewise, and as those of other tools."""

from edgewise.store.eap_ig import eap_ig_json, read_eap_ig
from edgewise.store.eap_ig_nodes import eap_ig_nodes_json, eap_ig_nodes_pt, read_eap_ig_nodes
from edgewise.store.eap_ig_pt import eap_ig_pt, read_eap_ig_pt
from edgewise.store.files import read as open  # noqa: A004  `ew.open` mirrors `ew.save`
from edgewise.store.files import save

__all__ = [
    "eap_ig_json",
    "eap_ig_nodes_json",
    "eap_ig_nodes_pt",
    "eap_ig_pt",
    "open",
    "read_eap_ig",
    "read_eap_ig_nodes",
    "read_eap_ig_pt",
    "save",
]
