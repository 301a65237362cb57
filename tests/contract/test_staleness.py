"""Law 12: a model that was changed after it was loaded is seen as it is, or refused; no answer comes from what was kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.families import CONFIGS, make_model, pairs
from support.thinned import thinned
from support.verbs import VERBS
from torch import nn

import edgewise as ew
from edgewise.errors import EdgewiseError, UnsupportedModel
from edgewise.models import Subject
from edgewise.models.fingerprint import fingerprint


def down(model: Any) -> nn.Linear:
    return model.model.layers[0].mlp.down_proj


@torch.no_grad()
def edited(model: Any) -> None:
    model.model.layers[1].self_attn.k_proj.weight.mul_(2)
    down(model).weight[:, :7].zero_()


def edited_behind_its_back(model: Any) -> None:
    model.model.layers[1].self_attn.v_proj.weight.data[:8] *= -1


def replaced(model: Any) -> None:
    down(model).weight = nn.Parameter(-down(model).weight.detach())


def loaded_again(model: Any) -> None:
    model.load_state_dict({name: 0.9 * tensor for name, tensor in model.state_dict().items()})


def hooked_into(model: Any) -> None:
    down(model).register_forward_hook(lambda module, args, output: 0.5 * output)


def overridden(model: Any) -> None:
    forward = down(model).forward
    down(model).forward = lambda x: 2 * forward(x)  # type: ignore[method-assign]


def with_a_narrow_window(model: Any) -> None:
    model.config.sliding_window = 3


def with_another_attention(model: Any) -> None:
    model.set_attn_implementation("eager")


def doubled(model: Any) -> None:
    model.double()


CHANGES: dict[str, Callable[[Any], None]] = {
    "edited": edited,
    "edited behind its back": edited_behind_its_back,
    "replaced": replaced,
    "loaded again": loaded_again,
    "hooked": hooked_into,
    "overridden": overridden,
    "another window": with_a_narrow_window,
    "another attention": with_another_attention,
    "doubled": doubled,
}


def found(verb: str, on: Subject) -> Any:
    """What a verb gives, or the kind of error."""
    try:
        return VERBS[verb](on)
    except EdgewiseError as error:
        return type(error)


def same(a: Any, b: Any) -> bool:
    return a == b if isinstance(a, type) or isinstance(b, type) else torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "verb", "kv"),
    thinned([(one, verb) for one in CHANGES for verb in VERBS], ["native", "ungrouped"], one_in=6),
)
def test_a_changed_model_is_as_one_that_is_loaded_after_the_change(change: str, verb: str, kv: Any) -> None:
    model = make_model(CONFIGS["mistral"](sliding_window=6))
    on = ew.load(model, kv=kv)
    before, identity = VERBS[verb](on), on.identity
    CHANGES[change](model)
    after = found(verb, on)
    assert same(after, found(verb, ew.load(model, kv=kv)))
    changed = change not in ("another attention", "doubled", "another window") and verb != "random"
    assert not changed or not same(after, before) or verb in ("acdc", "eap+acdc", "subnetwork-probing")
    assert (on.identity == identity) == (change in ("hooked", "overridden", "another window", "another attention"))


def test_a_change_that_cannot_be_followed_is_told_and_no_more_once_it_is_undone() -> None:
    model = make_model(CONFIGS["llama"]())
    on = ew.load(model)
    before = ew.attribute(on, pairs(), method="eap")
    handle = model.model.layers[0].register_forward_hook(lambda module, args, output: output + 1)
    for _ in range(2):
        with pytest.raises(UnsupportedModel, match=r"LlamaForCausalLM was changed after it was loaded: \w"):
            ew.attribute(on, pairs(), method="eap")
    handle.remove()
    assert torch.equal(ew.attribute(on, pairs(), method="eap").values, before.values)


def test_what_nobody_changed_is_not_looked_at_anew() -> None:
    on = ew.load(make_model(CONFIGS["gpt2"]()))
    blocks = on.blocks
    for verb in ("eap", "acdc", "edge-pruning", "evaluate"):
        VERBS[verb](on)
    assert on.blocks is blocks


def test_a_buffer_without_storage_is_no_fault() -> None:
    model = make_model(CONFIGS["gpt2"]())
    model.register_buffer("sparse", torch.eye(2).to_sparse())
    assert fingerprint(model) == fingerprint(model)


def test_threads_that_share_a_model_get_what_each_would_alone() -> None:
    """Two Subjects of one model, a method each, at once."""
    model = make_model(CONFIGS["llama"]())
    first, second = ew.load(model), ew.load(model, kv="ungrouped")
    work = [
        (first, "eap"),
        (second, "eap-ig"),
        (first, "evaluate"),
        (second, "acdc"),
        (first, "effects"),
        (first, "logits"),
        (first, "edge-pruning"),
        (second, "ugs"),
    ]
    expected = [VERBS[verb](on) for on, verb in work]
    wrong: list[str] = []

    def repeat(number: int) -> None:
        on, verb = work[number]
        wrong.extend(verb for _ in range(5) if not same(VERBS[verb](on), expected[number]))

    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
