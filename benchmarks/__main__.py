"""`python -m benchmarks [--rounds N] [NAME …]`: prints every figure as a ratio, with the target it has to meet.

EDGEWISE_BENCH_DEVICE names the device, by default the CPU.
"""

from __future__ import annotations

import argparse
import os
import platform

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.attribution import attribution_memory, attribution_time, buffer_memory, path_time
from benchmarks.forward import batched_masks, dense_forward, neuron_evaluation, sparse_evaluation
from benchmarks.pruning import hybrid, step_memory, step_time
from benchmarks.search import acdc_cost, acdc_full
from benchmarks.setting import DEVICE

BENCHMARKS = {
    "eap-time": attribution_time,
    "eap-memory": attribution_memory,
    "paths": path_time,
    "buffer-memory": buffer_memory,
    "masked-forward": dense_forward,
    "evaluate": sparse_evaluation,
    "neurons": neuron_evaluation,
    "batched-masks": batched_masks,
    "acdc": acdc_cost,
    "acdc-full": acdc_full,
    "pruning-step": step_time,
    "pruning-memory": step_memory,
    "hap": hybrid,
}
# Take minutes: run only when they are named.
ON_REQUEST = {"acdc-full", "hap"}


def main() -> None:
    """Run the chosen benchmarks, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each pair (default 5)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"unknown benchmark {sorted(unknown)}; known: {', '.join(BENCHMARKS)}")
    table = Table(title=machine(), title_justify="left")
    for column in ("benchmark", "setting", "ratio (median)", "target", "ours", "bound"):
        table.add_column(column, no_wrap=True)
    for name in arguments.names or [name for name in BENCHMARKS if name not in ON_REQUEST]:
        for row in BENCHMARKS[name](arguments.rounds):
            table.add_row(name, *row)
    Console(width=150).print(table)


def machine() -> str:
    """One line about where the figures come from."""
    threads = torch.get_num_threads()
    where = f", {torch.cuda.get_device_name(DEVICE)}" if DEVICE.type == "cuda" else ""
    return f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {threads} threads, float32{where}"


if __name__ == "__main__":
    main()
