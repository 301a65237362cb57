"""Work for many workers: pieces that do not depend on one another, given to any `concurrent.futures.Executor`.

A piece is a picklable function with picklable arguments; a Subject that was loaded by name is one (a worker loads it once).
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

from edgewise.errors import InvalidValue, WorkerError
from edgewise.progress import Track

T = TypeVar("T")
R = TypeVar("R")
# How long a scheduler has to answer.
SECONDS_TO_CONNECT = 10


def each_done(
    work: Callable[[T], R], pieces: Sequence[T], executor: Executor | None, track: Track, label: str
) -> Iterator[tuple[T, R]]:
    """A piece and what `work` makes of it, as they are done; without an executor one after the other, here.

    What `work` raises is raised here, and what has not begun is given up. WorkerError if a worker is gone; InvalidValue for
    work that cannot be sent to another process.
    """
    if executor is None:
        yield from track(((piece, work(piece)) for piece in pieces), len(pieces), label)
        return
    futures = {executor.submit(work, piece): piece for piece in pieces}
    try:
        for future in track(as_completed(futures), len(pieces), label):
            yield futures[future], _result(future)
    finally:
        for future in futures:
            future.cancel()


def _result(future: Future[R]) -> R:
    try:
        return future.result()
    except (BrokenExecutor, CancelledError) as error:
        raise _gone(error) from None
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if "pickle" not in str(error).lower():
            raise
        raise InvalidValue(f"this work cannot be sent to another process: {error}; do it without an executor") from None
    except Exception as error:
        # Of dask, which is not imported for its name.
        if type(error).__name__ in ("KilledWorker", "FutureCancelledError", "CommClosedError"):
            raise _gone(error) from None
        raise


def _gone(error: BaseException) -> WorkerError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return WorkerError(
        f"a worker is gone, killed or out of memory ({said}); what was finished in a folder is kept, and the same command "
        "goes on from there"
    )


@contextmanager
def workers(count: int | None = None, dask: str | None = None) -> Iterator[Executor | None]:
    """An executor of `count` processes on this machine, or that of the dask scheduler at an address; None for neither.

    Processes share the cores, and take the GPUs in turn. Raises InvalidValue for less than one process, for both, and
    without `distributed`; WorkerError if no scheduler answers.
    """
    if count is not None and dask is not None:
        raise InvalidValue("workers on this machine and those of dask: name one of the two")
    if dask is not None:
        with _of_dask(dask) as executor:
            yield executor
    elif count is not None:
        if count < 1:
            raise InvalidValue(f"{count} workers: give at least 1")
        with processes(count) as executor:
            yield executor
    else:
        yield None


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """An executor of so many fresh processes, stopped at once when the block is left by an error."""
    from multiprocessing import get_context

    context = get_context("spawn")
    started = context.Value("i", 0)
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(started, count))
    try:
        yield executor
    except BaseException:
        for process in list((executor._processes or {}).values()):
            process.terminate()
        executor.shutdown(cancel_futures=True)
        raise
    executor.shutdown()


def _begin(started: object, count: int) -> None:
    """In a new worker: its share of the cores, and one of the GPUs."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gave the work
    with started.get_lock():  # type: ignore[attr-defined]
        number = started.value  # type: ignore[attr-defined]
        started.value += 1  # type: ignore[attr-defined]
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


@contextmanager
def _of_dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
    except ImportError:
        raise InvalidValue("workers of dask need its scheduler: pip install 'edgewise[dask]'") from None
    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT)
    except (OSError, ValueError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WorkerError(f"no dask scheduler answers at {address}: {said}") from None
    with client, client.get_executor(pure=False) as executor:
        yield executor
