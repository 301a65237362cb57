"""Checkpoints with a tower for images: the text tower is what the text model of the same weights is, and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import distance, gemma3_config, make_model, pairs
from torch import nn

import edgewise as ew
from edgewise.errors import InvalidValue, UnsupportedModel


def with_images(**changes: Any) -> nn.Module:
    """A tiny model that reads images too."""
    from transformers import Gemma3Config

    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    marks = {"image_token_index": 49, "boi_token_index": 47, "eoi_token_index": 48, "mm_tokens_per_image": 4}
    text = gemma3_config(**changes).to_dict()
    return make_model(
        Gemma3Config(text_config=text, vision_config={**vision, "image_size": 8, "patch_size": 4}, **marks)
    )


def text_alone(model: Any) -> nn.Module:
    """The same weights in the class for text."""
    twin = make_model(gemma3_config(final_logit_softcapping=None))
    state = {name.replace("model.language_model.", "model."): tensor for name, tensor in model.state_dict().items()}
    twin.load_state_dict({name: state[name] for name in twin.state_dict()})
    return twin


@pytest.mark.parametrize("method", ["eap", "eap-ig", "exact", "relp", "gim"])
def test_the_text_tower_scores_as_the_text_model(method: str) -> None:
    model, of = with_images(), pairs()
    tower, text = ew.load(model), ew.load(text_alone(model))
    assert tower.graph == text.graph
    assert torch.equal(tower.logits(of.clean, of.positions), text.logits(of.clean, of.positions))
    ours, theirs = (ew.attribute(on, of, method=method).values for on in (tower, text))
    assert distance(ours, theirs) < 1e-5
    assert ours.abs().max() > 0.01


def test_the_cap_that_this_class_ignores_is_ignored() -> None:
    """`final_logit_softcapping` is low enough here to bend every logit of the text model."""
    capped, free = (with_images(final_logit_softcapping=cap) for cap in (1.0, None))
    of = pairs()
    ours, theirs = (ew.load(model).logits(of.clean, of.positions) for model in (capped, free))
    assert torch.equal(ours, theirs)
    assert ours.abs().max() > 1


def test_searching_and_ungrouping_work_too() -> None:
    model, of = with_images(), pairs()
    tower, text = (ew.load(one, kv="ungrouped") for one in (model, text_alone(model)))
    assert tower.graph.kv_heads == 4
    assert tower.identity["kv"] == "ungrouped"
    assert model.config.text_config.num_key_value_heads == 2
    found, expected = (ew.discover(on, of, method="acdc", tau=0.05) for on in (tower, text))
    assert set(found.edges) == set(expected.edges)


def test_a_folder_says_what_of_it_was_taken(tmp_path: Path) -> None:
    with_images().save_pretrained(tmp_path)
    on, of = ew.load(str(tmp_path)), pairs()
    assert on.identity["architecture"] == "Gemma3ForConditionalGeneration"
    assert on.identity["part"] == "text tower"
    assert ew.attribute(on, of).provenance["part"] == "text tower"
    with pytest.raises(InvalidValue, match="outside the vocabulary of 50"):
        on.logits(torch.tensor([[50]]), torch.tensor([0]))


def test_looking_ahead_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="use_bidirectional_attention=True"):
        ew.load(with_images(use_bidirectional_attention=True))
