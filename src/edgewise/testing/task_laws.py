"""The laws on a task: its pairs fit together, are the same for the same seed, and can be held out."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

from edgewise.errors import InvalidValue, TaskError
from edgewise.loading import load
from edgewise.metrics import metric
from edgewise.pairs import NO_ANSWER
from edgewise.tasks.base import ATTEMPTS_PER_PROMPT, LEAST_TRIED, Prompt, Task, collate
from edgewise.testing.law_report import LawReport, demand, kept

PROMPTS = 8


def check_task(task: Task, tokenizer: Any = None) -> LawReport:
    """Check a task by the laws that every task obeys.

    `task`: the Task.
    `tokenizer`: the tokenizer to ask it with, by default that of the task's own model.

    Returns a LawReport if all laws hold. Raises InvalidValue with the laws that are broken.
    """
    if not isinstance(task, Task):
        raise InvalidValue(f"{task!r} is not a task: it must be an edgewise.tasks.Task")
    chosen = tokenizer if tokenizer is not None else load(task.model).tokenizer
    laws = {
        "its metric is known": _metric,
        "every corruption gives aligned pairs": _aligned,
        "right and wrong answers are there and apart": _answers,
        "a corrupted prompt is another than the clean one": _corrupted,
        "the same seed gives the same, another seed others": _seeds,
        "every corruption has the same clean prompts": _clean,
        "pairs held out are none of the others": _held_out,
        "more than there are is refused": _pool,
    }
    return kept(f"the task {task.name!r}", [(law, partial(one, task, chosen)) for law, one in laws.items()])


def _metric(task: Task, tokenizer: Any) -> float:
    metric(task.metric)
    return 0.0


def _aligned(task: Task, tokenizer: Any) -> float:
    demand(bool(task.corruptions), "it has no corruption")
    for corruption in task.corruptions:
        pairs = task.pairs(tokenizer, n=PROMPTS, corruption=corruption)
        demand(len(pairs) == PROMPTS, f"{len(pairs)} pairs where {PROMPTS} were asked for")
        demand(pairs.clean.shape == pairs.corrupted.shape, f"{corruption}: twins of other lengths")
    return 0.0


def _answers(task: Task, tokenizer: Any) -> float:
    pairs = task.pairs(tokenizer, n=PROMPTS)
    for i, (right, wrong) in enumerate(zip(pairs.correct.tolist(), pairs.wrong.tolist(), strict=True)):
        good, bad = set(right) - {NO_ANSWER}, set(wrong) - {NO_ANSWER}
        clean = repr(pairs.texts[i][0])
        demand(bool(good), f"{clean} has no right answer")
        demand(
            bool(bad) or not metric(task.metric).needs_wrong,
            f"{clean} has no wrong answer, and {task.metric} needs one",
        )
        demand(not good & bad, f"{clean}: {tokenizer.decode(sorted(good & bad))!r} is both right and wrong")
    return 0.0


def _corrupted(task: Task, tokenizer: Any) -> float:
    for corruption in task.corruptions:
        for clean, corrupted in task.pairs(tokenizer, n=PROMPTS, corruption=corruption).texts:
            demand(clean != corrupted, f"{corruption} leaves {clean!r} as it is")
    return 0.0


def _seeds(task: Task, tokenizer: Any) -> float:
    first, state = _drawn(task, tokenizer), random.getstate()
    random.seed(5)
    try:
        again, longer = _drawn(task, tokenizer), _drawn(task, tokenizer, n=2 * PROMPTS)
        drew = random.getstate() != random.Random(5).getstate()
    finally:
        random.setstate(state)
    demand(first == again, "the same seed gave other prompts the second time: draw from the rng that draw is given")
    demand(not drew, "it draws from Python's own random numbers, not from the rng that draw is given")
    demand(longer[:PROMPTS] == first, "a longer draw begins with other prompts")
    demand(_drawn(task, tokenizer, seed=1) != first, "seeds 0 and 1 give the same prompts")
    return 0.0


def _clean(task: Task, tokenizer: Any) -> float:
    drawn = {
        name: [p.clean for p in task._draws(_lists(task, tokenizer), name, "check", PROMPTS)]
        for name in task.corruptions
    }
    first, *_ = drawn.values()
    for name, prompts in drawn.items():
        demand(prompts == first, f"{name} has other clean prompts: draw what the clean text needs first")
    return 0.0


def _held_out(task: Task, tokenizer: Any) -> float:
    first = task.pairs(tokenizer, n=PROMPTS)
    others = task.pairs(tokenizer, n=2, apart_from=first)
    both = {clean for clean, _ in first.texts} & {clean for clean, _ in others.texts}
    demand(not both, f"held out and yet among the others: {sorted(both)[:1]}")
    return 0.0


def _pool(task: Task, tokenizer: Any) -> float:
    """Apart from all that it can draw there is nothing left."""
    first = _drawn(task, tokenizer, n=1)
    stream = f"{task.name}/0/held-out"
    attempts = LEAST_TRIED * ATTEMPTS_PER_PROMPT
    held = tuple(task._draws(_lists(task, tokenizer), task.corruptions[0], stream, attempts))
    texts = tuple((prompt.clean, prompt.clean) for prompt in (*first, *held))
    pool = replace(collate(tokenizer, first), texts=texts)
    try:
        found = task.pairs(tokenizer, n=1, apart_from=pool)
    except TaskError:
        return 0.0
    raise InvalidValue(f"{found.texts[0][0]!r} was given though it is not apart from the others")


def _drawn(task: Task, tokenizer: Any, *, n: int = PROMPTS, seed: int = 0) -> tuple[Prompt, ...]:
    return task.prompts(tokenizer, n=n, seed=seed)


def _lists(task: Task, tokenizer: Any) -> Any:
    return task.fit(task.lists, tokenizer)
