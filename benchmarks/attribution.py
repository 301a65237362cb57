"""EAP against the bare passes it needs: time in one process, memory in a fresh process for each."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import edgewise as ew
from benchmarks.setting import BATCH, SETTINGS, bare_passes, gpt2_small, interleaved, random_pairs, ratio

Row = tuple[str, str, str, str, str]


def attribution_time(rounds: int) -> Iterator[Row]:
    """EAP's time over two forwards and one backward of the plain model on the same batches."""
    subject = ew.load(gpt2_small())
    for examples, tokens in SETTINGS:
        pairs = random_pairs(examples, tokens)
        ours, bound = interleaved(
            lambda pairs=pairs: ew.attribute(subject, pairs, batch_size=BATCH),
            lambda pairs=pairs: bare_passes(subject, pairs),
            rounds,
        )
        seconds = (f"{statistics.median(times):.2f} s" for times in (ours, bound))
        yield (f"{examples} × {tokens} tokens", f"{ratio(ours, bound):.2f}", "≤ 1.45", *seconds)


def attribution_memory(rounds: int) -> Iterator[Row]:
    """EAP's peak memory over that of the bare passes, whole processes, model and libraries included."""
    for examples, tokens in SETTINGS:
        ours, bound = (_peak_of(what, examples, tokens) for what in ("eap", "bare"))
        shown = (f"{peak / 2**30:.2f} GiB" for peak in (ours, bound))
        yield (f"{examples} × {tokens} tokens", f"{ours / bound:.2f}", "≤ 1.5", *shown)


def _peak_of(what: str, examples: int, tokens: int) -> int:
    command = [sys.executable, "-m", "benchmarks.attribution", what, str(examples), str(tokens)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _measure(what: str, examples: int, tokens: int) -> int:
    """Peak resident memory in bytes of this process after one run."""
    from edgewise.models import FAMILIES, Subject

    # Not `load`: its self-check is no part of what is measured.
    subject, pairs = Subject(gpt2_small(), None, FAMILIES["gpt2"], "gpt2-small"), random_pairs(examples, tokens)
    ew.attribute(subject, pairs, batch_size=BATCH) if what == "eap" else bare_passes(subject, pairs)
    return peak_memory()


def peak_memory() -> int:
    """Most memory this process has had resident, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: there a child starts with the peak of the process that spawned it.
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.stdout.write(f"{_measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))}\n")
