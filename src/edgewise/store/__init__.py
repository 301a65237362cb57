"""Files of edgewise: circuits and scores as documents, whole or not at all."""

from typing import TYPE_CHECKING, Any
from warnings import warn

from edgewise.store.files import save

if TYPE_CHECKING:
    from edgewise.formats import open_any as open  # noqa: A004  `ew.open` mirrors `ew.save`

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
    """`open`, which knows files of other tools too; these went to `edgewise.formats`, and the old names go with 0.3."""
    if name == "open":
        from edgewise import formats

        return formats.open_any
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edgewise import formats

    warn(f"edgewise.store.{name} is now edgewise.formats.{name}", DeprecationWarning, stacklevel=2)
    return getattr(formats, name)
