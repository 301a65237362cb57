"""The contract of a model family: a declaration of where a Hugging Face class keeps its parts.

A family file names the sites of one block and the config attributes it handles. Attributes that change the computation
and are not handled are refused by name, as is every class that no family names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgewise.errors import UnsupportedModel
from edgewise.graph import ONE_INPUT, SEPARATE_INPUTS, Graph
from edgewise.models.configs import check_config, text_config
from edgewise.models.declaration import check_fields, check_fit
from edgewise.models.hooks import Hook, Keep, OnInput, OnOutput
from edgewise.models.mlp import MLP
from edgewise.models.norms import Norm, NormKind
from edgewise.models.projections import Projections
from edgewise.models.weights import effective, is_stored

# The kernel by which transformers runs experts unless told otherwise.
GROUPED_EXPERTS = "grouped_mm"


@dataclass(frozen=True)
class Block:
    """One layer, bound to the modules of a model.

    `multiplier`: the attribute of `module` by which it multiplies all it adds to the residual stream; empty for none.
    """

    module: nn.Module
    attention_norm: Norm
    attention: nn.Module
    projections: Projections
    output: nn.Module
    attention_post: Norm | None
    mlp_norm: Norm | None
    mlp: MLP | None
    mlp_post: Norm | None
    multiplier: str = ""

    @property
    def output_weight(self) -> Tensor:
        """[head, d_head, d_model]: what head h writes is z_h · output_weight[h], times the post norm's scale if any."""
        weight = effective(self.output)[0].T.unflatten(0, (self.projections.heads, -1))
        return self.multiplied(weight if self.attention_post is None else weight * self.attention_post.gain(weight))

    def output_weight_later(self) -> Callable[[], Tensor]:
        """What gives `output_weight` at any time; it holds on to it only where that costs nothing."""
        if not is_stored(self.output):
            return lambda: self.output_weight
        weight = self.output_weight
        return lambda: weight

    @property
    def output_bias(self) -> Tensor | None:
        """[d_model]: what the output projection's bias adds to the stream, which belongs to no head."""
        bias = effective(self.output)[1]
        return None if bias is None else self.multiplied(bias)

    @property
    def coupled(self) -> bool:
        """Whether what a head writes depends on what other heads of the layer read."""
        return self.attention_post is not None or self.projections.together > 1

    @property
    def mlp_site(self) -> nn.Module | None:
        """The module whose output, multiplied, is what the MLP writes: its post norm if there is one."""
        if self.mlp is None:
            return None
        return self.mlp.steps[-1] if self.mlp_post is None else self.mlp_post.module

    def mlp_stream(self, action: Keep) -> list[Hook]:
        """Hooks for the residual stream that the MLP's norm reads; none without an MLP."""
        if self.mlp is None or self.mlp_norm is None:
            return []
        return [self.mlp.hook(OnInput(self.mlp_norm.module, action))]

    def mlp_normed(self, action: Keep) -> list[Hook]:
        """Hooks for what the MLP alone is given by its norm, which attention may read too; none without an MLP."""
        return [] if self.mlp is None else [self.mlp.hook(OnInput(self.mlp.steps[0], action))]

    def mlp_written(self, action: Keep) -> list[Hook]:
        """Hooks for what the MLP writes, before it is multiplied; none without one."""
        if self.mlp is None or self.mlp_site is None:
            return []
        return [self.mlp.hook(OnOutput(self.mlp_site, action))]

    def attention_write(self, stream: Tensor, context: dict[str, Any]) -> Tensor:
        """What the heads and the bias add to a stream [.., position, d_model], by the native modules."""
        result = self.attention(hidden_states=self.attention_norm(stream), **context)
        return self.attention_added(result[0] if isinstance(result, tuple) else result)

    def attention_added(self, out: Tensor) -> Tensor:
        """What is added to the stream when the output projection gives `out`."""
        return self.multiplied(out if self.attention_post is None else self.attention_post(out))

    def mlp_write(self, stream: Tensor) -> Tensor:
        """What the MLP writes for a stream [(..,) token, d_model], by the native modules."""
        assert self.mlp is not None
        assert self.mlp_norm is not None
        normed = self.mlp_norm(stream)
        # A mixture of experts counts the axes of what it gets.
        out = self.mlp(normed) if normed.ndim > 2 else self.mlp(normed[None])[0]
        return self.multiplied(out if self.mlp_post is None else self.mlp_post(out))

    def multiplied(self, x: Tensor) -> Tensor:
        """As much of x as the block adds to the stream."""
        return x * getattr(self.module, self.multiplier) if self.multiplier else x

    def divided(self, x: Tensor) -> Tensor:
        """What the block multiplies to get x."""
        return x / getattr(self.module, self.multiplier) if self.multiplier else x


@dataclass(frozen=True)
class Family:
    """Where a class keeps its parts. Paths are relative to the model (`blocks`, `final_norm`, `inputs`) or to a block.

    `mlp`: the module, or those that the block calls one after the other. `attention_norm`, `mlp_norm`: empty where nothing is
    normed before. `parallel`: whether attention and MLP read the same stream, always or where the config attribute of this
    name says so; `parallel_norm`: the norm before the MLP there, if it is another one than `mlp_norm`. `multiplier`: the
    attribute of a block by which it multiplies what it adds to the stream. `logit_cap`, `logit_divisor`: the config
    attributes by which logits are capped and divided. `equal`: config attributes that must have the value of another.
    `part`: what of a checkpoint it is, unless it is all.
    `inputs`: the token and the position embedding, in the order of the forward pass, of a class whose config can ask
    (`separate_inputs`) for them as two writers; what they give adds up to the input of the first block.
    `handled`: the values that config attributes may have. `native`: attributes that may have any value, since all they do
    they do inside modules that are run as they are; those of models/configs.py need not be named again.
    `counts`: attributes of the attention module which grow with its number of heads, where its code goes by such numbers
    (`num_heads`, a width it reshapes to); fewer heads are run with fewer.
    A declaration that cannot be right, or does not fit the model, is refused by the name of its field (declaration.py).
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
        check_fields(self)

    def graph(self, model: Any) -> Graph:
        """The graph of a model of this family."""
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
        """Whether attention and MLP read the same stream."""
        named = isinstance(self.parallel, str) and self.parallel
        return bool(getattr(config, named) if named else self.parallel)

    def input_modules(self, model: Any) -> tuple[nn.Module, ...]:
        """The modules whose outputs are the input writers; none where all that enters layer 0 is one writer."""
        separate = bool(getattr(text_config(model), "separate_inputs", False))
        return tuple(model.get_submodule(path) for path in self.inputs) if separate else ()

    def check(self, model: Any) -> None:
        """Refuse, by name, what the config asks for and is not handled, and fields that do not fit the model."""
        check_config(model, self)
        config = text_config(model)
        is_double = next(model.parameters()).dtype == torch.float64
        if is_double and getattr(config, "_experts_implementation", None) == GROUPED_EXPERTS:
            raise UnsupportedModel(
                f"the experts of {type(model).__name__} run as {GROUPED_EXPERTS!r}, which knows no float64; "
                'call model.set_experts_implementation("eager") first'
            )
        check_fit(model, self)

    def bind(self, model: Any) -> tuple[Block, ...]:
        """The blocks of a model."""
        graph = self.graph(model)
        modules = model.get_submodule(self.blocks)
        return tuple(self._block(module, graph) for module in modules[: graph.layers])

    def last_norm(self, model: Any) -> Norm:
        """The norm before the unembedding."""
        return self._norm(model, self.final_norm)

    def logits(self, model: Any, unembedded: Tensor) -> Tensor:
        """What the model makes of the outputs of its unembedding."""
        config = text_config(model)
        logits = unembedded / getattr(config, self.logit_divisor) if self.logit_divisor else unembedded
        cap = getattr(config, self.logit_cap) if self.logit_cap else None
        return logits if cap is None else torch.tanh(logits / cap) * cap

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
