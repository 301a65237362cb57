"""Device maps: which parts of a model lie where, for a model that is larger than one device."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch

from edgewise.errors import InvalidValue

# Maps that are made from the sizes of the parts and the memory that is free.
MADE = ("auto", "balanced", "balanced_low_0", "sequential")
DISK = "disk"
INSTALL_SPLIT = 'pip install "edgewise[split]"'
DeviceMap = str | Mapping[str, int | str]


def checked_map(device_map: Any, device: object) -> str | dict[str, int | str] | None:
    """The map, if it is one and nothing else says where the model lies; InvalidValue else."""
    if device_map is None:
        return None
    if device is not None:
        raise InvalidValue(
            f"give device={str(device)!r} or device_map={device_map!r}, not both: a map says where all parts lie"
        )
    if not isinstance(device_map, (str, Mapping)) or not device_map:
        raise InvalidValue(f"device_map={device_map!r} is not usable: {_expected()}")
    if isinstance(device_map, str):
        if device_map not in MADE:
            _check_device(device_map, f"device_map={device_map!r} is not usable: {_expected()}")
    else:
        for part, place in device_map.items():
            wrong = f"device_map[{part!r}]={place!r} is not usable"
            if not isinstance(part, str):
                raise InvalidValue(f"{wrong}: parts are named as in the model, such as 'model.layers.0'")
            _check_device(place, wrong)
    if find_spec("accelerate") is None:
        raise InvalidValue(f"a device map needs accelerate, which is not installed: {INSTALL_SPLIT}")
    return device_map if isinstance(device_map, str) else dict(device_map)


def loaded_by(build: Callable[[dict[str, Any]], Any], device_map: DeviceMap | None) -> Any:
    """The model that `build` makes with what transformers is to be told of the map; InvalidValue if they do not fit.

    `build` returns the model first, whatever else it returns.
    """
    if device_map is None:
        return build({})
    folder = tempfile.mkdtemp(prefix="edgewise-offload-")
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.filterwarnings("error", message=".*device_map keys do not match")
            built = build({"device_map": device_map, "offload_folder": folder})
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, (ValueError, UserWarning)):
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InvalidValue(f"device_map={device_map!r} does not fit the model: {first}") from error
    weakref.finalize(built[0], shutil.rmtree, folder, ignore_errors=True)
    if not isinstance(device_map, str):
        for name, _ in built[0].named_parameters():
            if not any(not part or f"{name}.".startswith(f"{part}.") for part in device_map):
                raise InvalidValue(f"device_map={device_map!r} says nothing of {name}")
    return built


@contextmanager
def _quiet() -> Iterator[None]:
    """While inside, accelerate does not say that parts lie where they were put."""
    logger = logging.getLogger("accelerate.big_modeling")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_device(place: Any, wrong: str) -> None:
    """InvalidValue, beginning with `wrong`, for what is neither a device of this machine nor the disk."""
    if type(place) is int:
        count = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
        if not 0 <= place < count:
            raise InvalidValue(f"{wrong}: there are {count} accelerators here, counted from 0")
        return
    if place == DISK:
        return
    try:
        torch.empty(0, device=place)
        if torch.device(place).type == "meta":
            raise RuntimeError("nothing lies there")
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        first = str(error).splitlines()[0].partition(". ")[0]
        first = "there is no such device" if first.startswith("Expected one of") else first
        raise InvalidValue(f"{wrong}: {first}") from None


def _expected() -> str:
    return (
        f"write {', '.join(MADE)}, a device, or a mapping of parts to devices, the number of an accelerator or {DISK!r}"
    )
