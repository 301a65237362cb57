"""Compiled models compute what their programs say, on all inputs, and their circuits are what the weights say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product

import pytest
import torch
from torch import Tensor

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.circuit import Circuit
from edgewise.engine.forward import masked_forward
from edgewise.engine.record import record
from edgewise.engine.writes import expand
from edgewise.errors import UnknownName
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.programs import PROGRAMS
from edgewise.programs.base import NOISE

REFERENCES = {
    "reverse": (
        "input->a0.h1<v>",
        "a0.h1->m0",
        "positions->m1",
        "m0->m1",
        "m1->a2.h2<q>",
        "positions->a2.h2<k>",
        "input->a2.h2<v>",
        "a2.h2->logits",
    ),
    "fraction": ("input->m0", "m0->a1.h2<v>", "a1.h2->m1", "m1->logits"),
    "induction-hidden": (
        "positions->a0.h2<q>",
        "positions->a0.h2<k>",
        "input->a0.h2<v>",
        "input->a2.h1<q>",
        "a0.h2->a2.h1<k>",
        "input->a2.h1<v>",
        "a2.h1->logits",
    ),
}
# What the edges outside move the logit difference by, relative to the least that an edge inside does.
QUIET = {"reverse": 1e-5, "fraction": 1e-5, "induction-hidden": 1 / 50}
every_program = pytest.mark.parametrize("name", PROGRAMS)


@cache
def subject(name: str) -> Subject:
    return ew.load(name, dtype="float64")


@cache
def pairs(name: str, corruption: str | None = None) -> Pairs:
    return ew.task(name).pairs(subject(name).tokenizer, n=48, seed=1, corruption=corruption)


def answers(name: str, rows: list[tuple[str, ...]]) -> list[list[str]]:
    """The most likely word at every position of each row."""
    on = subject(name)
    tokens = torch.tensor([[PROGRAMS[name].words.index(word) for word in row] for row in rows])
    logits = on.model(input_ids=tokens).logits
    assert float((logits.topk(2).values @ torch.tensor([1.0, -1.0]).double()).min()) > 0.1 or name == "induction-hidden"
    return [[PROGRAMS[name].words[i] for i in row] for row in logits.argmax(dim=-1).tolist()]


# -- what they compute ------------------------------------------------------------------------------------------------


def test_reverse_is_right_at_every_position_of_all_inputs() -> None:
    rows = list(product("abc_", repeat=5))
    for row, found in zip(rows, answers("reverse", rows), strict=True):
        n = sum(symbol != "_" for symbol in row)
        assert found == [*reversed(row[:n]), *row[n:]]


@pytest.mark.parametrize("length", range(1, 6))
def test_fraction_is_right_at_every_position_of_all_inputs(length: int) -> None:
    rows = list(product("wxyz", repeat=length))
    for row, found in zip(rows, answers("fraction", rows), strict=True):
        assert found == [str(Fraction(row[: end + 1].count("x"), end + 1)) for end in range(length)]


@pytest.mark.parametrize("length", range(2, 5))
def test_induction_is_right_on_all_short_inputs(length: int) -> None:
    """Wherever the last letter stood exactly once before."""
    repeats = [row for row in product("abcdefghij", repeat=length) if row.count(row[-1]) == 2]
    for row, found in zip(repeats, answers("induction-hidden", [("^", *row) for row in repeats]), strict=True):
        assert found[-1] == row[row.index(row[-1]) + 1]


def test_induction_is_right_on_its_tasks_prompts() -> None:
    on, task = subject("induction-hidden"), ew.task("induction-hidden")
    of = task.pairs(on.tokenizer, n=500)
    report = ew.evaluate(on, task.reference, of, metrics=["accuracy", "logit_diff"], random=None, batch_size=250)
    assert report["accuracy"].clean == 1.0
    assert report["logit_diff"].clean > 7


# -- their circuits ---------------------------------------------------------------------------------------------------


@every_program
def test_the_reference_is_the_edges_between_what_is_written_and_what_is_read(name: str) -> None:
    program = PROGRAMS[name]
    reference = ew.task(name).reference
    assert reference == program.reference == Circuit.from_edges(program.graph, REFERENCES[name])
    assert reference.graph == subject(name).graph
    assert reference.without_dangling() == reference
    assert reference.provenance["model"] == ew.task(name).model == name
    assert reference.provenance["edges"] == len(reference)
    # One more for every q, k and v that reads something: the direct edges of the ACDC paper.
    assert reference.provenance["counted_edges"] == {"reverse": 12, "fraction": 5, "induction-hidden": 13}[name]


@every_program
@pytest.mark.parametrize("how", ["zero", "corrupted", "mean", "position-mean"])
def test_nothing_outside_the_reference_matters(name: str, how: str) -> None:
    """Random sets of edges outside it are replaced: the logits stay, or, where noise leaks, the answers."""
    on, of, reference = subject(name), pairs(name), ew.task(name).reference
    clean = on.logits(of.clean, of.positions)
    replacement = ablation(how).prepare(on, of, len(of))(of)
    generator = torch.Generator().manual_seed(0)
    for density in (0.0, 0.3, 0.6, 0.9):
        outside = (torch.rand(reference.mask.shape, generator=generator) < density) & on.graph.edge_mask
        walked = masked_forward(on, of.clean, of.positions, (reference.mask | outside).double(), replacement)
        assert torch.equal(walked.argmax(dim=-1), of.correct[:, 0])
        if not PROGRAMS[name].leak:
            assert torch.allclose(walked, clean, rtol=0, atol=1e-5)


@every_program
def test_every_edge_of_the_reference_matters_alone_and_all_others_hardly(name: str) -> None:
    """The independent criterion: the exact effect of zeroing one edge, everything else left as it is."""
    on, of, reference = subject(name), pairs(name), ew.task(name).reference
    effects = ew.attribute(on, of, method="exact", ablation="zero", batch_size=48).values.abs()
    inside = effects[reference.mask].min()
    assert float(inside) > 5
    assert float(effects[~reference.mask].max()) < QUIET[name] * float(inside)


# Edges of the reference that replacing by each corruption's values leaves unchanged, by hand.
POSITIONS = {name: {edge for edge in edges if edge.startswith("positions")} for name, edges in REFERENCES.items()}
COUNTING = {"input->a0.h1<v>", "a0.h1->m0", "m0->m1", "m1->a2.h2<q>"}
UNSEEN = {
    ("reverse", "other-prompt"): POSITIONS["reverse"],
    # As many letters: what carries their number carries the same.
    ("reverse", "other-letters"): POSITIONS["reverse"] | COUNTING,
    ("fraction", "other-prompt"): set[str](),
    ("induction-hidden", "other-prompt"): POSITIONS["induction-hidden"],
    # The last letter is the same, and so is the one that is copied.
    ("induction-hidden", "other-first"): POSITIONS["induction-hidden"] | {"input->a2.h1<q>", "input->a2.h1<v>"},
    # Only the last letter differs: nothing that is looked up or copied does.
    ("induction-hidden", "other-second"): POSITIONS["induction-hidden"]
    | {"input->a0.h2<v>", "a0.h2->a2.h1<k>", "input->a2.h1<v>"},
}


@pytest.mark.parametrize(("name", "corruption"), UNSEEN, ids=" ".join)
def test_what_a_corrupted_prompt_cannot_show(name: str, corruption: str) -> None:
    """Positions are the same in every prompt of a length; some corruptions leave more the same."""
    on, of, reference = subject(name), pairs(name, corruption), ew.task(name).reference
    effects = ew.attribute(on, of, method="exact", batch_size=48)
    assert {edge for edge in reference.edges if abs(effects[edge]) < 0.02} == UNSEEN[name, corruption]
    assert all(abs(effects[edge]) > 2 for edge in set(reference.edges) - UNSEEN[name, corruption])


@every_program
def test_the_reference_says_what_no_corrupted_prompt_can_show(name: str) -> None:
    unseen = ew.task(name).reference.provenance["unseen_by_resampling"]
    assert set(unseen) == UNSEEN[name, ew.task(name).corruptions[0]] == POSITIONS[name]


@every_program
def test_averages_over_positions_show_every_edge(name: str) -> None:
    on, of, reference = subject(name), pairs(name), ew.task(name).reference
    effects = ew.attribute(on, of, method="exact", ablation="mean", batch_size=48).values.abs()
    assert float(effects[reference.mask].min()) > 5


# -- their weights ----------------------------------------------------------------------------------------------------


@every_program
def test_noise_is_loud_and_different_for_different_prompts(name: str) -> None:
    """The heads and MLPs that are no part of the circuit do write, and not the same for clean and corrupted."""
    on, of = subject(name), pairs(name)
    runs = [writers(on, tokens, of.positions) for tokens in (of.clean, of.corrupted)]
    idle = [i for i, writer in enumerate(on.graph.writers) if writer not in ew.task(name).reference.nodes]
    assert len(idle) >= 6
    # `positions` is idle in fraction, and the same in both.
    moving = [i for i in idle if on.graph.writers[i] != "positions"]
    assert all(float(runs[0][i].abs().max()) > 0.1 for i in idle)
    assert all(float((runs[0][i] - runs[1][i]).abs().max()) > 0.05 for i in moving)


def writers(on: Subject, tokens: Tensor, positions: Tensor) -> Tensor:
    flat = record(on, tokens, positions).writes.flat()
    out = torch.empty(len(on.graph.writers), len(flat.inputs), on.d_model, dtype=torch.float64)
    return expand(on, flat, slice(0, len(flat.inputs)), out)


@pytest.mark.parametrize("name", [name for name, program in PROGRAMS.items() if not program.leak])
def test_every_node_writes_to_its_space_and_to_noise(name: str) -> None:
    """Where nothing leaks, the parts of the stream that a writer writes to are those the program says."""
    program, on, of = PROGRAMS[name], subject(name), pairs(name)
    outputs = writers(on, of.clean, of.positions)
    named: dict[str, str] = {"input": "token", "positions": "position", **{n.name: n.to for n in program.nodes}}
    start = 0
    for space, width in program.spaces.items():
        part = outputs[:, :, start : start + width].flatten(1).any(dim=1)
        who = {writer for writer, on_ in zip(on.graph.writers, part.tolist(), strict=True) if on_}
        expected = set(on.graph.writers) if space == NOISE else {w for w, to in named.items() if to == space}
        assert who == expected
        start += width
    assert start == on.d_model


HASHES = {
    "reverse": "87f989c3ce317e775fe1bd4b79ab8c55bc6a32734e611a12c04c80eb95363d76",
    "fraction": "81083399a5af21a276f9e6bf69b82644f954e413e2d2eb4998597038b8b504bc",
    "induction-hidden": "34fc206f38f505565d7f76bca7058f11936bb219b3ec7da8a6918fc1d8e38811",
}


@every_program
def test_a_model_is_the_same_on_every_machine_and_uses_nobodys_random_numbers(name: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    on = ew.load(name)
    assert torch.equal(torch.get_rng_state(), state)
    assert on.identity["weights"] == f"sha256:{HASHES[name]}"
    assert (on.name, on.identity["model"], on.identity["dtype"]) == (name, name, "float32")


def test_a_reader_before_its_writer_is_refused() -> None:
    """The marks of `fraction`, and the average of them, moved to where the average comes first."""
    program = PROGRAMS["fraction"]
    moved = tuple(replace(node, layer=1 - node.layer) for node in program.nodes[:2])
    with pytest.raises(UnknownName, match=r"m1 is not computed before a0\.h2<v>"):
        _ = replace(program, nodes=moved).reference
