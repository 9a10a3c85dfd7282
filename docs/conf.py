"""Documentation: ``sphinx-build -W --keep-going -b html docs build/docs``.

Needs no network: no inventories of other projects are loaded, and formulas are MathML, which
browsers draw without a script.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs/_ext")]  # this checkout, whatever is installed
os.environ["PYTHONPATH"] = str(ROOT)  # also in notebooks
# The models of the notebooks are too small to share between threads, which wait for each other
# where other processes use the cores: minutes instead of seconds.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import mlvae  # noqa: E402

project = "mlvae"
author = project_copyright = "The mlvae authors"
version = release = mlvae.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",
    "references",
]
exclude_patterns = ["_build", "jupyter_execute"]
templates_path = ["_templates"]
nitpicky = True
maximum_signature_line_length = 88
suppress_warnings = [
    "config.cache",  # functions of _ext/references.py cannot be stored
    "ref.python",  # a class has one name in its package and one in its file
]
nitpick_ignore = [("py:class", "Indices")]  # a union

html_theme = "furo"
html_title = f"mlvae {release}"
html_show_sphinx = False

# Pages with a kernel in their header are notebooks. An error in a cell fails the build.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 1200
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = ["triton"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False


def unbroken(_app, _page, text):  # noqa: ANN001, ANN201
    """Keep "67.4 ± 4.9" on one line of a table's cell."""
    text.append(text.pop().replace(" ± ", "\u00a0±\u00a0"))


def left_out(_app, _what, name, _value, skip, _options):  # noqa: ANN001, ANN201
    """Leave out members that other packages add, with roles of their own documentation."""
    return skip or name == "set" or (name.startswith("set_") and name.endswith("_request"))


def setup(app):  # noqa: ANN001, ANN201, D103
    app.connect("source-read", unbroken)
    app.connect("autodoc-skip-member", left_out)
