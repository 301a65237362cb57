"""Files of other tools, both ways, and what `edgewise convert` makes of them."""

from edgewise.formats.any_file import open_any
from edgewise.formats.conversion import FOLDERS, FORMATS, FolderFormat, Format, format_named
from edgewise.formats.eap_ig_json import eap_ig_json, read_eap_ig
from edgewise.formats.eap_ig_nodes import eap_ig_nodes_json, eap_ig_nodes_pt, read_eap_ig_nodes
from edgewise.formats.eap_ig_pt import eap_ig_pt, read_eap_ig_pt
from edgewise.formats.reading import find, import_finding

__all__ = [
    "FOLDERS",
    "FORMATS",
    "FolderFormat",
    "Format",
    "eap_ig_json",
    "eap_ig_nodes_json",
    "eap_ig_nodes_pt",
    "eap_ig_pt",
    "find",
    "format_named",
    "import_finding",
    "open_any",
    "read_eap_ig",
    "read_eap_ig_nodes",
    "read_eap_ig_pt",
]
