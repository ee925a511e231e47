"""Contracts of every entry in the registries: backbones, fusions, data sets and 3D methods.

An entry is tested as soon as it is registered. docs/extending.md adds a toy of each; its test trains and estimates with
them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from cvf_tests.batches import make_batch
from cvf_tests.scenes import LENGTHS, make_backend, make_scene
from cvf_tests.small_networks import small_config
from torch import nn

from lib.core.build_data import build_dataset
from lib.core.build_model import build_fusion, build_model
from lib.core.config_io import load_config
from lib.core.pose3d.frames import FrameBatch, Poses
from lib.core.pose3d.methods import METHODS, Method, make_context, run_method
from lib.dataset.data_sets import DATA_SETS, DataSet
from lib.models.multiview_pose import MultiViewPose
from lib.models.registry import BACKBONES, FUSIONS, Backbone, Fusion
from lib.models.weights import load_model
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import CropCameras
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.utils.errors import InputError, defect_of_part

WITH_FUSION = [name for name, fusion in FUSIONS.items() if fusion.build is not None]
HEATMAP_HW = (16, 16)
NARROW = [  # for HRNet
    item
    for stage, channels in {"STAGE2": "[8,16]", "STAGE3": "[8,16,32]", "STAGE4": "[8,16,32,64]"}.items()
    for item in (f"MODEL_EXTRA.{stage}.NUM_CHANNELS", channels)
]


def crop_cameras(scene) -> CropCameras:
    views = CropCameras(scene.cameras, scene.image_to_heatmap)
    return views.map(lambda values: torch.as_tensor(np.asarray(values), dtype=torch.float32))


@pytest.fixture
def views_of() -> Callable[[int], CropCameras]:
    """views_of(V) -> cameras and crops of 2 groups of V views."""
    return lambda num_views: crop_cameras(make_scene(2, num_views, HEATMAP_HW[::-1], (64, 64)))


# --- backbones --------------------------------------------------------------------------------------------------------


TRAINABLE = [name for name, backbone in BACKBONES.items() if not backbone.is_fixed]


@pytest.mark.parametrize("name", TRAINABLE)
def test_backbone_trains_every_weight_and_is_restored_from_a_checkpoint(name, tmp_path):
    config = small_config(tmp_path, name, "NETWORK.FUSION", "none", "NETWORK.INIT", "kaiming", *NARROW)
    torch.manual_seed(0)
    model = build_model(config, 1, is_train=True).train()
    nn.init.normal_(model.backbone.final_layer.weight)
    images = torch.randn(2, 1, 3, 64, 64)
    heatmaps, fused = model(images)
    assert heatmaps.shape == (2, 1, config.NETWORK.NUM_JOINTS, *HEATMAP_HW)
    assert fused is None
    heatmaps.square().mean().backward()
    for weight_name, weight in model.named_parameters():
        assert weight.grad is not None, weight_name
        assert weight.grad.isfinite().all(), weight_name
    model.eval()
    with torch.no_grad():
        together = model(images)[0]
        assert together.std() > 0
        alone = model(images[1:])[0]  # images do not influence each other
        torch.testing.assert_close(alone, together[1:], rtol=0, atol=1e-3 * together.abs().max().item())
        torch.save(model.state_dict(), tmp_path / "weights.pth.tar")
        other = build_model(config, 1).eval()
        load_model(other, tmp_path / "weights.pth.tar")
        assert torch.equal(other(images)[0], together)


@pytest.mark.parametrize("name", TRAINABLE)
def test_backbone_views_have_statistics_of_their_own_in_training(name, tmp_path):
    torch.manual_seed(0)
    config = small_config(tmp_path, name, "NETWORK.FUSION", "none", "NETWORK.INIT", "kaiming", *NARROW)
    model = build_model(config, 2, is_train=True).double().train()
    nn.init.normal_(model.backbone.final_layer.weight)
    one_by_one = copy.deepcopy(model.backbone)
    images = torch.randn(2, 2, 3, 64, 64, dtype=torch.float64)
    found = model(images)[0]
    expected = torch.stack([one_by_one(images[:, view]) for view in range(2)], 1)
    torch.testing.assert_close(found, expected)
    for (buffer_name, value), other in zip(model.backbone.named_buffers(), one_by_one.buffers(), strict=True):
        torch.testing.assert_close(value, other, msg=buffer_name)


# --- fusions ----------------------------------------------------------------------------------------------------------


def make_fusion(name: str, num_views: int, tmp_path) -> nn.Module:
    config = small_config(tmp_path, "pose_resnet", "NETWORK.FUSION", name)
    torch.manual_seed(0)
    return build_fusion(config.NETWORK, num_views)


@pytest.mark.parametrize("num_views", [2, 3, 4])
@pytest.mark.parametrize("name", WITH_FUSION)
def test_fusion_keeps_the_shape_and_passes_gradients(name, num_views, views_of, tmp_path):
    fusion = make_fusion(name, num_views, tmp_path)
    assert fusion.num_views in (None, num_views)
    heatmaps = torch.rand(2, num_views, 5, *HEATMAP_HW, requires_grad=True)
    before = heatmaps.detach().clone()
    fused = fusion(heatmaps, views_of(num_views))
    assert fused.shape == heatmaps.shape
    assert torch.equal(heatmaps, before)  # the single-view heatmaps are still needed
    fused.square().sum().backward()
    for gradient in (heatmaps.grad, *(weight.grad for weight in fusion.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()
    assert (heatmaps.grad != 0).flatten(2).any(-1).all()  # every view takes part
    again = fusion(heatmaps, views_of(num_views))
    assert torch.equal(again, fused)


@pytest.mark.parametrize("name", WITH_FUSION)
def test_fusion_groups_do_not_influence_each_other(name, views_of, tmp_path):
    fusion = make_fusion(name, 3, tmp_path)
    heatmaps, views = torch.rand(2, 3, 5, *HEATMAP_HW), views_of(3)
    with torch.no_grad():
        together = fusion(heatmaps, views)
        alone = fusion(heatmaps[1:], views[1:])
    torch.testing.assert_close(alone, together[1:])


@pytest.mark.parametrize("name", WITH_FUSION)
def test_fusion_view_without_evidence_keeps_the_others_finite(name, views_of, tmp_path):
    heatmaps = torch.rand(2, 4, 5, *HEATMAP_HW)
    heatmaps[:, 1] = 0
    with torch.no_grad():
        assert make_fusion(name, 4, tmp_path)(heatmaps, views_of(4)).isfinite().all()


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion_is_restored_from_a_checkpoint(name, views_of, tmp_path):
    config = small_config(tmp_path, "pose_resnet", "NETWORK.FUSION", name)
    torch.manual_seed(1)
    first = build_model(config, 3).eval()
    torch.save(first.state_dict(), tmp_path / "weights.pth.tar")
    other = build_model(config, 3).eval()
    load_model(other, tmp_path / "weights.pth.tar")
    images = torch.randn(2, 3, 3, 64, 64)
    with torch.no_grad():
        for one, two in zip(first(images, views_of(3)), other(images, views_of(3)), strict=True):
            assert (one is None and two is None) or torch.equal(one, two)


# --- data sets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def root_of(tiny_root, tiny_totalcapture):
    """root_of(name) -> ROOT with a small version of a data set. A new data set adds its own here."""
    return lambda name: tiny_totalcapture() if name == "multiview_totalcapture" else tiny_root()


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("name", DATA_SETS)
def test_data_set_items_have_crops_joints_and_cameras(name, is_train, root_of, tiny_config):
    subset = ("DATASET.TEST_SUBSET", "valid") if name in ("mpii", "multiview_mpii") else ()
    names = ("DATASET.TRAIN_DATASET", name, "DATASET.TEST_DATASET", name, *subset)
    root = root_of(name)
    dataset = build_dataset(tiny_config(root, *names), root, is_train)
    assert len(dataset) > 0
    item = dataset[0]
    views = dataset.num_views
    width, height = dataset.settings.image_wh
    assert (views > 1) == DATA_SETS[name].grouped
    assert item["crops"].shape == (views, height, width, 3)
    assert item["crops"].dtype == np.uint8
    assert item["joints_crop"].shape == (views, 20, 2)
    assert item["visible"].any(1).all()
    assert item["camera_R"].shape == (views, 3, 3)
    for key, values in item.items():
        assert key == "head_size" or np.isfinite(values).all(), key
    assert {dataset.image_name(int(index)) for index in item["image_index"]}
    assert len(set(dataset.joint_set.names)) == len(dataset.joint_set.names)


# --- 3D methods -------------------------------------------------------------------------------------------------------


def frames_of_one_person() -> FrameBatch:
    return replace(make_batch(make_scene(3)), subject=np.zeros(3, int))


def part_of(batch: FrameBatch, frames: slice) -> FrameBatch:
    fields = ("heatmaps", "locations", "cameras", "image_to_heatmap", "center", "gt_world", "subject")
    return FrameBatch(**{name: getattr(batch, name)[frames] for name in fields})


@pytest.fixture
def solve(tmp_path):
    """solve(method, batches, library) -> Poses."""
    (tmp_path / "a.yaml").write_text("")
    config = load_config(tmp_path / "a.yaml")

    def run(method: str | Method, batches: list[FrameBatch], library: str = "numpy") -> Poses:
        chosen = METHODS[method] if isinstance(method, str) else method
        prior = make_limb_prior(LENGTHS, H36M_BODY, PictorialSettings().first_grid) if chosen.needs_prior else None
        return run_method(chosen, batches, make_context(config, H36M_BODY, prior, make_backend(library)))

    return run


@pytest.mark.parametrize("name", METHODS)
def test_method_poses_are_near_the_truth_on_perfect_heatmaps(name, solve):
    batch = frames_of_one_person()
    before = batch.heatmaps.copy()
    poses = solve(name, [batch])
    assert poses.pose_world.shape == (3, 17, 3)
    assert np.median(np.linalg.norm(poses.pose_world - batch.gt_world, axis=-1)) < 100  # half a bin of psm: 67 mm
    assert poses.num_views_agree.shape == (3, 17)
    assert np.array_equal(batch.heatmaps, before)


@pytest.mark.parametrize("name", METHODS)
def test_method_poses_do_not_depend_on_the_batches(name, solve):
    batch = frames_of_one_person()
    whole = solve(name, [batch]).pose_world
    parts = solve(name, [part_of(batch, slice(0, 1)), part_of(batch, slice(1, 3))]).pose_world
    np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.parametrize("library", ["numba", "torch"])
@pytest.mark.parametrize("name", METHODS)
def test_method_poses_are_equal_on_every_backend(name, library, solve):
    batch = frames_of_one_person()
    np.testing.assert_allclose(
        solve(name, [batch], library).pose_world, solve(name, [batch]).pose_world, atol=0.1, err_msg=f"{library}, mm"
    )


@pytest.mark.parametrize("name", METHODS)
def test_method_view_without_evidence_is_survived(name, solve):
    batch = frames_of_one_person()
    batch.heatmaps[:, 1] = 0
    batch.locations[:, 1] = 0
    poses = solve(name, [batch]).pose_world
    assert np.median(np.linalg.norm(poses - batch.gt_world, axis=-1)) < 100


@pytest.mark.parametrize("script", ["pose3d/estimate.py", "pose3d/estimate_cuda.py"])
def test_method_is_a_choice_of_the_scripts(script, run_script):
    text = run_script(script, "--help").out
    assert all(name in text for name in METHODS)


# --- mistakes in an addition ------------------------------------------------------------------------------------------


class _Wrong(nn.Module):
    """Backbone with wrong joints, or without a final_layer; fusion that drops a view."""

    def __init__(self, joints: int = 20, final_layer: str = "final_layer") -> None:
        super().__init__()
        self.layer_name = final_layer
        self.add_module(final_layer, nn.Conv2d(3, joints, 1, stride=4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return getattr(self, self.layer_name)(images)


class _DropsView(nn.Module):
    num_views = None

    def forward(self, heatmaps: torch.Tensor, views: CropCameras | None = None) -> torch.Tensor:
        return heatmaps[:, 1:]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda *_: _Wrong(joints=7),
            r"^backbone wrong: expected heatmaps \(2, 20, H, W\) .* received \(2, 7, 16, 16\)",
        ),
        (lambda *_: _Wrong(final_layer="head"), r"^backbone wrong: expected its last convolution .* final_layer"),
    ],
)
def test_build_model_wrong_backbone_is_named(build, message, tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "wrong", Backbone(build))
    with pytest.raises(InputError, match=message):
        build_model(small_config(tmp_path, "wrong", "NETWORK.FUSION", "none"), 1)


def test_build_fusion_without_num_views_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(FUSIONS, "wrong", Fusion(lambda *_: nn.Identity()))
    with pytest.raises(InputError, match=r"^fusion wrong: expected an attribute num_views"):
        make_fusion("wrong", 3, tmp_path)


def test_multiview_pose_fusion_of_another_shape_is_named():
    model = MultiViewPose(_Wrong(), _DropsView()).eval()
    with pytest.raises(InputError, match="heatmaps of _DropsView: "):
        model(torch.zeros(1, 3, 3, 64, 64))


def _fail(*_: object) -> None:
    raise ZeroDivisionError("planned")


class _Fails(nn.Module):
    num_views = None
    forward = _fail


def test_exception_in_an_added_part_names_the_part(tmp_path, monkeypatch, solve, tiny_config, tiny_root):
    monkeypatch.setitem(BACKBONES, "wrong", Backbone(_fail))
    monkeypatch.setitem(FUSIONS, "wrong", Fusion(_fail))
    monkeypatch.setitem(DATA_SETS, "wrong", DataSet(_fail))
    root = tiny_root(formats=())
    images = torch.zeros(1, 3, 3, 64, 64)
    calls = {
        "backbone wrong": lambda: build_model(small_config(tmp_path, "wrong", "NETWORK.FUSION", "none"), 1),
        "backbone _Fails": lambda: MultiViewPose(_Fails()).eval()(images),
        "fusion wrong": lambda: make_fusion("wrong", 3, tmp_path),
        "fusion _Fails": lambda: MultiViewPose(_Wrong(), _Fails()).eval()(images),
        "data set wrong": lambda: build_dataset(tiny_config(root, "DATASET.TRAIN_DATASET", "wrong"), root, True),
        "3D method _fail": lambda: solve(Method(_fail, needs_prior=False), [frames_of_one_person()]),
    }
    for part, call in calls.items():
        with pytest.raises(ZeroDivisionError) as caught:
            call()
        assert defect_of_part(caught.value).startswith(f"{part}: ZeroDivisionError: planned (test_contracts.py:")


@pytest.mark.parametrize(
    ("pose", "message"),
    [(np.zeros((3, 16, 3)), "heatmaps: poses of the method: expected"), (np.full((3, 17, 3), np.nan), "not finite")],
)
def test_run_method_wrong_poses_are_named(pose, message, solve):
    with pytest.raises(InputError, match=message):
        solve(Method(lambda batch, context: Poses(pose), needs_prior=False), [frames_of_one_person()])


def test_run_method_without_poses_is_named(solve):
    def forgets_to_return(batch, context):
        pass

    with pytest.raises(InputError, match="forgets_to_return: expected Poses, received NoneType"):
        solve(Method(forgets_to_return, needs_prior=False), [frames_of_one_person()])
