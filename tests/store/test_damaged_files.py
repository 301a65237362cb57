"""Whatever a file holds, reading it ends in a result or in one sentence: soon, and without taking what it claims to need."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import pytest
from support.file_readers import READERS, Reader, bounded

from edgewise.errors import EdgewiseError

# In all 500 mutations in every run of the tests, and 10,000 in the thorough one.
FEW, MANY = 18, 360


def outcome(reader: Reader, path: Path, note: str) -> str:
    """How the reading was refused; nothing where it was not."""
    try:
        reader.read(path)
    except EdgewiseError as error:
        return str(error)
    except BaseException as error:
        error.add_note(note)
        raise
    return ""


def check(name: str, numbers: range, folder: Path) -> None:
    reader, refused = READERS[name], 0
    path = reader.make(folder)
    reader.read(path)
    whole = path.read_bytes()
    for number in numbers:
        damaged = reader.mutate(whole, random.Random(f"{name}/{number}"))
        path.write_bytes(damaged)
        with warnings.catch_warnings(), bounded():
            warnings.simplefilter("ignore")
            said = outcome(reader, path, f"{name}/{number}: {damaged[:300]!r}")
        assert "\n" not in said, number
        refused += bool(said)
    assert refused  # some of what was done cannot be read over


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    check(name, range(FEW), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_no_damage_ends_in_anything_else(name: str, tmp_path: Path) -> None:
    check(name, range(FEW, FEW + MANY), tmp_path)
