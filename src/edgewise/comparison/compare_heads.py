"""compare_heads: which heads the circuits of several runs keep, what each head does, and what it is worth to each circuit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from edgewise.arguments import Size, count_of, typed
from edgewise.circuit import Circuit
from edgewise.comparison.case_study import WORTH_METRIC, WORTH_SHARE, Heads, roles
from edgewise.comparison.circuits_of_runs import FoundCircuit, equal_sizes, found_circuits, size_notes
from edgewise.comparison.head_report import HeadReport
from edgewise.errors import InvalidValue
from edgewise.evaluation import evaluate, measure_roles, study_heads
from edgewise.graph import HEAD
from edgewise.metrics import metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.request import Request
from edgewise.runs.from_file import check_weights
from edgewise.runs.recipe import Setting
from edgewise.runs.resolved import ResolvedSetting, resolve


@typed
@watched
def compare_heads(  # noqa: PLR0913  a public verb: keyword arguments
    runs: Sequence[str | Path],
    *,
    edges: Size | None = None,
    held_out: int | Literal["auto"] | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    track: Track = silent,
    progress: bool | None = None,
) -> HeadReport:
    """Which heads the circuits of several runs keep, by measured role, and what each is worth to the circuit that keeps it.

    `runs`: run folders, files of circuits, or folders of comparisons, of one model, one task or data, and one ablation.
    `edges`: the size of the circuits, or a share of all edges such as "10%". By default that of the smallest circuit without
    scores, else of the smallest of all.
    Circuits that are the best edges by scores are cut, or grown, to that size; of those that a search found the nearest
    in size is taken.
    `held_out`: how many held-out pairs to judge on, "auto" for as many as are usual, 0 for the pairs that the circuits were
    found on; by default as in the first run.
    `batch_size`, `device`: as in the first run where they are not given.
    `track`, `progress`: as in `attribute`.

    Returns a HeadReport. Raises InvalidValue or GraphMismatch for runs that do not belong side by side, FileError for a
    folder that is no run, InvalidValue for circuits that keep no head.
    """
    circuits = found_circuits(runs)
    given = {"held_out": held_out, "batch_size": batch_size, "device": device}
    setting = circuits[0].setting.with_changes(**{name: value for name, value in given.items() if value is not None})
    resolved = resolve(setting)
    graph = circuits[0].circuit.graph
    size, chosen = equal_sizes(circuits, None if edges is None else count_of(edges, graph.n_edges))
    _check_heads(chosen)
    subject = resolved.model.load(track)
    for one in circuits:
        check_weights(one.circuit, subject.identity)
    pairs = _judged_on(subject, resolved, circuits)
    request = Request(
        subject, pairs, metric(resolved.source.usual_metric(pairs)), resolved.ablation, resolved.batch_size, track
    )
    measured = measure_roles(subject, pairs, metric=request.metric, **_conditions(request))
    studied = _studied(request, size, chosen, measured.by_head, searches=[one.name for one in circuits if one.searched])
    return HeadReport(
        model=setting.model,
        prompts=setting.prompts,
        ablation=resolved.ablation.name,
        held_out=bool(pairs.source.get("held_out")),
        heads=studied,
        measured=measured,
        published=roles(subject, setting.task),
        notes=size_notes(circuits, chosen),
    )


def _check_heads(circuits: Mapping[str, Circuit]) -> None:
    if not any(HEAD.fullmatch(node) for circuit in circuits.values() for node in circuit.nodes):
        raise InvalidValue(
            f"no head is kept by {' nor '.join(circuits)}: no path of the circuit leads through one; name larger circuits"
        )


def _judged_on(subject: Subject, first: ResolvedSetting, circuits: Sequence[FoundCircuit]) -> Pairs:
    """The held-out pairs of the first run, without those another run was found on; else its own pairs."""
    found_on = first.source.pairs(subject.tokenizer)
    pairs = first.source.held_out(subject.tokenizer, found_on)
    if pairs is None:
        return found_on
    seen: set[str] = set()
    for setting in _other_settings([one.setting for one in circuits]):
        seen |= {clean for clean, _ in resolve(setting).source.pairs(subject.tokenizer).texts}
    rows = [row for row, (clean, _) in enumerate(pairs.texts) if clean not in seen]
    if not rows:
        raise InvalidValue(
            f"every pair held out from {circuits[0].source} is among those another run was found on; "
            "judge on more with --held-out"
        )
    return pairs if len(rows) == len(pairs) else pairs[rows]


def _other_settings(settings: Sequence[Setting]) -> list[Setting]:
    """Those that find circuits on other pairs than the first."""

    def drawn(setting: Setting) -> tuple[Any, ...]:
        return setting.examples, setting.seed, setting.split, setting.held_out if setting.data is not None else None

    others = {drawn(setting): setting for setting in settings if drawn(setting) != drawn(settings[0])}
    return list(others.values())


def _conditions(request: Request) -> dict[str, Any]:
    return {"ablation": request.ablation, "batch_size": request.batch_size, "track": request.track}


def _studied(
    request: Request, size: int, circuits: Mapping[str, Circuit], roles: Mapping[str, str], *, searches: Sequence[str]
) -> Heads:
    """What every head is worth to each circuit that keeps it, in KL."""
    subject, pairs, conditions = request.subject, request.pairs, _conditions(request)
    ends = evaluate(
        subject,
        Circuit.full(subject.graph),
        pairs,
        metrics=[WORTH_METRIC],
        random=None,
        **{**conditions, "track": silent},
    )
    studies = tuple(
        study_heads(subject, circuits, pairs, base=base, metric=WORTH_METRIC, roles=roles, **conditions)
        for base in circuits
    )
    edges = {name: len(circuit) for name, circuit in circuits.items()}
    least = WORTH_SHARE * ends[WORTH_METRIC].corrupted
    return Heads(size, least, edges, tuple(searches), studies)
