"""The contract of a model family: a declaration of where a Hugging Face class keeps its parts.

A family file names the sites of one block and the config attributes it handles. Attributes that change the computation
and are not handled are refused by name, as is every class that no family names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from edgewise.errors import UnsupportedModel
from edgewise.graph import ONE_INPUT, SEPARATE_INPUTS, Graph
from edgewise.models.norms import Norm, NormKind
from edgewise.models.projections import Projections
from edgewise.models.weights import effective, is_stored


@dataclass(frozen=True)
class Block:
    """One layer, bound to the modules of a model."""

    module: nn.Module
    attention_norm: Norm
    attention: nn.Module
    projections: Projections
    output: nn.Module
    attention_post: Norm | None
    mlp_norm: Norm | None
    mlp: nn.Module | None
    mlp_post: Norm | None

    @property
    def output_weight(self) -> Tensor:
        """[head, d_head, d_model]: what head h writes is z_h · output_weight[h], times the post norm's scale if any."""
        weight = effective(self.output)[0].T.unflatten(0, (self.projections.heads, -1))
        return weight if self.attention_post is None else weight * self.attention_post.gain(weight)

    def output_weight_later(self) -> Callable[[], Tensor]:
        """What gives `output_weight` at any time; it holds on to it only where that costs nothing."""
        if not is_stored(self.output):
            return lambda: self.output_weight
        weight = self.output_weight
        return lambda: weight

    @property
    def output_bias(self) -> Tensor | None:
        """[d_model]: the output projection's bias, which belongs to no head."""
        return effective(self.output)[1]

    @property
    def mlp_site(self) -> nn.Module | None:
        """The module whose output is what the MLP writes: its post norm if there is one."""
        return self.mlp if self.mlp_post is None else self.mlp_post.module


@dataclass(frozen=True)
class Family:
    """Where a class keeps its parts. Paths are relative to the model (`blocks`, `final_norm`, `inputs`) or to a block.

    `inputs`: the token and the position embedding, in the order of the forward pass, of a class whose config can ask
    (`separate_inputs`) for them as two writers; what they give adds up to the input of the first block.
    """

    name: str
    architectures: tuple[str, ...]
    blocks: str
    final_norm: str
    attention_norm: str
    attention: str
    mlp_norm: str
    mlp: str
    projections: type[Projections]
    projection_names: tuple[str, ...]
    output: str
    norm: NormKind
    attention_post: str = ""
    mlp_post: str = ""
    exact: str = "exact per head"
    handled: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    parallel: str = ""
    inputs: tuple[str, ...] = ()

    def graph(self, model: Any) -> Graph:
        """The graph of a model of this family."""
        config = model.config
        heads = int(config.num_attention_heads)
        return Graph(
            layers=int(config.num_hidden_layers),
            heads=heads,
            kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
            parallel=bool(self.parallel) and bool(getattr(config, self.parallel)),
            mlps=bool(getattr(config, "mlps", True)),
            inputs=SEPARATE_INPUTS if self.input_modules(model) else ONE_INPUT,
        )

    def input_modules(self, model: Any) -> tuple[nn.Module, ...]:
        """The modules whose outputs are the input writers; none where all that enters layer 0 is one writer."""
        separate = bool(getattr(model.config, "separate_inputs", False))
        return tuple(model.get_submodule(path) for path in self.inputs) if separate else ()

    def check(self, model: Any) -> None:
        """Refuse, by name, config attributes whose value changes the computation in a way that is not handled."""
        for attribute, allowed in self.handled.items():
            value = getattr(model.config, attribute, allowed[0])
            if value not in allowed:
                raise UnsupportedModel(
                    f"{type(model).__name__} with {attribute}={value!r} is not supported; "
                    f"supported: {', '.join(map(repr, allowed))}"
                )

    def bind(self, model: Any) -> tuple[Block, ...]:
        """The blocks of a model."""
        graph = self.graph(model)
        modules = model.get_submodule(self.blocks)
        return tuple(self._block(module, graph) for module in modules[: graph.layers])

    def last_norm(self, model: Any) -> Norm:
        """The norm before the unembedding."""
        return self._norm(model, self.final_norm)

    def _block(self, module: nn.Module, graph: Graph) -> Block:
        attention = module.get_submodule(self.attention)
        return Block(
            module=module,
            attention_norm=self._norm(module, self.attention_norm),
            attention=attention,
            projections=self.projections(attention, self.projection_names, graph.heads, graph.kv_heads),
            output=attention.get_submodule(self.output),
            attention_post=self._norm(module, self.attention_post) if self.attention_post else None,
            mlp_norm=self._norm(module, self.mlp_norm) if graph.mlps else None,
            mlp=module.get_submodule(self.mlp) if graph.mlps else None,
            mlp_post=self._norm(module, self.mlp_post) if self.mlp_post else None,
        )

    def _norm(self, owner: nn.Module, path: str) -> Norm:
        module = owner.get_submodule(path)
        return Norm(module, NormKind.NONE if isinstance(module, nn.Identity) else self.norm)
