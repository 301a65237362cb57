"""The documentation site: `make docs` builds it from docs/*.md and from the docstrings, without a network."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]

import edgewise  # noqa: E402  the package of this checkout

project = "edgewise"
author = copyright = "the edgewise authors"  # noqa: A001  the name Sphinx reads
version = release = edgewise.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "docstrings", "catalogue_pages"]
exclude_patterns = ["_ext"]
nitpicky = True
# A public name has a page, and a link to it must lead there; types of other libraries and inner parts need none.
PUBLIC = "|".join(re.escape(f"edgewise.{name}") for name in edgewise.__all__)
nitpick_ignore_regex = [("py:.*", f"(?!({PUBLIC})$).*")]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False

myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"edgewise {version}"
html_show_sphinx = False
html_copy_source = False
html_css_files = ["site.css"]
html_static_path = ["_static"]
