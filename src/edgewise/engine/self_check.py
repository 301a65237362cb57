"""The self-check every model passes before it is used: walking it reproduces its native run."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from edgewise.engine.forward import masked_forward
from edgewise.engine.record import Recording, record
from edgewise.engine.replacement import Replacement
from edgewise.engine.roles import check_roles
from edgewise.engine.writes import expand
from edgewise.errors import EdgewiseError, NumericalError, UnsupportedModel
from edgewise.models.subject import Subject
from edgewise.models.weights import keeping

EXAMPLES, WIDTH = 2, 6
# How far sums of hundreds of rounded terms may stray, relative to the size of what is summed.
# float16 has three more significant bits than bfloat16.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.0125}


def checked(build: Callable[[torch.dtype | None], Subject], dtype: torch.dtype | None) -> Subject:
    """The model that `build` makes in `dtype` (None: the checkpoint's own), after its self-check.

    A float16 that is the checkpoint's own and too narrow for the model is given up for float32, with a warning.
    """
    subject = build(dtype)
    try:
        return subject.hold_to(self_check)
    except (NumericalError, UnsupportedModel) as error:
        if dtype is not None or subject.dtype != torch.float16:
            raise
        reason = str(error).partition(";")[0]
    del subject  # before it is loaded once more, at twice the size
    wider = build(torch.float32)
    wider.hold_to(self_check)
    warnings.warn(f"{wider.name} runs in float32, not in the float16 of its checkpoint: there {reason}", stacklevel=3)
    return wider


# What modules raise that get what they do not expect.
_OF_MODULES = (RuntimeError, TypeError, ValueError, AttributeError, KeyError, IndexError)


def self_check(subject: Subject) -> None:
    """Raise UnsupportedModel, with the first layer that differs, unless edgewise reproduces the model.

    The parts must do what the family says, the writers sum up to the residual stream, and walking with every edge kept
    must give the native logits.
    """
    try:
        _check(subject)
    except (EdgewiseError, torch.OutOfMemoryError):
        raise
    except _OF_MODULES as error:
        first = (str(error).strip() or "no message").splitlines()[0]
        raise UnsupportedModel(
            f"{type(subject.model).__name__} as family {subject.family.name!r} cannot be walked: its modules are called in a "
            f"way they do not know ({type(error).__name__}: {first})"
        ) from error


@torch.no_grad()
@keeping()
def _check(subject: Subject) -> None:
    generator = torch.Generator().manual_seed(0)
    width = min(WIDTH, subject.longest_prompt or WIDTH)
    tokens = torch.randint(0, subject.vocab_size, (2 * EXAMPLES, width), generator=generator)
    tokens = tokens.masked_fill(
        tokens == (-1 if subject.pad_token is None else subject.pad_token), subject.ordinary_token
    )
    tokens = tokens.to(subject.device)
    check_roles(subject, tokens[:EXAMPLES])
    positions = torch.full((EXAMPLES,), width - 1, device=subject.device)
    clean = record(subject, tokens[:EXAMPLES], positions)
    _check_sums(subject, clean)
    other = record(subject, tokens[EXAMPLES:], positions)
    everything = subject.graph.edge_mask.to(subject.work_dtype)
    walked = masked_forward(subject, tokens[:EXAMPLES], positions, everything, Replacement.of_run(other))
    if not (error := _distance(subject, walked, clean.logits)) <= 1:
        raise _refusal(subject, f"walking it with every edge kept misses its own logits by {error:.1f} × the tolerance")


def _check_sums(subject: Subject, clean: Recording) -> None:
    graph, flat = subject.graph, clean.writes.flat()
    tokens = len(flat.inputs)
    buffer = torch.empty(len(graph.writers), tokens, subject.d_model, dtype=subject.work_dtype, device=subject.device)
    writers = expand(subject, flat, slice(0, tokens), buffer)
    bias = torch.zeros(subject.d_model, dtype=subject.work_dtype, device=subject.device)
    for layer, block in enumerate(subject.blocks):
        bias = bias if block.output_bias is None else bias + block.output_bias.to(bias.device)
        summed = writers[: graph.writers_before(layer + 1)].sum(dim=0) + bias
        last = layer == graph.layers - 1
        stream = (clean.final_in if last else clean.attention_in[layer + 1]).flatten(0, 1)
        if not _distance(subject, summed, stream) <= 1:
            whose = _missing(subject, clean, layer, writers, bias)
            raise _refusal(subject, f"its writers do not add up to the residual stream after layer {layer}{whose}")


def _missing(subject: Subject, clean: Recording, layer: int, writers: Tensor, bias: Tensor) -> str:
    """Whose writes miss the stream, where that can be told, and the fields of the family that say what they are."""
    graph = subject.graph
    if graph.parallel or not graph.mlps:
        return ""
    heads = writers[: graph.mlp_writer(layer)].sum(dim=0) + bias
    if _distance(subject, heads, clean.mlp_in[layer].flatten(0, 1)) > 1:
        return ": what its heads write is not what attention adds (output, attention_post)"
    return ": what its MLP writes is not what is added (mlp, mlp_post)"


def _distance(subject: Subject, ours: Tensor, native: Tensor) -> float:
    """The largest difference, in units of the tolerance; NaN where something is not finite."""
    ours, native = ours.double(), native.to(ours.device).double()
    return float((ours - native).abs().max() / (TOLERANCE[subject.precision] * native.abs().max().clamp(min=1e-6)))


def _refusal(subject: Subject, what: str) -> UnsupportedModel:
    unknown = "its configuration computes something edgewise does not know"
    narrow = "float16 may be too narrow for it: load it in float32"
    return UnsupportedModel(
        f"{type(subject.model).__name__} ({subject.name}) does not pass the self-check: {what}; "
        f"{narrow if subject.dtype == torch.float16 else unknown}"
    )
