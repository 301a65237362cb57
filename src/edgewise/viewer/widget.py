"""The page as a widget of a notebook, where anywidget is installed."""

from __future__ import annotations

from functools import cache
from typing import Any, final

from edgewise.arguments import typed
from edgewise.errors import InvalidValue
from edgewise.scores import Scores
from edgewise.store.schema import dump
from edgewise.viewer.bundle import script, web_file
from edgewise.viewer.contents import document
from edgewise.viewer.show import Showable, gathered


@typed
def widget(
    value: Showable,
    *,
    scores: Scores | None = None,
    exact: Scores | None = None,
    compare: Showable | None = None,
    height: int = 760,
) -> Any:
    """Show the page of a circuit, of scores or of a run as a widget in Jupyter, Colab, VS Code and marimo.

    `value`, `scores`, `exact`, `compare`: as in `show`.
    `height`: the height of the widget in pixels.

    Returns the widget; its `state` holds what the reader has chosen, as the text after `#` in the address of a page.
    Raises InvalidValue without the extra `notebook`.
    """
    content = document(gathered(value, scores=scores, exact=exact, compare=compare))
    return _widget_class()(document=dump(content, indent=None), height=height)


@cache
def _widget_class() -> type[Any]:
    try:
        import anywidget
        import traitlets
    except ImportError:
        raise InvalidValue(
            "the widget needs anywidget: pip install 'edgewise[notebook]'; or write a page with show(…, 'circuit.html')"
        ) from None

    @final
    class CircuitWidget(anywidget.AnyWidget):
        """One document, and what the reader has chosen."""

        _esm = module()
        _css = web_file("page.css")
        document = traitlets.Unicode().tag(sync=True)
        state = traitlets.Unicode("").tag(sync=True)
        height = traitlets.Int(760).tag(sync=True)

    return CircuitWidget


def module() -> str:
    """The page's script as the one ES module that anywidget takes."""
    return f"{script('widget')}\nexport default {{ render: $widget.render }};\n"
