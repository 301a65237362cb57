"""The embedded model: what it must score on prompts it was never trained on, and how it is packaged."""

from __future__ import annotations

import importlib.util
import random
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import edgewise.tasks
from edgewise.metrics import Answers, metric
from edgewise.pairs import Pairs
from edgewise.tasks import TASKS, task
from edgewise.tasks.base import collate

FOLDER = Path(edgewise.tasks.__file__).parents[1] / "assets" / "nano"
SCRIPTS = Path(__file__).parents[1] / "scripts"
DRAWS = 4800  # about one in eight is held out
SEED = 12345
OWN_TASKS = [name for name, each in TASKS.items() if each.model == "nano"]

# One worker draws the prompts and keeps them.
pytestmark = pytest.mark.xdist_group("nano")

tokenizer = cache(lambda: AutoTokenizer.from_pretrained(FOLDER))
model = cache(lambda: AutoModelForCausalLM.from_pretrained(FOLDER).eval())


@pytest.fixture(scope="module")
def text() -> ModuleType:
    """The training text, from scripts/nano_text.py."""
    spec = importlib.util.spec_from_file_location("nano_text", SCRIPTS / "nano_text.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nano_text"] = module  # NamedTuple looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=OWN_TASKS)
def held_out(request: pytest.FixtureRequest, text: ModuleType) -> tuple[str, Pairs]:
    prompts = [p for p in task(request.param).prompts(tokenizer(), n=DRAWS, seed=SEED) if text.is_held_out(p)]
    assert len(prompts) >= 500
    return request.param, collate(tokenizer(), prompts)


def value(name: str, pairs: Pairs, tokens: Tensor) -> float:
    with torch.no_grad():
        logits = model()(tokens).logits[torch.arange(len(pairs)), pairs.positions]
    return metric(name).value(logits, Answers(pairs.correct, pairs.wrong), logits).mean().item()


def test_reaches_its_bars_on_held_out_prompts(held_out: tuple[str, Pairs]) -> None:
    name, pairs = held_out
    bars = {
        "ioi": {"accuracy": 0.99, "logit_diff": 3.0},
        "greater-than": {"prob_diff": 0.8},
        "docstring": {"accuracy": 0.97},
        "induction": {"accuracy": 0.97},
    }
    scores = {measure: value(measure, pairs, pairs.clean) for measure in bars[name]}
    assert all(scores[measure] >= bar for measure, bar in bars[name].items()), scores


def test_corrupted_prompts_do_not_tell_the_answer(held_out: tuple[str, Pairs]) -> None:
    name, pairs = held_out
    clean, corrupted = (value(TASKS[name].metric, pairs, t) for t in (pairs.clean, pairs.corrupted))
    # What may be left, either way: in a corrupted docstring the wrong answers are still named and the right one is not;
    # an event that starts in the year 01 ends in the later half of its century more often than the mean start year.
    assert abs(corrupted) < 0.2 * clean, (clean, corrupted)


def test_training_never_sees_a_held_out_key(text: ModuleType) -> None:
    rng = random.Random(0)
    held = {
        name: {p.clean + p.correct[0] for p in task(name).prompts(tokenizer(), n=2000) if text.is_held_out(p)}
        for name in ("ioi", "docstring", "induction")
    }
    for name, forbidden in held.items():
        samples = [text.of_task(task(name), rng) for _ in range(1000)]
        assert not forbidden & {sample.text.rstrip(".:") for sample in samples}
    pairs = {
        tuple(sample.lead.split()[-1:] + sample.tail.split()[:1])
        for sample in (text.repeated_words(rng) for _ in range(300))
    }
    assert not any(text.is_held_out(text.as_key(*pair)) for pair in pairs)


def test_tokenizer_knows_every_word_and_gives_the_text_back(text: ModuleType) -> None:
    rng = random.Random(1)
    for sample in (sample for group in text.GROUPS for sample in text.batch(group, rng)):
        whole = sample.text
        tokens = tokenizer()(whole)["input_ids"]
        assert tokens[0] == tokenizer().bos_token_id
        assert tokenizer().unk_token_id not in tokens
        assert len(tokens) <= model().config.n_positions
        assert tokenizer().decode(tokens, skip_special_tokens=True) == whole
    assert tokenizer().unk_token_id in tokenizer()("When Zebedee")["input_ids"]


def test_is_an_ordinary_small_gpt2_folder() -> None:
    config = model().config
    assert config.model_type == "gpt2"
    assert config.n_layer >= 4
    assert config.n_head >= 4
    assert next(model().parameters()).dtype == torch.float32
    assert len(tokenizer()) < 1000
    names = {file.name for file in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 4_000_000


def test_card_states_training_and_scores() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "scripts/train_nano.py" in card
    assert "held out" in card
    for name in OWN_TASKS:
        row = next(line for line in card.splitlines() if line.startswith(f"| {name} |"))
        assert len([cell for cell in row.split("|") if "." in cell]) == 5
