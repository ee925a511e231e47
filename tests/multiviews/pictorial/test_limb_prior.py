"""Limb prior in memory and in the file structure of the original code."""

from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pytest
import scipy.sparse

from lib.multiviews.body import HumanBody
from lib.multiviews.pictorial.limb_offsets import PriorGrid, compatible_offsets, cube_points, offsets_to_csr
from lib.multiviews.pictorial.limb_prior import PAIRS_KEY, load_limb_prior, make_limb_prior, save_limb_prior
from lib.utils.errors import InputError

BODY = HumanBody(("root", "knee", "ankle"), (-1, 0, 1))
LENGTHS = np.array([431.3, 302.7])
GRID = PriorGrid(edge=900.0, num_bins=5, tolerance=140.0)


def all_pairs(points, length, tolerance):
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return np.abs(distance - length) < tolerance


def published_file(path, pairs, body=BODY):
    """Write a file of the original code, with bin pairs only."""
    content = {PAIRS_KEY: dict(zip(body.edges, pairs, strict=True))}
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def test_load_limb_prior_round_trip(tmp_path):
    prior = make_limb_prior(LENGTHS, BODY, GRID, std_lengths=np.array([20.0, 15.0]), num_poses=7)
    save_limb_prior(prior, tmp_path / "pairwise.pkl")
    loaded = load_limb_prior(tmp_path / "pairwise.pkl", BODY, GRID)
    np.testing.assert_array_equal(loaded.mean_lengths, LENGTHS)
    np.testing.assert_array_equal(loaded.std_lengths, [20.0, 15.0])
    assert (loaded.length_errors == 0).all()
    assert loaded.num_poses == 7
    for ours, theirs in zip(prior.offsets, loaded.offsets, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_save_limb_prior_original_structure(tmp_path):
    save_limb_prior(make_limb_prior(LENGTHS, BODY, GRID), tmp_path / "pairwise.pkl")
    data = (tmp_path / "pairwise.pkl").read_bytes()
    assert b"scipy.sparse\ncsr_matrix" in data
    assert b"_csr" not in data  # old versions have no such module
    assert b"numpy._core" not in data
    pairs = pickle.loads(data)["pairwise_constrain"]
    assert set(pairs) == {(0, 1), (1, 2)}
    np.testing.assert_array_equal(pairs[1, 2].toarray(), all_pairs(cube_points(900, 5), LENGTHS[1], 140))
    assert pairs[1, 2].dtype == bool


def test_load_limb_prior_original_file(tmp_path):
    points = cube_points(GRID.edge, GRID.num_bins)
    pairs = [scipy.sparse.csr_matrix(all_pairs(points, length, GRID.tolerance)) for length in LENGTHS]
    prior = load_limb_prior(published_file(tmp_path / "pairwise.pkl", pairs), BODY, GRID)
    assert (np.abs(prior.mean_lengths - LENGTHS) <= prior.length_errors).all()
    assert (prior.length_errors < 60).all()


def test_load_limb_prior_old_scipy(tmp_path):
    pairs = [offsets_to_csr(compatible_offsets(length, GRID), 5) for length in LENGTHS]
    path = published_file(tmp_path / "pairwise.pkl", pairs)
    old = path.read_bytes().replace(b"scipy.sparse._csr\n", b"scipy.sparse.csr\n")
    assert "scipy.sparse.csr csr_matrix" in [value for _, value, _ in pickletools.genops(old)]
    path.write_bytes(old)
    load_limb_prior(path, BODY, GRID)


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        (PriorGrid(900.0, 6, 140.0), "FIRST_NBINS"),
        (PriorGrid(901.0, 5, 140.0), "GRID_SIZE"),
        (PriorGrid(900.0, 5, 140.5), "LIMB_LENGTH_TOLERANCE"),
    ],
)
def test_load_limb_prior_another_grid(tmp_path, grid, named):
    save_limb_prior(make_limb_prior(LENGTHS, BODY, GRID), tmp_path / "pairwise.pkl")
    with pytest.raises(InputError, match=named) as error:
        load_limb_prior(tmp_path / "pairwise.pkl", BODY, grid)
    assert "\n" not in str(error.value)
    assert "make_limb_prior.py" in str(error.value)


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        (PriorGrid(2000.0, 12, 150.0), "FIRST_NBINS"),
        (PriorGrid(2400.0, 16, 150.0), "GRID_SIZE"),
        (PriorGrid(2000.0, 16, 100.0), "LIMB_LENGTH_TOLERANCE"),
    ],
)
def test_load_limb_prior_original_file_another_grid(tmp_path, grid, named):
    """A file of the original code states neither size nor tolerance; they are checked with the offsets."""
    offsets = [compatible_offsets(length, PriorGrid(2000.0, 16, 150.0)) for length in LENGTHS]
    published_file(tmp_path / "pairwise.pkl", [offsets_to_csr(entry, 16) for entry in offsets])
    with pytest.raises(InputError, match=named) as error:
        load_limb_prior(tmp_path / "pairwise.pkl", BODY, grid)
    assert "\n" not in str(error.value)


def test_load_limb_prior_another_skeleton(tmp_path):
    save_limb_prior(make_limb_prior(LENGTHS, BODY, GRID), tmp_path / "pairwise.pkl")
    other = HumanBody(("root", "hip", "knee", "ankle"), (-1, 0, 1, 2))
    with pytest.raises(InputError, match="knee-ankle"):
        load_limb_prior(tmp_path / "pairwise.pkl", other, GRID)
    renamed = HumanBody(("root", "elbow", "wrist"), (-1, 0, 1))
    with pytest.raises(InputError, match="joint_names"):
        load_limb_prior(tmp_path / "pairwise.pkl", renamed, GRID)


def test_load_limb_prior_position_dependent_pairs(tmp_path):
    pairs = [offsets_to_csr(compatible_offsets(length, GRID), 5).tolil() for length in LENGTHS]
    column = pairs[1].rows[30][0]
    pairs[1][30, column] = False
    path = published_file(tmp_path / "pairwise.pkl", [entry.tocsr() for entry in pairs])
    with pytest.raises(InputError, match=r"knee-ankle.*same offset"):
        load_limb_prior(path, BODY, GRID)


def test_load_limb_prior_damaged_matrix(tmp_path):
    pairs = [offsets_to_csr(compatible_offsets(length, GRID), 5) for length in LENGTHS]
    pairs[0].indices[3] = 10_000_000
    with pytest.raises(InputError, match="damaged"):
        load_limb_prior(published_file(tmp_path / "pairwise.pkl", pairs), BODY, GRID)


def test_load_limb_prior_another_content(tmp_path):
    (tmp_path / "pairwise.pkl").write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(InputError, match="pairwise_constrain"):
        load_limb_prior(tmp_path / "pairwise.pkl", BODY, GRID)


def test_make_limb_prior_coarse_grid():
    with pytest.raises(InputError, match="root-knee"):
        make_limb_prior(np.array([100.0, 220.0]), BODY, PriorGrid(900.0, 5, 50.0))
