"""The torch backend without usable kernels: one warning, and the poses of the tensor operations."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.scenes import LENGTHS, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings, rpsm

torch = pytest.importorskip("torch")
from lib.multiviews.pictorial.backend_torch import TorchBackend  # noqa: E402

KERNELS = "lib.multiviews.pictorial.rpsm_triton"
SETTINGS = PictorialSettings(first_nbins=9, recur_depth=1, limb_length_tolerance=200.0)


class FakeKernels:
    """Stands for rpsm_triton, whose kernels fail from the first or second batch."""

    def __init__(self, error=None, reason="", has_run=False):
        self.error = error
        self.reason = reason
        self.has_run = has_run

    def unsupported(self, settings):
        return self.reason

    def __call__(self, *arguments):
        raise self.error


def make_backend(kernels):
    backend = TorchBackend("cpu", 1)
    backend.use_kernels(kernels)
    return backend


def estimate(backend, settings=SETTINGS):
    scene = make_scene(1)
    prior = make_limb_prior(LENGTHS, H36M_BODY, settings.first_grid)
    return rpsm(
        scene.heatmaps, scene.cameras, scene.image_to_heatmap, scene.pose_world[:, 0], LENGTHS, prior, settings, backend
    )


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (FakeKernels(RuntimeError("no compiler\nsecond line")), "(RuntimeError: no compiler)"),
        (FakeKernels(RuntimeError("")), "(RuntimeError: )"),
        (FakeKernels(reason="65 bins"), "65 bins"),
    ],
)
def test_torch_backend_unusable_kernels_fall_back_with_one_warning(caplog, kernels, message):
    backend = make_backend(kernels)
    poses = [estimate(backend), estimate(backend)]
    assert [message in record.message for record in caplog.records] == [True]
    np.testing.assert_array_equal(poses[0], estimate(TorchBackend("cpu", 1)))
    np.testing.assert_array_equal(poses[1], poses[0])


@pytest.mark.parametrize(
    "kernels", [FakeKernels(RuntimeError("illegal access"), has_run=True), FakeKernels(torch.cuda.OutOfMemoryError())]
)
def test_torch_backend_other_errors_are_raised(kernels):
    with pytest.raises(type(kernels.error)):
        estimate(make_backend(kernels))


def test_torch_backend_missing_triton_is_one_warning(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, KERNELS, None)  # importing it raises ImportError
    backend = TorchBackend("cpu", 1)
    backend.load_kernels()
    assert backend.rpsm is None
    assert "Triton is missing" in caplog.text


def test_triton_rpsm_unsupported_grids():
    pytest.importorskip("triton")
    from lib.multiviews.pictorial.rpsm_triton import TritonRpsm

    wide = replace(SETTINGS, recur_nbins=5)
    assert "RECUR_NBINS 5" in TritonRpsm.unsupported(wide)
    assert not TritonRpsm.unsupported(replace(wide, recur_depth=0))
    assert "FIRST_NBINS 257" in TritonRpsm.unsupported(replace(SETTINGS, first_nbins=257))
    assert not TritonRpsm.unsupported(PictorialSettings())


def test_rpsm_heatmaps_may_be_tensors():
    scene = make_scene(1)
    prior = make_limb_prior(LENGTHS, H36M_BODY, SETTINGS.first_grid)
    arguments = (scene.cameras, scene.image_to_heatmap, scene.pose_world[:, 0], LENGTHS, prior, SETTINGS)
    pose = rpsm(torch.as_tensor(scene.heatmaps), *arguments, TorchBackend("cpu", 1))
    np.testing.assert_array_equal(pose, estimate(TorchBackend("cpu", 1)))


def test_torch_backend_takes_small_steps_from_numba():
    pytest.importorskip("numba")
    backend = TorchBackend("cpu", 1)
    assert backend.kernels_run_in_parallel
    for name in ("triangulate_robust", "peak_rays", "swapped_views", "select_candidates", "find_peaks"):
        assert getattr(backend, name) is not None


@pytest.mark.gpu
def test_host_array_is_pinned():
    heatmaps = TorchBackend("cuda").host_array((2, 3), np.float32)
    assert torch.from_numpy(heatmaps).is_pinned()
    assert TorchBackend("cuda").host_array((2, 3), np.float16).dtype == np.float16
