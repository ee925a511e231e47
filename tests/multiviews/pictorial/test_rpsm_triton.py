"""The Triton kernels: interpreted on the CPU they give the poses of numpy, and they compile for a GPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.interpreted_rpsm import RpsmProblem, interpreted_poses
from cvf_tests.scenes import LENGTHS, make_scene

from lib.multiviews.body import H36M_BODY, HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.pictorial.backend_numpy import NumpyBackend
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings, rpsm

triton = pytest.importorskip("triton")
torch = pytest.importorskip("torch")

FORK = HumanBody(("root", "rhip", "rkne", "rank", "lhip"), (-1, 0, 1, 2, 0))  # joints of the Human3.6M skeleton
FORK_LENGTHS = np.array([LENGTHS[H36M_BODY.limb_names.index(name)] for name in FORK.limb_names])
SETTINGS = PictorialSettings(1500.0, 6, 2, 1, 170.0)


def make_problem(num_frames=1, num_views=3, settings=SETTINGS, body=FORK, lengths=FORK_LENGTHS, seed=0, **options):
    scene = make_scene(num_frames, num_views, seed=seed, **options)
    rng = np.random.default_rng(seed)
    heatmaps = scene.heatmaps + rng.normal(0, 0.05, scene.heatmaps.shape).astype(np.float32)
    joints = [H36M_BODY.joint_names.index(name) for name in body.joint_names]
    return RpsmProblem(
        np.ascontiguousarray(heatmaps[:, :, joints]),
        scene.cameras,
        scene.image_to_heatmap,
        scene.pose_world[:, 0] + [30.0, -20.0, 10.0],
        np.repeat(lengths[None], num_frames, 0),
        make_limb_prior(lengths, body, settings.first_grid),
        settings,
    )


def with_heatmaps(problem, change):
    heatmaps = problem.heatmaps.copy()
    change(heatmaps)
    return replace(problem, heatmaps=heatmaps)


def without_knee(heatmaps):
    heatmaps[:, :, 2] = 0


def only_peaks(heatmaps):
    heatmaps[heatmaps < 0.3] = 0
    heatmaps[:, :, 4] = 0
    heatmaps[:, :, 4, -6:, :6] = 1  # a hip that no limb reaches


def stripes(heatmaps):
    heatmaps[...] = 0
    heatmaps[..., ::8, :] = 1


def turned_away():
    """One of four cameras looks in the opposite direction."""
    problem = make_problem(1, 4)
    rotation = problem.cameras.R.copy()
    rotation[:, 0] *= np.array([-1.0, 1.0, -1.0])[:, None]
    fields = {name: getattr(problem.cameras, name) for name in ("T", "f", "c", "k", "p")}
    return replace(problem, cameras=Cameras(rotation, **fields))


PROBLEMS = {
    "two frames, two later grids": lambda: make_problem(2, settings=replace(SETTINGS, recur_depth=2)),
    "two views": lambda: make_problem(1, 2, seed=1),
    "five views": lambda: make_problem(1, 5, seed=2),
    "rectangular maps": lambda: make_problem(1, heatmap_wh=(48, 64), image_wh=(192, 256), seed=3),
    "27 bins per later grid": lambda: make_problem(1, settings=replace(SETTINGS, recur_nbins=3, recur_depth=1)),
    "no later grid": lambda: make_problem(1, settings=replace(SETTINGS, first_nbins=5, recur_depth=0), seed=4),
    "several blocks of bins": lambda: make_problem(
        1, settings=replace(SETTINGS, first_nbins=11, recur_depth=0, limb_length_tolerance=80.0), seed=5
    ),
    "one joint": lambda: make_problem(1, body=HumanBody(("root",), (-1,)), lengths=np.zeros(0)),
    "chain, children first": lambda: make_problem(
        1, body=HumanBody(("rkne", "rhip", "root"), (1, 2, -1)), lengths=FORK_LENGTHS[[0, 2]]
    ),
    "equal evidence": lambda: with_heatmaps(make_problem(), lambda heatmaps: heatmaps.fill(1)),
    "no evidence": lambda: with_heatmaps(make_problem(), lambda heatmaps: heatmaps.fill(0)),
    "stripes": lambda: with_heatmaps(make_problem(), stripes),
    "a joint without evidence": lambda: with_heatmaps(make_problem(), without_knee),
    "joints without limbs": lambda: with_heatmaps(make_problem(), only_peaks),
    "impossible limb length": lambda: replace(make_problem(), limb_lengths=np.array([[134.0, 133.0, 5000.0, 454.0]])),
    "tiny values": lambda: with_heatmaps(make_problem(), lambda heatmaps: heatmaps.__imul__(np.float32(2.0**-110))),
    "camera turned away": turned_away,
    "Human3.6M skeleton": lambda: make_problem(
        1, 4, replace(SETTINGS, first_nbins=7, recur_depth=1, limb_length_tolerance=200.0), H36M_BODY, LENGTHS
    ),
}


OFTEN = (
    "two views",
    "rectangular maps",
    "one joint",
    "joints without limbs",
    "camera turned away",
)  # the others are slow


@pytest.mark.parametrize(
    "names",
    [OFTEN, pytest.param([name for name in PROBLEMS if name not in OFTEN], marks=pytest.mark.slow)],
    ids=["often", "slow"],
)
def test_triton_rpsm_equals_numpy(names, tmp_path):
    poses = interpreted_poses([PROBLEMS[name]() for name in names], tmp_path)
    for name, found in zip(names, poses, strict=True):
        expected = rpsm(*PROBLEMS[name]().arguments, NumpyBackend(1))
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)


class Recorder:
    """Stands for a kernel and records its arguments."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.calls = []

    def __getitem__(self, grid):
        return lambda *values, **options: self.calls.append((values, options))


TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64"}


def compile_for_gpu(kernel, values, options, capability):
    """Compile a kernel to machine code for the arguments of a call, without a GPU, as the launcher specializes it.

    The launcher makes arguments equal to 1 constants, and knows which arguments are divisible by 16.
    """
    constants, signature, attributes = {}, {}, {}
    for index, (param, value) in enumerate(zip(kernel.params, values, strict=True)):
        is_tensor = isinstance(value, torch.Tensor)
        if param.is_constexpr or (not is_tensor and value == 1):
            constants[param.name] = value
            signature[param.name] = "constexpr"
            continue
        signature[param.name] = TYPES[value.dtype] if is_tensor else "i32" if abs(value) < 2**31 else "i64"
        if (value.data_ptr() if is_tensor else value) % 16 == 0:
            attributes[(index,)] = [["tt.divisibility", 16]]
    source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options=options)


def launches(problem, monkeypatch):
    """Return kernel name -> kernel and recorded launches of a problem."""
    from lib.multiviews.pictorial import rpsm_triton

    names = ("sum_heatmaps", "score_bins", "add_messages", "choose_bins", "search_finer_grids")
    recorders = {name: Recorder(getattr(rpsm_triton, name)) for name in names}
    for name, recorder in recorders.items():
        monkeypatch.setattr(rpsm_triton, name, recorder)
    rpsm_triton.TritonRpsm(torch.device("cpu"))(torch.as_tensor(problem.heatmaps), *problem.arguments[1:])
    return recorders


def test_kernels_compile_for_gpu(monkeypatch):
    recorders = launches(make_problem(2, 5, PictorialSettings(), H36M_BODY, LENGTHS), monkeypatch)
    assert [len(recorder.calls) for recorder in recorders.values()] == [1, 1, 5, 1, 1]  # nine launches
    for name, recorder in recorders.items():
        compiled = compile_for_gpu(recorder.kernel, *recorder.calls[0], 90)
        assert ".target sm_90" in compiled.asm["ptx"]
        assert ".approx" not in compiled.asm["ptx"], name  # e.g. a float32 logarithm would decide ties differently
        assert compiled.asm["cubin"], name


def test_kernels_compile_for_gpu_sizes_of_one(monkeypatch):
    """One view, one limb and one later level are constants of the compiled kernels."""
    body = HumanBody(("root", "rhip"), (-1, 0))
    settings = replace(SETTINGS, recur_depth=1)
    recorders = launches(make_problem(1, 1, settings, body, FORK_LENGTHS[:1]), monkeypatch)
    for name, recorder in recorders.items():
        assert compile_for_gpu(recorder.kernel, *recorder.calls[0], 80).asm["cubin"], name


@pytest.mark.gpu
@pytest.mark.parametrize("num_views", [2, 4, 5])
def test_triton_rpsm_on_cuda_equals_numpy(num_views):
    from lib.multiviews.pictorial.backend_torch import TorchBackend

    backend = TorchBackend("cuda")
    problem = make_problem(6, num_views, PictorialSettings(), H36M_BODY, LENGTHS)
    poses = rpsm(*problem.arguments, backend)
    assert backend.rpsm is not None  # no fallback
    np.testing.assert_allclose(poses, rpsm(*problem.arguments, NumpyBackend()), atol=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("name", PROBLEMS)
def test_triton_rpsm_on_cuda_equals_numpy_in_special_cases(name):
    from lib.multiviews.pictorial.backend_torch import TorchBackend

    problem = PROBLEMS[name]()
    poses = rpsm(*problem.arguments, TorchBackend("cuda"))
    np.testing.assert_allclose(poses, rpsm(*problem.arguments, NumpyBackend()), atol=0.1)
