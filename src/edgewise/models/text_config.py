"""Which part of a model's config is about the text."""

from __future__ import annotations

from typing import Any


def text_config(model: Any) -> Any:
    """The config of what reads the text: that of the model, or a part of it where there are towers for images too."""
    inner = getattr(model.config, "get_text_config", None)
    return model.config if inner is None else inner()
