"""What every task keeps, with two tokenizers; and what the corruptions of each change."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

import numpy
import pytest
import torch
from transformers import PreTrainedTokenizerBase

import edgewise as ew
from edgewise.errors import InvalidValue, TaskError, TooFewHeldOut, UnknownName
from edgewise.metrics import METRICS
from edgewise.models.compiled import tokenizer as compiled_tokenizer
from edgewise.pairs import NO_ANSWER
from edgewise.programs import PROGRAMS
from edgewise.tasks import TASKS, Prompt, Task, task
from edgewise.tasks.capitals import CAPITALS
from edgewise.tasks.capitals import TEMPLATES as CAPITALS_TEMPLATES
from edgewise.tasks.docstring import DOCSTRING
from edgewise.tasks.greater_than import CENTURIES, GREATER_THAN, YEARS
from edgewise.tasks.induction import INDUCTION, WORDS
from edgewise.tasks.ioi import IOI
from edgewise.tasks.ioi import TEMPLATES as IOI_TEMPLATES
from edgewise.tasks.pronoun import GENDERED_PRONOUN as PRONOUN
from edgewise.tasks.pronoun import TEMPLATES as PRONOUN_TEMPLATES
from edgewise.tasks.subject_verb_agreement import AUXILIARIES
from edgewise.tasks.subject_verb_agreement import SUBJECT_VERB_AGREEMENT as AGREEMENT
from edgewise.tasks.subject_verb_agreement import TEMPLATES as AGREEMENT_TEMPLATES
from edgewise.tasks.words import ARGUMENTS, CAPITAL_OF, EVENTS, MEN, NAMES, WOMEN

# One entry for each task: the model it is about, its first corruption, which is the published one, and what it asks about,
# as its error says where a tokenizer lacks the words (empty: it can ask in another way, and has tests of its own).
EXPECTED = {
    "ioi": ("nano", "abc", "names"),
    "greater-than": ("nano", "year-01", ""),
    "docstring": ("nano", "random-args", "argument"),
    "induction": ("nano", "other-first", "words"),
    "subject-verb-agreement": ("smollm2", "other-number", "verbs"),
    "capitals": ("smollm2", "other-country", "countries"),
    "gendered-pronoun": ("smollm2", "other-gender", "pronouns"),
    "reverse": ("reverse", "other-prompt", "symbols"),
    "fraction": ("fraction", "other-prompt", "letters and fractions"),
    "induction-hidden": ("induction-hidden", "other-prompt", "letters"),
}


def tokenizers_of(each: Task) -> tuple[str, ...]:
    """Those that can ask it: a compiled model's own; in nano's words both; in a pretrained model's the one trained here."""
    if each.model in PROGRAMS:
        return (each.model,)
    return ("nano", "bpe") if each.model == "nano" else ("bpe",)


EVERY = [
    (name, corruption, of)
    for name, each in TASKS.items()
    for corruption in each.corruptions
    for of in tokenizers_of(each)
]
EACH = [(name, tokenizers_of(each)[0]) for name, each in TASKS.items()]


@pytest.fixture
def tokenizer(request: pytest.FixtureRequest, of: str) -> PreTrainedTokenizerBase:
    return compiled_tokenizer(PROGRAMS[of]) if of in PROGRAMS else request.getfixturevalue(of)


def drawn(each: Task, corruption: str, n: int = 50) -> list[Prompt]:
    """Prompts with the full word lists: what a tokenizer without gaps would get."""
    return [each.draw(random.Random(seed), each.lists, corruption) for seed in range(n)]


# -- every task ------------------------------------------------------------------------------------------------------


def test_table_is_complete() -> None:
    assert {name: (each.model, each.corruptions[0]) for name, each in TASKS.items()} == {
        name: (model, corruption) for name, (model, corruption, _) in EXPECTED.items()
    }
    assert all(task(name).name == name for name in TASKS)
    assert all(each.metric in METRICS for each in TASKS.values())


def test_every_task_says_in_a_line_what_it_asks() -> None:
    summaries = [each.summary for each in TASKS.values()]
    assert all(0 < len(summary) <= 70 and "\n" not in summary for summary in summaries)
    assert len(set(summaries)) == len(TASKS)


@pytest.mark.parametrize(("name", "corruption", "of"), EVERY)
def test_pairs_are_aligned_differ_and_hold_single_tokens(
    name: str, corruption: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    pairs = task(name).pairs(tokenizer, n=20, seed=3, corruption=corruption)
    assert len(pairs) == 20
    assert pairs.clean.shape == pairs.corrupted.shape
    assert bool((pairs.clean != pairs.corrupted).any(dim=1).all())
    assert bool((pairs.wrong[:, 0] != NO_ANSWER).all())
    # The answer position is the last token of the text unless another is asked, and the answers are what the tokenizer
    # makes of the whole.
    prompt = task(name).prompts(tokenizer, n=1, seed=3, corruption=corruption)[0]
    assert pairs.after == ("padding" if prompt.asked is None else "prompt")
    end = int(pairs.positions[0]) + 1 if prompt.asked is None else pairs.clean.shape[1]
    assert tokenizer(prompt.clean)["input_ids"] == pairs.clean[0, :end].tolist()
    assert tokenizer(prompt.clean + prompt.correct[0])["input_ids"][-1] == int(pairs.correct[0, 0])
    assert tokenizer.unk_token_id not in pairs.clean[0, :end].tolist()


@pytest.mark.parametrize(("name", "of"), EACH)
def test_same_seed_same_pairs_and_no_global_state(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    states = random.getstate(), numpy.random.get_state(legacy=False), torch.get_rng_state()
    first = task(name).pairs(tokenizer, n=10, seed=7)
    assert random.getstate() == states[0]
    assert str(numpy.random.get_state(legacy=False)) == str(states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    random.seed(1)
    again, other = task(name).pairs(tokenizer, n=10, seed=7), task(name).pairs(tokenizer, n=10, seed=8)
    random.setstate(states[0])
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize(("name", "of"), EACH)
def test_more_prompts_begin_with_the_same_ones(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    assert task(name).prompts(tokenizer, n=30)[:5] == task(name).prompts(tokenizer, n=5)


@pytest.mark.parametrize(("name", "of"), EACH)
def test_corruptions_share_the_clean_prompts(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    each = task(name)
    by_corruption = [each.prompts(tokenizer, n=20, corruption=corruption) for corruption in each.corruptions]
    assert len({tuple((p.clean, p.correct, p.wrong) for p in prompts) for prompts in by_corruption}) == 1
    assert len({tuple(p.corrupted for p in prompts) for prompts in by_corruption}) == len(each.corruptions)
    assert each.prompts(tokenizer, n=20) == by_corruption[0]


def test_fold_depends_on_the_key_alone_and_is_the_same_everywhere() -> None:
    # zlib.crc32(b"John|Mary") = 104906077 and 104906077 mod 8 = 5
    a = Prompt("text", "other", (), (), key=("John", "Mary"))
    b = Prompt("another text", "other", (), (), key=("John", "Mary"))
    assert a.fold(8) == b.fold(8) == 5


# -- each task -------------------------------------------------------------------------------------------------------


def names_in(text: str) -> list[str]:
    return [word for word in re.findall(r"[A-Za-z]+", text) if word in NAMES]


def test_ioi_covers_templates_and_both_orders() -> None:
    prompts = drawn(IOI, "abc", n=400)
    assert len({p.clean.split()[0] for p in prompts}) == len(IOI_TEMPLATES) >= 6
    first_is_answer = [f" {names_in(p.clean)[0]}" == p.correct[0] for p in prompts]
    assert 0.4 < sum(first_is_answer) / len(prompts) < 0.6


def test_ioi_repeats_the_wrong_name() -> None:
    for prompt in drawn(IOI, "abc"):
        first, second, giver = names_in(prompt.clean)
        io = second if giver == first else first
        assert (prompt.correct, prompt.wrong) == ((f" {io}",), (f" {giver}",))
        assert {first, second} == {io, giver} == set(prompt.key)


def test_ioi_abc_has_three_fresh_distinct_names() -> None:
    for prompt in drawn(IOI, "abc"):
        assert len({*names_in(prompt.clean), *names_in(prompt.corrupted)}) == 5


def test_ioi_random_names_keep_the_order_of_the_repeat() -> None:
    for prompt in drawn(IOI, "random-names"):
        clean, other = names_in(prompt.clean), names_in(prompt.corrupted)
        assert [clean.index(name) for name in clean] == [other.index(name) for name in other]
        assert not set(clean) & set(other)


def test_ioi_s2_corruptions_change_the_giver_alone() -> None:
    for corruption in ("s2-io-flip", "s2-random"):
        for prompt in drawn(IOI, corruption):
            clean, other = names_in(prompt.clean), names_in(prompt.corrupted)
            assert clean[:2] == other[:2]
            assert (f" {other[2]}" == prompt.correct[0]) == (corruption == "s2-io-flip")
            assert other[2] != clean[2]


def test_greater_than_splits_the_years_at_the_start_year() -> None:
    for prompt in drawn(GREATER_THAN, "year-01"):
        century, year, end = re.search(r"(\d\d)(\d\d) to the year (\d\d)$", prompt.clean).groups()  # pyright: ignore
        assert century == end
        assert "02" <= year <= "98"
        assert prompt.correct == tuple(f"{y:02d}" for y in range(int(year) + 1, 100))
        assert prompt.wrong == tuple(f"{y:02d}" for y in range(int(year) + 1))
        assert prompt.corrupted == prompt.clean.replace(century + year, century + "01")


def test_greater_than_random_year_stays_in_the_century() -> None:
    for prompt in drawn(GREATER_THAN, "random-year"):
        (clean,), (other,) = (re.findall(r"\d{4}", text) for text in (prompt.clean, prompt.corrupted))
        assert clean != other
        assert clean[:2] == other[:2]


def test_greater_than_leaves_out_years_that_are_one_token(
    bpe_of: Callable[[list[str]], PreTrainedTokenizerBase],
) -> None:
    whole = bpe_of([f" {century}{year}" for century in CENTURIES for year in YEARS])
    whole.add_tokens([" 1732"])
    lists = GREATER_THAN.fit(GREATER_THAN.lists, whole)
    assert "32" not in lists["17"]
    assert "32" in lists["16"]
    prompts = GREATER_THAN.prompts(whole, n=300)
    assert not any("1732" in p.clean or (p.key[0] == "17" and "32" in p.correct + p.wrong) for p in prompts)


def test_docstring_answers_with_the_third_documented_argument() -> None:
    for prompt in drawn(DOCSTRING, "random-args"):
        signature = re.findall(r"\w+", prompt.clean.split("(self")[1].split(")")[0])
        documented = re.findall(r":param (\w+):", prompt.clean)
        assert signature[2:4] == documented
        assert prompt.correct == (f" {signature[4]}",)
        assert len(prompt.wrong) == 10
        assert {f" {name}" for name in signature} <= {*prompt.wrong, *prompt.correct}


@pytest.mark.parametrize(
    ("corruption", "def_changes", "doc_changes"),
    [("random-args", True, True), ("random-def", True, False), ("random-doc", False, True)],
)
def test_docstring_corruptions_change_what_they_say(corruption: str, def_changes: bool, doc_changes: bool) -> None:
    for prompt in drawn(DOCSTRING, corruption):
        (clean_def, clean_doc), (other_def, other_doc) = (t.split('"""') for t in (prompt.clean, prompt.corrupted))
        assert (clean_def != other_def, clean_doc != other_doc) == (def_changes, doc_changes)
        assert (prompt.correct[0] in other_def) == (not def_changes)
        # Untouched: method, the arguments before and after, and every noun.
        kept = [word for word in re.findall(r"\w+", prompt.clean) if word not in ARGUMENTS]
        assert kept == [word for word in re.findall(r"\w+", prompt.corrupted) if word not in ARGUMENTS]


def test_induction_answers_with_what_followed() -> None:
    for prompt in drawn(INDUCTION, "other-first"):
        words = prompt.clean.removeprefix("Words: ").split()
        at = words.index(words[-1])
        assert len(set(words)) == len(words) - 1
        assert prompt.correct == (f" {words[at + 1]}",)
        assert prompt.key == (words[at], words[at + 1])
        assert prompt.wrong[0].strip() in words[1:]
        assert prompt.wrong[0].strip() not in prompt.key


def test_induction_corruptions_break_one_end_of_the_repeat() -> None:
    for corruption, changed in (("other-first", 0), ("other-second", -1)):
        for prompt in drawn(INDUCTION, corruption):
            clean, other = prompt.clean.split(), prompt.corrupted.split()
            (at,) = (i for i, pair in enumerate(zip(clean, other, strict=True)) if pair[0] != pair[1])
            assert at == (len(clean) - 1 if changed else clean.index(clean[-1]))
            assert len(set(other)) == len(other)


def test_the_subject_alone_says_the_number_of_the_verb() -> None:
    for prompt in drawn(AGREEMENT, "other-number"):
        head, other = prompt.key
        changed = {
            pair for pair in zip(prompt.clean.split(), prompt.corrupted.split(), strict=True) if len({*pair}) > 1
        }
        assert changed in ({(head, f"{head}s")}, {(f"{head}s", head)})
        plural = f" {head}s " in prompt.clean
        assert prompt.clean.endswith(f" {other}" if plural else f" {other}s")
        assert (prompt.correct[0], prompt.wrong[0]) in {(f" {p[plural]}", f" {p[not plural]}") for p in AUXILIARIES}


def test_half_of_the_subjects_are_plural() -> None:
    plural = [f" {prompt.key[0]}s " in prompt.clean for prompt in drawn(AGREEMENT, "other-number", n=400)]
    assert 0.4 < sum(plural) / len(plural) < 0.6


def test_both_numbers_flips_the_noun_beside_the_subject_too() -> None:
    for prompt in drawn(AGREEMENT, "both-numbers"):
        words = zip(prompt.clean.split(), prompt.corrupted.split(), strict=True)
        changed = [(clean, other) for clean, other in words if clean != other]
        assert [sorted(pair, key=len)[0] for pair in changed] == list(prompt.key)
        assert all(abs(len(clean) - len(other)) == 1 for clean, other in changed)


def test_capitals_of_two_countries_are_the_two_answers() -> None:
    for prompt in drawn(CAPITALS, "other-country"):
        (country,), (other,) = ([c for c in CAPITAL_OF if c in text] for text in (prompt.clean, prompt.corrupted))
        assert prompt.corrupted == prompt.clean.replace(country, other)
        assert (prompt.correct, prompt.wrong) == ((f" {CAPITAL_OF[country]}",), (f" {CAPITAL_OF[other]}",))


def test_a_pronoun_is_that_of_the_name_and_the_twin_has_the_other() -> None:
    prompts = drawn(PRONOUN, "other-gender", n=400)
    for prompt in prompts:
        (name,), (other,) = (names_in(text) for text in (prompt.clean, prompt.corrupted))
        assert prompt.corrupted == prompt.clean.replace(name, other)
        assert (name in WOMEN, other in WOMEN) == (prompt.correct == (" she",), prompt.wrong == (" she",))
        assert {*prompt.correct, *prompt.wrong} == {" she", " he"}
    assert 0.4 < sum(prompt.correct == (" she",) for prompt in prompts) / len(prompts) < 0.6


def test_every_name_is_a_womans_a_mans_or_left_out_as_both() -> None:
    assert not set(WOMEN) & set(MEN)
    assert set(NAMES) - {*WOMEN, *MEN} == {"Alex", "Chris", "Sam"}
    assert set(NAMES) >= {*WOMEN, *MEN}


@pytest.mark.parametrize(
    ("each", "templates"),
    [(AGREEMENT, AGREEMENT_TEMPLATES), (CAPITALS, CAPITALS_TEMPLATES), (PRONOUN, PRONOUN_TEMPLATES)],
    ids=lambda value: value.name if isinstance(value, Task) else "",
)
def test_every_template_is_drawn_and_shows_its_words_alone(each: Task, templates: tuple[str, ...]) -> None:
    starts = {template.partition("{")[0] for template in templates}
    prompts = drawn(each, each.corruptions[0], n=400)
    assert {start for prompt in prompts for start in starts if prompt.clean.startswith(start)} == starts
    assert not any("{" in prompt.clean + prompt.corrupted for prompt in prompts)


def test_countries_of_which_a_word_has_several_tokens_are_left_out(
    bpe_of: Callable[[list[str]], PreTrainedTokenizerBase],
) -> None:
    texts = [(p.clean + p.correct[0]).replace("Paris", "P a r i s") for p in drawn(CAPITALS, "other-country", n=2000)]
    lists = CAPITALS.fit(CAPITALS.lists, bpe_of(texts))
    assert set(CAPITAL_OF) - set(lists["countries"]) == {"France"}
    assert set(CAPITAL_OF.values()) - set(lists["capitals"]) == {"Paris"}


def test_word_lists_are_disjoint_where_a_task_tells_them_apart() -> None:
    assert len({*WORDS, *ARGUMENTS, *EVENTS}) == len(WORDS) + len(ARGUMENTS) + len(EVENTS)
    assert len(NAMES) >= 40


# -- bad input -------------------------------------------------------------------------------------------------------


def test_unknown_names_offer_the_nearest(nano: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UnknownName, match="'greater-than'"):
        task("greater_than")
    with pytest.raises(UnknownName, match="did you mean 's2-io-flip'"):
        task("ioi").pairs(nano, n=1, corruption="s2-flip")


@pytest.mark.parametrize("n", [0, -3])
def test_n_below_one_is_refused(n: int, nano: PreTrainedTokenizerBase) -> None:
    with pytest.raises(InvalidValue, match=f"'ioi'.* got {n}"):
        task("ioi").pairs(nano, n=n)


def test_no_tokenizer_is_refused() -> None:
    with pytest.raises(TaskError, match=r"'ioi' needs a tokenizer.*load"):
        task("ioi").pairs(None, n=1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, (*_, words) in EXPECTED.items() if words])
def test_a_tokenizer_without_the_words_is_refused(
    name: str, words: str, bpe_of: Callable[[list[str]], PreTrainedTokenizerBase]
) -> None:
    letters = bpe_of(["a b"])
    with pytest.raises(TaskError, match=f"'{name}'.*{words}.*your own pairs"):
        task(name).pairs(letters, n=1)


def test_greater_than_asks_for_a_digit_where_every_digit_is_a_token(
    bpe_of: Callable[[list[str]], PreTrainedTokenizerBase],
) -> None:
    digits = bpe_of(["a b"])
    prompts = GREATER_THAN.prompts(digits, n=60, seed=3)
    for prompt in prompts:
        tens = prompt.clean[prompt.clean.index("the year ") + len("the year 17")]
        assert prompt.correct == tuple(str(digit) for digit in range(int(tens) + 1, 10))
        assert prompt.wrong == tuple(str(digit) for digit in range(int(tens)))
        assert prompt.correct
        assert prompt.wrong
    assert len(GREATER_THAN.pairs(digits, n=60, seed=3)) == 60


def test_greater_than_is_refused_where_years_split_neither_in_pairs_nor_in_digits(
    bpe_of: Callable[[list[str]], PreTrainedTokenizerBase],
) -> None:
    with pytest.raises(TaskError, match=r"'greater-than'.*century.*nor does it split them into digits.*your own pairs"):
        GREATER_THAN.pairs(bpe_of(["the year 1732"]), n=1)


def test_names_of_several_tokens_are_left_out(bpe_of: Callable[[list[str]], PreTrainedTokenizerBase]) -> None:
    texts = [(p.clean + p.correct[0]).replace("Mary", "M a r y") for p in drawn(IOI, "abc", n=2000)]
    lists = IOI.fit(IOI.lists, bpe_of(texts))
    assert set(NAMES) - set(lists["names"]) == {"Mary"}


def test_too_few_aligned_twins_is_an_error(nano: PreTrainedTokenizerBase) -> None:
    def uneven(rng: random.Random, lists: object, corruption: str) -> Prompt:
        return Prompt("When Mary", "When Mary and", (" Mary",), (" Tom",), ("Mary",))

    crooked = Task("crooked", "logit_diff", ("only",), {}, lambda lists, _: lists, uneven)
    with pytest.raises(TaskError, match=r"'crooked': only 0 of 2 prompts"):
        crooked.pairs(nano, n=2)


# -- more than there are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize(("second", "said"), [(1, "ask for at most {left}$"), (40, "has only about .* ask for fewer$")])
def test_more_prompts_than_a_task_has_are_refused_soon(second: int, said: str, *, held_out: bool) -> None:
    """Whether it has few, which is seen when no draw is new, or some, which is estimated from how often they come twice."""
    drawn = 0

    def counted(rng: random.Random, lists: object, corruption: str) -> Prompt:
        nonlocal drawn
        drawn += 1
        name, other = rng.choice(NAMES[:40]), rng.choice(NAMES[:second])
        return Prompt(f"When {name} met {other}", f"When {name} saw {other}", (f" {name}",), (), (name,))

    tokenizer, few = ew.load("nano").tokenizer, replace(IOI, draw=counted)
    apart = few.pairs(tokenizer, n=8) if held_out else None
    left = 40 - (len({clean for clean, _ in apart.texts}) if apart else 0)
    drawn = 0
    with pytest.raises(TooFewHeldOut if held_out else TaskError, match=said.format(left=left)):
        few.prompts(tokenizer, n=10**6, apart_from=apart)
    assert drawn < 5000
    assert len(few.prompts(tokenizer, n=200, apart_from=apart)) == 200
