"""Reload: how a model was loaded, as plain values, so that another process can load it too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, final

from edgewise.errors import UnsupportedModel
from edgewise.models.subject import Subject
from edgewise.models.ungrouped import KeyValues


@final
@dataclass(frozen=True)
class Reload:
    """What `load` was told. Called with the identity of the Subject that it gave, it gives the same one in this process."""

    model: str
    dtype: str | None
    device: str
    revision: str | None
    kv: KeyValues
    adapter: str | None

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
        revision=how.revision,
        kv=how.kv,
        adapter=how.adapter,
        track=silent,
    )
