"""The command that tells what edgewise finds on a machine: doctor."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from edgewise.cli import console
from edgewise.cli.options import AsJson

NOT_INSTALLED = "not installed"


@console.guarded
def doctor(*, as_json: AsJson = False) -> None:
    """Tell what is here: versions, devices, models, the cache, and what is missing for which extra."""
    found = {
        "versions": versions(),
        "devices": devices(),
        "models": models(),
        "cache": cache(),
        "extras": extras(),
    }
    if as_json:
        console.print_json(found)
        return
    for title, rows in found.items():
        console.print_table(title, rows)


def versions() -> list[dict[str, str]]:
    """Python, edgewise and what it always needs; a version that is too old or missing says so."""
    return [
        {"name": "python", "version": platform.python_version(), "needed": ""},
        {"name": "edgewise", "version": _version("edgewise"), "needed": ""},
        *(_row(needed) for needed in _requirements() if needed.marker is None),
    ]


def devices() -> list[dict[str, str]]:
    """The processor, and every accelerator that torch can use, with its memory."""
    import torch

    rows = [{"name": "cpu", "device": f"{platform.machine()}, {torch.get_num_threads()} threads of {os.cpu_count()}"}]
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        about = f"{torch.cuda.get_device_name(number)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        rows.append({"name": f"cuda:{number}", "device": about})
    if torch.backends.mps.is_available():
        rows.append({"name": "mps", "device": "Apple GPU"})
    return rows


def models() -> list[dict[str, str]]:
    """The models that need no download, and what is missing for them."""
    from edgewise.loading import cache, smollm2
    from edgewise.loading.model_places import EMBEDDED

    rows = [{"name": name, "state": "comes with edgewise"} for name in EMBEDDED]
    if cache.find(smollm2.SHA256) is not None:
        state = "converted, in the cache"
    elif smollm2.packaged_file() is None:
        state = f"not here: {smollm2.INSTALL}"
    else:
        state = "here; it is converted when it is first used"
    return [*rows, {"name": smollm2.NAME, "state": state}]


def cache() -> list[dict[str, str]]:
    """Where converted models are kept, whether anything can be written there, and where the hub's files lie."""
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    from edgewise.loading.cache import cache_folder

    offline = "; offline" if HF_HUB_OFFLINE else ""
    return [
        {"name": "edgewise", "folder": os.fspath(cache_folder()), "state": _writable(cache_folder())},
        {"name": "hub", "folder": HF_HUB_CACHE, "state": f"{_writable(Path(HF_HUB_CACHE))}{offline}"},
    ]


def extras() -> list[dict[str, str]]:
    """For each extra what is missing, and how to get it."""
    known = [name for name in _names_of_extras() if name not in ("dev", "docs", "bench")]
    rows = []
    for name in known:
        needed = [one for one in _requirements() if one.marker and one.marker.evaluate({"extra": name})]
        lacking = [one for one in needed if _fault(one)]
        state = ", ".join(f"{one.name} {_fault(one)}" for one in lacking) or "all there"
        cure = f'pip install "edgewise[{name}]"' if lacking else ""
        rows.append({"name": name, "state": state, "cure": cure})
    return rows


def _row(needed: Requirement) -> dict[str, str]:
    return {"name": needed.name, "version": _version(needed.name), "needed": _fault(needed) and str(needed.specifier)}


def _fault(needed: Requirement) -> str:
    """What is wrong with an installed package, or empty."""
    found = _version(needed.name)
    if found == NOT_INSTALLED:
        return found
    return "" if needed.specifier.contains(found, prereleases=True) else f"is {found}, needed is {needed.specifier}"


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires("edgewise") or ()]
    except PackageNotFoundError:  # run from its sources
        return []


def _names_of_extras() -> list[str]:
    try:
        return distribution("edgewise").metadata.get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def _writable(folder: Path) -> str:
    """Whether files can be written in a folder, or in the nearest one above it that is there."""
    there = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if not os.access(there, os.W_OK | os.X_OK):
        return "cannot be written"
    return "there" if there == folder else "not there yet"
