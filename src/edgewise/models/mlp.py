"""What an MLP computes, told apart from where in the model's own run its parts are seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from edgewise.models.hooks import Hook, InShapeOf, OnInput, OnOutput


@final
@dataclass(frozen=True)
class MLP:
    """Modules of a `layer` that are called one after the other on a normed input: most often one, the MLP of its class.

    A layer that calls them itself (OPT) may hand them all tokens of a batch in one row; hooks see them in the layer's shape.
    """

    layer: nn.Module
    paths: tuple[str, ...]

    def __call__(self, normed: Tensor) -> Tensor:
        for step in self.steps:
            normed = step(normed)
        return normed

    @property
    def steps(self) -> tuple[nn.Module, ...]:
        """The modules, in the order in which they are called."""
        return tuple(self.layer.get_submodule(path) for path in self.paths)

    @property
    def kind(self) -> str:
        """The class that says what is computed."""
        return type(self.steps[0] if len(self.paths) == 1 else self.layer).__name__

    @property
    def modules(self) -> dict[str, nn.Module]:
        """All modules in it, by the names they have in the MLP, or in the layer where there are several steps."""
        if len(self.paths) == 1:
            return dict(self.steps[0].named_modules())
        return dict(zip(self.paths, self.steps, strict=True))

    def hook(self, hook: OnInput | OnOutput) -> Hook:
        """A hook on one of its modules or on the norm before them, which sees [example, position, ..] in any case."""
        return hook if len(self.paths) == 1 else InShapeOf(self.layer, hook)
