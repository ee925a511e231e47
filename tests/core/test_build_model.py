from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from cvf_tests.small_networks import small_config

from lib.core.build_model import build_model
from lib.models.epipolar_fusion import AdaptiveFusion, EpipolarFusion
from lib.models.fusion import CrossViewFusion
from lib.models.pose_hrnet import PoseHRNet
from lib.models.pose_mobilenetv2 import PoseMobileNetV2
from lib.models.pose_resnet import PoseResNet
from lib.models.registry import BACKBONES, Backbone
from lib.models.weights import load_model
from lib.utils.errors import InputError


@pytest.fixture
def make_config(tmp_path: Path) -> Callable:
    return partial(small_config, tmp_path)


@pytest.mark.parametrize(
    ("backbone", "kind"),
    [("pose_resnet", PoseResNet), ("pose_mobilenetv2", PoseMobileNetV2), ("pose_hrnet", PoseHRNet)],
)
def test_build_model_backbone_follows_the_name(backbone: str, kind: type, make_config: Callable) -> None:
    opts = ["NETWORK.IMAGE_SIZE", "[96,64]", "NETWORK.HEATMAP_SIZE", "[24,16]"]
    model = build_model(make_config(backbone, *opts), num_views=3).eval()
    assert isinstance(model.backbone, kind)
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "fusion"}
    with torch.no_grad():
        single_view, fused = model(torch.randn(1, 3, 3, 64, 96))
    assert single_view.shape == fused.shape == (1, 3, 20, 16, 24)


def test_build_model_without_aggre_has_no_fusion(make_config: Callable) -> None:
    model = build_model(make_config("pose_resnet", "NETWORK.AGGRE", "false"), num_views=1)
    assert model.fusion is None
    assert all(name.startswith("backbone.") for name in model.state_dict())
    zeros = build_model(make_config("pose_resnet", "NETWORK.FUSION_INIT", "zeros"), num_views=2)
    assert zeros.fusion.weight.shape == (2, 1, 256, 256)
    assert not zeros.fusion.weight.any()


def test_build_model_invalid_settings_are_refused(make_config: Callable) -> None:
    config = make_config()
    config.BACKBONE_MODEL = "pose_resnt"
    with pytest.raises(InputError, match="unknown backbone 'pose_resnt' in BACKBONE_MODEL; did you mean 'pose_resnet'"):
        build_model(config, 4)
    config = make_config()
    config.MODEL = "multiview_resnet"
    with pytest.raises(InputError, match="unknown model 'multiview_resnet' in MODEL; did you mean 'multiview_pose"):
        build_model(config, 4)
    with pytest.raises(InputError, match="NUM_DECONV_LAYERS is 2, but there are 3"):
        build_model(make_config("pose_resnet", "POSE_RESNET.NUM_DECONV_LAYERS", "2"), 4)
    with pytest.raises(InputError, match=r"MODEL_EXTRA\.STAGE3\.NUM_BRANCHES is 2"):
        build_model(make_config("pose_hrnet", "MODEL_EXTRA.STAGE3.NUM_BRANCHES", "2"), 4)


def test_build_model_other_heatmap_size_is_refused(make_config: Callable) -> None:
    opts = ["NETWORK.IMAGE_SIZE", "[128,96]", "NETWORK.HEATMAP_SIZE", "[24,32]"]
    message = r"HEATMAP_SIZE: expected 32 x 24 .* makes from NETWORK\.IMAGE_SIZE 128 x 96, received 24 x 32"
    with pytest.raises(InputError, match=message):
        build_model(make_config("pose_resnet", *opts), 4)
    with pytest.raises(InputError, match=r"multiples of 32 for HRNet, .* \(80, 80\)"):
        build_model(make_config("pose_hrnet", "NETWORK.IMAGE_SIZE", "80", "NETWORK.HEATMAP_SIZE", "20"), 4)


@pytest.mark.parametrize(
    ("name", "kind"), [("learned", CrossViewFusion), ("epipolar_max", EpipolarFusion), ("adaptive", AdaptiveFusion)]
)
def test_build_model_fusion_follows_the_name(make_config: Callable, name: str, kind: type) -> None:
    fusion = build_model(make_config("pose_resnet", "NETWORK.FUSION", name), 3).fusion
    assert type(fusion) is kind
    assert getattr(fusion, "reduction", "max") == "max"


def test_build_model_invalid_fusion_is_refused(make_config: Callable) -> None:
    with pytest.raises(InputError, match=r"unknown value 'epipolar_mx' .*did you mean 'epipolar_max'"):
        make_config("pose_resnet", "NETWORK.FUSION", "epipolar_mx")
    for kind in ("learned", "epipolar_max", "adaptive"):
        advice = rf"NETWORK\.FUSION {kind}: expected at least 2 views, received 1; .*--opts NETWORK\.FUSION none$"
        with pytest.raises(InputError, match=advice):
            build_model(make_config("pose_resnet", "NETWORK.FUSION", kind), 1)
    for kind in ("none", "epipolar_sum"):
        config = make_config("pose_resnet", "NETWORK.FUSION", kind, "TRAIN.FREEZE_BACKBONE", "true")
        with pytest.raises(InputError, match=f"with NETWORK.FUSION {kind} nothing is left to train"):
            build_model(config, 3, is_train=True)
        build_model(config, 3)


def test_build_model_frozen_backbone_is_not_trained(make_config: Callable, tmp_path: Path) -> None:
    weights = tmp_path / "single.pth.tar"
    config = make_config(
        "pose_resnet",
        "NETWORK.FUSION_INIT",
        "zeros",
        "TRAIN.FREEZE_BACKBONE",
        "true",
        "NETWORK.PRETRAINED",
        str(weights),
    )
    torch.save(build_model(config, 2).state_dict(), weights)
    model = build_model(config, 2, is_train=True).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    _, fused = model(torch.randn(2, 2, 3, 64, 64))
    fused.sum().backward()
    assert {name for name, one in model.named_parameters() if one.requires_grad} == {"fusion.weight"}
    assert model.fusion.weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        ([], "set NETWORK.INIT kaiming NETWORK.FUSION_INIT zeros"),
        (["NETWORK.INIT", "kaiming"], "set NETWORK.FUSION_INIT zeros"),
        (["NETWORK.INIT", "kaiming", "NETWORK.FUSION", "none"], None),
        (["NETWORK.INIT", "kaiming", "NETWORK.FUSION_INIT", "zeros"], None),
    ],
)
def test_build_model_random_weights_with_the_published_initialization_warn(make_config, caplog, opts, words):
    build_model(make_config("pose_resnet", *opts), 2, is_train=True)
    found = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(found) == (words is not None)
    assert words is None or found[0].endswith(words)


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of a network whose backbone has fixed weights: the heatmaps are the first channel of the crops."""

    class Network(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :1].expand(-1, 20, -1, -1)

    monkeypatch.setitem(BACKBONES, "blazepose", Backbone(lambda *_: Network(), section="BLAZEPOSE", is_fixed=True))
    return ["BACKBONE_MODEL", "blazepose", "MODEL", "multiview_blazepose", "NETWORK.IMAGE_SIZE", "[16,16]"]


def test_build_model_fixed_backbone_is_not_trained(make_config: Callable, fixed: list[str]) -> None:
    keys = [*fixed, "NETWORK.FUSION", "epipolar_max"]
    size = ["NETWORK.HEATMAP_SIZE", "[16,16]"]
    model = build_model(make_config("pose_resnet", *keys, *size), num_views=2)
    assert not model.state_dict()
    assert not load_model(model, "no such file").loaded
    with pytest.raises(InputError, match="BACKBONE_MODEL blazepose: its weights are fixed, it cannot be trained"):
        build_model(make_config("pose_resnet", *keys, *size), num_views=2, is_train=True)
    with pytest.raises(InputError, match=r"NETWORK\.HEATMAP_SIZE: expected 16 x 16 .* received 8 x 8"):
        build_model(make_config("pose_resnet", *keys, size[0], "[8,8]"), num_views=2)


def test_build_model_fusion_on_a_fixed_backbone_is_trained(
    make_config: Callable, fixed: list[str], tmp_path: Path
) -> None:
    keys = [*fixed, "NETWORK.HEATMAP_SIZE", "[16,16]", "NETWORK.FUSION", "adaptive", "TRAIN.FREEZE_BACKBONE", "true"]
    model = build_model(make_config("pose_resnet", *keys, "NETWORK.PRETRAINED", "none"), num_views=2, is_train=True)
    assert all(name.startswith("fusion.") for name in model.state_dict())
    assert all(weight.requires_grad for weight in model.parameters())
    # The weights of the fusion do not depend on the backbone that they were trained on.
    whole = build_model(make_config("pose_resnet", "NETWORK.FUSION", "adaptive"), 4)
    for path, state in ((tmp_path / "whole", whole.state_dict()), (tmp_path / "own", model.state_dict())):
        torch.save(state, path)
        load_model(model, path)
        torch.testing.assert_close(model.fusion.trust[0].weight, state["fusion.trust.0.weight"])
    torch.save(build_model(make_config("pose_resnet", "NETWORK.FUSION", "none"), 4).state_dict(), tmp_path / "none")
    with pytest.raises(InputError, match="has no fusion weights"):
        load_model(model, tmp_path / "none")
