"""Backward rules: how gradients pass norms, activations, gated products and attention. Forward values stay as they are.

A rule is a set of changes, each laid on the native modules by hooks while one run lasts. Every change must be seen to act:
on each of its sites in the forward pass, and at least once in the backward pass. A module that a change does not know is
refused by its class name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
from torch import Tensor

from edgewise.engine.backward import Seen, SoftmaxAtTemperature, with_backward
from edgewise.engine.parts import activations, norms, products
from edgewise.errors import UnknownName, UnsupportedModel
from edgewise.models.hooks import Hook, OnCall, OnInput, OnOutput
from edgewise.models.norms import Norm
from edgewise.models.projections import Projections
from edgewise.models.subject import Subject


@final
@dataclass
class Changes:
    """What one run needs: hooks before and behind those that record, and a mode for its forward pass."""

    early: list[Hook] = field(default_factory=list)
    late: list[Hook] = field(default_factory=list)
    mode: AbstractContextManager[object] = field(default_factory=nullcontext)
    seen: list[Seen] = field(default_factory=list)


class Change(ABC):
    """One departure from the derivative."""

    name: ClassVar[str]

    @abstractmethod
    def sites(self, subject: Subject) -> int:
        """How many modules it acts on; UnsupportedModel for one it does not know."""

    @abstractmethod
    def install(self, subject: Subject, changes: Changes, seen: Seen) -> None:
        """Add to `changes` what is needed; `seen` is to count what passes."""


@final
@dataclass(frozen=True)
class FrozenNorms(Change):
    """The scale of every norm is a constant: J = s · C γ, without the part along the normalised input (LN rule)."""

    name: ClassVar[str] = "norms"

    def sites(self, subject: Subject) -> int:
        return len(norms(subject))

    def install(self, subject: Subject, changes: Changes, seen: Seen) -> None:
        changes.early += [OnCall(norm.module, _frozen(norm, seen)) for norm in norms(subject)]


@final
@dataclass(frozen=True)
class StraightActivations(Change):
    """The slope of an activation is f(x) / x, that of the chord from the origin; its limit ½ at 0 (identity rule)."""

    name: ClassVar[str] = "activations"

    def sites(self, subject: Subject) -> int:
        return len(activations(subject))

    def install(self, subject: Subject, changes: Changes, seen: Seen) -> None:
        changes.early += [OnCall(module, _chord(seen)) for module in activations(subject)]


@final
@dataclass(frozen=True)
class HalvedProducts(Change):
    """Each factor of a gated MLP's product gets half of its gradient (half rule), and so does each of a routed expert's."""

    name: ClassVar[str] = "products"

    def sites(self, subject: Subject) -> int:
        return len(products(subject))

    def install(self, subject: Subject, changes: Changes, seen: Seen) -> None:
        changes.early += [OnInput(module, _scaled(torch.tensor(share), seen)) for module, share in products(subject)]


@final
@dataclass(frozen=True)
class HalvedAttention(Change):
    """A quarter of the gradient at queries and keys, half of it at values: half at each of the two products (AttnLRP)."""

    name: ClassVar[str] = "attention"

    def sites(self, subject: Subject) -> int:
        return sum(len(block.projections.modules) for block in subject.blocks)

    def install(self, subject: Subject, changes: Changes, seen: Seen) -> None:
        for block in subject.blocks:
            projections = block.projections
            for module, shares in zip(projections.modules, _shares(projections, projections.d_head), strict=True):
                changes.late.append(OnOutput(module, _scaled(shares.to(subject.device), seen)))


@final
@dataclass(frozen=True)
class SoftSoftmax(Change):
    """The softmax of attention has the backward pass of a softmax at `temperature` (GIM)."""

    temperature: float = 2.0
    name: ClassVar[str] = "softmax"

    def sites(self, subject: Subject) -> int:
        return subject.graph.layers

    def install(self, subject: Subject, changes: Changes, seen: Seen) -> None:
        changes.mode = SoftmaxAtTemperature(self.temperature, seen)


@final
@dataclass
class DroppedLayer(Change):
    """No gradient passes what `layer` writes, its heads and its MLP; it may be another one for each backward pass."""

    layer: int | None = None
    name: ClassVar[str] = "dropped layer"

    def sites(self, subject: Subject) -> int:
        return subject.graph.layers * (1 + subject.graph.mlps)

    def install(self, subject: Subject, changes: Changes, seen: Seen) -> None:
        for layer, block in enumerate(subject.blocks):
            modules = [block.output] if block.mlp_site is None else [block.output, block.mlp_site]
            changes.late += [OnOutput(module, self._gate(layer, seen)) for module in modules]

    def _gate(self, layer: int, seen: Seen) -> Callable[[Tensor], Tensor]:
        def replace(x: Tensor) -> Tensor:
            seen.met()

            def pull(gradient: Tensor) -> Tensor:
                seen.backward += 1
                return torch.zeros_like(gradient) if layer == self.layer else gradient

            return with_backward(x, x, pull)

        return replace


@final
@dataclass(frozen=True)
class BackwardRule:
    """A set of changes; without any it is the derivative."""

    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> BackwardRule:
        """The rule with the changes of these names; UnknownName for another."""
        for name in names:
            if name not in CHANGES:
                raise UnknownName.of("backward rule", name, CHANGES)
        return cls(tuple(CHANGES[name] for name in dict.fromkeys(names)))

    @property
    def freezes_norms(self) -> bool:
        """Whether gradients pass norms as if their scale were constant."""
        return any(isinstance(change, FrozenNorms) for change in self.changes)

    @contextmanager
    def on(self, subject: Subject) -> Iterator[Changes]:
        """The changes for one forward and backward run; afterwards each must have been seen to act."""
        counts = {change.name: Seen() for change in self.changes}
        changes = Changes(seen=[*counts.values()])
        sites = {change.name: change.sites(subject) for change in self.changes}
        for change in self.changes:
            change.install(subject, changes, counts[change.name])
        yield changes
        for name, seen in counts.items():
            if seen.forward != sites[name] or (sites[name] and not seen.backward):
                raise UnsupportedModel(
                    f"the backward rule {name} acted on {seen.forward} of {sites[name]} places in "
                    f"{type(subject.model).__name__}, and let {seen.backward} gradients pass"
                )


PLAIN = BackwardRule()
CHANGES: dict[str, Change] = {
    change.name: change
    for change in (FrozenNorms(), StraightActivations(), HalvedProducts(), HalvedAttention(), SoftSoftmax())
}


def _frozen(norm: Norm, seen: Seen) -> Callable[[Tensor, Tensor], Tensor]:
    def replace(x: Tensor, y: Tensor) -> Tensor:
        seen.met()

        def pull(gradient: Tensor) -> Tensor:
            seen.backward += 1
            wide = x.detach().float() if x.dtype.itemsize < 4 else x.detach()
            pulled = gradient.to(wide.dtype) * norm.gain(wide)
            pulled = pulled - pulled.mean(dim=-1, keepdim=True) if norm.centred else pulled
            return (pulled * norm.normalise(wide)[1]).to(x.dtype)

        return with_backward(x, y, pull)

    return replace


def _chord(seen: Seen) -> Callable[[Tensor, Tensor], Tensor]:
    unmet = [seen]  # experts that run one after the other share one activation: a single place

    def replace(x: Tensor, y: Tensor) -> Tensor:
        if unmet and torch.is_grad_enabled():
            unmet.pop().met()

        def pull(gradient: Tensor) -> Tensor:
            seen.backward += 1
            at, value = x.detach(), y.detach()
            return gradient * torch.where(at.abs() > torch.finfo(at.dtype).tiny, value / at, 0.5)

        return with_backward(x, y, pull)

    return replace


def _scaled(share: Tensor, seen: Seen) -> Callable[[Tensor], Tensor]:
    def replace(x: Tensor) -> Tensor:
        seen.met()

        def pull(gradient: Tensor) -> Tensor:
            seen.backward += 1
            return gradient * share.to(gradient)

        return with_backward(x, x, pull)

    return replace


def _shares(projections: Projections, d_head: int) -> list[Tensor]:
    """For each projection module what share of the gradient its outputs get."""
    each = torch.full((projections.readers, 1), 0.25)
    each[projections.heads + projections.kv_heads :] = 0.5
    return projections.join(each.expand(-1, d_head), projections.kv_heads)
