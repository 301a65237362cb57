"""Directives that write what edgewise knows by name, and its command line, from the code itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from docstrings import reformatted
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from edgewise.cli import app as command_line
from edgewise.cli.catalogue import catalogue, details, option_rows
from edgewise.cli.help_text import EXAMPLES_OF_HELP
from edgewise.methods import METHODS
from edgewise.tasks import TASKS

HERE = "docs/_ext/catalogue_pages.py"
# "--model <str>", "--model TEXT" or "--open / --no-open".
OPTION = re.compile(r"(.*?)(?: (?:<(.*)>|[A-Z]+))?")


def table(rows: Sequence[Mapping[str, str]], *, code: Iterable[str] = ()) -> nodes.table:
    """The rows as a table; the columns in `code` are set as code."""
    header = list(rows[0])
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=1) for _ in header]
    group += nodes.thead("", _row({name: name for name in header}, ()))
    group += nodes.tbody("", *(_row(row, set(code)) for row in rows))
    return nodes.table("", group, classes=["colwidths-auto"])


def _row(row: Mapping[str, str], code: Iterable[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", _cell(text, name in code)) for name, text in row.items()))


def _cell(text: str, code: bool) -> nodes.paragraph:
    return nodes.paragraph("", "", nodes.literal(text, text) if code and text else nodes.Text(text))


def section(title: str, *content: nodes.Node, prefix: str = "") -> nodes.section:
    """A section with a heading that can be linked to."""
    found = nodes.section("", nodes.title("", title), *content, ids=[nodes.make_id(f"{prefix}{title}")])
    found["names"] = [title.lower()]
    return found


class _Page(SphinxDirective):
    """What all of them share: their page is read again whenever the site is built, since it depends on the code."""

    def run(self) -> list[nodes.Node]:
        """What the directive stands for."""
        self.env.note_reread()
        return self.content_of_page()

    def content_of_page(self) -> list[nodes.Node]:
        """What the directive stands for, each in its way."""
        raise NotImplementedError

    def text(self, docstring: str) -> list[nodes.Node]:
        """The paragraphs of a docstring of the house form."""
        lines = StringList(reformatted(_dedented(docstring)), source=HERE)
        holder = nodes.Element()
        self.state.nested_parse(lines, 0, holder)
        return list(holder.children)


class Methods(_Page):
    """Every method: what it computes, its cost and paper, and its options."""

    def content_of_page(self) -> list[nodes.Node]:
        """A table of all, and a section for each."""
        return [self._summary(), *(self._method(name) for name in METHODS)]

    def _summary(self) -> nodes.table:
        """What `edgewise list methods` prints, each name a link to its section."""
        found = table(catalogue("methods"), code=("name",))
        for literal in list(found.findall(nodes.literal)):
            target = nodes.reference("", "", literal.deepcopy(), refid=nodes.make_id(f"method-{literal.astext()}"))
            literal.replace_self(target)
        return found

    def _method(self, name: str) -> nodes.section:
        found = details("method", name)
        cost = nodes.paragraph("", "", nodes.strong("", "Cost: "), nodes.Text(f"{found['cost']}."))
        if found["paper"]:
            cost += [nodes.Text(" Paper: "), nodes.reference(found["paper"], found["paper"], refuri=found["paper"])]
        rows = option_rows(found)
        options = table(rows, code=("option", "default")) if rows else nodes.paragraph("", "It has no options.")
        return section(name, *self.text(METHODS[name].__doc__ or ""), cost, options, prefix="method-")


class Tasks(_Page):
    """Every task: an example, its default model and metric, and its options."""

    def content_of_page(self) -> list[nodes.Node]:
        """A section for each."""
        return [self._task(name) for name in TASKS]

    def _task(self, name: str) -> nodes.section:
        found = details("task", name)
        facts = {"default model": found["model"], "metric": found["metric"]}
        said = [nodes.paragraph("", str(found["summary"]))]
        return section(
            name,
            *said,
            table([facts], code=facts),
            table(option_rows(found), code=("option", "default")),
            prefix="task-",
        )


class Known(_Page):
    """The table that `edgewise list KIND` prints."""

    required_arguments = 1

    def content_of_page(self) -> list[nodes.Node]:
        """One table."""
        return [table(catalogue(self.arguments[0]), code=("name", "suffix"))]


class CommandLine(_Page):
    """Every command with its arguments and options, under the headings that its help has."""

    def content_of_page(self) -> list[nodes.Node]:
        """A section for each command."""
        group: Any = typer.main.get_command(command_line)
        return [self._command(name, command) for name, command in group.commands.items()]

    def _command(self, name: str, command: Any) -> nodes.section:
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["edgewise", name, *command.collect_usage_pieces(context)])
        groups: dict[str, list[dict[str, str]]] = {}
        for parameter in command.params:
            argument = parameter.param_type_name == "argument"
            title = getattr(parameter, "rich_help_panel", None) or ("Arguments" if argument else "Options")
            groups.setdefault(title, []).append(_parameter(parameter, context, argument))
        tables = [
            part for title, rows in groups.items() for part in (nodes.rubric("", title), table(rows, code=("name",)))
        ]
        shown = "\n".join((usage, *(("", *EXAMPLES_OF_HELP[name]) if name in EXAMPLES_OF_HELP else ())))
        return section(f"edgewise {name}", *self.text(command.help or ""), nodes.literal_block(shown, shown), *tables)


def _parameter(parameter: Any, context: Any, argument: bool) -> dict[str, str]:
    """A row for an argument or option: as it is written in its help, whatever version of typer there is."""
    written = parameter.name.upper() if argument else parameter.get_help_record(context)[0]
    name, kind = OPTION.fullmatch(written).groups()  # type: ignore[union-attr]
    return {"name": name, "type": kind or "", "meaning": parameter.help or ""}


def _dedented(docstring: str) -> list[str]:
    from inspect import cleandoc

    return cleandoc(docstring).splitlines()


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    for name, directive in (("methods", Methods), ("tasks", Tasks), ("known", Known), ("commands", CommandLine)):
        app.add_directive(f"edgewise-{name}", directive)
    return {"parallel_read_safe": True}
