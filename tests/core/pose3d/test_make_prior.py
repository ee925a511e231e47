"""Limb prior from training annotations."""

from __future__ import annotations

import numpy as np
import pytest

from lib.core.pose3d.make_prior import build_prior, load_prior, pictorial_settings, prior_table
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import save_limb_prior
from lib.utils.errors import InputError


def test_build_prior_statistics_equal_training_poses(tiny_root, tiny_config, h36m_pickle):
    root = tiny_root(subjects=((1, 5), (9,)), frames=4)
    prior, share_within = build_prior(tiny_config(root))
    poses = np.array([record["joints_3d_camera"] for record in h36m_pickle(root, "train") if record["camera_id"] == 2])
    assert prior.num_poses == len(poses) == 8
    for limb, (parent, child) in enumerate(H36M_BODY.edges):
        lengths = np.linalg.norm(poses[:, parent] - poses[:, child], axis=-1)
        assert prior.mean_lengths[limb] == pytest.approx(lengths.mean(), abs=1e-3)
        assert prior.std_lengths[limb] == pytest.approx(lengths.std(), abs=1e-3)
    np.testing.assert_array_equal(share_within, 1.0)
    lines = prior_table(prior, share_within).splitlines()
    header = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert header == ["limb", "mean (mm)", "std (mm)", "within 150 mm (%)", "bin offsets"]
    assert len(lines) == 2 + 16


def test_build_prior_share_within_tolerance(tiny_root, tiny_config, h36m_pickle):
    root = tiny_root(frames=6)
    prior, share_within = build_prior(
        tiny_config(root, "PICT_STRUCT.LIMB_LENGTH_TOLERANCE", "20", "PICT_STRUCT.FIRST_NBINS", "40")
    )
    poses = np.array([record["joints_3d_camera"] for record in h36m_pickle(root, "train")])
    parent, child = prior.body.edges[5]
    lengths = np.linalg.norm(poses[:, parent] - poses[:, child], axis=-1)
    assert share_within[5] == pytest.approx((abs(lengths - lengths.mean()) < 20).mean())
    assert 0.1 < share_within.mean() < 0.9  # the poses' joints are scattered by 25 mm


def test_load_prior_other_grid_is_refused(tiny_root, tiny_config, tmp_path):
    path = tmp_path / "pairwise.pkl"
    root = tiny_root()
    config = tiny_config(root, "PICT_STRUCT.PAIRWISE_FILE", str(path))
    with pytest.raises(
        InputError,
        match=r"pairwise.pkl: no such limb prior; make one with python run/data/make_limb_prior.py --cfg YAML",
    ):
        load_prior(config.PICT_STRUCT)
    prior, _ = build_prior(config)
    save_limb_prior(prior, path)
    np.testing.assert_array_equal(load_prior(config.PICT_STRUCT).mean_lengths, prior.mean_lengths)
    other = tiny_config(root, "PICT_STRUCT.PAIRWISE_FILE", str(path), "PICT_STRUCT.GRID_SIZE", "2500")
    with pytest.raises(InputError, match="GRID_SIZE"):
        load_prior(other.PICT_STRUCT)
    with pytest.raises(InputError, match="PAIRWISE_FILE"):
        load_prior(tiny_config(root).PICT_STRUCT)


def test_pictorial_settings_equal_configuration(tiny_root, tiny_config):
    config = tiny_config(tiny_root(), "PICT_STRUCT.RECUR_DEPTH", "3")
    settings = pictorial_settings(config.PICT_STRUCT)
    assert (settings.recur_depth, settings.first_nbins, settings.recur_nbins) == (3, 16, 2)
    assert settings.first_grid.edge == 2000.0
    assert settings.first_grid.tolerance == 150.0
