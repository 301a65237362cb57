"""Whether the hub answers, asked once and briefly: its client asks for half a minute before it gives up."""

from __future__ import annotations

import os
import threading
from pathlib import Path

SECONDS = 2.0


def hub_source(name: str, revision: str | None) -> str:
    """The hub id itself if the hub answers, else the folder of the cache it lies in; LookupError for one that is neither.

    The folder, since a client that is told to stay with the cache asks the hub for some files all the same.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        raise LookupError("and no name on a hub looks like this") from None
    silence = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _silence(constants.ENDPOINT)
    if silence is None:
        return name
    if (folder := cached_folder(name, revision)) is None:
        raise LookupError(silence)
    return str(folder)


def cached_folder(name: str, revision: str | None = None) -> Path | None:
    """Where a model lies in the cache of the hub's client."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision or "main")
    return Path(config).parent if isinstance(config, str) else None


def _silence(endpoint: str) -> str | None:
    """Why the hub cannot be asked; None if it answers, whatever it answers.

    In a thread, since looking up the address may hang for longer than any timeout.
    """
    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or SECONDS)
    heard: list[bool] = []
    asking = threading.Thread(target=_ask, args=(endpoint, seconds, heard), daemon=True)
    asking.start()
    asking.join(seconds)
    if heard and heard[0]:
        return None
    return f"{endpoint} gave no answer" if heard else f"{endpoint} gave no answer within {seconds:g} s"


def _ask(endpoint: str, seconds: float, heard: list[bool]) -> None:
    from huggingface_hub.utils import get_session

    try:
        get_session().head(endpoint, timeout=seconds)
        heard.append(True)
    except Exception:  # whatever the network and its libraries raise
        heard.append(False)
