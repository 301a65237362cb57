"""The model of an EAP-IG file: its shape, the graph of that shape, and what its k and v readers are called."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgewise.errors import FileError
from edgewise.graph import SHARED, Graph
from edgewise.store.schema import first_problem

# An edge into a key or value of a head, and one into any key or value, by a name of ours or theirs.
KEY_OR_VALUE = re.compile(r"->a(\d+)\.h(\d+)<([kv])>$")
ANY_KEY_OR_VALUE = re.compile(r"->a\d+\.(?:h|kv)(\d+)<[kv]>$")


class Config(BaseModel):
    """The shape of the model, as far as their graph needs it; other keys are left alone."""

    model_config = ConfigDict(extra="ignore")

    n_layers: int = Field(ge=1)
    n_heads: int = Field(ge=1)
    parallel_attn_mlp: bool = False
    d_model: int | None = None
    edgewise: dict[str, Any] = Field(default_factory=dict)

    @property
    def divided(self) -> int | None:
        """How many k and v heads shared the scores that were divided for this file; None if none did."""
        kv_heads = self.edgewise.get("kv_heads")
        return kv_heads if isinstance(kv_heads, int) else None


def config_of(value: Any, name: str) -> Config:
    """Their `cfg`, checked; FileError if it is no shape of a model."""
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        raise FileError(f"{name}: {first_problem(error, Config)}") from None


def their_graph(config: Config) -> Graph:
    """The graph of a `cfg`: one key and one value for each query head, and MLPs."""
    return Graph(config.n_layers, config.n_heads, config.n_heads, parallel=config.parallel_attn_mlp)


def ungrouped(reader: str, group: int) -> list[str]:
    """Their names of a reader of ours: a shared k or v once for each of the `group` query heads that share it."""
    match = SHARED.fullmatch(reader)
    if match is None:
        return [reader]
    layer, kv, kind = match.groups()
    return [f"a{layer}.h{int(kv) * group + i}<{kind}>" for i in range(group)]
