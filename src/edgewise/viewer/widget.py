"""The page as a widget of a notebook, where anywidget is installed."""

from __future__ import annotations

from functools import cache
from typing import Any, final

from edgewise.errors import InvalidValue
from edgewise.scores import Scores
from edgewise.store.schema import dump
from edgewise.viewer.bundle import script, web_file
from edgewise.viewer.contents import document
from edgewise.viewer.show import Showable, gathered


def widget(
    value: Showable,
    *,
    scores: Scores | None = None,
    exact: Scores | None = None,
    compare: Showable | None = None,
    height: int = 760,
) -> Any:
    """The page of a circuit, of scores or of a run as a widget for Jupyter, Colab, VS Code and marimo.

    Takes what `show` takes; `height` is in pixels. What the reader chooses is in its `state`, the text after `#` in the
    address of a page. Needs the extra `notebook` (anywidget); InvalidValue, with the cure, without it.
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
