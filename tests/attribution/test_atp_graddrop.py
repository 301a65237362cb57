"""GradDrop: against runs in which a layer is held, reader by reader; and by hand where two effects cancel."""

from __future__ import annotations

import pytest
import torch
from support.counted_runs import counting
from support.families import FAMILIES, LINEAR, distance, make_subject, pairs, subject, toy_config
from support.path_oracle import batch_of, clean_of, deltas, reader_gradients
from torch import Tensor

import edgewise as ew
from edgewise.errors import InvalidValue, NumericalError
from edgewise.evaluation import bootstrap
from edgewise.models import Subject
from edgewise.models.hooks import OnOutput


def effects(on: Subject, layer: int) -> Tensor:
    """[example, writer, reader]: EAP of each example where what a layer writes is a constant of the run."""
    batch, block = batch_of(on, pairs()), on.blocks[layer]
    modules = [module for module in (block.output, block.mlp_site) if module is not None]
    edits = [OnOutput(module, lambda x: x.detach()) for module in modules]
    gradients = reader_gradients(batch, clean_of(batch).logits, edits)
    shape = batch.pairs.clean.shape
    return torch.einsum("wbtd,rbtd->bwr", deltas(batch).unflatten(1, shape), gradients.unflatten(1, shape))


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_mean_absolute_effect_where_one_layer_after_the_other_is_held(family: str) -> None:
    on = subject(family)
    dropped = torch.stack([effects(on, layer) for layer in range(on.graph.layers)])
    means = dropped.abs().sum(dim=0) / (on.graph.layers - 1)
    means[:, :, -1] *= (on.graph.layers - 1) / on.graph.layers
    expected = dropped.sum(dim=(0, 1)).sign() * means.mean(dim=0) * on.graph.edge_mask
    found = ew.attribute(on, pairs(), method="atp-graddrop", batch_size=2).values
    assert distance(found.abs(), expected.abs()) < 1e-4
    # Where effects cancel to nearly nothing, rounding decides about the sign; everywhere else it is that of the sum.
    clear = dropped.sum(dim=(0, 1)).abs() > 1e-4 * dropped.abs().sum(dim=(0, 1))
    assert torch.equal(found.sign()[clear], expected.sign()[clear])
    assert float(clear[expected != 0].float().mean()) > 0.9


def test_effects_that_cancel_are_seen() -> None:
    """m0 adds 2·x₀ to coordinate 1, m1 takes what stands in coordinate 1 away again, m2 does nothing.

    The metric is coordinate 1 of the last token, and clean and corrupted differ by 3 in its coordinate 0. So the gradient at
    m0's input is 2 directly and −2 through m1: EAP gives 3 · 0 = 0 for input->m0. Without layer 0 nothing is left, without
    layer 1 |3 · 2| = 6, without layer 2 |0|: the mean over L − 1 = 2 layers is 3. For m0->m1 the effect is that of m1 alone,
    −1 times the change of m0, 6, in the passes that leave out layer 0 or 2: (6 + 6) / 2, hurting.
    """
    on = make_subject(LINEAR)
    for parameter in on.model.parameters():
        parameter.data.zero_()
    first, second = on.model.layers[0].mlp, on.model.layers[1].mlp
    first[0].weight.data[0, 0], first[2].weight.data[1, 0] = 2, 1
    second[0].weight.data[0, 1], second[2].weight.data[1, 0] = 1, -1
    on.model.embed.weight.data[5, 0] = 3
    on.model.unembed.weight.data[2, 1] = 1
    of = ew.Pairs.from_tokens(
        torch.tensor([[1, 5]]), torch.tensor([[1, 4]]), correct=torch.tensor([2]), wrong=torch.tensor([3])
    )
    eap, ours = (ew.attribute(on, of, method=method) for method in ("eap", "atp-graddrop"))
    assert eap["input->m0"] == 0
    assert ours["input->m0"] == pytest.approx(3)
    assert ours["m0->m1"] == pytest.approx(-6)
    assert ours["m0->logits"] == eap["m0->logits"] == pytest.approx(6)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_it_takes_two_forwards_and_a_backward_for_each_layer(family: str) -> None:
    on = subject(family)
    with counting(on) as counts:
        ew.attribute(on, pairs(), method="atp-graddrop", batch_size=5)
    assert (counts["forward"], counts["backward"]) == (2, on.graph.layers)


def test_with_one_layer_it_is_the_absolute_effect() -> None:
    on, of = make_subject(toy_config(num_hidden_layers=1)), pairs()[:1]
    eap, ours = (ew.attribute(on, of, method=method).values for method in ("eap", "atp-graddrop"))
    torch.testing.assert_close(ours, eap, rtol=1e-4, atol=1e-6)


def test_what_it_cannot_do_it_says() -> None:
    with pytest.raises(NumericalError, match="kl, whose gradient is zero at the clean run"):
        ew.attribute(subject("gpt2"), pairs(), method="atp-graddrop", metric="kl")
    with pytest.raises(InvalidValue, match="gives no scores that are means"):
        bootstrap(subject("toy"), pairs(), edges=20, method="atp-graddrop")
