"""Pictures of circuits: SVG, PNG, DOT, and one self-contained HTML page to move through them."""

from edgewise.viewer.dot import dot
from edgewise.viewer.finding import Finding
from edgewise.viewer.page import page
from edgewise.viewer.png import png
from edgewise.viewer.show import show
from edgewise.viewer.svg import svg
from edgewise.viewer.widget import widget

__all__ = ["Finding", "dot", "page", "png", "show", "svg", "widget"]
