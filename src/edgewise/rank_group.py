"""How processes that `torchrun` started find each other, so that they work together (ranks.py)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from edgewise.errors import InvalidValue, RankError
from edgewise.ranks import Ranks, working_as

# What `torchrun` tells each process that it starts.
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# A rank may have much more to do than another; one that is gone is noticed at once, whatever this is.
LONGEST_WAIT = timedelta(days=7)


def started_together(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several that `torchrun`, or something like it, has started."""
    return all(name in environment for name in VARIABLES) and environment["WORLD_SIZE"] != "1"


@contextmanager
def distributed() -> Iterator[Ranks]:
    """Let the processes that `torchrun` started work together on what is called inside, each on its share.

        with ew.distributed() as ranks:                          # torchrun --nproc-per-node 4 script.py
            scores = ew.attribute(subject, pairs)                # the same on every rank
            if ranks.first: ew.save(scores, "scores.json")

    Every rank makes the same calls with the same arguments. A process group that exists is used, and stays; otherwise one is
    made from the variables that `torchrun` sets, and taken down at the end. A model loaded inside without a `device` goes to
    the GPU with the rank's local number.

    Returns a context that gives the Ranks, with `number`, `count` and `first`. Raises InvalidValue without a process group
    or `torchrun`; calls inside raise RankError if a rank is gone or was given something else.
    """
    with _group() as ranks, _own_gpu(), working_as(ranks):
        try:
            yield ranks
        except BaseException as error:
            ranks.say(error)
            raise


@contextmanager
def _group() -> Iterator[Ranks]:
    if dist.is_available() and dist.is_initialized():
        group: Any = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
        try:
            yield Ranks(dist.get_rank(), dist.get_world_size(), group)
        finally:
            dist.destroy_process_group(group)
        return
    if missing := [name for name in VARIABLES if name not in os.environ]:
        raise InvalidValue(
            f"no ranks: {', '.join(missing)} not set; start the command by `torchrun --nproc-per-node N -m edgewise …`, or "
            "make a process group of torch.distributed first"
        )
    number, count = _number("RANK"), _number("WORLD_SIZE")
    try:
        store, number, count = next(iter(rendezvous("env://", number, count, timeout=timedelta(minutes=5))))
        dist.init_process_group("gloo", store=store, rank=number, world_size=count, timeout=LONGEST_WAIT)
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RankError(f"rank {number} found no other ranks at {address}: {str(error).splitlines()[0]}") from None
    try:
        yield Ranks(number, count, None, store)
    finally:
        dist.destroy_process_group()


def _number(variable: str) -> int:
    try:
        return int(os.environ[variable])
    except ValueError:
        raise InvalidValue(f"{variable}={os.environ[variable]!r} in the environment must be a whole number") from None


@contextmanager
def _own_gpu() -> Iterator[None]:
    """Inside, "cuda" is the GPU of this rank's number on its machine."""
    local = os.environ.get("LOCAL_RANK", "0")
    if not (torch.cuda.is_available() and local.isdigit()):
        yield
        return
    with torch.cuda.device(int(local) % torch.cuda.device_count()):
        yield
