"""Matplotlib settings of the gallery."""

from matplotlib import rcParams


def apply(gallery_conf, file_name):
    """Set matplotlib's defaults before an example runs; Sphinx-Gallery calls this."""
    rcParams.update(
        {
            "figure.figsize": (6.0, 4.2),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "font.size": 12,
            "axes.titlesize": 13,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e5e5e5",
            "legend.frameon": False,
            "legend.fontsize": 11,
            "lines.linewidth": 2,
        }
    )
