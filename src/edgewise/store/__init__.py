"""Files of edgewise: circuits and scores as documents, whole or not at all."""

from typing import Any
from warnings import warn

from edgewise.store.files import read as open  # noqa: A004  `ew.open` mirrors `ew.save`
from edgewise.store.files import save

__all__ = ["open", "save"]

_MOVED = (
    "eap_ig_json",
    "eap_ig_nodes_json",
    "eap_ig_nodes_pt",
    "eap_ig_pt",
    "read_eap_ig",
    "read_eap_ig_nodes",
    "read_eap_ig_pt",
)


def __getattr__(name: str) -> Any:
    """Files of other tools went to `edgewise.formats`; the old names go with version 0.3."""
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edgewise import formats

    warn(f"edgewise.store.{name} is now edgewise.formats.{name}", DeprecationWarning, stacklevel=2)
    return getattr(formats, name)
