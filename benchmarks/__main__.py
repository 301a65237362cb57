"""`python -m benchmarks [--device D] [--rounds N] [NAME …]`: prints every figure as a ratio, with the target it has to meet.

On an accelerator the table of large models is measured unless others are named; `ops` counts on the CPU what would be asked
of an accelerator, `memory` what a large model would hold there.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

# Where each is; they are imported when the device is known.
BENCHMARKS = {
    "eap-time": "attribution.attribution_time",
    "eap-memory": "attribution.attribution_memory",
    "paths": "attribution.path_time",
    "buffer-memory": "attribution.buffer_memory",
    "masked-forward": "forward.dense_forward",
    "evaluate": "forward.sparse_evaluation",
    "neurons": "forward.neuron_evaluation",
    "batched-masks": "forward.batched_masks",
    "acdc": "search.acdc_cost",
    "acdc-full": "search.acdc_full",
    "pruning-step": "pruning.step_time",
    "pruning-memory": "pruning.step_memory",
    "hap": "pruning.hybrid",
    "hap-smollm2": "pruning.hybrid_real",
    "large": "large.table",
    "large-tiny": "large.tiny_table",
    "memory": "counted.table",
    "memory-tiny": "counted.tiny_table",
}
# Take minutes, or another machine: run only when they are named.
ON_REQUEST = {"acdc-full", "hap-smollm2", "large", "large-tiny", "memory", "memory-tiny"}
# Counted instead of measured, in tables of their own.
COUNTS = {"ops": "ops.tables", "ops-smollm2": "ops.real_tables"}


def main() -> None:
    """Run the chosen benchmarks, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join([*BENCHMARKS, *COUNTS])}")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each pair (default 5)")
    parser.add_argument("--device", default=os.environ.get("EDGEWISE_BENCH_DEVICE", "cpu"), help="default: cpu")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {*BENCHMARKS, *COUNTS}:
        parser.error(f"unknown benchmark {sorted(unknown)}; known: {', '.join([*BENCHMARKS, *COUNTS])}")
    # In the environment, so that the processes in which memory is measured know it too.
    os.environ["EDGEWISE_BENCH_DEVICE"] = arguments.device
    console = Console(width=150)
    names = arguments.names or _usual(torch.device(arguments.device))
    for name in COUNTS.keys() & names:
        for counts in _found(COUNTS[name])():
            console.print(counts)
    if measured := [name for name in names if name not in COUNTS]:
        table = Table(title=machine(torch.device(arguments.device)), title_justify="left")
        for column in ("benchmark", "setting", "ratio (median)", "target", "ours", "bound"):
            table.add_column(column, no_wrap=True)
        for name in measured:
            for row in _found(BENCHMARKS[name])(arguments.rounds):
                table.add_row(name, *row)
        console.print(table)


def machine(device: torch.device) -> str:
    """One line about where the figures come from."""
    threads = torch.get_num_threads()
    where = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {threads} threads, float32{where}"


def _usual(device: torch.device) -> list[str]:
    return [name for name in BENCHMARKS if name not in ON_REQUEST] if device.type == "cpu" else ["large"]


def _found(place: str) -> Callable[..., Iterator[Any]]:
    module, name = place.split(".")
    return getattr(import_module(f"benchmarks.{module}"), name)


if __name__ == "__main__":
    main()
