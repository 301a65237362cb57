"""EAP against the bare passes it needs: time in one process, memory in a fresh process for each."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

import edgewise as ew
from benchmarks.setting import (
    BATCH,
    SETTINGS,
    bare_passes,
    gpt2_small,
    interleaved,
    llama_shape,
    memory_now,
    peak_memory,
    random_pairs,
    ratio,
)

Row = tuple[str, str, str, str, str]


def attribution_time(rounds: int) -> Iterator[Row]:
    """EAP's time over two forwards and one backward of the plain model on the same batches."""
    subject = ew.load(gpt2_small())
    for examples, tokens in SETTINGS:
        pairs = random_pairs(examples, tokens)
        ours, bound = interleaved(
            lambda pairs=pairs: ew.attribute(subject, pairs, method="eap", batch_size=BATCH),
            lambda pairs=pairs: bare_passes(subject, pairs),
            rounds,
        )
        seconds = (f"{statistics.median(times):.2f} s" for times in (ours, bound))
        yield (f"{examples} × {tokens} tokens", f"{ratio(ours, bound):.2f}", "≤ 1.45", *seconds)


def path_time(rounds: int) -> Iterator[Row]:
    """EAP-IG's time, five points, over one forward and five forwards and backwards; RelP's and GIM's over EAP's."""
    subject = ew.load(gpt2_small())
    for examples, tokens in SETTINGS:
        pairs = random_pairs(examples, tokens)

        def of(method: str, pairs: ew.Pairs = pairs) -> Callable[[], object]:
            return lambda: ew.attribute(subject, pairs, method=method, batch_size=BATCH)

        bare = lambda pairs=pairs: bare_passes(subject, pairs, backwards=5)  # noqa: E731
        for label, run, bound, target in (
            ("eap-ig / bare passes", of("eap-ig"), bare, "≤ 1.4"),
            ("relp / eap", of("relp"), of("eap"), "≤ 1.3"),
            ("gim / eap", of("gim"), of("eap"), ""),
        ):
            times = interleaved(run, bound, rounds)
            seconds = (f"{statistics.median(one):.2f} s" for one in times)
            yield (f"{label}, {examples} × {tokens}", f"{ratio(*times):.2f}", target, *seconds)


def buffer_memory(rounds: int) -> Iterator[Row]:
    """EAP's peak memory over one buffer [batch, position, writer, width] that others hold.

    First what either needs beyond the bare passes, then both with them: all that comes on top of the loaded model.
    """
    for tokens in (64, 128):
        ours, bare = (_peak_of(what, BATCH, tokens) for what in ("llama-eap", "llama-bare"))
        buffer = BATCH * tokens * (24 * 17 + 1) * 1024 * 4
        label = f"24 layers, width 1024, {BATCH} × {tokens}"
        for what, mine, theirs in ((label, ours - bare, buffer), (f"{label}, with the passes", ours, bare + buffer)):
            yield (what, f"{mine / theirs:.2f}", "< 1", *(f"{size / 2**30:.2f} GiB" for size in (mine, theirs)))


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
    """Peak memory in bytes of this process after one run; of a "llama" what comes on top of the loaded model."""
    from edgewise.models import FAMILIES, Subject

    if what.startswith("llama"):
        subject, pairs = Subject(llama_shape(), None, FAMILIES["llama"], "llama"), random_pairs(examples, tokens)
        loaded = memory_now()
        ew.attribute(subject, pairs, method="eap", batch_size=BATCH) if what == "llama-eap" else bare_passes(
            subject, pairs
        )
        return peak_memory() - loaded
    # Not `load`: its self-check is no part of what is measured.
    subject, pairs = Subject(gpt2_small(), None, FAMILIES["gpt2"], "gpt2-small"), random_pairs(examples, tokens)
    ew.attribute(subject, pairs, method="eap", batch_size=BATCH) if what == "eap" else bare_passes(subject, pairs)
    return peak_memory()


if __name__ == "__main__":
    sys.stdout.write(f"{_measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))}\n")
