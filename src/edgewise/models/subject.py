"""Subject: a Hugging Face model seen through its Graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from edgewise.arguments import explained_methods
from edgewise.errors import InvalidValue, PairsError, UnsupportedModel
from edgewise.graph import Graph
from edgewise.models.adapters import check_adapters
from edgewise.models.block import Block
from edgewise.models.configs import check_positions, check_tokens, longest_prompt
from edgewise.models.contexts import Contexts
from edgewise.models.door import Door
from edgewise.models.family import Family
from edgewise.models.family_fit import check_family
from edgewise.models.finite import finite
from edgewise.models.hooks import Hook, OnOutput, hooked, input_of, steady
from edgewise.models.identity import Origin, sent, weight_facts
from edgewise.models.norms import Norm
from edgewise.models.placement import check_placement, device_of
from edgewise.models.text_config import text_config
from edgewise.models.ungrouped import KeyValues, with_readers
from edgewise.models.weights import check, compute_dtype, rounds_to
from edgewise.pairs import Pairs

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")}


@final
@explained_methods
class Subject:
    """A model, its tokenizer and its graph; build one with `load`, which never changes the model.

    `model`: the Hugging Face model; with `kv` "ungrouped" a twin that has k and v weights for every query head.
    `tokenizer`, `name`: its tokenizer, or None; what files call it.
    `family`, `origin`: where its class keeps its parts; where it was loaded from.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        family: Family,
        name: str,
        kv: KeyValues = "native",
        *,
        origin: Origin | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.family = family
        self.name = name
        self.origin = origin or Origin()
        self._door = Door(model, name, partial(self._look, model, kv))

    def _look(self, model: Any, kv: KeyValues) -> None:
        """Read from the model, as it is now, what is kept of it."""
        check_family(model, self.family)
        check_adapters(model, self.family)
        self.model = with_readers(model, self.family, kv)
        self.kv: KeyValues = "native" if self.model is model else "ungrouped"
        self.graph: Graph = self.family.graph(self.model)
        self.blocks: tuple[Block, ...] = self.family.bind(self.model)
        self.final_norm: Norm = self.family.last_norm(self.model)
        self._contexts = Contexts(self.model, self.blocks)
        self._identity: dict[str, Any] | None = None
        self._refuse_unusual()

    def at_work(self) -> AbstractContextManager[None]:
        """While inside, the model is this caller's alone, in neutral surroundings, and as it is now (door.py)."""
        return self._door.inside()

    def hold_to(self, check: Callable[[Subject], None]) -> Subject:
        """Itself, if it passes `check`, as it will have to again whenever the model has changed."""
        with self.at_work():
            check(self)
        self._door.check = partial(check, self)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """A Subject is sent to another process as the name it is loaded by; its weights stay where they are."""
        return sent(self.name, self.origin), (self.identity,)

    @property
    def config(self) -> Any:
        """The model's config; of a model with several towers the part of it that is about text."""
        return text_config(self.model)

    @property
    def d_model(self) -> int:
        """The width of the residual stream."""
        return int(self.config.hidden_size)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype the model computes in: that of its weights, unless they are kept in few bits."""
        return compute_dtype(self.model)

    @property
    def precision(self) -> torch.dtype:
        """The dtype that the model's products are about as exact as: a coarser one where weights are kept in few bits."""
        return rounds_to(self.model, self.dtype)

    @property
    def work_dtype(self) -> torch.dtype:
        """The dtype of edgewise's own sums over writers: float32 for half-precision models, else the model's."""
        return torch.float32 if self.dtype.itemsize < 4 else self.dtype

    @property
    def device(self) -> torch.device:
        """Where tokens enter, and what spans layers lies: logits, masks, sums. A layer's own: `Block.device`."""
        return device_of(self.model) or torch.device("cpu")

    @property
    def final_device(self) -> torch.device:
        """Where the final norm does its work."""
        return device_of(self.final_norm.module) or self.device

    @property
    def causal(self) -> bool:
        """Whether tokens after the answer position can be left out."""
        return bool(getattr(self.config, "causal", True))

    @property
    def identity(self) -> dict[str, Any]:
        """What a file needs to name this model: name, architecture, dtype, and hub revision or hash of the weights."""
        with self.at_work():
            if self._identity is None:
                self._identity = self._facts()
            return dict(self._identity)

    def _facts(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "architecture": type(self.model).__name__,
            "dtype": str(self.dtype).removeprefix("torch."),
            **({"part": self.family.part} if self.family.part else {}),
            **({"kv": self.kv} if self.kv != "native" else {}),
            **(self.origin.file or {}),
            **weight_facts(self.model, self.origin.adapter),
        }

    @property
    def vocab_size(self) -> int:
        """How many tokens the model knows."""
        return self.family.vocab_size(self.model)

    @property
    def pad_token(self) -> int | None:
        """The token that stands for padding, if the model has one."""
        return self.family.pad_token(self.model)

    @property
    def heads_share_norm(self) -> bool:
        """Whether one norm spans heads of a layer, so that what a head writes depends on what others read.

        It may norm what all heads write together (Gemma-2), or all queries and all keys of a layer (OLMo-2).
        """
        return self.blocks[0].attention_post is not None or self.kv_heads_together > 1

    @property
    def kv_heads_together(self) -> int:
        """How many kv-heads of a layer have to run at once."""
        return self.blocks[0].projections.together

    @property
    def ordinary_token(self) -> int:
        """A token id that is not the padding token, which models complain about when they see it unmasked."""
        return int(self.pad_token == 0)

    def ready(self, batch: Pairs) -> Pairs:
        """The batch on the model's device, without padding that no prompt of it needs.

        Raises PairsError for prompts of several lengths if the model reads in both directions: it would read their padding.
        """
        if self.causal:
            return batch.trimmed().to(self.device)
        if batch.after == "padding" and bool((batch.positions != batch.clean.shape[1] - 1).any()):
            raise PairsError(
                f"{self.name} reads in both directions, so it would read the padding after the answer position; "
                'give prompts of one length, with after="prompt" if they go on after the answer position'
            )
        return batch.to(self.device)

    def logits(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Native logits [example, vocab] at the answer positions alone; checks tokens and result.

        `tokens`: int64 [example, position]; `positions`: int64 [example]. Raises InvalidValue, NumericalError.
        """
        check_tokens(tokens, self.vocab_size, self.longest_prompt, self.name)
        check_positions(positions, tokens)
        kept, where = positions.unique(return_inverse=True)
        with self._door.alone(), steady(self.model):
            logits = self.model(input_ids=tokens, use_cache=False, logits_to_keep=kept.to(self.final_device)).logits
        return finite(logits.to(tokens.device)[torch.arange(len(tokens), device=tokens.device), where], self.name)

    def unembed(self, x: Tensor) -> Tensor:
        """Final norm and unembedding of [.., d_model], soft cap included, as the model does it."""
        if x.shape[-1] != self.d_model:
            raise InvalidValue(f"x must have {self.d_model} coordinates, [.., d_model], not {list(x.shape)}")
        unembedding = self.model.get_output_embeddings()
        normed = self.final_norm(x.to(self.final_device))
        return self.family.logits(self.model, unembedding(normed.to(device_of(unembedding))).to(self.device))

    def embed(self, tokens: Tensor) -> Tensor:
        """What the input writers write, which together enters layer 0: [example, position, input, d_model]."""
        check_tokens(tokens, self.vocab_size, self.longest_prompt, self.name)
        parts: list[Tensor] = []
        with self._door.alone(), hooked(self.input_hooks(parts)):
            run = partial(self.model, input_ids=tokens, use_cache=False, logits_to_keep=1)
            return self.inputs(input_of(self.blocks[0].module, run), parts)

    def input_hooks(self, parts: list[Tensor]) -> list[Hook]:
        """Hooks that put what each of several input writers writes into `parts`; none where there is one."""
        return [OnOutput(module, parts.append) for module in self.family.input_modules(self.model)]

    def inputs(self, stream: Tensor, parts: list[Tensor]) -> Tensor:
        """[example, position, input, d_model], for the stream that enters layer 0 and the parts that hooks have seen."""
        stream = stream.to(self.device)
        return torch.stack([part.expand_as(stream) for part in parts], dim=-2) if parts else stream.unsqueeze(-2)

    def context(self, width: int) -> list[dict[str, Any]]:
        """The keyword arguments each layer's attention gets for prompts of `width` tokens: masks, rotary angles and so on."""
        return self._contexts.of(width, self.ordinary_token, self.device)

    @property
    def longest_prompt(self) -> int | None:
        """The most tokens the model takes, if it says so, without a change of the angles of all of them."""
        return longest_prompt(self.config)

    def _refuse_unusual(self) -> None:
        """UnsupportedModel for weights that cannot be worked with, and for a projection that does not apply its matrix."""
        check_placement(self.model, [block.module for block in self.blocks])
        if self.dtype not in DTYPES.values():
            raise UnsupportedModel(f"weights of {self.dtype} are not supported; load the model as {', '.join(DTYPES)}")
        if any(parameter.is_inference() for parameter in self.model.parameters()):
            raise UnsupportedModel("its weights were made in inference mode; make or load the model outside of it")
        with steady(self.model):
            for layer, block in enumerate(self.blocks):
                for module in (*block.projections.modules, block.output):
                    check(module, f"layer {layer}", self.dtype, block.device)

    def __repr__(self) -> str:
        return f"<Subject: {self.name}, {self.graph}>"
