"""The contract of a model family: a declaration of where a Hugging Face class keeps its parts.

A family file names the sites of one block and the config attributes it handles. Attributes that change the computation
and are not handled are refused by name, as is every class that no family names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.graph import ONE_INPUT, SEPARATE_INPUTS, Graph
from edgewise.models.block import Block
from edgewise.models.declaration import check_fields
from edgewise.models.mlp import MLP
from edgewise.models.norms import Norm, NormKind
from edgewise.models.projections import Projections
from edgewise.models.text_config import text_config


@final
@dataclass(frozen=True)
class Family:
    """Where a Hugging Face model class keeps its parts.

    Paths of `blocks`, `final_norm` and `inputs` are relative to the model, all others to a block. A declaration that
    cannot be right, or does not fit the model, is refused by the name of its field.

    `name`: the name of the family.
    `architectures`: the names of the classes.
    `blocks`: the list of blocks.
    `final_norm`: the norm before the unembedding.
    `attention_norm`, `mlp_norm`: the norms before attention and MLP; empty where there is none.
    `attention`: the attention module.
    `mlp`: the MLP, or the modules that the block calls one after the other.
    `projections`: how q, k and v are laid out: Separate, FusedBlocks, FusedHeads, or a class of your own.
    `projection_names`: their modules, relative to the attention.
    `output`: the output projection, relative to the attention.
    `norm`: what the norms compute, a NormKind.
    `attention_post`, `mlp_post`: norms after attention and MLP, if there are any.
    `exact`: in words, how exactly edgewise reproduces the class.
    `handled`: config attributes and the values they may have.
    `equal`: config attributes that must have the value of another one.
    `parallel`: whether attention and MLP read the same stream: True, False, or the name of the config attribute that
    says so.
    `parallel_norm`: the norm before the MLP in that case, if it is not `mlp_norm`.
    `inputs`: the token and the position embedding, in the order of the forward pass, of a class whose config can ask
    for two input writers (`separate_inputs`). Their outputs add up to the input of the first block.
    `multiplier`: the attribute of a block by which it multiplies what it adds to the stream.
    `logit_cap`, `logit_divisor`: config attributes by which logits are capped and divided.
    `part`: which part of a checkpoint this is, unless it is all.
    `native`: config attributes that may have any value, because they act inside modules that run as they are.
    `counts`: attributes of the attention module that grow with its number of heads, if its code depends on them.
    """

    name: str
    architectures: tuple[str, ...]
    blocks: str
    final_norm: str
    attention_norm: str
    attention: str
    mlp_norm: str
    mlp: str | tuple[str, ...]
    projections: type[Projections]
    projection_names: tuple[str, ...]
    output: str
    norm: NormKind
    attention_post: str = ""
    mlp_post: str = ""
    exact: str = "exact per head"
    handled: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    equal: Mapping[str, str] = field(default_factory=dict)
    parallel: bool | str = False
    parallel_norm: str = ""
    inputs: tuple[str, ...] = ()
    multiplier: str = ""
    logit_cap: str = ""
    logit_divisor: str = ""
    part: str = ""
    native: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(vars(self))

    def graph(self, model: Any) -> Graph:
        """The Graph of a `model` of this family."""
        config = text_config(model)
        heads = int(config.num_attention_heads)
        return Graph(
            layers=int(config.num_hidden_layers),
            heads=heads,
            kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
            parallel=self.is_parallel(config),
            mlps=bool(getattr(config, "mlps", True)),
            inputs=SEPARATE_INPUTS if self.input_modules(model) else ONE_INPUT,
        )

    def is_parallel(self, config: Any) -> bool:
        """Whether attention and MLP of a model with this `config` read the same stream."""
        named = isinstance(self.parallel, str) and self.parallel
        return bool(getattr(config, named) if named else self.parallel)

    def input_modules(self, model: Any) -> tuple[nn.Module, ...]:
        """The modules of `model` whose outputs are the input writers; none where all that enters layer 0 is one writer."""
        separate = bool(getattr(text_config(model), "separate_inputs", False))
        return tuple(model.get_submodule(path) for path in self.inputs) if separate else ()

    def vocab_size(self, model: Any) -> int:
        """How many tokens `model` knows."""
        return int(text_config(model).vocab_size)

    def pad_token(self, model: Any) -> int | None:
        """The id of the padding token of `model`; None if the config names none."""
        return getattr(text_config(model), "pad_token_id", None)

    def bind(self, model: Any) -> tuple[Block, ...]:
        """The blocks of `model`."""
        graph = self.graph(model)
        modules = model.get_submodule(self.blocks)
        return tuple(self._block(module, graph) for module in modules[: graph.layers])

    def last_norm(self, model: Any) -> Norm:
        """The norm of `model` before the unembedding."""
        return self._norm(model, self.final_norm)

    def logits(self, model: Any, unembedded: Tensor) -> Tensor:
        """The logits that `model` makes of `unembedded`, the outputs of its unembedding."""
        logits = self.uncapped(model, unembedded)
        cap = getattr(text_config(model), self.logit_cap) if self.logit_cap else None
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def uncapped(self, model: Any, unembedded: Tensor) -> Tensor:
        """The logits that `model` makes of `unembedded` before a soft cap: a linear map."""
        return unembedded / getattr(text_config(model), self.logit_divisor) if self.logit_divisor else unembedded

    def _block(self, module: nn.Module, graph: Graph) -> Block:
        attention = module.get_submodule(self.attention)
        mlp_norm = (graph.parallel and self.parallel_norm) or self.mlp_norm
        paths = (self.mlp,) if isinstance(self.mlp, str) else self.mlp
        return Block(
            module=module,
            attention_norm=self._norm_before(module, self.attention_norm, self.attention),
            attention=attention,
            projections=self.projections(attention, self.projection_names, graph.heads, graph.kv_heads, self.counts),
            output=attention.get_submodule(self.output),
            attention_post=self._norm(module, self.attention_post) if self.attention_post else None,
            mlp_norm=self._norm_before(module, mlp_norm, paths[0]) if graph.mlps else None,
            mlp=MLP(module, paths) if graph.mlps else None,
            mlp_post=self._norm(module, self.mlp_post) if self.mlp_post else None,
            multiplier=self.multiplier,
        )

    def _norm_before(self, owner: nn.Module, path: str, sublayer: str) -> Norm:
        """The norm before a sublayer; without one, what the sublayer gets is the stream."""
        return self._norm(owner, path) if path else Norm(owner.get_submodule(sublayer), NormKind.NONE)

    def _norm(self, owner: nn.Module, path: str) -> Norm:
        module = owner.get_submodule(path)
        return Norm(module, NormKind.NONE if isinstance(module, nn.Identity) else self.norm)
