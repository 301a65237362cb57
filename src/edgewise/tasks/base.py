"""The contract of a task: word lists, a filter for the tokenizer at hand, and a seeded draw of one prompt pair."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, final

from edgewise.circuit import Circuit
from edgewise.errors import InvalidValue, TaskError, TooFewHeldOut, UnknownName
from edgewise.pairs import Pairs
from edgewise.programs import PROGRAMS
from edgewise.prompts.tokens import Begin, Chat, PromptReader
from edgewise.surroundings import neutrally
from edgewise.tasks.draws import Draws

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Lists = Mapping[str, tuple[str, ...]]

ATTEMPTS_PER_PROMPT = 20
# Prompts to hold out are looked for as if so many were wanted: few may be left, far apart.
LEAST_TRIED = 128


@final
@dataclass(frozen=True)
class Prompt:
    """One clean text, its corrupted twin, and the answers that continue the text.

    `clean`, `corrupted`: the two texts.
    `correct`, `wrong`: the answers, each with its leading space.
    `key`: the combination behind the prompt (for IOI the two names); prompts of one key belong together in a split.
    `asked`: the index of the token where the answer is read, if it is not the last (for models that read in both
    directions).
    """

    clean: str
    corrupted: str
    correct: tuple[str, ...]
    wrong: tuple[str, ...]
    key: tuple[str, ...]
    asked: int | None = None

    def fold(self, folds: int) -> int:
        """A number from 0 to `folds` − 1, the same for this key on every machine: for splits into disjoint parts."""
        return zlib.crc32("|".join(self.key).encode()) % folds


@final
@dataclass(frozen=True)
class Task:
    """A behaviour to ask of a model: it writes pairs, and names the metric that measures them.

    `name`: the name it is known by.
    `metric`: the name of its metric.
    `corruptions`: the ways to make a corrupted twin; the first is the published one, and the default.
    `lists`: the words that fill each slot of a prompt.
    `fit`: returns the part of the lists that a tokenizer can ask about.
    `draw`: makes one prompt from a source of randomness, those lists and the name of a corruption. It draws first what
    the clean text needs, so that a seed gives the same clean prompts under every corruption.
    `model`: the model to ask when no other is named; a name that `load` takes.
    `summary`: an example of it, or a few words about it.
    """

    name: str
    metric: str
    corruptions: tuple[str, ...]
    lists: Lists
    fit: Callable[[Lists, PreTrainedTokenizerBase], Lists]
    draw: Callable[[random.Random, Lists, str], Prompt]
    model: str = "nano"
    summary: str = ""

    @property
    def reference(self) -> Circuit | None:
        """The known circuit of this behaviour, published or that of a compiled model; None if there is none."""
        from edgewise.tasks.references import REFERENCES, reference

        if self.name in PROGRAMS:
            return PROGRAMS[self.name].reference
        return reference(self.name) if self.name in REFERENCES else None

    @neutrally
    def pairs(  # noqa: PLR0913  a public verb: keyword arguments
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        n: int,
        seed: int = 0,
        corruption: str | None = None,
        bos: Begin = "auto",
        chat_template: Chat = "none",
        apart_from: Pairs | None = None,
    ) -> Pairs:
        """Write `n` aligned pairs for a tokenizer; the same seed gives the same pairs, whatever else was drawn.

        `tokenizer`: the tokenizer of the model, `subject.tokenizer`.
        `n`: how many pairs.
        `seed`: what the prompts are drawn from.
        `corruption`: how a corrupted prompt differs, one of `corruptions`, by default the first.
        `bos`, `chat_template`: as in `Pairs.from_prompts`.
        `apart_from`: pairs to hold out from: no clean prompt of the new pairs is among theirs.

        Returns Pairs. Raises TaskError if the tokenizer cannot ask this task, UnknownName for a corruption that is not
        known, InvalidValue if `n` is below 1.
        """
        options: dict[str, Any] = {"corruption": corruption, "chat_template": chat_template, "apart_from": apart_from}
        pairs = collate(
            tokenizer, self.prompts(tokenizer, n=n, seed=seed, **options), bos=bos, chat_template=chat_template
        )
        origin = {"task": self.name, "seed": seed, "corruption": self._corruption(corruption)}
        return replace(pairs, source={**origin, **pairs.source, **({"held_out": True} if apart_from else {})})

    def prompts(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        n: int,
        seed: int = 0,
        corruption: str | None = None,
        chat_template: Chat = "none",
        apart_from: Pairs | None = None,
    ) -> tuple[Prompt, ...]:
        """The texts behind `pairs`; the first prompts of a longer draw are those of a shorter one.

        `tokenizer`, `n`, `seed`, `corruption`, `chat_template`, `apart_from`: as in `pairs`.
        """
        _check_request(self.name, tokenizer, n)
        name = self._corruption(corruption)
        lists = self.fit(self.lists, tokenizer)
        reader = PromptReader(tokenizer, chat_template=chat_template)
        seen = {clean for clean, _ in apart_from.texts} if apart_from is not None else set()
        stream = f"{self.name}/{seed}" if apart_from is None else f"{self.name}/{seed}/held-out"
        attempts = max(n, LEAST_TRIED if seen else 0) * ATTEMPTS_PER_PROMPT
        draws = Draws(self._draws(lists, name, stream, attempts), n)
        drawn = (p for p in draws if p.clean not in seen)
        found = tuple(islice((p for p in drawn if _aligned(reader, p)), n))
        if len(found) == n:
            return found
        if draws.different is not None and found:
            raise self._exhausted(n, draws, len({p.clean for p in found}), apart_from)
        if seen:
            raise TooFewHeldOut(
                f"task {self.name!r}: only {len(found)} of {n} prompts to hold out differ from the {len(apart_from or ())} "
                "that circuits are found on; ask for fewer of one or the other",
                len(found),
            )
        raise self._too_few(len(found), n, name, chat_template)

    def _draws(self, lists: Lists, corruption: str, stream: str, attempts: int) -> Iterator[Prompt]:
        # One generator per prompt: what a corruption draws cannot shift the clean text of the next prompt.
        for attempt in range(attempts):
            yield self.draw(random.Random(f"{stream}/{attempt}"), lists, corruption)

    def _exhausted(self, n: int, draws: Draws, found: int, apart_from: Pairs | None) -> TaskError:
        """The refusal of more prompts than the task has, of which so many different ones were found."""
        there = f"about {draws.different:,}" if draws.about else f"{draws.different:,}"
        apart = f", {found:,} of them beside those that circuits are found on" if apart_from and not draws.about else ""
        message = (
            f"task {self.name!r} has only {there} different prompts with this tokenizer{apart}, and {n:,} were asked for; "
            f"ask for {'fewer' if draws.about else f'at most {found:,}'}"
        )
        return TaskError(message) if apart_from is None else TooFewHeldOut(message, found)

    def _too_few(self, found: int, n: int, corruption: str, chat_template: Chat) -> TaskError:
        if chat_template == "user":
            return TaskError(
                f"task {self.name!r}: only {found} of {n} prompts have answers that are one token at the start of a reply; "
                "give chat_template 'assistant', where they follow the prompt itself"
            )
        return TaskError(
            f"task {self.name!r}: only {found} of {n} prompts have a corrupted twin ({corruption!r}) of the same "
            f"number of tokens with this tokenizer; ask for another corruption ({', '.join(self.corruptions)})"
        )

    def _corruption(self, name: str | None) -> str:
        if name is None:
            return self.corruptions[0]
        if name not in self.corruptions:
            raise UnknownName.of("corruption", name, self.corruptions)
        return name


def collate(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], *, bos: Begin = "auto", chat_template: Chat = "none"
) -> Pairs:
    """The Pairs of these prompts."""
    return Pairs.from_prompts(
        tokenizer,
        [p.clean for p in prompts],
        [p.corrupted for p in prompts],
        [list(p.correct) for p in prompts],
        [list(p.wrong) for p in prompts],
        positions=asked if (asked := [p.asked for p in prompts if p.asked is not None]) else None,
        bos=bos,
        chat_template=chat_template,
    )


def single_tokens(tokenizer: PreTrainedTokenizerBase, context: str, words: Sequence[str]) -> tuple[str, ...]:
    """The words, as they continue the context, that add exactly one token and leave the context's tokens alone."""
    reader = PromptReader(tokenizer)
    return tuple(word for word in words if reader.fits(context, [word]))


def at_least(count: int, words: tuple[str, ...], *, what: str) -> tuple[str, ...]:
    """The words themselves; TaskError if there are fewer than `count`."""
    if len(words) < count:
        raise TaskError(
            f"{what}: only {len(words)} are a single token with this tokenizer and {count} are needed"
            f" (found: {', '.join(words) or 'none'}); use a model whose tokenizer has whole words, or your own pairs"
        )
    return words


def fit_words(tokenizer: PreTrainedTokenizerBase, context: str, words: Sequence[str]) -> tuple[str, ...]:
    """The words that are a single token after the context and a space, returned without the space."""
    return tuple(word[1:] for word in single_tokens(tokenizer, context, [f" {word}" for word in words]))


def _aligned(reader: PromptReader, prompt: Prompt) -> bool:
    """Whether the twins have as many tokens; in a chat, also whether the answers are a token each, which no list ensures."""
    same = len(reader.tokens(prompt.clean)) == len(reader.tokens(prompt.corrupted))
    return same and (reader.chat_template == "none" or reader.fits(prompt.clean, [*prompt.correct, *prompt.wrong]))


def _check_request(task: str, tokenizer: PreTrainedTokenizerBase | None, n: int) -> None:
    if tokenizer is None:
        raise TaskError(
            f"task {task!r} needs a tokenizer and got None; load the model with one: load(model, tokenizer=...)"
        )
    if n <= 0:
        raise InvalidValue(f"task {task!r}: n must be at least 1, got {n}")
