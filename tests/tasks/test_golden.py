"""The first three prompts of each task under each corruption, for a reviewer to read in tests/golden/tasks.json.

After a change that is meant: `PYTHONPATH=src python tests/tasks/test_golden.py` writes the file anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

import edgewise.tasks
from edgewise.tasks import TASKS

GOLDEN = Path(__file__).parents[1] / "golden" / "tasks.json"


def first_prompts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        f"{name}, {corruption}": [
            {
                "clean": prompt.clean,
                "corrupted": prompt.corrupted,
                "correct": " ".join(prompt.correct),
                "wrong": " ".join(prompt.wrong),
            }
            for prompt in task.prompts(tokenizer, n=3, seed=0, corruption=corruption)
        ]
        for name, task in TASKS.items()
        for corruption in task.corruptions
    }


def test_first_prompts_are_the_golden_ones(nano: PreTrainedTokenizerBase) -> None:
    assert first_prompts(nano) == json.loads(GOLDEN.read_text(encoding="utf-8"))


if __name__ == "__main__":
    folder = Path(edgewise.tasks.__file__).parents[1] / "assets" / "nano"
    written = json.dumps(first_prompts(AutoTokenizer.from_pretrained(folder)), indent=1, ensure_ascii=False)
    GOLDEN.write_text(written + "\n", encoding="utf-8")
