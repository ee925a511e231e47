"""Groups with a fusion layer against the records of the annotation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.core.build_model import build_model
from lib.core.fusion_report.trained_fusion import TrainedFusion, load_trained_fusion
from lib.core.pose3d.frames import load_frames
from lib.models.fusion import CrossViewFusion
from lib.utils.errors import InputError
from lib.utils.files.torch_file import save_checkpoint


@pytest.fixture
def make_trained(tiny_root, tiny_config, h36m_pickle):
    """make_trained(**options of tiny_root) returns (TrainedFusion of 24 x 32 px maps, records of the annotation)."""

    def make(**options):
        root = tiny_root(mpii=0, **options)
        loaded = load_frames(tiny_config(root))
        annotations = loaded.annotations
        groups = loaded.groups
        fusion = CrossViewFusion(groups.shape[1], (32, 24))
        return TrainedFusion(fusion, annotations, groups, (96, 128)), h36m_pickle(root, "validation")

    return make


def test_trained_fusion_group_equals_its_records(make_trained):
    trained, records = make_trained(num_views=3)
    group = trained.group(1)
    views = records[3:6]
    assert group.title == "group 1: S9 Eating 1, image 2"
    assert [group.sources(view) for view in range(3)] == [[1, 2], [0, 2], [0, 1]]
    for view, record in enumerate(views):
        np.testing.assert_allclose(group.joints_img[view], record["joints_2d"], atol=1e-4)
        np.testing.assert_allclose(group.root_depth[view], record["joints_3d_camera"][0, 2], rtol=1e-6)
        np.testing.assert_allclose(group.cameras.T[view], record["camera"]["T"].ravel())
        # the box is 120 px wide and shown on 24 px; its middle is the middle of the map
        expected = np.rint((record["joints_2d"] - record["center"]) * 24 / 120 + [12, 16])
        pixels, inside = group.pixels(view, group.joints_img[view])
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(inside, ((expected >= 0) & (expected < [24, 32])).all(-1))
    outside = group.pixels(0, views[0]["center"] + np.array([[-60, 0], [-64, 0], [0, 76], [0, 79]]))[1]
    assert outside.tolist() == [True, False, True, False]


def test_fused_group_curves_pass_the_true_joints(make_trained):
    trained, _ = make_trained()
    group = trained.group(2)
    for view in range(4):
        curve, valid, near = group.curves(view, group.joints_img[view])
        assert curve.shape == (3, 17, len(near), 2)
        gt = group.joints_img[group.sources(view)]
        distance = np.linalg.norm(curve - gt[:, :, None], axis=-1)
        distance = np.where(valid & near, distance, np.inf).min(-1)
        assert distance.max() < 3  # corners are 5 cm apart; 1 px is 2 cm


def test_trained_fusion_spread_is_even(make_trained):
    trained, _ = make_trained(frames=5)
    assert [trained.spread(count) for count in (1, 3, 5, 50)] == [[0], [0, 2, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]


def test_load_trained_fusion_has_the_layer_of_the_checkpoint(tiny_root, tiny_config, tmp_path):
    config = tiny_config(tiny_root(mpii=0))
    model = build_model(config, 4)
    torch.nn.init.normal_(model.fusion.weight)
    save_checkpoint(model.state_dict(), tmp_path / "final_state.pth.tar")
    config.TEST.STATE = "final"
    trained = load_trained_fusion(config, tmp_path)
    assert (len(trained), trained.image_wh) == (3, (64, 64))
    weights = trained.source_weights(2, np.array([[5, 3]]))
    weight = model.fusion.weight.detach().numpy()
    np.testing.assert_array_equal(weights[0], weight[2, :, :, 3 * 16 + 5].reshape(3, 16, 16))
    config.NETWORK.AGGRE = False
    with pytest.raises(InputError, match=r"NETWORK\.FUSION none: expected learned"):
        load_trained_fusion(config, tmp_path)
