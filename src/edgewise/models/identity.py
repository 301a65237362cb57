"""What tells a model's weights from others of the same name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from edgewise.errors import InvalidValue
from edgewise.models.adapters import adapter_facts
from edgewise.models.placement import stored
from edgewise.models.weights import stored_parts


class Origin(NamedTuple):
    """Where a model comes from, beyond its name: the adapter put on it, and what its identity says of the file it was in.

    `again` loads it in another process, given its identity; None for a model that was made by the caller.
    """

    adapter: str | None = None
    file: Mapping[str, str] | None = None
    again: Callable[[dict[str, Any]], Any] | None = None


def sent(name: str, origin: Origin) -> Callable[[dict[str, Any]], Any]:
    """What loads the model of this name in another process; InvalidValue if nothing does."""
    if origin.again is None:
        raise InvalidValue(
            f"{name} was given as a model in memory, which no other process can load: save it to a folder, and load it by "
            "that name"
        )
    return origin.again


def weight_facts(model: Any, adapter: str | None) -> dict[str, Any]:
    """Adapters that are on, how few bits are left, the hub revision, and a hash where that does not say it all.

    `adapter`: the name under which one was put on.
    """
    changes = _changes(model, adapter)
    revision = getattr(model.config, "_commit_hash", None)
    return {
        **changes,
        **({"revision": revision} if revision else {}),
        **({"weights": weights_hash(model)} if changes or not revision else {}),
    }


def _changes(model: Any, adapter: str | None) -> dict[str, Any]:
    """What was done to the weights of that name."""
    quantised = getattr(getattr(model, "hf_quantizer", None), "quantization_config", None)
    method = getattr(quantised, "quant_method", None)
    return {
        **({"adapter": adapter} if adapter else {}),
        **adapter_facts(model),
        **({"quantised": str(getattr(method, "value", method))} if method else {}),
    }


def weights_hash(model: Any) -> str:
    """A digest of all weights as they are kept."""
    digest = hashlib.sha256()
    for name, tensor in stored(model):
        digest.update(name.encode())
        for part in stored_parts(tensor):
            digest.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())  # type: ignore[arg-type]
    return "sha256:" + digest.hexdigest()
