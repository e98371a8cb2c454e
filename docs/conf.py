"""Sphinx configuration."""

import sys
import warnings
from pathlib import Path

import matplotlib
from threadpoolctl import threadpool_limits

import sklearn_cascade
import sklearn_cascade.exceptions

matplotlib.use("agg")
sys.path.insert(0, str(Path(__file__).parent))  # for gallery_style
# Some members in the gallery stop training early, to keep the build short.
warnings.filterwarnings("ignore", module="sklearn")
# Times in the gallery are of one thread, and the build leaves the other cores free.
threadpool_limits(1)

project = "sklearn-cascade"
copyright = "2026, the sklearn-cascade developers"
author = "The sklearn-cascade developers"
release = version = sklearn_cascade.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "decisions", "examples", "tables", "gallery"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-cascade"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"index": [], "published": [], "peers": [], "changelog": [], "contributing": []}
html_theme_options = {
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "navigation_with_keys": False,
    "header_links_before_dropdown": 5,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_show_sourcelink = False
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}

autosummary_generate = True
numpydoc_show_class_members = False
# Methods that scikit-learn adds to every classifier: their docstrings link to its own pages.
added_by_sklearn = "score, set_fit_request, set_score_request, get_metadata_routing"
autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseEstimator,tuple,Mapping,BaseException,Exception,Warning",
    "exclude-members": added_by_sklearn,
}
autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"

# A name in backticks links to the public object of that name. A capitalised name without a target
# is an error; parameters, attributes and the names of other packages are not.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?![A-Z][a-z]).*"),
    ("py:obj", r"GridSearchCV|VotingClassifier"),
]

# The prompt of a test is not copied with it.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "backreferences_dir": None,
    "download_all_examples": False,
    "image_srcset": ["2x"],
    "matplotlib_animations": False,
    "write_computation_times": False,
    "plot_gallery": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "reset_modules": ("matplotlib", "gallery_style.apply"),
    "reset_modules_order": "before",
    "capture_repr": (),
    "thumbnail_size": (400, 280),
    "first_notebook_cell": None,
}


def link_public_name(app, env, node, content):
    """Link a public name that is given without its module."""
    name = node.get("reftarget", "")
    if name in sklearn_cascade.__all__:
        name = f"sklearn_cascade.{name}"
    elif hasattr(sklearn_cascade.exceptions, name):
        name = f"sklearn_cascade.exceptions.{name}"
    else:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, content)


def skip_field(app, what, name, value, skip, options):
    """Skip the default docstrings of named tuple fields, which are documented under Attributes."""
    return True if type(value).__name__ == "_tuplegetter" else None


def setup(app):
    """Connect what Sphinx has no setting for."""
    app.connect("missing-reference", link_public_name)
    app.connect("autodoc-skip-member", skip_field)
