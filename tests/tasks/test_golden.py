"""The first three prompts of each task under each corruption, for a reviewer to read in tests/golden/tasks.json.

After a change that is meant: `PYTHONPATH=src python tests/tasks/test_golden.py` writes the file anew.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

import edgewise.tasks
from edgewise.models.compiled import tokenizer as compiled_tokenizer
from edgewise.programs import PROGRAMS
from edgewise.tasks import TASKS, Task

GOLDEN = Path(__file__).parents[1] / "golden" / "tasks.json"
WORD = r" ?[A-Za-z]+|[^A-Za-z ]"


def first_prompts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        f"{name}, {corruption}": [
            {
                "clean": prompt.clean,
                "corrupted": prompt.corrupted,
                "correct": " ".join(prompt.correct),
                "wrong": " ".join(prompt.wrong),
                **({} if prompt.asked is None else {"asked": prompt.asked}),
            }
            for prompt in task.prompts(spoken(task) or tokenizer, n=3, seed=0, corruption=corruption)
        ]
        for name, task in TASKS.items()
        for corruption in task.corruptions
    }


def spoken(task: Task) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a compiled model, which is not about language; of a pretrained one, one that knows every word."""
    if task.model in PROGRAMS:
        return compiled_tokenizer(PROGRAMS[task.model])
    return None if task.model == "nano" else whole_words(task)


def whole_words(task: Task) -> PreTrainedTokenizerBase:
    drawn = [task.draw(random.Random(seed), task.lists, task.corruptions[0]) for seed in range(2000)]
    words = {word for prompt in drawn for word in re.findall(WORD, prompt.clean + prompt.correct[0])}
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["?", *sorted(words)])}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")  # pyright: ignore[reportAttributeAccessIssue]
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="?")


def test_first_prompts_are_the_golden_ones(nano: PreTrainedTokenizerBase) -> None:
    assert first_prompts(nano) == json.loads(GOLDEN.read_text(encoding="utf-8"))


if __name__ == "__main__":
    folder = Path(edgewise.tasks.__file__).parents[1] / "assets" / "nano"
    written = json.dumps(first_prompts(AutoTokenizer.from_pretrained(folder)), indent=1, ensure_ascii=False)
    GOLDEN.write_text(written + "\n", encoding="utf-8")
