"""Contexts: what each layer's attention is called with beside the stream: masks, rotary angles and so on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch

from edgewise.models.block import Block
from edgewise.models.hooks import OnKeywords, hooked, steady

CONTEXTS_KEPT = 8


@final
class Contexts:
    """The keyword arguments of each layer's attention, by the width of prompts, as a model gives them; the last few are kept.

    Prompts are padded on the right, so that these depend on the width alone.
    """

    def __init__(self, model: Any, blocks: Sequence[Block]) -> None:
        self._model, self._blocks = model, blocks
        self._kept: dict[int, list[dict[str, Any]]] = {}

    def of(self, width: int, token: int, device: torch.device) -> list[dict[str, Any]]:
        """Those of prompts of `width` tokens, here always `token`. Their tensors lead with an axis of 1 or none."""
        if width not in self._kept:
            if len(self._kept) >= CONTEXTS_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[width] = self._captured(torch.full((1, width), token, device=device))
        return self._kept[width]

    def _captured(self, tokens: torch.Tensor) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        hooks = [OnKeywords(block.attention, lambda kwargs: seen.append(dict(kwargs))) for block in self._blocks]
        with steady(self._model), torch.no_grad(), hooked(hooks):
            self._model(input_ids=tokens, use_cache=False, logits_to_keep=1)
        return [{k: v for k, v in kwargs.items() if k != "hidden_states"} for kwargs in seen]
