"""Sphinx configuration."""

import sklearn_cascade

project = "sklearn-cascade"
copyright = "2026, the sklearn-cascade developers"
author = "The sklearn-cascade developers"
release = sklearn_cascade.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build", "_templates", "decisions", "examples"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
html_title = "sklearn-cascade"
autosummary_generate = True
numpydoc_show_class_members = False
templates_path = ["_templates"]
# What scikit-learn adds to every classifier is documented there, with links that lead nowhere here.
added_by_sklearn = "score, set_fit_request, set_score_request, get_metadata_routing"
autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseEstimator,tuple,Mapping,Exception,Warning",
    "exclude-members": added_by_sklearn,
}
