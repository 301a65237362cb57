"""Compiled models: a Program made into a toy transformer, with a tokenizer that knows its words.

All weights the program does not set are drawn at random from multiples of 1/16, the same on every machine and exact in
every dtype; they read the whole stream and write to the space `noise`, and weakly to all others if the program lets them
leak.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.models.toy import ToyConfig, ToyTransformer
from edgewise.programs.base import NOISE, Head, Neurons, Program, Read

HEAD_DIM, RANDOM_NEURONS, UNKNOWN = 16, 8, "?"


def compiled(program: Program) -> ToyTransformer:
    """The model of a program, in float32 and evaluation mode; always the same."""
    with torch.random.fork_rng(devices=()):  # modules draw their first weights: from nobody else's random numbers
        model = ToyTransformer(_config(program)).double().requires_grad_(False)
    _Compiler(program, model).fill()
    return model.float().eval()


def tokenizer(program: Program) -> Any:
    """A Hugging Face tokenizer for the program's words, which stand apart in a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(program.words)}, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token=UNKNOWN)


def _config(program: Program) -> ToyConfig:
    neurons = max([0, *(len(node.bias) for node in program.nodes if isinstance(node, Neurons))])
    return ToyConfig(
        vocab_size=len(program.words),
        hidden_size=sum(program.spaces.values()),
        num_hidden_layers=program.layers,
        num_attention_heads=program.heads,
        num_key_value_heads=program.heads,
        head_dim=HEAD_DIM,
        intermediate_size=neurons + RANDOM_NEURONS,
        n_positions=len(program.positions),
        norms=False,
        causal=program.causal,
        activation="relu",
        separate_inputs=True,
    )


@final
class _Compiler:
    """Fills a model with noise, and then the program's nodes with the program."""

    def __init__(self, program: Program, model: ToyTransformer) -> None:
        self.program, self.model = program, model
        ends = torch.tensor(list(program.spaces.values())).cumsum(0).tolist()
        self.places = {
            space: slice(end - width, end) for (space, width), end in zip(program.spaces.items(), ends, strict=True)
        }
        self.generator = torch.Generator().manual_seed(0)

    def fill(self) -> None:
        """Set every weight of the model."""
        noise = self.places[NOISE]
        for parameter in self.model.parameters():
            parameter.zero_()
        for table, space, rows in (
            (self.model.embed.weight, "token", self.program.tokens),
            (self.model.positions.weight, "position", self.program.positions),
        ):
            table[:, noise] = self._draw(*table[:, noise].shape)
            table[:, self.places[space]] = rows
        for block in self.model.layers:
            self._fill_block(block, noise)
        for node in self.program.nodes:
            if isinstance(node, Head):
                self._head(node)
            else:
                self._neurons(node)
        self.model.unembed.weight.copy_(self._rows(self.program.unembed))

    def _fill_block(self, block: Any, noise: slice) -> None:
        attention = block.attention
        readers = (attention.q_proj, attention.k_proj, attention.v_proj, block.mlp[0])
        for linear in readers:
            linear.weight.copy_(self._draw(*linear.weight.shape))
        for linear in (attention.o_proj, block.mlp[2]):
            loudness = torch.full((len(linear.weight), 1), self.program.leak, dtype=torch.float64)
            loudness[noise] = 1
            linear.weight.copy_(loudness * self._draw(*linear.weight.shape))
            linear.bias[noise] = self._draw(*linear.bias[noise].shape)

    def _head(self, node: Head) -> None:
        """Queries and keys are the program's alone; dimensions that its values leave free go on writing noise."""
        attention: Any = self.model.layers[node.layer].attention
        first = node.head * HEAD_DIM
        for linear, read, scale in (
            (attention.q_proj, node.query, HEAD_DIM**0.5),
            (attention.k_proj, node.key, 1.0),
        ):
            linear.weight[first : first + HEAD_DIM] = 0
            if read is not None:
                linear.weight[first : first + len(read.weight)] = scale * self._rows(read)
        used = slice(first, first + len(node.value.weight))
        attention.v_proj.weight[used] = self._rows(node.value)
        self._write(attention.o_proj, used, torch.eye(len(node.value.weight), dtype=torch.float64), node.to)

    def _neurons(self, node: Neurons) -> None:
        """The first neurons are the program's; the others go on writing noise."""
        block: Any = self.model.layers[node.layer]
        into, _, out = block.mlp
        used = slice(0, len(node.bias))
        into.weight[used] = sum(self._rows(read) for read in node.inputs)
        into.bias[used] = node.bias
        self._write(out, used, node.write, node.to)
        out.bias[self.places[node.to]] = node.shift

    def _write(self, out: nn.Linear, used: slice, weight: Tensor, space: str) -> None:
        out.weight[:, used] = 0
        out.weight[self.places[space], used] = weight

    def _rows(self, read: Read) -> Tensor:
        """[row, d_model]: the weight of a read where its space is, zero elsewhere."""
        rows = torch.zeros(len(read.weight), sum(self.program.spaces.values()), dtype=torch.float64)
        rows[:, self.places[read.space]] = read.weight
        return rows

    def _draw(self, *shape: int) -> Tensor:
        return torch.randint(-4, 5, shape, generator=self.generator).double() / 16
