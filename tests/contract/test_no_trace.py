"""Law 8: whatever is called, and whatever goes wrong in it, the model and torch's state are as they were."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from support.families import (
    CONFIGS,
    FAMILIES,
    corrupted_run,
    make_model,
    make_subject,
    pairs,
    random_circuit,
    random_mask,
)
from support.thinned import thinned
from torch import Tensor, nn

import edgewise as ew
from edgewise.ablations import ABLATIONS
from edgewise.attribution import ATTRIBUTIONS
from edgewise.engine.forward import masked_forward
from edgewise.metrics import Answers, Metric, logit_diff
from edgewise.models import Subject
from edgewise.pruning import PRUNINGS, SCORINGS


def state_of(model: nn.Module) -> dict[str, Any]:
    """Everything a call could leave behind on a model, as comparable values."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            state[f"{name}:{key}"] = _shown(value)
    for name, parameter in model.named_parameters():
        state[f"{name}:flags"] = (parameter.requires_grad, parameter.grad is None, id(parameter), parameter.data_ptr())
        state[f"{name}:hooks"] = repr(parameter._backward_hooks)
        state[f"{name}:values"] = parameter.detach().numpy().tobytes()
    return state


def _shown(value: Any) -> Any:
    """Hook dictionaries by what they hold, other attributes by value or identity."""
    if isinstance(value, dict):
        return [(key, id(item)) for key, item in value.items()]
    return value if isinstance(value, int | float | str | bool | type(None)) else id(value)


def global_state() -> tuple[Any, ...]:
    module_hooks = torch.nn.modules.module
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().numpy().tobytes(),
        repr(np.random.get_state()),
        random.getstate(),
        len(module_hooks._global_forward_hooks),
        len(module_hooks._global_forward_pre_hooks),
    )


@contextmanager
def no_trace(model: nn.Module) -> Any:
    before, around = state_of(model), global_state()
    yield
    after = state_of(model)
    assert {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)} == set()
    assert global_state() == around


def lived_in(family: str) -> Subject:
    """A model in the middle of something else: training mode, some parameters trainable, hooks and a gradient of its own."""
    on = make_subject(CONFIGS[family]())
    on.model.train()
    list(on.model.modules())[-1].eval()
    for number, parameter in enumerate(on.model.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    first = next(on.model.parameters())
    first.grad = torch.ones_like(first)
    on.blocks[0].output.register_forward_hook(lambda module, args, output: None)
    return on


CALLS: dict[str, Callable[[Subject], Any]] = {
    "load": lambda on: ew.load(on.model),
    **{name: lambda on, name=name: ew.attribute(on, pairs()[:2], method=name, batch_size=1) for name in ATTRIBUTIONS},
    **{f"eap-{how}": lambda on, how=how: ew.attribute(on, pairs(), method="eap", ablation=how) for how in ABLATIONS},
    "discover": lambda on: ew.discover(on, pairs(), edges=20),
    "acdc": lambda on: ew.discover(on, pairs(), method="acdc", tau=0.05),
    "eap+acdc": lambda on: ew.discover(on, pairs(), method="eap+acdc", tau=0.05),
    "a sweep": lambda on: ew.sweep(on, pairs(), method="acdc", values=[0.05, 0.01]),
    **{
        name: lambda on, name=name: ew.discover(on, pairs(), method=name, steps=3, batch_size=3)
        for name in (*PRUNINGS, *SCORINGS)
    },
    **{
        f"evaluate-{how}": lambda on, how=how: ew.evaluate(on, random_circuit(on, 0.2, 0), pairs(), ablation=how)
        for how in ABLATIONS
    },
    "logits": lambda on: on.logits(pairs().clean, pairs().positions),
    "masked_forward": lambda on: walk(on, random_mask(on, 0)),
    "masked_forward with gradient": lambda on: walk(on, random_mask(on, 0).requires_grad_()).sum().backward(),
    "neurons": lambda on: ew.evaluate(on, ew.attribute_nodes(on, pairs()).neuron_scores.top(99), pairs()),
    "identity": lambda on: on.identity,
}


def walk(on: Subject, mask: Tensor) -> Tensor:
    return masked_forward(on, pairs().clean, pairs().positions, mask, corrupted_run(on, pairs()))


@pytest.mark.parametrize("family", thinned([()], FAMILIES, one_in=4))
def test_8_no_call_leaves_a_trace(family: str) -> None:
    on = lived_in(family)
    for call in CALLS.values():
        with no_trace(on.model):
            call(on)


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_8_grad_mode_stays_and_does_not_matter(method: str) -> None:
    on = lived_in("gpt2")
    expected = ew.attribute(on, pairs()[:2], method=method).values
    for grad in (True, False):
        with torch.set_grad_enabled(grad), no_trace(on.model):
            assert torch.equal(ew.attribute(on, pairs()[:2], method=method).values, expected)


@pytest.mark.parametrize("method", ATTRIBUTIONS)
def test_8_dropout_is_off_while_we_look(method: str) -> None:
    training, plain = lived_in("gpt2"), make_subject(CONFIGS["gpt2"]())
    ours, theirs = (ew.attribute(on, pairs()[:2], method=method).values for on in (training, plain))
    assert torch.equal(ours, theirs)


# -- when it goes wrong -----------------------------------------------------------------------------------------------


class Broken(Exception):
    pass


def failing_metric(after: int) -> Metric:
    """logit_diff that raises at a later call."""
    calls = [0]

    def fail(logits: Tensor, answers: Answers, clean_logits: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] > after:
            raise Broken
        return logit_diff(logits, answers, clean_logits)

    return Metric("failing", fail)


def interrupted(steps: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    """A Track at whose second step the user presses Ctrl-C."""
    for number, step in enumerate(steps):
        if number == 1:
            raise KeyboardInterrupt
        yield step


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["eap", "exact"])
def test_8_a_metric_that_raises_leaves_no_trace(family: str, method: str) -> None:
    on = lived_in(family)
    for after in (0, 1):
        with no_trace(on.model), pytest.raises(Broken):
            ew.attribute(on, pairs(), method=method, metric=failing_metric(after), batch_size=2)
    with no_trace(on.model), pytest.raises(Broken):
        ew.evaluate(on, random_circuit(on, 0.3, 0), pairs(), metrics=[failing_metric(2)])


@pytest.mark.parametrize("family", FAMILIES)
def test_8_ctrl_c_leaves_no_trace(family: str) -> None:
    on = lived_in(family)
    for method in ("eap", "exact"):
        with no_trace(on.model), pytest.raises(KeyboardInterrupt):
            ew.attribute(on, pairs(), method=method, track=interrupted, batch_size=2)
    with no_trace(on.model), pytest.raises(KeyboardInterrupt):
        ew.evaluate(on, random_circuit(on, 0.3, 0), pairs(), track=interrupted, batch_size=2)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", ["output", "attention", "mlp_norm", "projection", "final"])
def test_8_a_module_that_raises_in_the_middle_leaves_no_trace(family: str, place: str) -> None:
    """A hook of the user's raises inside the native modules, at the first call or at a later one."""
    on = lived_in(family)
    block = on.blocks[1]
    modules = {
        "output": block.output,
        "attention": block.attention,
        "mlp_norm": block.mlp_norm.module if block.mlp_norm else block.attention_norm.module,
        "projection": block.projections.modules[-1],
        "final": on.final_norm.module,
    }
    for call in ("load", "eap", "exact", "masked_forward", "edge-pruning", "ugs"):
        for after in (0, 2):
            handle = modules[place].register_forward_hook(_raising(after))
            with no_trace(on.model):
                try:
                    CALLS[call](on)
                except Broken:
                    pass
                else:
                    assert after  # it may run that module only once or twice, but not never
            handle.remove()


def _raising(after: int) -> Callable[..., None]:
    calls = [0]

    def hook(*_: Any) -> None:
        calls[0] += 1
        if calls[0] > after:
            raise Broken

    return hook


def test_the_watch_sees_what_it_should() -> None:
    """The test can fail: a hook, a flag, a mode, a weight, an attribute, a random number."""
    changes: list[Callable[[Any], Any]] = [
        lambda model: model.lm_head.register_forward_hook(lambda *_: None),
        lambda model: model.requires_grad_(True),
        lambda model: model.transformer.h[0].train(),
        lambda model: model.transformer.wte.weight.data.mul_(1.001),
        lambda model: setattr(model.transformer.h[0].attn, "split_size", 8),
        lambda model: setattr(model.transformer.wte.weight, "grad", torch.ones_like(model.transformer.wte.weight)),
        lambda model: torch.rand(1),
    ]
    for change in changes:
        model = make_model(CONFIGS["gpt2"]())
        with pytest.raises(AssertionError), no_trace(model):
            change(model)
