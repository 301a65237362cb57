"""Prompts as tokens: what stands before them, what is never after them, and the conversation around them."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from edgewise.data.pair_files import to_pairs
from edgewise.data.rows import Row
from edgewise.errors import EdgewiseWarning, InvalidValue, PairsError, TaskError
from edgewise.pairs import Pairs
from edgewise.prompts.chat import REQUEST
from edgewise.prompts.tokens import PromptReader
from edgewise.tasks import TASKS, task

SPECIAL = ["<s>", "</s>", "<cls>", "<user>", "<model>"]
TEXT = [
    f"{a} the capital of {b} is {c}\n"
    for a in ("So", "Then")
    for b in ("France", "England")
    for c in ("Paris", "London")
]
PLAIN = ["So the capital of France is", "So the capital of England is"]
CHATML = (
    "{{ bos_token }}{% for m in messages %}{{ '<user>' if m.role == 'user' else '<model>' }}{{ '\n' + m.content + '</s>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<model>\n' }}{% endif %}"
)
SPACED = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<user>' + m.content + '<model>' }}"
    "{% else %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}"


def tokenizer(single: str = "$A", **settings: Any) -> PreTrainedTokenizerFast:
    """A byte-level BPE that puts around every text what `single` says."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    made.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([*TEXT, *(line.split()[-1] for line in TEXT)] * 9, trainer)
    places = [(token, i) for i, token in enumerate(SPECIAL)]
    made.post_processor = processors.TemplateProcessing(single=single, special_tokens=places)  # pyright: ignore
    return PreTrainedTokenizerFast(tokenizer_object=made, **{"bos_token": "<s>", "eos_token": "</s>", **settings})


def asked(of: PreTrainedTokenizerFast, clean: str = PLAIN[0], corrupted: str = PLAIN[1], **how: Any) -> Pairs:
    return Pairs.from_prompts(of, [clean], [corrupted], [" Paris"], [" London"], **how)


def shown(pairs: Pairs, of: PreTrainedTokenizerFast) -> str:
    return "|".join(pairs.examples(of)[0]["clean"])


BARE = "So| the| capital| of| France| is"


# -- begin token ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("single", "bos", "expected"),
    [
        ("$A", "auto", BARE),
        ("$A", "yes", f"<s>|{BARE}"),
        ("$A", "no", BARE),
        ("<s> $A", "auto", f"<s>|{BARE}"),
        ("<s> $A", "yes", f"<s>|{BARE}"),
        ("<s> $A", "no", BARE),
        ("<cls> $A", "auto", f"<cls>|{BARE}"),
        ("<cls> $A", "yes", f"<s>|<cls>|{BARE}"),
    ],
)
def test_a_begin_token_stands_where_it_is_asked_for(single: str, bos: Any, expected: str) -> None:
    of = tokenizer(single)
    pairs = asked(of, bos=bos)
    assert shown(pairs, of) == expected
    assert of.decode(pairs.clean[0, int(pairs.positions[0])]) == " is"
    assert of.decode(pairs.correct[0]) == " Paris"
    assert pairs.source == ({} if bos == "auto" else {"bos": bos})


@pytest.mark.parametrize("single", ["$A", "<s> $A", "<s> $A </s>"])
@pytest.mark.parametrize("text", [PLAIN[0], f"<s>{PLAIN[0]}"])
def test_there_is_never_a_second_begin_token(single: str, text: str) -> None:
    rows = [PromptReader(tokenizer(single), bos="yes").tokens(text), PromptReader(tokenizer(single)).tokens(text)]
    assert [row.count(0) for row in rows] == [1, int("<s>" in single + text)]


def test_a_begin_token_that_the_text_holds_already_is_said_once() -> None:
    of = tokenizer("<s> $A")
    begun = [f"<s>{text}" for text in PLAIN]
    with pytest.warns(UserWarning, match="the prompts begin with '<s>' themselves.*--bos yes") as said:
        pairs = asked(of, *begun)
    assert len(said) == 1
    assert shown(pairs, of) == f"<s>|{BARE}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asked(of, *begun, bos="yes").fingerprint == pairs.fingerprint == asked(of).fingerprint


def test_no_begin_token_is_refused_where_the_text_holds_one() -> None:
    with pytest.raises(PairsError, match="bos 'no' asks for no begin token, but the text holds '<s>'"):
        asked(tokenizer(), f"<s>{PLAIN[0]}", f"<s>{PLAIN[1]}", bos="no")


def test_a_tokenizer_without_a_begin_token_is_refused_by_name() -> None:
    of = tokenizer(bos_token=None)
    with pytest.raises(PairsError, match="no begin token to put before prompts: give bos 'auto' or 'no'"):
        asked(of, bos="yes")
    assert asked(of, bos="no").fingerprint == asked(of).fingerprint


@pytest.mark.parametrize(("name", "known"), [("bos", "auto, yes, no"), ("chat_template", "none, assistant, user")])
def test_an_unknown_wording_is_refused(name: str, known: str) -> None:
    with pytest.raises(InvalidValue, match=f"{name} must be one of {known}, not 'maybe'"):
        asked(tokenizer(), **{name: "maybe"})


def test_a_callable_that_knows_no_special_tokens_reads_prompts_as_it_does() -> None:
    def letters(text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    pairs = Pairs.from_prompts(letters, ["1"], ["2"], ["5"], ["6"])
    assert (pairs.clean.tolist(), pairs.correct.tolist()) == ([[49]], [[53]])


# -- end token --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("single", ["$A </s>", "<s> $A </s>", "<s> $A </s> </s>"])
def test_an_end_token_that_the_tokenizer_appends_is_left_out(single: str) -> None:
    of, without = tokenizer(single), tokenizer(single.replace(" </s>", ""))
    ends = re.escape("|".join(["</s>"] * single.count("</s>")))
    with pytest.warns(EdgewiseWarning, match=f"this tokenizer ends every text with '{ends}', which is left out"):
        assert asked(of).fingerprint == asked(without).fingerprint
    # One that is written is part of the text.
    ended = [f"{text}</s>" for text in PLAIN]
    with pytest.warns(EdgewiseWarning, match="ends every text"):
        assert shown(asked(of, *ended), of) == shown(asked(without, *ended), without)


@pytest.mark.parametrize("name", ["ioi", "capitals"])
def test_a_task_can_be_asked_of_a_tokenizer_that_ends_prompts(name: str) -> None:
    of, without = (tokenizer_of(name, single) for single in ("$A </s>", "$A"))
    with pytest.warns(EdgewiseWarning, match="ends every text"):
        pairs = task(name).pairs(of, n=4)
    assert pairs.fingerprint == task(name).pairs(without, n=4).fingerprint


# -- chat templates ---------------------------------------------------------------------------------------------------


def test_as_the_assistant_the_prompt_begins_the_models_turn() -> None:
    of = tokenizer("<s> $A", chat_template=CHATML)
    pairs = asked(of, chat_template="assistant")
    assert of.decode(pairs.clean[0]) == f"<s><user>\n{REQUEST}</s>\n<model>\n{PLAIN[0]}"
    assert of.decode(pairs.clean[0, int(pairs.positions[0])]) == " is"
    assert of.decode(pairs.correct[0]) == " Paris"
    assert pairs.source == {"chat_template": "assistant"}


def test_as_the_user_the_answer_begins_the_reply_without_its_space() -> None:
    of = tokenizer("<s> $A", chat_template=CHATML)
    pairs = asked(of, chat_template="user")
    assert of.decode(pairs.clean[0]) == f"<s><user>\n{PLAIN[0]}</s>\n<model>\n"
    assert (of.decode(pairs.correct[0]), of.decode(pairs.wrong[0])) == ("Paris", "London")


def test_white_space_that_the_template_puts_before_a_reply_stands_there() -> None:
    of = tokenizer(chat_template=SPACED)
    reply = asked(of, chat_template="user")
    assert of.decode(reply.clean[0]) == f"<s><user>{PLAIN[0]}<model>"
    assert of.decode(reply.correct[0]) == " Paris"
    begun = asked(of, chat_template="assistant")
    assert of.decode(begun.clean[0]) == f"<s><user>{REQUEST}<model> {PLAIN[0]}"
    assert of.decode(begun.correct[0]) == " Paris"


@pytest.mark.parametrize("chat_template", ["assistant", "user"])
@pytest.mark.parametrize("bos", ["auto", "yes"])
def test_a_conversation_has_one_begin_token(chat_template: Any, bos: Any) -> None:
    with_its_own = tokenizer("<s> $A", chat_template=CHATML)
    rows = asked(with_its_own, chat_template=chat_template, bos=bos).clean[0].tolist()
    assert rows.count(0) == 1
    assert rows[0] == 0
    with pytest.raises(PairsError, match="but the chat template puts '<s>' before the prompt"):
        asked(with_its_own, chat_template=chat_template, bos="no")


def test_a_conversation_that_begins_with_none_gets_one_where_it_is_asked_for() -> None:
    of = tokenizer("<s> $A", chat_template=CHATML.replace("{{ bos_token }}", ""))
    starts = {bos: int(asked(of, chat_template="user", bos=bos).clean[0, 0]) for bos in ("auto", "yes", "no")}
    assert starts == {"auto": 3, "yes": 0, "no": 3}


def test_a_tokenizer_without_a_template_is_refused_by_name() -> None:
    with pytest.raises(PairsError, match="this tokenizer has no chat template: leave chat_template at 'none'"):
        asked(tokenizer(), chat_template="assistant")


def test_a_template_that_refuses_is_named() -> None:
    of = tokenizer(chat_template="{{ raise_exception('only systems may speak') }}")
    with pytest.raises(PairsError, match="chat template cannot be filled in: only systems may speak"):
        asked(of, chat_template="user")


def test_a_conversation_is_the_same_tomorrow() -> None:
    reader = PromptReader(tokenizer(chat_template=DATED), chat_template="user")
    text = reader.tokenizer.decode(reader.tokens("So"))
    assert text == "01 Jan 2025So"


def test_an_answer_of_several_tokens_in_a_reply_is_refused_without_a_hint_about_spaces() -> None:
    of = tokenizer(chat_template=CHATML)
    with pytest.raises(PairsError, match="the answer 'Zoe' is not one token") as caught:
        Pairs.from_prompts(of, PLAIN[:1], PLAIN[1:], [" Zoe"], [" London"], chat_template="user")
    assert "leading space" not in str(caught.value)


# -- tasks and files --------------------------------------------------------------------------------------------------


def tokenizer_of(name: str, single: str = "$A", **settings: Any) -> PreTrainedTokenizerFast:
    """A tokenizer that has the task's words with their leading space, and none without."""
    one = TASKS[name]
    of = tokenizer(single, **settings)
    words = {word for words in one.lists.values() for word in words}
    of.add_tokens([f" {word}" for word in sorted(words)])
    return of


@pytest.mark.parametrize("chat_template", ["none", "assistant"])
@pytest.mark.parametrize("bos", ["auto", "yes", "no"])
def test_a_task_says_how_its_prompts_were_put(bos: Any, chat_template: Any) -> None:
    of = tokenizer_of("ioi", chat_template=CHATML.replace("{{ bos_token }}", ""))
    pairs = task("ioi").pairs(of, n=3, bos=bos, chat_template=chat_template)
    plain = task("ioi").pairs(of, n=3)
    said = {"bos": bos, "chat_template": chat_template}
    expected = {name: value for name, value in said.items() if value not in ("auto", "none")}
    assert pairs.source == {"task": "ioi", "seed": 0, "corruption": "abc", **expected}
    assert pairs.texts == plain.texts
    assert (pairs.correct.tolist(), pairs.wrong.tolist()) == (plain.correct.tolist(), plain.wrong.tolist())
    last = [int(row[at]) for row, at in zip(pairs.clean, pairs.positions, strict=True)]
    assert {of.decode([token]).split()[-1] for token in last} <= {"o", "to"}
    assert (0 in pairs.clean[:, 0].tolist()) == (bos == "yes")


def test_a_task_whose_answers_begin_no_reply_is_refused_with_the_other_form() -> None:
    of = tokenizer_of("ioi", chat_template=CHATML)
    with pytest.raises(TaskError, match="only 0 of 2 prompts have answers that are one token at the start of a reply"):
        task("ioi").pairs(of, n=2, chat_template="user")


def test_rows_of_a_file_are_put_the_same_way() -> None:
    of = tokenizer(chat_template=CHATML)
    row = Row(1, *PLAIN, (" Paris",), (" London",))
    for how in ({"bos": "yes"}, {"chat_template": "assistant"}, {"chat_template": "user", "bos": "yes"}):
        pairs = to_pairs((row,), of, "a.csv", **how)
        assert pairs.fingerprint == asked(of, **how).fingerprint
        assert pairs.source == how


def test_published_rows_keep_how_they_were_put_beside_what_was_left_out() -> None:
    of = tokenizer()
    fits = Row(1, *PLAIN, (" Paris",), (" London",), published=True)
    crooked = Row(2, PLAIN[0], f"{PLAIN[1]} so", (" Paris",), (" London",), published=True)
    with pytest.warns(UserWarning, match="1 of 2 rows do not fit"):
        pairs = to_pairs((crooked, fits), of, "x/y", bos="yes")
    assert pairs.source == {"bos": "yes", "left_out": 1}
