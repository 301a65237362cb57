"""Prompts: the tokens that a text becomes, with or without a begin token and a chat template, and its answers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal, Protocol, SupportsIndex, final, get_args, runtime_checkable

from edgewise.arguments import checked_argument
from edgewise.errors import InvalidValue, PairsError
from edgewise.prompts.chat import FORMS
from edgewise.prompts.pair_tensors import listed

Begin = Literal["auto", "yes", "no"]
Chat = Literal["none", "assistant", "user"]
# Text as it continues the prompt, or the id of a token.
Answer = str | SupportsIndex


@runtime_checkable
class Tokenizer(Protocol):
    """What text becomes tokens by, and tokens text, as the tokenizers of transformers do."""

    def __call__(self, text: str, **options: Any) -> Any: ...


@runtime_checkable
class Decoder(Protocol):
    """What makes text of tokens."""

    def decode(self, tokens: Any) -> Any: ...


@final
class PromptReader:
    """Reads prompts and their answers with a tokenizer.

    `bos`: "auto" leaves it to the tokenizer whether a begin token stands before a prompt, "yes" puts one, "no" none; never
    are there two. An end token that the tokenizer appends is left out: a model is asked before it. `chat_template`: with
    "assistant" a prompt begins the model's turn in the tokenizer's own template, with "user" it is the user's, and the answer
    the reply (chat.py).
    """

    def __init__(self, tokenizer: Any, *, bos: Begin = "auto", chat_template: Chat = "none") -> None:
        self.tokenizer = checked_argument("tokenizer", Tokenizer, tokenizer)
        self.bos = _one_of("bos", bos, get_args(Begin))
        self.chat_template = _one_of("chat_template", chat_template, get_args(Chat))
        self._chat = FORMS[chat_template](tokenizer) if chat_template in FORMS else None
        self._begin: Any = getattr(tokenizer, "bos_token_id", None)
        if bos == "yes" and self._begin is None:
            raise PairsError("this tokenizer has no begin token to put before prompts: give bos 'auto' or 'no'")
        self._before, self._after = ([], []) if self._chat else _additions(tokenizer)
        self._known: dict[tuple[str, str], int] = {}
        self._mended = False

    @property
    def facts(self) -> dict[str, str]:
        """What was asked for, for the provenance; nothing if it is what the tokenizer does by itself."""
        asked = {"bos": (self.bos, "auto"), "chat_template": (self.chat_template, "none")}
        return {name: value for name, (value, default) in asked.items() if value != default}

    def pair(self, i: int, clean: str, corrupted: str) -> tuple[list[int], list[int]]:
        """The tokens of both prompts of pair `i`; PairsError if they differ in number or hold unknown words."""
        for name, text in (("clean", clean), ("corrupted", corrupted)):
            if not isinstance(text, str):
                raise PairsError(f"pair {i}: the {name} prompt must be text, not {text!r:.60} ({type(text).__name__})")
        rows = self.tokens(clean), self.tokens(corrupted)
        _check_alignment(self.tokenizer, i, *rows)
        _check_known(self.tokenizer, i, [*rows[0], *rows[1]])
        return rows

    def tokens(self, prompt: str) -> list[int]:
        """What the model is asked with."""
        return self._encode(self._chat.prompt(prompt) if self._chat else prompt)

    def fits(self, prompt: str, answers: Sequence[str]) -> bool:
        """Whether each of these answers is one token after the prompt."""
        try:
            self.answers(prompt, answers)
        except PairsError:
            return False
        return True

    def without_end(self, row: list[int]) -> list[int]:
        """The tokens of a text without the end token that the tokenizer appends."""
        return row[: -len(self._after)] if self._after and row[-len(self._after) :] == self._after else row

    def text(self, row: list[int]) -> str:
        """The text of a row of tokens, special tokens left out."""
        try:
            return str(self.tokenizer.decode(row, skip_special_tokens=True))
        except TypeError:  # a tokenizer of the user's own
            return str(self.tokenizer.decode(row))

    def answers_after(self, row: list[int], answers: Answer | Sequence[Answer]) -> list[int]:
        """The token ids of one answer or several after a prompt that is given as tokens."""
        given: Any = listed(answers)
        several = given if isinstance(given, list | tuple) else [given]
        if not any(isinstance(answer, str) for answer in several):
            return [self._of_id(answer) for answer in several]
        if self.tokens(text := self.text(row)) != row:
            raise PairsError(
                f"the answer {several[0]!r} is text, but its prompt is tokens that are not those of its text {text!r:.60}; "
                "give the answer as a token id, or the prompt as text"
            )
        return self.answers(text, answers)

    def answers(self, prompt: str, answers: Answer | Sequence[Answer]) -> list[int]:
        """The token ids of one answer or several."""
        given: Any = listed(answers)
        several = given if isinstance(given, list | tuple) else [given]
        return [self.token(prompt, answer) for answer in several]

    def token(self, prompt: str, answer: Answer) -> int:
        """The token id of `answer` right after `prompt`; PairsError if it is not exactly one token there."""
        if not isinstance(answer, str):
            return self._of_id(answer)
        # How an answer is cut depends on the word and the white space it follows, not on the whole prompt.
        key = (prompt[max(prompt.rstrip().rfind(" "), 0) :], answer)
        if key not in self._known:
            self._known[key] = self._answer_token(prompt, answer)
        return self._known[key]

    @property
    def mended(self) -> list[str]:
        """What was mended in the prompts read so far, in sentences."""
        found: list[str] = []
        if self._mended:
            begin = boundaries(self.tokenizer, [self._begin])
            found.append(
                f"the prompts begin with {begin!r} themselves, so the one that this tokenizer adds is left out; "
                "give bos='yes' (--bos yes) if one is meant"
            )
        if self._after:
            end = boundaries(self.tokenizer, self._after)
            found.append(
                f"this tokenizer ends every text with {end!r}, which is left out, since the answer follows the text; "
                "give token ids if it is meant"
            )
        return found

    def _of_id(self, answer: Any) -> int:
        """A token id that was given as such, if there is such a token."""
        try:
            token = operator.index(answer)
        except (TypeError, RuntimeError):
            token = None
        if token is None or isinstance(answer, bool):
            raise PairsError(f"an answer is text or the id of a token, not {answer!r:.60} ({type(answer).__name__})")
        # A callable of the user's own need not say how many tokens it has.
        if token < 0 or (hasattr(self.tokenizer, "__len__") and token >= len(self.tokenizer)):
            raise PairsError(f"the answer {token} is no token of this tokenizer")
        return token

    def _answer_token(self, prompt: str, answer: str) -> int:
        text, answer = (self._chat.prompt(prompt), self._chat.answer(answer)) if self._chat else (prompt, answer)
        before, after = self._encode(text), self._encode(text + answer)
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        if len(after) == len(before) + 1 and after[: len(before)] == before and after[-1] != unknown:
            return after[-1]
        cut = boundaries(self.tokenizer, after)
        spaced = answer.startswith(" ") or self.chat_template == "user"
        hint = "" if spaced else f"; perhaps {' ' + answer!r}, with a leading space?"
        hint += "; the prompt ends in a space: end it before that" if prompt.endswith(" ") else ""
        raise PairsError(f"the answer {answer!r} is not one token after its prompt: {cut}{hint}")

    def _encode(self, text: str) -> list[int]:
        row = _encode(self.tokenizer, text, special=self._chat is None)
        row = self.without_end(row)
        added = row[: len(self._before)] if row[: len(self._before)] == self._before else []
        body = row[len(added) :]
        begin = self._begin_before(body, text, by_itself=self._begin in added) if self._begin is not None else []
        return [*begin, *(token for token in added if token != self._begin), *body]

    def _begin_before(self, body: list[int], text: str, *, by_itself: bool) -> list[int]:
        """The begin token, if one is to stand before these tokens of `text`. `by_itself`: the tokenizer puts one there."""
        written = body[:1] == [self._begin]
        if written and self.bos == "no":
            begin, where = (
                boundaries(self.tokenizer, body[:1]),
                "the chat template puts" if self._chat else "the text holds",
            )
            raise PairsError(f"bos 'no' asks for no begin token, but {where} {begin!r} before the prompt: {text!r:.60}")
        self._mended |= written and by_itself and self.bos == "auto"
        wanted = by_itself if self.bos == "auto" else self.bos == "yes"
        return [self._begin] if wanted and not written else []


def boundaries(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The tokens as text with `|` between them, as error messages show them."""
    return "|".join(tokenizer.decode([token]) for token in tokens)


def check_one_length(rows: list[list[int]]) -> None:
    """PairsError unless all prompts have one length."""
    lengths = sorted({len(row) for row in rows})
    if len(lengths) > 1:
        raise PairsError(
            f"the prompts have {lengths[0]} to {lengths[-1]} tokens; with positions they must all have the same length"
        )


def _encode(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    found = tokenizer(text) if special else tokenizer(text, add_special_tokens=False)
    try:
        return list(found["input_ids"])
    except (TypeError, KeyError, IndexError):
        raise InvalidValue(
            f"the tokenizer gave a {type(found).__name__}; it must give a mapping with input_ids"
        ) from None


def _additions(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that the tokenizer puts before and after every text."""
    try:
        bare = _encode(tokenizer, "a", special=False)
    except TypeError:  # not one of transformers: a callable of the user's own, which adds what it adds
        return [], []
    whole = _encode(tokenizer, "a", special=True)
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], []


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise InvalidValue(f"{name} must be one of {', '.join(known)}, not {value!r}")
    return value


def _check_alignment(tokenizer: Any, i: int, clean: list[int], corrupted: list[int]) -> None:
    if not clean:
        raise PairsError(f"pair {i}: the clean prompt is empty")
    if len(clean) != len(corrupted):
        raise PairsError(
            f"pair {i} is misaligned: {len(clean)} tokens in clean, {len(corrupted)} in corrupted: "
            f"{boundaries(tokenizer, clean)!r} beside {boundaries(tokenizer, corrupted)!r}; "
            "replace words by words of the same number of tokens"
        )


def _check_known(tokenizer: Any, i: int, tokens: list[int]) -> None:
    unknown, *others = (getattr(tokenizer, f"{kind}_token_id", None) for kind in ("unk", "bos", "eos", "pad"))
    # GPT-2's unknown token is its end-of-text token too, which prompts may well contain.
    if unknown is not None and unknown not in others and unknown in tokens:
        raise PairsError(f"pair {i} holds words this tokenizer does not know: {boundaries(tokenizer, tokens)}")
