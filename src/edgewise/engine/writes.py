"""Writes: the outputs of all writers of one run in compact form, expanded to [writer, token, d_model] piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.models.subject import Subject


@final
@dataclass(frozen=True)
class Writes:
    """Every writer's output, compactly.

    `inputs` [example, position, input, d_model]; `z` per layer [example, position, head, d_head], of which head h writes
    z_h · output_weight[h] (with a norm after attention z already holds that norm's scale; `raw` is without it);
    `mlp` per layer [example, position, d_model]. Leading axes may be 1 where all examples or positions share a value.
    """

    inputs: Tensor
    z: list[Tensor]
    mlp: list[Tensor]
    raw: list[Tensor]

    @property
    def stream(self) -> Tensor:
        """What enters layer 0, the input writers together: [example, position, d_model]."""
        return self.inputs.sum(dim=-2)

    def minus(self, other: Writes, dtype: torch.dtype) -> Writes:
        """The difference of two runs, in `dtype`. `raw` is not part of it."""
        return Writes(
            inputs=self.inputs.to(dtype) - other.inputs.to(dtype),
            z=[a.to(dtype) - b.to(dtype) for a, b in zip(self.z, other.z, strict=True)],
            mlp=[a.to(dtype) - b.to(dtype) for a, b in zip(self.mlp, other.mlp, strict=True)],
            raw=[],
        )

    def flat(self) -> Writes:
        """With the example and position axes merged into one token axis. `raw` is not part of it."""
        return Writes(
            self.inputs.flatten(0, 1), [z.flatten(0, 1) for z in self.z], [m.flatten(0, 1) for m in self.mlp], []
        )

    def at(self, tokens: Tensor) -> Writes:
        """Flat writes at some tokens alone. `raw` is not part of it."""
        chosen = [[x.index_select(0, tokens) for x in some] for some in ([self.inputs], self.z, self.mlp)]
        return Writes(chosen[0][0], chosen[1], chosen[2], [])


@final
@dataclass(frozen=True)
class WriteChange:
    """What the writers write more in the clean run than where they are replaced, in `dtype`.

    It is taken for some tokens at a time: of all of them it would be as large as both runs together.
    """

    clean: Writes
    replaced: Writes
    dtype: torch.dtype

    @property
    def tokens(self) -> int:
        """Tokens of all examples together."""
        return self.clean.inputs.shape[0] * self.clean.inputs.shape[1]

    def at(self, rows: slice) -> Writes:
        """Flat writes at the tokens `rows`. `raw` is not part of it."""
        of_clean, of_replaced = self._picker(self.clean, rows), self._picker(self.replaced, rows)

        def difference(clean: Tensor, replaced: Tensor) -> Tensor:
            return of_clean(clean).to(self.dtype) - of_replaced(replaced)

        return Writes(
            inputs=difference(self.clean.inputs, self.replaced.inputs),
            z=[*map(difference, self.clean.z, self.replaced.z)],
            mlp=[*map(difference, self.clean.mlp, self.replaced.mlp)],
            raw=[],
        )

    def _picker(self, writes: Writes, rows: slice) -> Callable[[Tensor], Tensor]:
        """What takes the tokens `rows` of a tensor [example, position, ..]; leading axes may be 1."""
        examples, width = self.clean.inputs.shape[:2]
        if writes.inputs.shape[:2] == (examples, width):
            return lambda x: x.flatten(0, 1)[rows]
        numbers = torch.arange(rows.start, rows.stop, device=writes.inputs.device)

        def pick(x: Tensor) -> Tensor:
            of_example = numbers // width if x.shape[0] > 1 else torch.zeros_like(numbers)
            return x[of_example, numbers % width if x.shape[1] > 1 else torch.zeros_like(numbers)]

        return pick


def expand(subject: Subject, writes: Writes, rows: slice, out: Tensor) -> Tensor:
    """Fill `out` [writer, token, d_model] with the outputs of all writers at the token `rows` of flat writes."""
    graph = subject.graph
    out[: len(graph.inputs)] = writes.inputs[rows].transpose(0, 1)
    for layer, block in enumerate(subject.blocks):
        z = writes.z[layer][rows].transpose(0, 1).to(out.dtype)
        torch.bmm(z, block.output_weight.to(out.dtype), out=out[graph.head_writers(layer)])
        if graph.mlps:
            out[graph.mlp_writer(layer)] = writes.mlp[layer][rows]
    return out
