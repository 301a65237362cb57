"""The only file that registers hooks, and the only one that touches a model's flags: all of it undone on the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, final
from weakref import WeakSet

from torch import Tensor, nn

from edgewise.models.brought_again import brought_again
from edgewise.models.weights import keeping, undisturbed

Keep = Callable[[Tensor], Tensor | None]

# The models inside `steady`.
_steady: WeakSet[nn.Module] = WeakSet()


@final
@dataclass(frozen=True)
class OnInput:
    """Calls `action` with the module's first input; a tensor it returns replaces that input."""

    module: nn.Module
    action: Keep

    def attach(self) -> Any:
        """Register; returns the handle."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            x = args[0] if args else kwargs["hidden_states"]
            new = self.action(x)
            if new is None:
                return None
            new = new.to(x.device)
            return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

        return self.module.register_forward_pre_hook(hook, with_kwargs=True)


@final
@dataclass(frozen=True)
class OnOutput:
    """Calls `action` with the module's output; a tensor it returns replaces that output."""

    module: nn.Module
    action: Keep

    def attach(self) -> Any:
        """Register; returns the handle."""
        return self.module.register_forward_hook(self._hook)

    def _hook(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        new = self.action(output)
        return None if new is None else new.to(output.device)


@final
@dataclass(frozen=True)
class OnCall:
    """Calls `action` with the module's first input and its output; a tensor it returns replaces the output."""

    module: nn.Module
    action: Callable[[Tensor, Tensor], Tensor | None]

    def attach(self) -> Any:
        """Register; returns the handle."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor | None:
            return self.action(args[0] if args else kwargs["hidden_states"], output)

        return self.module.register_forward_hook(hook, with_kwargs=True)


@final
@dataclass(frozen=True)
class OnKeywords:
    """Calls `action` with the keyword arguments a module is called with."""

    module: nn.Module
    action: Callable[[dict[str, Any]], None]

    def attach(self) -> Any:
        """Register; returns the handle."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.action(kwargs)

        return self.module.register_forward_pre_hook(hook, with_kwargs=True)


@final
@dataclass(frozen=True)
class OnArguments:
    """Calls `action` with all that a module is called with: its arguments and its keyword arguments."""

    module: nn.Module
    action: Callable[[tuple[Any, ...], dict[str, Any]], None]

    def attach(self) -> Any:
        """Register; returns the handle."""
        return self.module.register_forward_pre_hook(
            lambda _, args, kwargs: self.action(args, kwargs), with_kwargs=True
        )


@final
@dataclass(frozen=True)
class InShapeOf:
    """A hook on a module inside `outer`, whose action sees, and may give, the leading axes that the input of `outer` has."""

    outer: nn.Module
    hook: OnInput | OnOutput

    def attach(self) -> Any:
        """Register; returns what removes both hooks."""
        leading: list[int] = []

        def look(x: Tensor) -> None:
            leading[:] = x.shape[:-1]

        def act(x: Tensor) -> Tensor:
            seen = x.view(*leading, x.shape[-1])
            new = self.hook.action(seen)
            # What was seen goes on, so that a gradient that is watched there comes by.
            return (seen if new is None else new).reshape(x.shape)

        return _Handles((OnInput(self.outer, look).attach(), replace(self.hook, action=act).attach()))


@final
@dataclass(frozen=True)
class _Handles:
    handles: tuple[Any, ...]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


Hook = OnInput | OnOutput | OnCall | OnKeywords | OnArguments | InShapeOf


@contextmanager
def hooked(hooks: Sequence[Hook]) -> Iterator[None]:
    """The hooks are in place while inside, and gone afterwards whatever happens."""
    with ExitStack() as stack:
        for hook in hooks:
            stack.callback(hook.attach().remove)
        yield


def on_gradient(x: Tensor, action: Callable[[Tensor], None]) -> None:
    """Calls `action` with the gradient at `x`, in each backward pass that reaches it. It is gone with the graph of `x`."""
    x.register_hook(action)


@contextmanager
def forced(modules: Sequence[nn.Module], outputs: Sequence[Tensor]) -> Iterator[None]:
    """While inside, each module returns its given output; its own product runs on no rows and costs nothing."""

    def nothing(x: Tensor) -> Tensor:
        return x[:0]

    hooks: list[Hook] = []
    for module, output in zip(modules, outputs, strict=True):
        hooks += [OnInput(module, nothing), OnOutput(module, lambda _, output=output: output)]
    with hooked(hooks):
        yield


class _Stop(Exception):
    pass


def input_of(module: nn.Module, run: Callable[[], Any]) -> Tensor:
    """The first input that `module` gets in `run`, which is cut short there."""
    seen: list[Tensor] = []

    def stop(x: Tensor) -> None:
        seen.append(x)
        raise _Stop

    with hooked([OnInput(module, stop)]), suppress(_Stop):
        run()
    return seen[0]


@contextmanager
def steady(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and frozen parameters while inside; every flag as it was afterwards.

    Inside another such block nothing is left to do: looking at every module takes as long as a small model takes to run.
    """
    if model in _steady:
        yield
        return
    _steady.add(model)
    training = [module for module in model.modules() if module.training]
    # By name: what brings the weights of a module for each call may put another parameter in the place of one.
    trainable = [
        (module, name)
        for module in model.modules()
        for name, x in module._parameters.items()
        if x is not None and x.requires_grad
    ]
    try:
        for module in training:
            module.training = False
        for module, name in trainable:
            module._parameters[name].requires_grad_(False)  # type: ignore[union-attr]
        with keeping(), undisturbed(model), brought_again(model):
            yield
    finally:
        _steady.discard(model)
        for module in training:
            module.training = True
        for module, name in trainable:
            module._parameters[name].requires_grad_(True)  # type: ignore[union-attr]


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """While inside, modules that were compiled in place run as they are written: compiled ones call no hooks inside."""
    compiled = [module for module in model.modules() if module._compiled_call_impl is not None]
    kept = [module._compiled_call_impl for module in compiled]
    try:
        for module in compiled:
            module._compiled_call_impl = None
        yield
    finally:
        for module, call in zip(compiled, kept, strict=True):
            module._compiled_call_impl = call
