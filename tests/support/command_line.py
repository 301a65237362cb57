"""What the tests of the command line share: running it, a small model for it, and what a refusal looks like."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from typer.testing import CliRunner, Result

import edgewise as ew
from edgewise.cli import app

ENTRY = [sys.executable, "-c", "from edgewise.cli import main; main()"]
SMALL = ["--examples", "6", "--batch-size", "4", "--edges", "30"]


def edgewise(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def make_model(folder: Path, *, layers: int = 2, seed: int = 0) -> Path:
    """A random GPT-2 with the tokenizer of nano: every task works on it, none well."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(Path(str(ew.__file__)).parent / "assets" / "nano")
    torch.manual_seed(seed)
    shape = {"n_layer": layers, "n_head": 4, "n_embd": 16, "n_positions": 128, "initializer_range": 0.4}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def refused(result: Result, *, message: str) -> None:
    """One sentence on stderr, nothing on stdout, exit code 2."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    assert message in result.stderr, result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
