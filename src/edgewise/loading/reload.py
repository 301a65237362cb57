"""Reload: how a model was loaded, as plain values, so that another process can load it too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self, final

import torch

from edgewise.errors import UnsupportedModel
from edgewise.loading.device_maps import DeviceMap
from edgewise.models.subject import Subject
from edgewise.models.ungrouped import KeyValues


@final
@dataclass(frozen=True)
class Reload:
    """What `load` was told. Called with the identity of the Subject that it gave, it gives the same one in this process."""

    model: str
    dtype: str | None
    device: str | None
    device_map: str | tuple[tuple[str, int | str], ...] | None
    revision: str | None
    kv: KeyValues
    adapter: str | None

    @classmethod
    def of(cls, model: str, dtype: str | None, place: torch.device | DeviceMap | None, **rest: Any) -> Self:
        """Of a model on a device, of whatever number, or spread by a device map; `rest`: the other fields."""
        if isinstance(place, torch.device):
            return cls(model, dtype, place.type, None, **rest)
        spread = place if place is None or isinstance(place, str) else tuple(place.items())
        return cls(model, dtype, None, spread, **rest)

    def __call__(self, identity: dict[str, Any]) -> Subject:
        """The Subject; UnsupportedModel if the weights of that name are others here."""
        subject = _loaded(self)
        if subject.identity != identity:
            raise UnsupportedModel(
                f"{self.model} has other weights in this process than where the work comes from: {subject.identity} and "
                f"{identity}; bring the same files to every machine, or name a revision"
            )
        return subject


@lru_cache(maxsize=1)
def _loaded(how: Reload) -> Subject:
    from edgewise.loading import load
    from edgewise.progress import silent

    return load(
        how.model,
        dtype=how.dtype,
        device=how.device,
        device_map=dict(how.device_map) if isinstance(how.device_map, tuple) else how.device_map,
        revision=how.revision,
        kv=how.kv,
        adapter=how.adapter,
        track=silent,
    )
