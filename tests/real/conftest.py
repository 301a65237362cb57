"""The pretrained model that comes by pip, for tests that are worth nothing on random weights."""

from __future__ import annotations

import pytest

import edgewise as ew
from edgewise.models import Subject

MODEL = "smollm2"


@pytest.fixture(scope="session")
def smollm2() -> Subject:
    try:
        return ew.load(MODEL)
    except ew.EdgewiseError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pairs(smollm2: Subject) -> ew.Pairs:
    return ew.task("ioi").pairs(smollm2.tokenizer, n=8, seed=0)


@pytest.fixture(scope="session")
def held_out(smollm2: Subject, pairs: ew.Pairs) -> ew.Pairs:
    return ew.task("ioi").pairs(smollm2.tokenizer, n=16, seed=0, apart_from=pairs)


@pytest.fixture(scope="session")
def scores(smollm2: Subject, pairs: ew.Pairs) -> ew.Scores:
    return ew.attribute(smollm2, pairs, method="eap-ig")
