"""Pairs: aligned clean and corrupted prompts with their answers, as token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, final

import torch
from torch import Tensor

from edgewise.arguments import checked_argument, explained, refuse_empty_batch, typed
from edgewise.errors import InvalidValue, PairsError
from edgewise.prompts.given_tokens import are_token_ids, begin_noticed, both_sides, padding_noticed
from edgewise.prompts.habits import warn_of, with_warnings
from edgewise.prompts.pair_tensors import NO_ANSWER, answer_rows, filled, padded
from edgewise.prompts.read_prompts import read_texts, read_tokens
from edgewise.prompts.tokens import Begin, Chat, Decoder, PromptReader, check_one_length
from edgewise.surroundings import neutrally

# What the origin of pairs says where there are no corrupted prompts: clean ones stand in their place.
NO_TWINS = {"corrupted": "none"}


@final
@dataclass(frozen=True, eq=False)
class Pairs:
    """Clean and corrupted prompts, token by token, with the tokens that count as right and wrong answers.

    `clean`, `corrupted`: int64 [example, position], padded on the right; causal models never read that far.
    `correct`, `wrong`: int64 [example, answer], padded with -1.
    `positions`: int64 [example], the index of the token whose logits predict the answer.
    `texts`: the two prompts of each pair as text, if known.
    `source`: where the pairs come from, for the provenance of what is found on them.
    `after`: what follows the answer position: "padding", or the rest of the "prompt". In the latter case prompts fill
    their rows, and models that read in both directions may be asked at any position. Build them with `from_tokens`,
    `from_prompts` or a task.
    """

    clean: Tensor
    corrupted: Tensor
    correct: Tensor
    wrong: Tensor
    positions: Tensor
    texts: tuple[tuple[str, str], ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    after: Literal["padding", "prompt"] = "padding"

    # -- construction -----------------------------------------------------------------------------------------------

    @classmethod
    @explained
    @neutrally
    def from_tokens(  # noqa: PLR0913  a public verb: keyword arguments
        cls,
        clean: Any,
        corrupted: Any = None,
        *,
        correct: Any,
        wrong: Any = None,
        positions: Any = None,
        attention_mask: Any = None,
        after: Literal["padding", "prompt"] = "padding",
    ) -> Pairs:
        """Build pairs from token ids.

        `clean`, `corrupted`: integers [example, position], of torch, numpy or pandas; lists of ids, of any lengths; or what a
        tokenizer returns, with its mask. Without `corrupted`, ablations that need it are refused.
        `correct`, `wrong`: integers [example] or [example, answer], or lists of any lengths; -1 is no answer, and one that
        comes twice counts once.
        `positions`: integers [example], the column where the answer is read, by default the last that is no padding.
        `attention_mask`: 0 where there is padding, left or right, [example, position]; both prompts of a pair have it alike.
        `after`: "padding", or "prompt" if every row is a prompt from end to end.
        Raises PairsError with the first example that does not fit. Warns of rows that look padded without a mask.

        >>> ids = torch.tensor([[5, 6, 7], [5, 8, 7]])
        >>> Pairs.from_tokens(ids, ids.flip(0), correct=torch.tensor([1, 2]), wrong=torch.tensor([2, 1]))
        <Pairs: 2 examples of up to 3 tokens>
        """
        if after not in ("padding", "prompt"):
            raise InvalidValue(f"after must be 'padding' or 'prompt', not {after!r}")
        first, second = both_sides(clean, corrupted, attention_mask)
        if after == "prompt":
            check_one_length(first.rows)
        noticed = [*padding_noticed(first, second, positions), *begin_noticed(first, second)]
        pairs = cls._of_tables(first.beside(second), (correct, wrong), first.positions(positions), after)
        warn_of(noticed)
        return replace(pairs, source=with_warnings(NO_TWINS if corrupted is None else {}, noticed))

    @classmethod
    def _of_tables(
        cls,
        prompts: tuple[Tensor, Tensor],
        answers: tuple[Any, Any],
        positions: Tensor,
        after: Literal["padding", "prompt"],
    ) -> Pairs:
        n, (correct, wrong) = len(prompts[0]), answers
        right = answer_rows("correct", correct, n)
        against = torch.full((n, 1), NO_ANSWER) if wrong is None else answer_rows("wrong", wrong, n)
        return cls(*prompts, right, against, positions, after=after)._checked()

    @classmethod
    @explained
    @neutrally
    def from_prompts(  # noqa: PLR0913  a public verb: keyword arguments
        cls,
        tokenizer: Any,
        clean: Any,
        corrupted: Any = None,
        correct: Any = None,
        wrong: Any = None,
        *,
        positions: Any = None,
        attention_mask: Any = None,
        bos: Begin = "auto",
        chat_template: Chat = "none",
    ) -> Pairs:
        """Build pairs from text, or from what a tokenizer made of it.

        `tokenizer`: the tokenizer of the model, `subject.tokenizer`.
        `clean`, `corrupted`: the prompts, in a column of any kind: text, or token ids as `from_tokens` takes them. The two
        prompts of a pair need the same number of tokens. Without `corrupted`, ablations that need it are refused.
        `correct`, `wrong`: one answer or several for each pair: text as it continues the prompt, with its leading space,
        or a token id. A token that comes more than once counts once. `wrong`: none at all where it is left out.
        `positions`: the index of the token where each answer is read, by default the last. If given, all prompts need
        the same length, and are read from end to end.
        `attention_mask`: for token ids, as in `from_tokens`.
        `bos`: a begin token before each prompt: "yes", "no", or "auto", as the tokenizer does it.
        `chat_template`: "assistant" (prompts begin the model's turn), "user" (they are the user's) or "none".
        Raises PairsError for prompts that are misaligned or hold unknown words, and for answers of several tokens. Warns,
        by name, of what is seldom meant, such as answers that are glued to their prompts.
        """
        if tokenizer is None:
            raise PairsError(
                "prompts are text, but the model came without a tokenizer; give one: load(model, tokenizer=…)"
            )
        if correct is None:
            raise PairsError("correct is missing: give the right answer, or several, for each prompt")
        reader = PromptReader(tokenizer, bos=bos, chat_template=chat_template)
        given = read_tokens if are_token_ids(clean) else read_texts
        made = given(reader, (clean, corrupted), (correct, wrong), positions, attention_mask)
        if positions is not None:
            check_one_length(made.clean)
        pairs = cls._of_tables(
            (filled(made.clean), filled(made.corrupted)),
            (padded(made.correct), padded(made.wrong)),
            made.positions,
            "padding" if positions is None else "prompt",
        )
        warn_of(made.noticed)
        source = with_warnings({**reader.facts, **(NO_TWINS if corrupted is None else {})}, made.noticed)
        return replace(pairs, texts=made.texts, source=source)

    # -- use --------------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Pairs) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __len__(self) -> int:
        return len(self.clean)

    @property
    def has_corrupted(self) -> bool:
        """Whether corrupted prompts were given; where none were, the clean ones stand in their place."""
        return self.source.get("corrupted") != "none"

    def __getitem__(self, rows: int | slice | Sequence[int] | Tensor) -> Pairs:
        """The pairs at `rows`: an index, a slice, or a list of indices."""
        index = torch.arange(len(self))[rows if isinstance(rows, slice) else torch.as_tensor(rows)].reshape(-1)
        texts = tuple(self.texts[i] for i in index.tolist()) if self.texts else ()
        tensors = (t[index] for t in (self.clean, self.corrupted, self.correct, self.wrong, self.positions))
        return Pairs(*tensors, texts=texts, source=self.source, after=self.after)

    @typed
    def batches(self, size: int) -> Iterator[Pairs]:
        """The pairs in consecutive batches of at most `size`."""
        refuse_empty_batch(size)
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @typed
    def examples(self, tokenizer: Any, n: int = 3) -> list[dict[str, list[str]]]:
        """The first `n` pairs as text up to the answer position, token by token; without `tokenizer` as numbers."""
        if tokenizer is not None:
            tokenizer = checked_argument("Pairs.examples: tokenizer", Decoder, tokenizer)
        return [self._example(tokenizer, i) for i in range(min(n, len(self)))]

    def _example(self, tokenizer: Any, i: int) -> dict[str, list[str]]:
        end = int(self.positions[i]) + 1
        rows = {"clean": self.clean[i, :end], "corrupted": self.corrupted[i, :end]}
        rows |= {"correct": self.correct[i], "wrong": self.wrong[i]}
        shown = {name: [token for token in row.tolist() if token != NO_ANSWER] for name, row in rows.items()}
        return {name: [token_text(tokenizer, token) for token in row] for name, row in shown.items()}

    def trimmed(self) -> Pairs:
        """The same pairs without the columns after the last answer position, which a causal model never reads."""
        width = int(self.positions.max()) + 1
        return replace(self, clean=self.clean[:, :width], corrupted=self.corrupted[:, :width], after="padding")

    @typed
    def to(self, device: torch.device) -> Pairs:
        """The same pairs with their tensors on `device`."""
        names = ("clean", "corrupted", "correct", "wrong", "positions")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of what matters: the tokens that are read, the answers, and where they are read."""
        digest = hashlib.sha256()
        for i in range(len(self)):
            position = int(self.positions[i])
            end, where = (position + 1, ()) if self.after == "padding" else (self.clean.shape[1], (position,))
            answers = [sorted(t for t in side[i].tolist() if t != NO_ANSWER) for side in (self.correct, self.wrong)]
            tokens = (self.clean[i, :end].tolist(), self.corrupted[i, :end].tolist())
            digest.update(repr((*tokens, answers, *where)).encode())
        return digest.hexdigest()

    def _checked(self) -> Pairs:
        if bool((self.correct == NO_ANSWER).all(dim=1).any()):
            i = int((self.correct == NO_ANSWER).all(dim=1).nonzero()[0])
            raise PairsError(f"example {i} has no correct answer")
        both = (self.correct[:, :, None] == self.wrong[:, None, :]) & (self.correct != NO_ANSWER)[:, :, None]
        if bool(both.any()):
            i, k, _ = (int(x) for x in both.nonzero()[0])
            raise PairsError(f"example {i}: token {int(self.correct[i, k])} is both a correct and a wrong answer")
        return self

    def __repr__(self) -> str:
        width = int(self.positions.max()) + 1 if self.after == "padding" else self.clean.shape[1]
        return f"<Pairs: {len(self)} examples of up to {width} tokens>"


def token_text(tokenizer: Any, token: int) -> str:
    """A token as text; its number in brackets without a tokenizer."""
    return f"[{token}]" if tokenizer is None else str(tokenizer.decode([token]))
