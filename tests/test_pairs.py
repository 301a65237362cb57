"""Pairs: shapes, answers, alignment, padding, and a message for everything that does not fit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from edgewise.errors import InvalidValue, PairsError
from edgewise.pairs import Pairs
from edgewise.prompts.tokens import PromptReader, boundaries

WORDS = "<unk> <end> When Mary John Anna and went to the shop , gave it Paul <pad>".split()

CLEAN = torch.tensor([[2, 3, 6, 4], [2, 4, 6, 3]])
CORRUPTED = torch.tensor([[2, 5, 6, 4], [2, 5, 6, 3]])


def _wrapped(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    """One token per word or comma; no beginning-of-text token."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return _wrapped(tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<end>")


TEXT = ["Mary gave John the ball because Mary likes John", "John likes Mary", "def f(x):\n    return  x\n"] * 4
TEXT += ["John gave Mary the ball", "Then Mary and John went", "Then John and Mary went"] * 4


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


@pytest.fixture(scope="module")
def pieces() -> PreTrainedTokenizerFast:
    """Byte-level BPE as GPT-2 has it: a word and the space before it are one token if frequent; no pad token."""
    return _wrapped(_byte_level(), eos_token="<|endoftext|>")


@pytest.fixture(scope="module")
def pieces_with_start() -> PreTrainedTokenizerFast:
    """The same, and every text begins with a special token, as in Llama and Gemma."""
    tokenizer = _byte_level()
    start = ("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[start])
    return _wrapped(tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>")


def _pairs(**changes: Any) -> Pairs:
    given: dict[str, Any] = {"clean": CLEAN, "corrupted": CORRUPTED, "correct": [3, 4], "wrong": [4, 3]}
    given |= changes
    return Pairs.from_tokens(given.pop("clean"), given.pop("corrupted"), **given)


# -- from tokens ------------------------------------------------------------------------------------------------------


def test_the_answer_follows_the_last_token_unless_positions_say_else() -> None:
    assert _pairs().positions.tolist() == [3, 3]
    assert _pairs(positions=[1, 3]).positions.tolist() == [1, 3]


def test_answers_become_a_table_padded_with_minus_one() -> None:
    assert _pairs().correct.tolist() == [[3], [4]]
    many = _pairs(correct=[[3, 4], [5, -1]], wrong=None)
    assert many.correct.tolist() == [[3, 4], [5, -1]]
    assert many.wrong.tolist() == [[-1], [-1]]


def test_a_token_given_twice_counts_once() -> None:
    """Two spellings in a list of right answers may end in one token."""
    ids = torch.tensor([[5, 6], [5, 7], [6, 7]])
    twice = torch.tensor([[1, 1, 2, -1], [-1, 3, 2, 3], [4, 4, 4, 4]])
    pairs = Pairs.from_tokens(ids, ids.flip(1), correct=twice, wrong=torch.tensor([9, 9, 9]))
    assert pairs.correct.tolist() == [[1, 2], [3, 2], [4, -1]]
    assert Pairs.from_tokens(ids, ids.flip(1), correct=torch.full((3, 5), 8)).correct.tolist() == [[8]] * 3


def test_columns_are_of_any_kind_and_answers_may_be_token_ids(words: PreTrainedTokenizerFast) -> None:
    clean, corrupted = ["Mary went", "John went"], ["John went", "Mary went"]
    said = Pairs.from_prompts(words, clean, corrupted, [" Mary", " John"], [" John", " Mary"])
    mary, john = said.correct[:, 0].tolist()
    kinds: list[tuple[Any, Any]] = [
        ([mary, john], [john, mary]),
        ([[mary], [john]], [[john], [mary]]),
        (np.array([mary, john]), np.array([[john], [mary]])),
        (torch.tensor([[mary], [john]]), torch.tensor([john, mary])),
        (iter([mary, " John"]), (john, [mary])),
    ]
    for right, wrong in kinds:
        given = Pairs.from_prompts(words, np.array(clean), tuple(corrupted), right, wrong)
        assert torch.equal(given.correct, said.correct)
        assert torch.equal(given.wrong, said.wrong)
    assert not (Pairs.from_prompts(words, clean, corrupted, [mary, john]).wrong != -1).any()


@pytest.mark.parametrize(
    ("correct", "message"),
    [
        ([1.5, 2], r"an answer is text or the id of a token, not 1.5 \(float\)"),
        ([True, 2], r"not True \(bool\)"),
        ([None, 2], r"not None \(NoneType\)"),
        ([10**6, 2], "the answer 1000000 is no token of this tokenizer"),
        ([-3, 2], "the answer -3 is no token"),
        ("ab", "correct must be a list with one entry for each pair, not 'ab'"),
        (7, "correct must be a list with one entry for each pair, not 7"),
    ],
)
def test_what_is_no_answer_is_refused(words: PreTrainedTokenizerFast, correct: Any, message: str) -> None:
    with pytest.raises(PairsError, match=message):
        Pairs.from_prompts(words, ["Mary went", "John went"], ["John went", "Mary went"], correct)


def test_every_tensor_is_int64_on_the_processor() -> None:
    pairs = _pairs(clean=CLEAN.int(), corrupted=CORRUPTED.tolist(), correct=torch.tensor([3, 4], dtype=torch.uint8))
    tensors = (pairs.clean, pairs.corrupted, pairs.correct, pairs.wrong, pairs.positions)
    assert {(t.dtype, t.device.type) for t in tensors} == {(torch.int64, "cpu")}


def test_a_table_of_no_answers_is_no_answer() -> None:
    assert _pairs(wrong=torch.empty(2, 0, dtype=torch.long)).wrong.tolist() == [[-1], [-1]]


WIDE = torch.tensor([[2, 3, 6, 4, 7], [2, 4, 6, 3, 7]])
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other shapes": (
        {"clean": WIDE},
        "clean has shape (2, 5) and corrupted (2, 4): the two prompts of a pair need the same number of tokens",
    ),
    "no examples": ({"clean": torch.empty(0, 4, dtype=torch.long)}, "clean is empty: shape (0, 4)"),
    "no tokens": ({"corrupted": torch.empty(2, 0, dtype=torch.long)}, "corrupted is empty: shape (2, 0)"),
    "one dimension": ({"clean": [2, 3]}, "clean must be integers with 2 dimension(s); got torch.int64 (2,)"),
    "floats": ({"clean": CLEAN.float()}, "clean must be integers with 2 dimension(s); got torch.float32 (2, 4)"),
    "booleans": ({"corrupted": CORRUPTED > 3}, "corrupted must be integers with 2 dimension(s); got torch.bool"),
    "ragged prompts": ({"clean": [[2, 3], [2]]}, "example 0: clean has 2 tokens and corrupted 4"),
    "an empty prompt": ({"clean": [[2, 3], []]}, "clean: example 1 has no tokens"),
    "ragged words": ({"clean": [["a", "b"], ["a"]]}, "clean must be a rectangular tensor of integers"),
    "text": ({"clean": [["When"]]}, "clean must be a rectangular tensor of integers"),
    "nothing": ({"correct": None}, "correct must be a rectangular tensor of integers"),
    "negative ids": ({"clean": CLEAN - 3}, "clean holds negative token ids; pad with any real token"),
    "ragged fractions": ({"correct": [[3], [4, 0.5]]}, "correct must be a rectangular tensor of integers"),
    "float answers": ({"wrong": [1.0, 2.0]}, "wrong must be integers with 2 dimension(s); got torch.float32"),
    "too few answers": ({"correct": [3]}, "correct has 1 rows for 2 examples"),
    "too many answers": ({"wrong": [3, 4, 5]}, "wrong has 3 rows for 2 examples"),
    "answer below -1": ({"wrong": [4, -100]}, "wrong holds token ids below -1"),
    "no correct answer": ({"correct": [[3], [-1]]}, "example 1 has no correct answer"),
    "empty correct table": ({"correct": torch.empty(2, 0, dtype=torch.long)}, "example 0 has no correct answer"),
    "right and wrong": (
        {"correct": [[3, 5], [4, 6]], "wrong": [[4], [6]]},
        "example 1: token 6 is both a correct and a wrong answer",
    ),
    "position too late": ({"positions": [3, 4]}, "positions must be 2 indices between 0 and 3, one for each example"),
    "negative position": ({"positions": [-1, 3]}, "positions must be 2 indices between 0 and 3"),
    "one position": ({"positions": [3]}, "positions must be 2 indices between 0 and 3"),
    "scalar position": ({"positions": 3}, "positions must be integers with 1 dimension(s); got torch.int64 ()"),
    "float positions": ({"positions": [3.0, 3.0]}, "positions must be integers with 1 dimension(s); got torch.float32"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PairsError, match=re.escape(message)):
        _pairs(**changes)


def test_padding_of_both_answers_is_no_clash() -> None:
    assert len(_pairs(correct=[[3, -1], [4, -1]], wrong=[[4, -1], [3, -1]])) == 2


# -- from prompts -----------------------------------------------------------------------------------------------------


def test_prompts_become_tokens_answers_and_positions(words: PreTrainedTokenizerFast) -> None:
    clean = ["When Mary and John went to the shop , John gave it to", "Mary gave it to"]
    corrupted = ["When Mary and John went to the shop , Anna gave it to", "Anna gave it to"]
    pairs = Pairs.from_prompts(words, clean, corrupted, [[" Mary"], [" John", " Paul"]], [[" John", " Anna"], []])
    assert pairs.clean.tolist() == [
        [2, 3, 6, 4, 7, 8, 9, 10, 11, 4, 12, 13, 8],
        [3, 12, 13, 8, *[8] * 9],
    ]
    assert (pairs.clean != pairs.corrupted).nonzero().tolist() == [[0, 9], [1, 0]]
    assert pairs.positions.tolist() == [12, 3]
    assert pairs.correct.tolist() == [[3, -1], [4, 14]]
    assert pairs.wrong.tolist() == [[4, 5], [-1, -1]]
    assert pairs.texts == tuple(zip(clean, corrupted, strict=True))


def test_prompts_and_their_tokens_make_the_same_pairs(words: PreTrainedTokenizerFast) -> None:
    texts = ["Mary and John gave it to"], ["Mary and Anna gave it to"]
    pairs = Pairs.from_prompts(words, *texts, [[" Mary"]], [[" John"]])
    tokens = [torch.tensor(words(list(side))["input_ids"]) for side in texts]
    assert (
        pairs.fingerprint == Pairs.from_tokens(*tokens, correct=torch.tensor([3]), wrong=torch.tensor([4])).fingerprint
    )


def test_a_special_first_token_is_part_of_the_prompt(pieces_with_start: PreTrainedTokenizerFast) -> None:
    pairs = Pairs.from_prompts(pieces_with_start, ["Then Mary and"], ["Then John and"], [[" John"]], [[" Mary"]])
    assert pairs.clean[0, 0] == pieces_with_start.bos_token_id
    assert pieces_with_start.decode(pairs.correct[0]) == " John"


def test_shorter_rows_are_filled_with_their_own_last_token(pieces: PreTrainedTokenizerFast) -> None:
    pairs = Pairs.from_prompts(pieces, ["Mary gave John", "Mary"], ["John gave Mary", "John"], [[" the"]] * 2, [[]] * 2)
    last = int(pairs.clean[1, int(pairs.positions[1])])
    assert pairs.clean[1, int(pairs.positions[1]) + 1 :].unique().tolist() == [last]


def test_a_misaligned_pair_shows_both_prompts_with_their_boundaries(pieces: PreTrainedTokenizerFast) -> None:
    with pytest.raises(PairsError) as caught:
        Pairs.from_prompts(pieces, ["Mary and", "Mary and"], ["John and", "Zoe and"], [[" John"]] * 2, [[]] * 2)
    assert str(caught.value) == (
        "pair 1 is misaligned: 2 tokens in clean, 4 in corrupted: 'Mary| and' beside 'Z|o|e| and'; "
        "replace words by words of the same number of tokens"
    )


ANSWERS = {
    "several tokens": ("Mary and", " Zoe", "the answer ' Zoe' is not one token after its prompt: Mary| and| |Z|o|e"),
    "no space": ("Mary and", "likes", "perhaps ' likes', with a leading space?"),
    "empty": ("Mary and", "", "the answer '' is not one token after its prompt: Mary| and"),
    "cut anew": ("Mary a", "nd", "the answer 'nd' is not one token after its prompt: Mary| and"),
}


@pytest.mark.parametrize(("prompt", "answer", "message"), ANSWERS.values(), ids=list(ANSWERS))
def test_an_answer_that_is_not_one_token_is_refused(
    pieces: PreTrainedTokenizerFast, prompt: str, answer: str, message: str
) -> None:
    with pytest.raises(PairsError, match=re.escape(message)):
        PromptReader(pieces).token(prompt, answer)


@pytest.mark.parametrize(("correct", "wrong"), [(" Zoe", " John"), (" John", " Zoe")])
def test_right_and_wrong_answers_are_both_checked(pieces: PreTrainedTokenizerFast, correct: str, wrong: str) -> None:
    with pytest.raises(PairsError, match="the answer ' Zoe' is not one token"):
        Pairs.from_prompts(pieces, ["Mary and"], ["John and"], [[correct]], [[wrong]])


def test_an_answer_with_a_space_gets_no_hint_about_spaces(pieces: PreTrainedTokenizerFast) -> None:
    with pytest.raises(PairsError) as caught:
        PromptReader(pieces).token("Mary and", " Zoe")
    assert "leading space" not in str(caught.value)


def test_an_unknown_word_is_no_answer(words: PreTrainedTokenizerFast) -> None:
    with pytest.raises(PairsError, match="the answer ' Zoe' is not one token after its prompt"):
        Pairs.from_prompts(words, ["Mary and"], ["Anna and"], [[" Zoe"]], [[]])


def test_an_answer_is_read_anew_after_other_white_space() -> None:
    """Two spaces are one token here, made before any word: `x␣␣·␣y` ends in the token `␣y`, `x␣·␣y` in a bare `y`."""
    vocabulary = {"x": 0, "y": 1, " ": 2, "  ": 3, " y": 4}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[(" ", " "), (" ", "y")]))
    reader = PromptReader(_wrapped(tokenizer))
    assert reader.token("x  ", " y") == 4
    with pytest.raises(PairsError, match="the answer ' y' is not one token"):
        reader.token("x ", " y")


def _outcome(reader: PromptReader, prompt: str, answer: str) -> int | str:
    try:
        return reader.token(prompt, answer)
    except PairsError as error:
        return str(error)


@given(st.lists(st.tuples(st.text("ab \n", max_size=8), st.sampled_from(["a", " a", "b", " Mary"])), max_size=8))
def test_remembered_answers_are_those_found_afresh(
    pieces: PreTrainedTokenizerFast, questions: list[tuple[str, str]]
) -> None:
    reader = PromptReader(pieces)
    for prompt, answer in questions:
        assert _outcome(reader, prompt, answer) == _outcome(PromptReader(pieces), prompt, answer)


def test_boundaries_show_spaces_where_they_belong(pieces: PreTrainedTokenizerFast) -> None:
    assert boundaries(pieces, pieces("Mary likes")["input_ids"]) == "Mary| likes"


def test_prompts_need_a_tokenizer() -> None:
    with pytest.raises(PairsError, match=re.escape("give one: load(model, tokenizer=…)")):
        Pairs.from_prompts(None, ["a"], ["b"], [["c"]], [[]])


COLUMNS: dict[str, tuple[tuple[Sequence[Any], ...], str]] = {
    "no prompts": (([], [], [], []), "there are no prompts"),
    "other lengths": ((["a", "b"], ["a"], [["c"]], [[]]), "have [2, 1, 1, 1] rows; each needs one row per pair"),
    "empty prompt": (([""], [""], [["Mary"]], [[]]), "pair 0: the clean prompt is empty"),
    "no correct answer": ((["Mary and"], ["Anna and"], [[]], [[" John"]]), "example 0 has no correct answer"),
    "right and wrong": (
        (["Mary and"], ["Anna and"], [[" John"]], [[" John"]]),
        "example 0: token 4 is both a correct and a wrong answer",
    ),
}


@pytest.mark.parametrize(("columns", "message"), COLUMNS.values(), ids=list(COLUMNS))
def test_prompts_that_do_not_fit_are_refused(
    words: PreTrainedTokenizerFast, columns: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(PairsError, match=re.escape(message)):
        Pairs.from_prompts(words, *columns)


# -- rows and batches -------------------------------------------------------------------------------------------------


@st.composite
def drawn_pairs(draw: st.DrawFn) -> Pairs:
    n, width = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))

    def tokens(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    wrong = tokens(-1, 20, n, 2)
    return Pairs.from_tokens(
        tokens(0, 50, n, width),
        tokens(0, 50, n, width),
        correct=tokens(20, 50, n, 2),
        wrong=wrong,
        positions=tokens(0, width, n),
    )


def _rows(pairs: Pairs) -> list[Any]:
    tensors = (pairs.clean, pairs.corrupted, pairs.correct, pairs.wrong, pairs.positions)
    return [[t[i].tolist() for t in tensors] for i in range(len(pairs))]


@given(drawn_pairs(), st.integers(1, 9))
def test_batches_hold_every_pair_once_in_order(pairs: Pairs, size: int) -> None:
    batches = list(pairs.batches(size))
    assert [row for batch in batches for row in _rows(batch)] == _rows(pairs)
    assert all(len(batch) == size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= size


@given(drawn_pairs(), st.data())
def test_rows_are_taken_by_index_slice_and_list(pairs: Pairs, data: st.DataObject) -> None:
    i = data.draw(st.integers(-len(pairs), len(pairs) - 1))
    many = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1))
    rows = _rows(pairs)
    assert _rows(pairs[i]) == [rows[i]]
    assert _rows(pairs[1:]) == rows[1:]
    assert _rows(pairs[many]) == _rows(pairs[torch.tensor(many)]) == [rows[j] for j in many]


def test_texts_follow_their_rows(words: PreTrainedTokenizerFast) -> None:
    texts = ["Mary and", "John and", "Paul and"]
    pairs = Pairs.from_prompts(words, texts, texts, [[" Anna"]] * 3, [[]] * 3)
    assert pairs[[2, 0]].texts == (("Paul and", "Paul and"), ("Mary and", "Mary and"))
    assert pairs[1].texts == (("John and", "John and"),)


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_holds_at_least_one(size: int) -> None:
    with pytest.raises(InvalidValue, match=f"batch size {size}: it must be at least 1"):
        next(_pairs().batches(size))


@given(drawn_pairs())
def test_trimmed_ends_with_the_last_answer_position(pairs: Pairs) -> None:
    trimmed = pairs.trimmed()
    width = int(pairs.positions.max()) + 1
    assert trimmed.clean.shape == trimmed.corrupted.shape == (len(pairs), width)
    assert torch.equal(trimmed.clean, pairs.clean[:, :width])
    assert trimmed.fingerprint == pairs.fingerprint


def test_all_of_a_whole_prompt_counts() -> None:
    """What stands after the answer position is padding, unless the pairs say that it is the rest of the prompt."""
    padded, whole = (_pairs(positions=[1, 2], after=after) for after in ("padding", "prompt"))
    # A causal model, which asks for trimmed pairs, makes no difference between the two.
    assert (whole.trimmed().fingerprint, whole.trimmed().clean.shape) == (padded.fingerprint, (2, 3))
    assert whole[1:].after == "prompt"
    assert repr(whole) == "<Pairs: 2 examples of up to 4 tokens>"
    others = [{"clean": CLEAN + torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]])}, {"positions": [1, 1]}]
    for change, same in zip(others, (True, False), strict=True):
        assert (_pairs(**{"positions": [1, 2], **change}).fingerprint == padded.fingerprint) == same
        assert _pairs(**{"positions": [1, 2], "after": "prompt", **change}).fingerprint != whole.fingerprint
    with pytest.raises(InvalidValue, match="'padding' or 'prompt', not 'tokens'"):
        _pairs(after="tokens")


def test_prompts_asked_in_their_midst_are_of_one_length(words: PreTrainedTokenizerFast) -> None:
    clean, corrupted = ["When Mary went", "When John went"], ["When Anna went", "When Paul went"]
    answers = {"correct": [" Mary", " John"], "wrong": [" Anna", " Paul"]}
    pairs = Pairs.from_prompts(words, clean, corrupted, **answers, positions=[1, 0])
    assert (pairs.positions.tolist(), pairs.after) == ([1, 0], "prompt")
    assert Pairs.from_prompts(words, clean, corrupted, **answers).after == "padding"
    longer = ([clean[0], "When John went to"], [corrupted[0], "When Paul went to"])
    with pytest.raises(PairsError, match="the prompts have 3 to 4 tokens; with positions"):
        Pairs.from_prompts(words, *longer, **answers, positions=[1, 0])


def test_pairs_move_to_a_device() -> None:
    moved = _pairs().to(torch.device("meta"))
    tensors = (moved.clean, moved.corrupted, moved.correct, moved.wrong, moved.positions)
    assert {t.device.type for t in tensors} == {"meta"}


def test_the_text_of_pairs_says_how_many_and_how_long() -> None:
    assert repr(_pairs(positions=[1, 2])) == "<Pairs: 2 examples of up to 3 tokens>"


# -- fingerprint ------------------------------------------------------------------------------------------------------


@given(drawn_pairs(), st.integers(0, 3), st.integers(0, 49))
def test_padding_does_not_change_the_fingerprint(pairs: Pairs, columns: int, token: int) -> None:
    after = torch.arange(pairs.clean.shape[1]) > pairs.positions[:, None]
    extra = torch.full((len(pairs), columns), token)
    padded = Pairs.from_tokens(
        torch.cat([pairs.clean.masked_fill(after, token), extra], 1),
        torch.cat([pairs.corrupted.masked_fill(after, 0), extra], 1),
        correct=torch.cat([pairs.correct.flip(1), torch.full((len(pairs), 1), -1)], 1),
        wrong=pairs.wrong,
        positions=pairs.positions,
    )
    assert padded.fingerprint == pairs.fingerprint


CHANGES: dict[str, dict[str, Any]] = {
    "a clean token": {"clean": CLEAN + torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0]])},
    "a corrupted token": {"corrupted": CORRUPTED + torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0]])},
    "the sides exchanged": {"clean": CORRUPTED, "corrupted": CLEAN},
    "the order": {"clean": CLEAN.flip(0), "corrupted": CORRUPTED.flip(0), "correct": [4, 3], "wrong": [3, 4]},
    "a correct answer": {"correct": [5, 4]},
    "one more wrong answer": {"wrong": [[4, 9], [3, -1]]},
    "the answers exchanged": {"correct": [4, 3], "wrong": [3, 4]},
    "a position": {"positions": [2, 3]},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=list(CHANGES))
def test_every_change_of_the_data_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    assert _pairs(**changes).fingerprint != _pairs().fingerprint


def test_the_fingerprint_stays_the_same_on_every_machine() -> None:
    assert _pairs().fingerprint == "9ed9b11b8b84e3aa81208383bd8f67c8c0344be3af28e23943cb4b39710e96f2"


def test_examples_are_read_token_by_token_up_to_the_answer() -> None:
    pairs = Pairs.from_tokens(
        torch.tensor([[1, 2, 3, 3], [4, 5, 6, 7]]),
        torch.tensor([[1, 9, 3, 3], [4, 8, 6, 7]]),
        correct=torch.tensor([[3, -1], [1, 2]]),
        wrong=torch.tensor([[4], [5]]),
        positions=torch.tensor([2, 3]),
    )

    class Letters:
        def decode(self, tokens: list[int]) -> str:
            return "abcdefghijklm"[tokens[0]]

    first, second = pairs.examples(Letters())
    assert first == {"clean": ["b", "c", "d"], "corrupted": ["b", "j", "d"], "correct": ["d"], "wrong": ["e"]}
    assert second["correct"] == ["b", "c"]
    assert pairs.examples(None, 1)[0]["clean"] == ["[1]", "[2]", "[3]"]
