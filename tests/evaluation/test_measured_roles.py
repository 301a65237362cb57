"""What heads do: attention read off native modules beside a formula, and roles of models whose heads are known."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.families import VOCAB, make_subject, pairs, subject, toy_config
from torch import Tensor

import edgewise as ew
from edgewise.engine.attention import attention_weights
from edgewise.evaluation import HeadRoles, attended, measure_roles, measured_roles
from edgewise.evaluation.attended import KEY_KINDS
from edgewise.evaluation.measured_roles import ATTENDS, BY_ATTENTION, EFFECT_SHARE, INDUCTION_HEAD, MOVER
from edgewise.models import Subject
from edgewise.pairs import Pairs

# -- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "neox-parallel", "gemma2", "olmo2"])
def test_weights_are_those_that_the_model_itself_tells(name: str) -> None:
    on, batch = subject(name), pairs()
    ready = on.ready(batch)
    ours = list(attention_weights(on, ready.clean, ready.positions))
    before = on.config._attn_implementation
    try:
        on.model.set_attn_implementation("eager")
        with torch.no_grad():
            theirs = on.model(input_ids=ready.clean, use_cache=False, output_attentions=True).attentions
    finally:
        on.model.set_attn_implementation(before)
    for mine, native in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        assert torch.allclose(mine, native.float(), atol=1e-5)


def test_prompts_longer_than_a_head_is_wide_are_read_in_parts() -> None:
    on = make_subject(toy_config(n_positions=40))  # heads of 8 dimensions
    tokens = torch.randint(1, VOCAB, (2, 21), generator=torch.Generator().manual_seed(0))
    for weights in attention_weights(on, tokens, torch.tensor([20, 20])):
        assert weights.shape == (2, 4, 21, 21)
        assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 4, 21), atol=1e-5)
        assert not weights.triu(1).any()


# -- kinds of keys, by hand -------------------------------------------------------------------------------------------


def by_hand(*rows: str) -> Tensor:
    """A mask of one example, a row for each query: x where the key counts."""
    return torch.tensor([[[sign == "x" for sign in row] for row in rows]])


REPEATED = Pairs.from_tokens(
    torch.tensor([[7, 3, 5, 3, 9]]),
    torch.tensor([[7, 4, 5, 6, 9]]),
    correct=torch.tensor([5]),
    wrong=torch.tensor([3]),
)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        ("previous", (".....", "x....", ".x...", "..x..", "...x.")),
        ("duplicate", (".....", ".....", ".....", ".x...", ".....")),
        ("induction", (".....", ".....", ".....", "..x..", ".....")),
        ("correct", (".....", ".....", ".....", ".....", "..x..")),
        ("wrong", (".....", ".....", ".....", ".....", ".x.x.")),
    ],
)
def test_which_keys_are_of_a_kind(kind: str, rows: tuple[str, ...]) -> None:
    assert torch.equal(KEY_KINDS[kind](REPEATED), by_hand(*rows))


def test_even_attention_is_no_role() -> None:
    """Each token attends to all before it alike: weights are what `even` says, so that no head attends to anything."""
    on = make_subject(toy_config(uniform_attention=True))
    roles = measure_roles(on, REPEATED)
    # Queries 1 to 4 see 2 to 5 keys; the token that comes again is the fourth, the answer is asked at the fifth.
    known = {"previous": (1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 4, "duplicate": 1 / 4, "induction": 1 / 4}
    known |= {"correct": 1 / 5, "wrong": 2 / 5}
    assert roles.even == pytest.approx(known)
    assert roles.queries == {"previous": 4, "duplicate": 1, "induction": 1, "correct": 1, "wrong": 1}
    for head in roles.heads:
        assert head.weights == pytest.approx(known)
        assert head.roles == ()


def test_padding_is_not_looked_at() -> None:
    shorter = Pairs.from_tokens(
        torch.tensor([[7, 3, 5, 3, 9, 3, 3], [7, 3, 5, 3, 9, 8, 1]]),
        torch.tensor([[7, 4, 5, 6, 9, 3, 3], [7, 4, 5, 6, 9, 8, 1]]),
        correct=torch.tensor([5, 5]),
        wrong=torch.tensor([3, 3]),
        positions=torch.tensor([4, 4]),
    )
    on = subject("gpt2")
    alone, padded = measure_roles(on, REPEATED), measure_roles(on, shorter)
    for one, other in zip(alone.heads, padded.heads, strict=True):
        assert one.weights == pytest.approx(other.weights, abs=1e-5)
        assert one.direct == pytest.approx(other.direct, abs=1e-4)


# -- roles ------------------------------------------------------------------------------------------------------------


def test_a_compiled_model_has_the_roles_that_its_weights_say() -> None:
    """induction-hidden: a0.h2 looks one token back, a2.h1 looks behind the earlier token and copies it to the answer."""
    on = ew.load("induction-hidden")
    task = ew.task("induction-hidden")
    roles = measure_roles(on, task.pairs(on.tokenizer, n=16), metric=task.metric, ablation="zero")
    assert roles.by_head == {"a0.h2": "previous token", "a2.h1": f"{INDUCTION_HEAD}, {MOVER}"}


def made(monkeypatch: pytest.MonkeyPatch, weights: dict[str, list[float]], effects: dict[str, float]) -> HeadRoles:
    """The roles of a toy's twelve heads with this attention to each kind (0 for the rest), and these effects of edges."""
    on = make_subject(toy_config())

    def seen(request: Any) -> attended.Attended:
        filled = {kind: tuple([*weights.get(kind, []), *[0.0] * 12][:12]) for kind in KEY_KINDS}
        return attended.Attended(filled, dict.fromkeys(KEY_KINDS, 0.0), dict.fromkeys(KEY_KINDS, 1))

    def patched(request: Any, edges: list[str], whole: float) -> list[float]:
        return [effects.get(edge, 0.0) for edge in edges]

    monkeypatch.setattr(measured_roles, "attended", seen)
    monkeypatch.setattr(measured_roles, "_shares", patched)
    return measure_roles(on, pairs())


E = EFFECT_SHARE
NO, YES = ATTENDS - 0.01, ATTENDS


@pytest.mark.parametrize(
    ("weights", "effects", "expected"),
    [
        ({"previous": [YES, NO]}, {}, {"a0.h0": "previous token"}),
        (
            {"duplicate": [YES], "induction": [YES, YES]},
            {},
            {"a0.h0": "duplicate token, induction", "a0.h1": "induction"},
        ),
        ({"correct": [YES, NO]}, {"a0.h0->logits": E, "a0.h1->logits": E}, {"a0.h0": "name mover"}),
        ({"correct": [YES, YES]}, {"a0.h0->logits": -E, "a0.h1->logits": E / 2}, {"a0.h0": "negative name mover"}),
        ({"wrong": [YES, YES]}, {"a0.h0->logits": E, "a0.h1->logits": -E}, {"a0.h0": "copy suppression"}),
    ],
)
def test_roles_follow_from_attention_and_direct_effects(
    monkeypatch: pytest.MonkeyPatch,
    weights: dict[str, list[float]],
    effects: dict[str, float],
    expected: dict[str, str],
) -> None:
    assert made(monkeypatch, weights, effects).by_head == expected


def test_inhibition_acts_through_the_queries_of_later_movers(monkeypatch: pytest.MonkeyPatch) -> None:
    """a0.h0, a0.h1 and a2.h1 look at the wrong answer; a1.h0 and a2.h0 are movers, a1.h1 moves the other way."""
    looks = [YES, YES, 0, 0, 0, 0, 0, 0, 0, YES]
    moves = [0, 0, 0, 0, YES, YES, 0, 0, YES]
    direct = {"a1.h0->logits": 5 * E, "a2.h0->logits": 5 * E, "a1.h1->logits": -5 * E}
    queries = {"a0.h0->a1.h0<q>": 0.6 * E, "a0.h0->a2.h0<q>": 0.6 * E, "a0.h1->a1.h1<q>": 9 * E}
    roles = made(monkeypatch, {"wrong": looks, "correct": moves}, direct | queries)
    assert roles.by_head == {
        "a0.h0": "S-inhibition",
        "a1.h0": "name mover",
        "a1.h1": "negative name mover",
        "a2.h0": "name mover",
    }
    measured = {head.head: head.by_movers for head in roles.heads}
    # No mover comes after a2.h1; other heads do not look at the wrong answer, so that nothing is patched.
    assert measured["a0.h0"] == pytest.approx(1.2 * E)
    assert (measured["a0.h1"], measured["a2.h1"], measured["a0.h2"]) == (0.0, None, None)


def test_effects_are_those_of_single_edges_as_shares_of_the_whole() -> None:
    on, asked = subject("gpt2"), pairs()
    roles = measure_roles(on, asked, batch_size=2)
    effects = ew.effects(on, asked, [f"{head.head}->logits" for head in roles.heads])
    ends = ew.evaluate(on, ew.Circuit.full(on.graph), asked)["logit_diff"]
    assert roles.whole == pytest.approx(ends.clean - ends.corrupted, abs=1e-5)
    for head in roles.heads:
        assert head.direct == pytest.approx(effects[f"{head.head}->logits"] / abs(roles.whole), abs=1e-4)


def test_what_no_prompt_can_show_is_not_measured() -> None:
    fresh = replace(REPEATED, clean=torch.tensor([[7, 3, 6, 2, 9]]), wrong=torch.tensor([[-1]]))
    roles = measure_roles(subject("gpt2"), fresh, metric="nll")
    assert [kind for kind, even in roles.even.items() if even is None] == ["duplicate", "induction", "correct", "wrong"]
    assert {head.weights[kind] for head in roles.heads for kind in ("duplicate", "wrong")} == {None}
    assert not any(set(head.roles) - {"previous token"} for head in roles.heads)


def test_roles_of_nano_are_those_its_task_needs() -> None:
    """nano's ioi: the four heads of layer 1 move the name, a0.h3 tells their queries which name has been."""
    on = ew.load("nano")
    roles = measure_roles(on, ew.task("ioi").pairs(on.tokenizer, n=32, seed=3), batch_size=16)
    assert {head.head for head in roles.having(MOVER)} == {"a1.h0", "a1.h1", "a1.h2", "a1.h3"}
    assert [head.head for head in roles.having("S-inhibition")] == ["a0.h3"]
    assert str(roles).splitlines()[3].startswith("S-inhibition          a0.h3 (0.9")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])  # noqa: S301
def test_roles_are_values(again: Callable[[HeadRoles], HeadRoles]) -> None:
    roles = measure_roles(subject("toy"), pairs())
    assert again(roles) == roles
    assert set(BY_ATTENTION.values()) < set(roles.to_dict()["heads"][0]["weights"])


def test_the_model_is_left_as_it_was() -> None:
    on: Subject = subject("llama")
    before = {name: value.clone() for name, value in on.model.state_dict().items()}
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in on.model.modules())
    measure_roles(on, pairs())
    assert all(torch.equal(value, before[name]) for name, value in on.model.state_dict().items())
    assert hooks == sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in on.model.modules())
