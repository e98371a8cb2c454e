"""Every private or version-bound name of scikit-learn that the package uses."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from sklearn import get_config
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _check_method_params, _num_samples

try:
    from sklearn.utils import _safe_indexing
except ImportError:  # pragma: no cover
    from sklearn.utils._indexing import _safe_indexing

try:
    from sklearn.utils._repr_html.estimator import _VisualBlock  # 1.7 and later
except ImportError:  # pragma: no cover, another version
    from sklearn.utils._estimator_html_repr import _VisualBlock  # 1.6

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks  # 1.9 and later
except ImportError:  # pragma: no cover, another version

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand-in where scikit-learn has no callbacks."""

    def with_callbacks(method: Callable) -> Callable:
        """Return the method as it is, where scikit-learn has no callbacks."""
        return method


__all__ = [
    "CallbackSupportMixin",
    "FitTasks",
    "StrOptions",
    "VisualBlock",
    "import_optional",
    "imported_at_first_use",
    "n_rows",
    "routing_enabled",
    "subset_params",
    "take_rows",
    "warn_caller",
    "with_callbacks",
]

VisualBlock = _VisualBlock
n_rows = _num_samples
take_rows = _safe_indexing
subset_params = _check_method_params


def routing_enabled() -> bool:
    """Return whether scikit-learn's metadata routing is enabled."""
    return bool(get_config()["enable_metadata_routing"])


def warn_caller(message: str | Warning, category: type[Warning] | None = None) -> None:
    """Warn at the line outside the package that led here, as Python 3.12 can by itself."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("sklearn_cascade."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def import_optional(module: str, *, feature: str, extra: str | None = None) -> ModuleType:
    """Import an optional package, or raise with the feature that needs it and how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        # An extra only where it brings nothing unrelated to the feature.
        remedy = package if extra is None else f"'sklearn-cascade[{extra}]'"
        raise ImportError(
            f"{feature} needs {package}, which cannot be imported: pip install {remedy} ({error})"
        ) from error


def imported_at_first_use(package: str, modules: Mapping[str, str]) -> Callable:
    """Return the ``__getattr__`` of a package that imports each name from its module when used."""

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return load


class FitTasks:
    """Reports the parts of one fit to the estimator's callbacks, where scikit-learn has them.

    For a method under `with_callbacks`; `data` is ``X`` and ``y`` of the fit.
    """

    def __init__(self, estimator: Any, n_parts: int, **data: Any) -> None:
        self._about = {"estimator": estimator, **data}
        self._context: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self._context = estimator._init_callback_context(max_subtasks=n_parts)
            self._context.call_on_fit_task_begin(**self._about)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Report the begin and the end of one part."""
        if self._context is None:
            yield
            return
        context = self._context.subcontext(task_name=name)
        context.call_on_fit_task_begin(**self._about)
        yield
        context.call_on_fit_task_end(**self._about)

    def end(self) -> None:
        """Report the end of the fit."""
        if self._context is not None:
            self._context.call_on_fit_task_end(**self._about)
