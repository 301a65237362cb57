"""Help that fits a screen: examples, then the common options of a command; `--help-all` shows every option."""

from __future__ import annotations

import copy
import inspect
from typing import Any, Final, final

import typer
from typer.core import TyperCommand

HELP_ALL: Final = "--help-all"
# The options that most calls need, by their names in Python; a command that is not named here shows all it has.
COMMON_OPTIONS: Final[dict[str, str]] = {
    "discover": "model task data examples seed method edges faithfulness tau option out as_json",
    "evaluate": "model task data examples metric ablation edges as_json",
    "select": "edges faithfulness signed out as_json",
    "compare": "model task data examples seed methods metric ablation edges reference out as_json",
    "look": "model task data examples out as_json",
}
EXAMPLES_OF_HELP: Final[dict[str, tuple[str, ...]]] = {
    "discover": (
        "edgewise discover --model smollm2 --task ioi",
        "edgewise discover --model ./my-model --data pairs.jsonl --edges 300",
        "edgewise discover --task greater-than --method acdc --tau 0.03",
    ),
    "evaluate": (
        "edgewise evaluate runs/ioi",
        "edgewise evaluate runs/ioi --task ioi --seed 7 --examples 256",
        "edgewise evaluate runs/ioi/scores.safetensors --edges 500",
    ),
    "select": (
        "edgewise select runs/ioi --edges 500",
        "edgewise select runs/ioi --signed --faithfulness 0.9",
    ),
    "compare": (
        "edgewise compare --task ioi --methods eap-ig,hap --edges 24,48",
        "edgewise compare --model smollm2 --data pairs.jsonl --methods eap-ig,mine=scores.json",
    ),
    "heads": ("edgewise heads runs/eap-ig runs/hap",),
    "look": ("edgewise look runs/ioi",),
    "batch": ("edgewise batch --task ioi,greater-than --method eap-ig,hap --seed 0,1,2 --workers 2",),
    "show": ("edgewise show runs/ioi", "edgewise show runs/ioi --compare runs/other --out both.html"),
    "list": ("edgewise list methods", "edgewise list method hap"),
    "convert": ("edgewise convert runs/ioi --to eap-ig --out circuit.json",),
    "new": ("edgewise new method my-method",),
}


@final
class Command(TyperCommand):
    """A command whose help begins with examples and shows its common options, or all of them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; `--help-all` prints the whole help and ends."""
        if HELP_ALL in args:
            ctx.meta[HELP_ALL] = True
            typer.echo(self.get_help(ctx), color=ctx.color)
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """What it does, examples, and its options as far as they are asked for."""
        shown, common = copy.copy(self), COMMON_OPTIONS.get(self.name or "", "").split()
        if common and not ctx.meta.get(HELP_ALL):
            shown.params = [one for one in self.params if one.name in common or one.param_type_name == "argument"]
        if more := len(self.params) - len(shown.params):
            shown.epilog = f"{more} more options: `{ctx.command_path} {HELP_ALL}`"
        examples = "\n".join(("```text", *lines, "```")) if (lines := EXAMPLES_OF_HELP.get(self.name or "")) else ""
        shown.help = f"{inspect.cleandoc(self.help or '')}\n\n{examples}".rstrip()
        TyperCommand.format_help(shown, ctx, formatter)
