"""Files with something wrong in them: bytes flipped, cut and doubled, and JSON whose values became others."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

# What stands in the place of a value: texts of JSON, some of which no JSON library writes.
VALUES = (
    "null",
    "true",
    "-1",
    "0",
    "1.5",
    "10000000",
    "1000000000000000000",
    "1" + "0" * 400,
    "1" + "0" * 5000,
    "1e999",
    "-1e999",
    "1e39",
    "NaN",
    "Infinity",
    '""',
    '"x"',
    '"../../x"',
    r'"\ud800"',
    '"' + "y" * 5000 + '"',
    "[]",
    "{}",
    "[[1, 2]]",
    '{"a": null}',
    "[" * 60 + "]" * 60,
    "[" * 5000 + "]" * 5000,
    '{"a":' * 3000 + "1" + "}" * 3000,
)
MARK = "\x00here\x00"


def of_bytes(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one thing wrong."""
    at, length = chance.randrange(len(data)), chance.randrange(1, 40)
    kind = chance.choice(("flip", "cut", "drop", "double", "junk", "zero"))
    if kind == "flip":
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    if kind == "cut":
        return data[:at]
    middle = {
        "drop": b"",
        "double": data[at : at + length] * 2,
        "junk": chance.randbytes(length),
        "zero": bytes(length),
    }[kind]
    return data[:at] + middle + data[at + length :]


def of_json(data: bytes, chance: random.Random) -> bytes:
    """The JSON with one value swapped, one field gone, added or twice, or as bytes with one thing wrong."""
    value = json.loads(data)
    places = list(_places(value))
    if not places or chance.random() < 0.2:
        return of_bytes(data, chance)
    holder, key = chance.choice(places)
    kind = chance.choice(("swap", "swap", "swap", "drop", "add", "twice"))
    wrong = chance.choice(VALUES)
    if kind == "drop":
        del holder[key]
    elif kind == "add" and isinstance(holder, dict):
        holder[f"{key}x"] = MARK
    elif kind == "twice" and isinstance(holder, dict):
        wrong = f"{json.dumps(holder[key])}, {json.dumps(key)}: {wrong}"
        holder[key] = MARK
    else:
        holder[key] = MARK
    return json.dumps(value).replace(json.dumps(MARK), wrong).encode()


def of_lines(data: bytes, chance: random.Random) -> bytes:
    """JSON lines, of which one is damaged."""
    lines = data.splitlines(keepends=True)
    number = chance.randrange(len(lines))
    ending = b"\n" if chance.random() < 0.9 else b""
    return b"".join([*lines[:number], of_json(lines[number], chance) + ending, *lines[number + 1 :]])


def of_safetensors(data: bytes, chance: random.Random) -> bytes:
    """A safetensors file whose header, or the JSON inside its texts, is damaged; or as bytes."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    which = chance.choice(("bytes", "header", "texts"))
    if which == "bytes":
        return of_bytes(data, chance)
    if which == "header":
        changed = of_json(data[8:end], chance)
    else:
        texts = header["__metadata__"]
        name = chance.choice(sorted(texts))
        try:
            texts[name] = of_json(texts[name].encode(), chance).decode("utf-8", "replace")
        except json.JSONDecodeError:
            texts[name] = of_bytes(texts[name].encode(), chance).decode("utf-8", "replace")
        changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, "little") + changed + data[end:]


Mutate = Callable[[bytes, random.Random], bytes]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (holder, key) in a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)
