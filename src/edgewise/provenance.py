"""Provenance: what every result says about where it comes from."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgewise.engine.tiling import rounded_products
from edgewise.request import LOCAL, Request


def provenance(request: Request, method: Any, seconds: float) -> dict[str, Any]:
    """Model, data, method, options, metric, ablation, versions and time of a run, as plain values."""
    return {
        **request.subject.identity,
        **request.pairs.source,
        "data": request.pairs.fingerprint,
        "examples": len(request.pairs),
        "prompts": request.pairs.examples(request.subject.tokenizer),
        "method": method.name,
        "options": {name: value for name, value in asdict(method).items() if name not in LOCAL},
        "metric": request.metric.name,
        **({"units": units} if (units := method.units(request)) else {}),
        **request.ablation.key,
        "batch_size": request.batch_size,
        "products": rounded_products(request.subject.device),
        **request.notes,
        "seconds": round(seconds + request.seconds_before, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of edgewise and of what it computes with."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in ("edgewise", "torch", "transformers")},
    }


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
