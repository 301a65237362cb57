"""One row of each data set of the MIB benchmark, as it is published."""

from __future__ import annotations

from typing import Any

IOI: dict[str, Any] = {
    "prompt": "Then Jane and Chris met at the bakery. Chris handed a flower to",
    "template": "…",
    "choices": ["Jane", "Chris"],
    "answerKey": 0,
    "metadata": {
        "indirect_object": "Jane",
        "subject": "Chris",
        "object": "flower",
        "place": "bakery",
        "random_c": "Tom",
    },
    "abc_counterfactual": {"prompt": "Then Tom and Anna met at the bakery. Paul handed a flower to"},
    "s2_io_flip_counterfactual": {
        "prompt": "Then Jane and Chris met at the bakery. Jane handed a flower to",
        "choices": ["Jane", "Chris"],
        "answerKey": 1,
    },
}
CHOICE: dict[str, Any] = {
    "prompt": "Box is red. A. red B. blue Answer:",
    "choices": {"label": [" A", " B"], "text": ["red", "blue"]},
    "answerKey": 0,
    "symbol_counterfactual": {
        "prompt": "Box is red. X. red Y. blue Answer:",
        "choices": {"label": [" X", " Y"], "text": ["red", "blue"]},
        "answerKey": 0,
    },
}
SUM: dict[str, Any] = {
    "prompt": "12 + 30 = ",
    "label": 42,
    "operator": "+",
    "random_counterfactual": {"prompt": "11 + 52 = ", "label": 63},
}
