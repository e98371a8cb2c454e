"""Sphinx configuration."""

import sklearn_cascade

project = "sklearn-cascade"
copyright = "2026, the sklearn-cascade developers"
author = "The sklearn-cascade developers"
release = sklearn_cascade.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build", "decisions", "examples"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False, "secondary_sidebar_items": ["page-toc"]}
html_title = "sklearn-cascade"
autosummary_generate = True
numpydoc_show_class_members = False
autodoc_default_options = {"members": True, "inherited-members": "BaseEstimator,tuple"}
