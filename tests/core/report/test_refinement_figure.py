"""Figure of the learned refinement."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.core.report.refinement_figure import joint_views, save_refinement_figure
from lib.multiviews.refinement.learned_refinement import LearnedRefinement

NAMES = ("root", "neck")


@pytest.fixture
def views():
    heatmaps = np.zeros((1, 3, 2, 64, 64), np.float32)
    heatmaps[..., 30:34, 30:34] = 1
    places = np.full((1, 3, 2, 2), 32.0)
    error = np.array([[[0.5, 0.5], [0.25, 1.0], [4.0, 0.5]]])
    learned = LearnedRefinement({}, NAMES, "none")
    hidden = np.array([[False, False], [True, False], [False, False]])
    return joint_views(learned, heatmaps, (places, error), places + 2, places - 2, 0, hidden)


def test_joint_views_in_heatmap_px(views):
    assert views.name == "root"
    np.testing.assert_allclose(views.error, [1.0, 0.5, 8.0])  # a cell is 2 px
    np.testing.assert_allclose(views.weight, [1.0, 2.0, 1 / 8])  # the usual error is 0.5 cells
    assert views.occluded.tolist() == [False, True, False]


def test_save_refinement_figure_one_row_per_joint(tmp_path, views):
    crops = [np.full((96, 96, 3), 40, np.uint8)] * 3
    sizes = []
    for count in (1, 2):
        save_refinement_figure(tmp_path / "a.png", crops, [views] * count, "title")
        sizes.append(cv2.imread(str(tmp_path / "a.png")).shape)
    assert sizes[0][1] == sizes[1][1]
    assert sizes[1][0] > 1.6 * sizes[0][0]
    image = cv2.imread(str(tmp_path / "a.png"))
    is_cyan = (np.abs(image.astype(int) - [255, 229, 0]).max(-1) < 40).sum()
    assert is_cyan > 500  # predicted places and their errors


def test_save_refinement_figure_shows_both_places_of_a_joint_that_moves_far(tmp_path, views):
    """A joint that moves by half of the map is drawn with its old place, here also the ground truth, and its new."""
    crops = [np.full((96, 96, 3), 40, np.uint8)] * 3
    old = views.predicted + [0, 30.0]
    save_refinement_figure(tmp_path / "a.png", crops, [replace(views, before=old, gt=old)], "title")
    cells = cv2.imread(str(tmp_path / "a.png")).astype(int)[60:-60]  # without title and legend
    is_cyan, is_green = (np.abs(cells - color).max(-1) < 40 for color in ([255, 229, 0], [3, 255, 118]))
    assert is_cyan.sum() > 500
    assert is_green.sum() > 100
    assert np.nonzero(is_green)[0].mean() > np.nonzero(is_cyan)[0].mean() + 50
