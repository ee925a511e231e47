"""Figure of signed heat in other views for a marked point in one view, with curves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.utils.drawing.agg import Axes, Figure, Line2D, ListedColormap, Normalize, ScalarMappable, patheffects
from lib.utils.drawing.vis import side_rgb
from lib.utils.errors import InputError, check_shape
from lib.utils.files.atomic import atomic_path

CELL_INCHES = 2.9
DPI = 110
_BACKDROP = 0.5  # brightness of an image under the heat


def _edged(linewidth: float) -> dict:
    """Return the style of a white line with a dark edge, visible on any background."""
    edge = patheffects.Stroke(linewidth=linewidth + 1.6, foreground="0.05")
    return {"color": "white", "path_effects": [edge, patheffects.Normal()]}


_NEAR_LINE = {"linewidth": 1.8, **_edged(1.8)}
_FAR_LINE = {"linewidth": 1.0, "linestyle": (0, (4, 3)), **_edged(1.0)}
_POINT = {"linestyle": "none", "marker": "P", "markersize": 10, "color": "white", "markeredgecolor": "0.05"}
_GT = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 8,
    "markerfacecolor": "none",
    "markeredgewidth": 1.8,
    **_edged(1.8),
}


@dataclass(frozen=True)
class HeatRow:
    """An image with a marked point, and O other images with heat and a curve; (h, w, 3) uint8 BGR of one size.

    Attributes:
        title: title of the image.
        image: image with the point.
        point: (2,) px of the image.
        names: O titles of the other images.
        others: O images.
        heat: (O, H, W) signed values; pixel (x, y) is at (x w/W, y h/H) of the image.
        curves: (O, D, 2) px of the other images; NaN = no point.
        near: (D,) bool, points between which the curve is solid instead of dashed.
        gt: (O, 2) true position of the point in the other images, or None.
    """

    title: str
    image: np.ndarray
    point: np.ndarray
    names: Sequence[str]
    others: Sequence[np.ndarray]
    heat: np.ndarray
    curves: np.ndarray
    near: np.ndarray
    gt: np.ndarray | None = None

    def check(self, where: str) -> None:
        """Raise an InputError, which names `where`, if the arrays do not fit together."""
        count = len(self.others)
        for image in (self.image, *self.others):
            check_shape(f"{where}: image", image.shape, (*self.image.shape[:2], 3))
        check_shape(f"{where}: names", (len(self.names),), (count,))
        check_shape(f"{where}: heat", self.heat.shape, (count, "H", "W"))
        check_shape(f"{where}: curves", self.curves.shape, (count, len(self.near), 2))
        if self.gt is not None:
            check_shape(f"{where}: gt", self.gt.shape, (count, 2))


def save_heat_figure(
    path: str | os.PathLike, rows: Sequence[HeatRow], title: str, heat_name: str, curve_name: str, near_name: str
) -> None:
    """Write the figure as PNG, atomically; each row has its own color scale.

    Args:
        path: file to write.
        rows: rows with the same number of images.
        title: title above the rows.
        heat_name: label of the color scale.
        curve_name: name of the curves in the legend.
        near_name: name of their solid part in the legend.

    Raises:
        InputError: no rows, arrays that do not fit together, or the disk is full.
    """
    if not rows:
        raise InputError(f"{path}: no rows to draw")
    columns, (height, width) = 1 + len(rows[0].others), rows[0].image.shape[:2]
    for index, row in enumerate(rows):
        row.check(f"{path}, row {index}")
        check_shape(f"{path}, row {index}: images", (1 + len(row.others),), (columns,))
    size = (CELL_INCHES * columns + 0.9, (CELL_INCHES * height / width + 0.25) * len(rows) + 0.75)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row_axes, row in zip(axes, rows, strict=True):
        _draw_row(figure, row_axes, row, heat_name)
    figure.suptitle(title, fontsize=10)
    legend = _legend(curve_name, near_name, any(row.gt is not None for row in rows))
    figure.legend(handles=legend, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def signed_colors(num_colors: int = 255) -> ListedColormap:
    """Return a colormap for -limit to limit: blue to orange, transparent in the middle."""
    value = np.linspace(-1, 1, num_colors)
    rgb = np.where(value[:, None] < 0, side_rgb("left"), side_rgb("right"))
    return ListedColormap(np.concatenate([rgb, np.abs(value)[:, None]], 1), "signed")


def heat_limit(heat: np.ndarray) -> float:
    """Return the limit of a symmetric color scale: the largest absolute value, or 1 if all are 0."""
    limit = float(np.abs(heat).max(initial=0.0))
    return limit if limit > 0 else 1.0


def _draw_row(figure: Figure, axes: Sequence[Axes], row: HeatRow, heat_name: str) -> None:
    limit = heat_limit(row.heat)
    scale = ScalarMappable(Normalize(-limit, limit), signed_colors())
    _draw_image(axes[0], row.image, row.title)
    axes[0].plot(*row.point, **_POINT)
    for index, one in enumerate(axes[1:]):
        gray = row.others[index].mean(-1, keepdims=True).repeat(3, -1)
        _draw_image(one, (gray * _BACKDROP).astype(np.uint8), row.names[index])
        _draw_heat(one, row.heat[index], row.image.shape[:2], scale)
        one.plot(*row.curves[index].T, **_FAR_LINE)
        one.plot(*np.where(row.near[:, None], row.curves[index], np.nan).T, **_NEAR_LINE)
        if row.gt is not None:
            one.plot(*row.gt[index], **_GT)
    bar = figure.colorbar(scale, ax=list(axes), shrink=0.9, aspect=22, pad=0.01)
    bar.ax.set_facecolor(str(_BACKDROP / 2))  # shown through the transparent middle of the scale
    bar.set_ticks([-limit, 0, limit], labels=[f"{-limit:.2g}", "0", f"+{limit:.2g}"], fontsize=8)
    bar.set_label(heat_name, fontsize=8)


def _draw_image(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image[..., ::-1], interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.autoscale(False)  # points outside do not enlarge the axes


def _draw_heat(axes: Axes, heat: np.ndarray, size_hw: tuple[int, int], scale: ScalarMappable) -> None:
    (height, width), (rows, columns) = size_hw, heat.shape
    x, y = width / columns, height / rows  # px of the image per px of the heat
    extent = (-0.5 * x, (columns - 0.5) * x, (rows - 0.5) * y, -0.5 * y)
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(heat, cmap=scale.cmap, norm=scale.norm, interpolation="bilinear", extent=extent)
    axes.set(xlim=limits[0], ylim=limits[1])  # imshow resets them


def _legend(curve_name: str, near_name: str, with_gt: bool) -> list[Line2D]:
    entries = [("chosen pixel", _POINT), (f"{curve_name}, {near_name}", _NEAR_LINE)]
    entries += [(f"{curve_name}, beyond", _FAR_LINE)]
    entries += [("true position", _GT)] if with_gt else []
    return [Line2D([], [], label=label, **style) for label, style in entries]
