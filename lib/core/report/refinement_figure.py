"""Figure of the learned refinement: what it sees of a joint in each view, where it moves it, and how much it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.multiviews.refinement.learned_refinement import LearnedRefinement
from lib.multiviews.refinement.refine import place_weights
from lib.multiviews.refinement.view_sampler import CELLS
from lib.utils.drawing.agg import Figure, Line2D
from lib.utils.files.atomic import atomic_path

_CELL_INCHES = 2.9
_DPI = 110
_SHOWN_SHARE = 0.6  # of the heatmap's width; more if the joint moves far
_BORDER_SHARE = 0.15  # of the heatmap's width, around both places
_BEFORE = {"linestyle": "none", "marker": "x", "markersize": 9, "color": "white", "markeredgewidth": 2}
_PREDICTED = {"linestyle": "none", "marker": "o", "markersize": 6, "color": "#00e5ff", "markeredgecolor": "black"}
_GT = {"linestyle": "none", "marker": "P", "markersize": 9, "color": "#76ff03", "markeredgecolor": "black"}


@dataclass(frozen=True)
class JointViews:
    """A joint of one frame in V views. Places are in heatmap px.

    Attributes:
        name: name of the joint.
        heatmaps: (V, H, W).
        before: (V, 2) projection of the pose of rpsm+refine.
        predicted: (V, 2) predicted place.
        error: (V,) predicted error, heatmap px.
        weight: (V,) weight of the view in the fit.
        gt: (V, 2) ground truth.
        occluded: (V,) bool, hidden according to the annotation; None = not annotated.
    """

    name: str
    heatmaps: np.ndarray
    before: np.ndarray
    predicted: np.ndarray
    error: np.ndarray
    weight: np.ndarray
    gt: np.ndarray
    occluded: np.ndarray | None


def joint_views(
    learned: LearnedRefinement,
    heatmaps: np.ndarray,
    prediction: tuple[np.ndarray, np.ndarray],
    before: np.ndarray,
    gt: np.ndarray,
    joint: int,
    occluded: np.ndarray | None,
) -> JointViews:
    """Collect what the figure shows of one joint.

    Args:
        learned: the network.
        heatmaps: (1, V, J, H, W).
        prediction: of learned.predict() for the frame.
        before, gt: (1, V, J, 2) projections of the pose before, and of the ground truth, heatmap px.
        joint: index of the joint.
        occluded: (V, J) bool, or None.
    """
    place, error = prediction
    return JointViews(
        name=learned.joint_names[joint],
        heatmaps=heatmaps[0, :, joint],
        before=before[0, :, joint],
        predicted=place[0, :, joint],
        error=error[0, :, joint] * heatmaps.shape[-1] / CELLS,
        weight=place_weights(error)[0, :, joint],
        gt=gt[0, :, joint],
        occluded=None if occluded is None else occluded[:, joint],
    )


def save_refinement_figure(path: Path, crops: Sequence[np.ndarray], joints: Sequence[JointViews], title: str) -> None:
    """Draw one row per joint and one column per view, as PNG.

    Args:
        path: the file.
        crops: V images (h, w, 3) uint8 BGR.
        joints: what is drawn.
        title: title of the figure.

    Raises:
        InputError: the disk refuses.
    """
    rows, columns = len(joints), len(crops)
    figure = Figure(figsize=(_CELL_INCHES * columns, (_CELL_INCHES + 0.3) * rows + 0.7), dpi=_DPI, layout="constrained")
    for row, views in zip(figure.subplots(rows, columns, squeeze=False), joints, strict=True):
        height, width = views.heatmaps.shape[-2:]
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        middle = (views.before + views.predicted) / 2
        farthest = np.abs(views.before - views.predicted).max() / 2
        reach = max(_SHOWN_SHARE / 2 * width, farthest + _BORDER_SHARE * width)
        highest = max(float(views.heatmaps.max()), 1e-6)
        for view, (axes, crop) in enumerate(zip(row, crops, strict=True)):
            heat = (views.heatmaps[view] / highest).clip(0, 1)
            axes.imshow(crop[..., ::-1], extent=extent)
            axes.imshow(heat, extent=extent, cmap="magma", alpha=np.sqrt(heat) * 0.7, vmin=0, vmax=1)
            axes.plot(*views.before[view], **_BEFORE)
            axes.plot(*views.gt[view], **_GT)
            axes.plot(*views.predicted[view], **_PREDICTED)
            angle = np.linspace(0, 2 * np.pi, 60)
            circle = views.predicted[view] + views.error[view] * np.stack([np.cos(angle), np.sin(angle)], 1)
            axes.plot(*circle.T, color="#00e5ff", linewidth=1.4)
            x, y = middle[view]
            axes.set(xlim=(x - reach, x + reach), ylim=(y + reach, y - reach), xticks=[], yticks=[])
            hidden = ", hidden" if views.occluded is not None and views.occluded[view] else ""
            counts = f"error {views.error[view]:.1f} px, weight {views.weight[view]:.2f}"
            axes.set_title(f"{views.name}, view {view + 1}{hidden}\n{counts}", fontsize=9)
    figure.suptitle(title, fontsize=10)
    names = (
        ("pose of rpsm+refine", _BEFORE | {"color": "0.4"}),
        ("predicted place and error", _PREDICTED),
        ("ground truth", _GT),
    )
    handles = [Line2D([], [], label=name, **style) for name, style in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
