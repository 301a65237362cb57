"""What every EAP-IG file is: JSON of a form, of a model of some shape, whose graph has names for k and v readers."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from edgewise.errors import FileError, InvalidValue
from edgewise.graph import SHARED, Graph
from edgewise.store.dimensions import check_claim
from edgewise.store.json_text import loaded, parse
from edgewise.store.schema import MOST_OF_A_KIND, validate

# An edge into a key or value of a head, and one into any key or value, by a name of ours or theirs.
KEY_OR_VALUE = re.compile(r"->a(\d+)\.h(\d+)<([kv])>$")
ANY_KEY_OR_VALUE = re.compile(r"->a\d+\.(?:h|kv)(\d+)<[kv]>$")


class Config(BaseModel):
    """The shape of the model, as far as their graph needs it; other keys are left alone."""

    model_config = ConfigDict(extra="ignore")

    n_layers: int = Field(ge=1, le=MOST_OF_A_KIND)
    n_heads: int = Field(ge=1, le=MOST_OF_A_KIND)
    parallel_attn_mlp: bool = False
    d_model: int | None = Field(default=None, le=MOST_OF_A_KIND)
    edgewise: dict[str, Any] = Field(default_factory=dict)

    @property
    def divided(self) -> int | None:
        """How many k and v heads shared the scores that were divided for this file; None if none did."""
        kv_heads = self.edgewise.get("kv_heads")
        return kv_heads if isinstance(kv_heads, int) else None


def is_eap_ig(data: bytes) -> bool:
    """Whether the bytes are JSON in the form of EAP-IG, as far as can be told without checking it."""
    if b'"cfg"' not in data:
        return False
    try:
        value = loaded(data, numbers="any")
    except ValueError:
        return False
    return isinstance(value, dict) and {"cfg", "nodes", "edges"} <= value.keys()


def parse_theirs(data: bytes, name: str) -> dict[str, Any]:
    """The JSON object in a file of theirs, in which NaN stands for what was never scored: None."""
    return parse(data, name, numbers="unscored")


def config_of(value: Any, name: str) -> Config:
    """Their `cfg`, checked; FileError if it is no shape of a model."""
    if not isinstance(value, dict):
        raise FileError(f"{name}: its 'cfg' is a {type(value).__name__}, not the shape of a model")
    return validate(Config, value, name)


def their_graph(config: Config, entries: int) -> Graph:
    """The graph of a `cfg`: one key and one value for each query head, and MLPs.

    InvalidValue for one that is far larger than the `entries` of its file tell.
    """
    graph = Graph(config.n_layers, config.n_heads, config.n_heads, parallel=config.parallel_attn_mlp)
    return check_claim(graph, entries)


def ungrouped(reader: str, group: int) -> list[str]:
    """Their names of a reader of ours: a shared k or v once for each of the `group` query heads that share it."""
    match = SHARED.fullmatch(reader)
    if match is None:
        return [reader]
    layer, kv, kind = match.groups()
    return [f"a{layer}.h{int(kv) * group + i}<{kind}>" for i in range(group)]


def check_sign(sign: int) -> None:
    """InvalidValue for anything but 1 and -1."""
    if sign not in (1, -1):
        raise InvalidValue(f"sign is {sign!r}; give 1, or -1 for scores made with a metric that is better when higher")
