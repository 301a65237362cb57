"""Two processes that work together: what each does, and how a test starts them and reads what became of them.

They are forked from one that has imported everything, so that they start at once.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from support.families import pairs, subject
from transformers import GPT2LMHeadModel, LlamaForCausalLM

import edgewise as ew
from edgewise.ablations import Mean
from edgewise.engine.tiling import PROCESSOR, using_tiling
from edgewise.errors import EdgewiseError
from edgewise.evaluation import bootstrap
from edgewise.methods import METHODS, method, run_method
from edgewise.metrics import metric
from edgewise.progress import silent
from edgewise.rank_group import distributed
from edgewise.request import Request, Wanted

COUNT = 2
# What ranks work on, and what it imports, which is most of the time of a process that starts.
MODELS = (GPT2LMHeadModel, LlamaForCausalLM)
# So few steps that a run takes a moment; pairs that do not divide by the ranks, the last batch being of one.
QUICK: dict[str, dict[str, Any]] = {
    "edge-pruning": {"steps": 3},
    "hap": {"steps": 3},
    "subnetwork-probing": {"steps": 3},
    "ugs": {"steps": 3},
    "acdc": {"tau": 0.05},
    "eap+acdc": {"tau": 0.05},
}


def request(wanted: Wanted, goes_by: str = "logit_diff") -> Request:
    on = subject("llama", torch.float64)
    return Request(on, pairs(), metric(goes_by), Mean(), 2, silent, wanted)


def of_every_method(folder: Path) -> None:
    """What every method finds, as tensors in a file."""
    found: dict[str, torch.Tensor] = {}
    for name in METHODS:
        chosen = method(name, QUICK.get(name, {}))
        outcome = run_method(chosen, request(Wanted("circuit", edges=None), chosen.metric or "logit_diff"))
        found[name] = outcome.circuit(9).mask
        if outcome.scores is not None:
            found[f"{name} scores"] = outcome.scores.values
    for at_once in (2, 1):  # one rank in parts and one not, then both
        asked = replace(request(Wanted(), "kl"), at_once=at_once)
        found[f"acdc, {at_once} at once"] = run_method(method("acdc", {"tau": 0.0005}), asked).circuit().mask
    nodes = run_method(method("eap-ig", {}), request(Wanted("scores", level="nodes"))).scores
    assert nodes is not None
    assert nodes.parts is not None
    found["nodes"] = nodes.parts.values
    _kept(folder, found)


def of_every_verb(folder: Path) -> None:
    """What verbs measure, as tensors in a file."""
    on, data = subject("gpt2", torch.float64), pairs()
    circuit = ew.Circuit(on.graph, on.graph.edge_mask & (torch.arange(on.graph.edge_mask.shape[1]) % 3 == 0))
    report = ew.evaluate(on, circuit, data, metrics=["kl", "logit_diff"], ablation="mean", batch_size=2)
    effects = ew.effects(on, data, circuit.edges[:5], batch_size=2)
    drawn = bootstrap(on, data, edges=9, method="eap")
    # Shares of two and of three pairs leave room for unlike numbers of trials at once.
    with using_tiling(replace(PROCESSOR, removal_tokens=6 * data.clean.shape[1])):
        swept = ew.sweep(on, data, values=[0.5, 0.05, 0.0005], batch_size=2)
    found = {
        "report": torch.tensor([report["kl"].values, report["logit_diff"].values], dtype=torch.float64),
        "means": torch.tensor([report["kl"].corrupted, report["kl"].random], dtype=torch.float64),
        "effects": torch.tensor(list(effects.values()), dtype=torch.float64),
        "frequency": drawn.frequency,
        "jaccard": torch.tensor([drawn.jaccard.mean, drawn.faithfulness.mean]),
        "sweep": swept.scores.values,
    }
    _kept(folder, found)


def of_one_pair(folder: Path) -> None:
    """What does not share the pairs needs no more than one: effects of edges, and circuits along a threshold."""
    on, data = subject("gpt2", torch.float64), pairs()[:1]
    edges = [on.graph.edges[number] for number in (0, 5, 40, -1)]
    trace = str(folder / "trace.jsonl") if os.environ.get("RANK", "0") == "0" else None  # the first names files
    swept = ew.sweep(on, data, values=[0.5, 0.05, 0.005], trace=trace)
    trained = ew.sweep(on, data, method="edge-pruning", values=[0.5, 0.9], steps=2, batch_size=1)
    found = {
        "exact": ew.attribute(on, data, method="exact").values,
        "effects": torch.tensor(list(ew.effects(on, data, edges).values()), dtype=torch.float64),
        "sweep": swept.scores.values,
        "trained": trained.scores.values,
        "tested": torch.tensor([circuit.provenance["tested"] for circuit in swept.circuits]),
    }
    _kept(folder, found)


def with_other_data(folder: Path) -> None:
    """The second rank takes other pairs."""
    data = pairs() if os.environ["RANK"] == "0" else pairs()[1:]
    ew.attribute(subject("gpt2"), data, method="eap")


def with_too_few_pairs(folder: Path) -> None:
    ew.attribute(subject("gpt2"), pairs()[:1], method="eap")


def until_one_dies(folder: Path) -> None:
    """The second rank is killed in the middle of an exact run that keeps its state."""
    on, seen = subject("gpt2", torch.float64), 0

    def track(steps: Any, total: int, label: str, detail: Any = None) -> Any:
        nonlocal seen
        for step in steps:
            seen += 1
            if seen == 20 and os.environ["RANK"] == "1":
                os._exit(9)
            yield step

    ew.attribute(on, pairs(), method="exact", batch_size=2, checkpoint=str(folder / "state"), track=track)


def going_on(folder: Path) -> None:
    """The same once more; how many units were still to do is told by what is patched."""
    from edgewise.attribution.patcher import Patcher

    patched, effects = [0], Patcher.effects

    def counted(self: Patcher, *arguments: Any) -> torch.Tensor:
        patched[0] += 1
        return effects(self, *arguments)

    Patcher.effects = counted  # type: ignore[method-assign]
    scores = ew.attribute(
        subject("gpt2", torch.float64), pairs(), method="exact", batch_size=2, checkpoint=str(folder / "state")
    )
    _kept(folder, {"scores": scores.values, "patched": torch.tensor(patched[0])})


def together(work: Callable[[Path], None], folder: Path) -> list[str]:
    """Do `work` in two ranks; how each ended: "" if well, or what it said, or its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.rank_process"])
    port = _free_port()
    ranks = [context.Process(target=_rank, args=(work.__name__, folder, number, port)) for number in range(COUNT)]
    with paths_for_children():
        for rank in ranks:
            rank.start()
    for rank in ranks:
        rank.join(timeout=120)
    ends = [folder / f"end{number}" for number in range(COUNT)]
    return [
        end.read_text() if end.exists() else f"exit code {rank.exitcode}" for end, rank in zip(ends, ranks, strict=True)
    ]


@contextmanager
def paths_for_children() -> Iterator[None]:
    """Inside, processes find the modules that are found here."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def results(folder: Path, number: int = 0) -> dict[str, torch.Tensor]:
    """What a rank left."""
    return torch.load(folder / f"found{number}", weights_only=True)


def _rank(work: str, folder: Path, number: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(COUNT), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    said = ""
    try:
        with distributed():
            globals()[work](folder)
    except EdgewiseError as error:
        said = f"{type(error).__name__}: {error}"
    (folder / f"end{number}").write_text(said)


def _kept(folder: Path, found: dict[str, torch.Tensor]) -> None:
    torch.save(found, folder / f"found{os.environ.get('RANK', '0')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
