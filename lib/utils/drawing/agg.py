"""Matplotlib on the backend Agg, the only way in which figures are drawn here.

A notebook sets MPLBACKEND, which child processes inherit, to a module that their environment may lack. Importing
matplotlib would then fail.
"""

import os

_chosen = os.environ.pop("MPLBACKEND", None)

from matplotlib import patheffects  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.cm import ScalarMappable  # noqa: E402
from matplotlib.colors import ListedColormap, Normalize  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: E402

if _chosen is not None:
    os.environ["MPLBACKEND"] = _chosen

__all__ = [
    "Axes",
    "Figure",
    "FigureCanvasAgg",
    "Line2D",
    "ListedColormap",
    "MaxNLocator",
    "Normalize",
    "PercentFormatter",
    "ScalarMappable",
    "patheffects",
]
