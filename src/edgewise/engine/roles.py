"""Whether the parts of a model do what its family says they do: each refusal names the field that is wrong.

One native run shows which modules are called, and what they are given; norms and one layer's attention are tried alone.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.engine.head_roles import check_heads
from edgewise.engine.role_refusals import STRAYING, relative_distance, wrong_field
from edgewise.errors import UnsupportedModel
from edgewise.models.block import Block
from edgewise.models.finite import finite
from edgewise.models.hooks import Hook, OnCall, OnOutput, hooked, steady
from edgewise.models.norms import Norm, NormKind
from edgewise.models.placement import device_of
from edgewise.models.subject import Subject


@torch.no_grad()
def check_roles(subject: Subject, tokens: Tensor) -> None:
    """Raise UnsupportedModel, with the field of the family, unless the modules it names are what it says. For any tokens."""
    # Also where modules are called one by one: kernels of few bits would repack their weights.
    with steady(subject.model):
        _check_arguments(subject, tokens)
        seen = _Seen(subject)
        with hooked(seen.hooks):
            logits = subject.model(input_ids=tokens, use_cache=False).logits
        finite(logits[:, -1], subject.name)
        seen.check()
        for name, norm in _norms(subject):
            _check_norm(subject, name, norm)
        check_heads(subject, subject.embed(tokens[:1]).sum(dim=-2))


def _check_arguments(subject: Subject, tokens: Tensor) -> None:
    """The model and its attention modules can be called as edgewise calls them."""
    model, attention = subject.model, subject.blocks[0].attention
    parameters = inspect.signature(attention.forward).parameters.values()
    if not any(
        parameter.name == "hidden_states" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters
    ):
        kind = type(attention).__name__
        raise wrong_field(
            subject, "attention", f"is called with hidden_states=, and the forward of {kind} takes no such argument"
        )
    if model.get_output_embeddings() is None:
        raise UnsupportedModel(
            f"{type(model).__name__}.get_output_embeddings() returns no module, and edgewise needs it to unembed"
        )
    kept = torch.tensor([tokens.shape[1] - 1], device=subject.final_device)
    try:
        logits = model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits
    except (TypeError, AttributeError) as error:
        raise UnsupportedModel(
            f"{type(model).__name__} must accept input_ids, use_cache and logits_to_keep and return an object with "
            f"logits, as causal models of transformers do ({error})"
        ) from error
    if logits.shape[1] != 1:
        raise UnsupportedModel(
            f"{type(model).__name__} gives logits of {logits.shape[1]} positions where logits_to_keep asks for 1; "
            "its forward must obey logits_to_keep, as causal models of transformers do"
        )


# -- what is called, and with what ------------------------------------------------------------------------------------


@final
@dataclass
class _Seen:
    """What the modules of a family are given and give in one run."""

    subject: Subject
    calls: dict[nn.Module, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    @property
    def hooks(self) -> list[Hook]:
        """To be in place during the run."""
        hooks: list[Hook] = []
        modules = [self.subject.final_norm.module, self.subject.model.get_output_embeddings()]
        for block in self.subject.blocks:
            modules += [module for name, module in _parts(block) if name != "attention"]
            # The attention module gives a tuple, and gets its input by name.
            hooks.append(OnOutput(block.attention, partial(self._keep, block.attention, None)))
        return [*hooks, *(OnCall(module, partial(self._keep, module)) for module in dict.fromkeys(modules))]

    def _keep(self, module: nn.Module, x: Any, out: Any) -> None:
        self.calls.setdefault(module, []).append((x, out))

    def check(self) -> None:
        """Every part is called once, on what the part before it gives."""
        subject = self.subject
        for layer, block in enumerate(subject.blocks):
            for name, module in _parts(block):
                times = len(self.calls.get(module, ()))
                if times != 1:
                    raise wrong_field(subject, name, f"is called {times} times in layer {layer}, not once")
            self._check_block(block, layer)
        if len(self.calls.get(subject.final_norm.module, ())) != 1:
            raise wrong_field(subject, "final_norm", "is not called once")
        if not self._feeds(subject.final_norm.module, subject.model.get_output_embeddings()):
            raise wrong_field(subject, "final_norm", "is not what the unembedding reads")

    def _check_block(self, block: Block, layer: int) -> None:
        subject = self.subject
        norm, mlp_norm = block.attention_norm.module, block.mlp_norm
        normed_before = norm is not block.attention
        for name, module in zip(subject.family.projection_names, block.projections.modules, strict=True):
            if normed_before and not self._feeds(norm, module):
                raise wrong_field(subject, "attention_norm", f"is not what {name} reads in layer {layer}")
        if mlp_norm is None or block.mlp is None or mlp_norm.module in block.mlp.steps or not normed_before:
            return
        if (width := self.calls[block.mlp.steps[-1]][0][1].shape[-1]) != subject.d_model:
            raise wrong_field(
                subject,
                "mlp",
                f"gives {width} numbers a token in layer {layer}, not {subject.d_model}: part of an MLP?",
            )
        if not self._feeds(mlp_norm.module, block.mlp.steps[0]):
            raise wrong_field(subject, "mlp_norm", f"is not what {subject.family.mlp!r} reads in layer {layer}")
        if (parallel := self._same_input(norm, mlp_norm.module)) != subject.graph.parallel:
            reads = "what attention reads" if parallel else "what attention has added to"
            raise wrong_field(subject, "parallel", f"is wrong: in layer {layer} the MLP reads {reads}")

    def _feeds(self, first: nn.Module, second: nn.Module) -> bool:
        return self._near(self.calls[first][0][1], self.calls[second][0][0])

    def _same_input(self, first: nn.Module, second: nn.Module) -> bool:
        # To the last bit: beside a stream with a few huge numbers in it, what attention adds may be tiny.
        one, other = self.calls[first][0][0], self.calls[second][0][0]
        return torch.equal(one, other.to(one.device))

    def _near(self, a: Tensor, b: Tensor) -> bool:
        return (
            a.numel() == b.numel()
            and relative_distance(a.flatten(), b.to(a.device).flatten()) < STRAYING[self.subject.dtype]
        )


def _parts(block: Block) -> list[tuple[str, nn.Module]]:
    """The modules of a block with the fields that name them."""
    norms = {"attention_norm": block.attention_norm, "attention_post": block.attention_post}
    norms |= {"mlp_norm": block.mlp_norm, "mlp_post": block.mlp_post}
    steps = [] if block.mlp is None else [("mlp", step) for step in block.mlp.steps]
    modules = [("attention", block.attention), ("output", block.output), *steps]
    modules += [("projection_names", module) for module in block.projections.modules]
    # Where nothing is normed before a sublayer, the sublayer itself stands in the norm's place.
    taken = {module for _, module in modules}
    return modules + [
        (name, norm.module) for name, norm in norms.items() if norm is not None and norm.module not in taken
    ]


# -- norms ------------------------------------------------------------------------------------------------------------


def _norms(subject: Subject) -> list[tuple[str, Norm]]:
    block, family = subject.blocks[0], subject.family
    inside = (block.attention_norm, block.attention_post, block.mlp_norm, block.mlp_post)
    before_mlp = (subject.graph.parallel and family.parallel_norm) or family.mlp_norm
    names = (family.attention_norm, family.attention_post, before_mlp, family.mlp_post)
    named = [(name, norm) for name, norm in zip(names, inside, strict=True) if norm is not None and name]
    return [*named, (family.final_norm, subject.final_norm)]


def _check_norm(subject: Subject, name: str, norm: Norm) -> None:
    """A norm of this kind gives what the module gives."""
    x = torch.randn(3, subject.d_model, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.7
    x = x.to(device_of(norm.module), subject.dtype)
    native, kind = norm(x), type(norm.module).__name__

    def fits(other: NormKind) -> bool:
        ours = Norm(norm.module, other)
        return relative_distance(ours.replayed(x.double()), native) < STRAYING[subject.dtype]

    try:
        if fits(norm.kind):
            return
        others = [other for other in NormKind if fits(other)]
    except AttributeError as error:
        raise wrong_field(subject, "norm", f"does not fit {name!r}: {error}") from error
    cure = f"{others[0]} does" if others else "nor does any other kind"
    raise wrong_field(subject, "norm", f"does not give what {name!r} ({kind}) gives; {cure}")
