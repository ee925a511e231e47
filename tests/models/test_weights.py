from __future__ import annotations

import collections
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from lib.core.build_model import build_model
from lib.models.weights import load_model, load_pretrained
from lib.utils.errors import InputError

VIEWS = 3
NARROW_HRNET = [
    "NETWORK.AGGRE",
    "false",
    "MODEL_EXTRA.STAGE2.NUM_CHANNELS",
    "[8,16]",
    "MODEL_EXTRA.STAGE3.NUM_CHANNELS",
    "[8,16,32]",
    "MODEL_EXTRA.STAGE4.NUM_CHANNELS",
    "[8,16,32,64]",
]


def _checkpoint(path: Path, model: nn.Module, prefix: str = "") -> Path:
    """Write a checkpoint as the original code does, with the score as a NumPy scalar."""
    state = collections.OrderedDict((f"{prefix}{name}", value) for name, value in model.state_dict().items())
    perf = np.float64(0.9)
    torch.save({"epoch": 3, "model": "multiview_pose", "state_dict": state, "perf": perf, "optimizer": {}}, path)
    return path


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("backbone", ["pose_resnet", "pose_mobilenetv2"])
def test_load_model_original_checkpoint_gives_the_same_heatmaps(
    backbone: str, prefix: str, published: Callable, make_config: Callable, tmp_path: Path
) -> None:
    original = published(backbone)
    path = _checkpoint(tmp_path / "checkpoint.pth.tar", original, prefix)
    model = build_model(make_config(backbone), VIEWS)
    report = load_model(model, path)
    assert not report.missing
    assert not report.unexpected
    assert not report.mismatched
    images = torch.randn(2, VIEWS, 3, 64, 64)
    with torch.no_grad():
        single_view, fused = model.eval()(images)
        expected_single, expected_fused = original(list(images.unbind(1)))
    assert single_view.std() > 0.01  # the comparison is not between zeros
    torch.testing.assert_close(single_view, torch.stack(expected_single, 1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fused, torch.stack(expected_fused, 1), atol=1e-4, rtol=1e-4)


def test_load_model_original_hrnet_checkpoint_gives_the_same_heatmaps(
    make_config: Callable, randomize: Callable, hrnet_by_names: Callable, tmp_path: Path
) -> None:
    config = make_config("pose_hrnet", *NARROW_HRNET)
    source = randomize(build_model(config, VIEWS)).backbone.state_dict()
    torch.save({f"module.resnet.{name}": value for name, value in source.items()}, tmp_path / "final_state.pth.tar")
    model = build_model(config, VIEWS).eval()
    load_model(model, tmp_path / "final_state.pth.tar")
    plain = hrnet_by_names(source)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, (single_view, _) = plain(image), model(image[:, None])
    assert expected.std() > 0.01
    torch.testing.assert_close(single_view[:, 0], expected, atol=1e-4, rtol=1e-4)
    assert {name for name in source if not name.endswith("num_batches_tracked")} == plain.used


def test_load_model_without_fusion_ignores_fusion_weights(
    published: Callable, make_config: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _checkpoint(tmp_path / "model_best.pth.tar", published("pose_resnet"))
    model = build_model(make_config("pose_resnet", "NETWORK.AGGRE", "false"), VIEWS)
    with caplog.at_level(logging.INFO, "lib.models.weights"):
        load_model(model, path)
    assert sum("fusion weights ignored" in record.message for record in caplog.records) == 1
    assert model.fusion is None


def test_load_model_own_checkpoint_round_trip(make_config: Callable, randomize: Callable, tmp_path: Path) -> None:
    source = randomize(build_model(make_config(), VIEWS))
    torch.save(source.state_dict(), tmp_path / "model_best.pth.tar")
    target = build_model(make_config(), VIEWS)
    report = load_model(target, tmp_path / "model_best.pth.tar")
    state = target.state_dict()
    assert set(report.loaded) == set(state)
    assert all(torch.equal(value, state[name]) for name, value in source.state_dict().items())


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["POSE_RESNET.NUM_LAYERS", "50"], r"expected the weights of PoseResNet: 'backbone\.layer1\.0\.conv1\.weight'"),
        (["POSE_RESNET.NUM_LAYERS", "34"], r"'backbone\.layer1\.2\.conv1\.weight' is missing"),
        (["POSE_RESNET.NUM_DECONV_FILTERS", "[256,256,128]"], r"'backbone\.deconv_layers\.6\.weight' expected shape"),
        (
            ["NETWORK.IMAGE_SIZE", "32", "NETWORK.HEATMAP_SIZE", "8"],
            "expected fusion weights for 3 views and 64 heatmap px .* 256 px",
        ),
    ],
)
def test_load_model_other_network_is_refused(
    opts: list[str], message: str, published: Callable, make_config: Callable, tmp_path: Path
) -> None:
    path = _checkpoint(tmp_path / "checkpoint.pth.tar", published("pose_resnet"))
    model = build_model(make_config("pose_resnet", *opts), VIEWS)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load_model(model, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())  # unchanged


def test_load_model_deeper_network_is_refused(make_config: Callable, tmp_path: Path) -> None:
    opts = ["NETWORK.AGGRE", "false", "POSE_RESNET.NUM_LAYERS"]
    deep = build_model(make_config("pose_resnet", *opts, "34"), VIEWS)
    torch.save(deep.state_dict(), tmp_path / "deep.pth.tar")
    shallow = build_model(make_config("pose_resnet", *opts, "18"), VIEWS)
    with pytest.raises(InputError, match=r"'backbone\.layer1\.2\.conv1\.weight' is unexpected"):
        load_model(shallow, tmp_path / "deep.pth.tar")


def test_load_model_other_rig_or_missing_fusion_is_refused(
    published: Callable, make_config: Callable, tmp_path: Path
) -> None:
    original = published("pose_resnet")
    path = _checkpoint(tmp_path / "rig.pth.tar", original)
    with pytest.raises(InputError, match=r"expected fusion weights for 4 views .* received 3 views"):
        load_model(build_model(make_config(), 4), path)
    torch.save({k: v for k, v in original.state_dict().items() if k.startswith("resnet.")}, path)
    with pytest.raises(InputError, match=r"has no fusion weights; .* NETWORK\.FUSION none"):
        load_model(build_model(make_config(), VIEWS), path)


def test_load_files_without_fitting_weights_are_refused(make_config: Callable, tmp_path: Path) -> None:
    model = build_model(make_config(), VIEWS)
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "foreign.pth")
    for load, network in ((load_model, model), (load_pretrained, model.backbone)):
        with pytest.raises(InputError, match=r"no tensor fits PoseResNet; the first name .* 'encoder\.weight'"):
            load(network, tmp_path / "foreign.pth")
        with pytest.raises(InputError, match="no such checkpoint"):
            load(network, tmp_path / "absent.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(InputError, match="received no weights"):
        load_model(model, tmp_path / "empty.pth")
    content = (tmp_path / "foreign.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="truncated"):
        load_model(model, tmp_path / "cut.pth")


class _Foreign:
    created = False

    def __init__(self) -> None:
        self.value = 1

    def __setstate__(self, state: dict) -> None:
        type(self).created = True


def test_load_model_foreign_class_is_refused(make_config: Callable, tmp_path: Path) -> None:
    model = build_model(make_config(), VIEWS)
    torch.save({"state_dict": model.state_dict(), "config": _Foreign()}, tmp_path / "foreign.pth.tar")
    with pytest.raises(InputError, match=r"foreign\.pth\.tar: .*_Foreign"):
        load_model(model, tmp_path / "foreign.pth.tar")
    assert not _Foreign.created


def test_load_pretrained_torchvision_resnet(make_config: Callable, tmp_path: Path) -> None:
    torch.manual_seed(3)
    imagenet = torchvision.models.resnet50().state_dict()
    old = {
        name: value for name, value in imagenet.items() if not name.endswith("num_batches_tracked")
    }  # as in published files
    torch.save(old, tmp_path / "resnet50.pth")
    opts = ["POSE_RESNET.NUM_LAYERS", "50", "DATA_DIR", str(tmp_path), "NETWORK.PRETRAINED", "resnet50.pth"]
    config = make_config("pose_resnet", *opts, "NETWORK.AGGRE", "false")
    state = build_model(config, VIEWS, is_train=True).backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in old.items() if not name.startswith("fc."))
    assert state["deconv_layers.0.weight"].std().item() == pytest.approx(
        0.001, rel=0.02
    )  # random, as in the original code
    other = build_model(config, VIEWS).backbone.state_dict()  # without is_train, no file is read
    assert not torch.equal(other["conv1.weight"], old["conv1.weight"])
    message = r"'layer1\.0\.conv1\.weight' expected shape \(64, 64, 3, 3\), received \(64, 64, 1, 1\)"
    with pytest.raises(InputError, match=message):
        build_model(make_config("pose_resnet", *opts, "POSE_RESNET.NUM_LAYERS", "18"), VIEWS, is_train=True)


def test_load_pretrained_flat_and_nested_mobilenet_files_are_equal(
    make_config: Callable, randomize: Callable, flat_mobilenet: Callable, tmp_path: Path
) -> None:
    flat = randomize(flat_mobilenet(last_expansion=True))
    nested = torchvision.models.mobilenet_v2().eval()
    # both list their tensors in the order of the layers
    pairs = zip(nested.features.state_dict().items(), flat.features.state_dict().values(), strict=True)
    nested.features.load_state_dict({name: value for (name, _), value in pairs})
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(flat.features(image), nested.features(image))
    torch.save({"state_dict": {f"module.{k}": v for k, v in flat.state_dict().items()}}, tmp_path / "flat.pth.tar")
    torch.save(nested.state_dict(), tmp_path / "nested.pth")
    backbones = []
    for name in ("flat.pth.tar", "nested.pth"):
        config = make_config("pose_mobilenetv2", "NETWORK.AGGRE", "false", "NETWORK.PRETRAINED", str(tmp_path / name))
        backbones.append(build_model(config, VIEWS, is_train=True).backbone.eval())
    with torch.no_grad():
        expected = flat.features[:-1](image)
        for backbone in backbones:
            torch.testing.assert_close(backbone.features(image), expected, atol=1e-5, rtol=1e-4)


def test_load_pretrained_hrnet_loads_selected_layers(make_config: Callable, tmp_path: Path) -> None:
    config = make_config("pose_hrnet", *NARROW_HRNET, "NETWORK.PRETRAINED", str(tmp_path / "hrnet.pth"))
    source = build_model(config, VIEWS).backbone.state_dict()
    extra = {name: torch.zeros(2) for name in ("incre_modules.0.0.conv1.weight", "classifier.weight")}
    extra |= {"final_layer.0.weight": torch.zeros(2), "stage4.2.fuse_layers.1.0.0.0.weight": torch.zeros(2)}
    trunk = [name for name in source if not name.startswith("final_layer")]
    torch.save({**{name: source[name] for name in trunk}, **extra}, tmp_path / "hrnet.pth")
    state = build_model(config, VIEWS, is_train=True).backbone.state_dict()
    assert all(torch.equal(state[name], source[name]) for name in trunk)

    config.MODEL_EXTRA.PRETRAINED_LAYERS = ["conv1", "stage2"]
    state = build_model(config, VIEWS, is_train=True).backbone.state_dict()
    weights = [name for name in trunk if name.endswith(("conv1.weight", "conv2.weight"))]
    same = {name for name in weights if torch.equal(state[name], source[name])}
    assert same == {name for name in weights if name.split(".")[0] in ("conv1", "stage2")}

    config.MODEL_EXTRA.PRETRAINED_LAYERS = ["stage5"]
    with pytest.raises(InputError, match=r"unknown layer 'stage5' in MODEL_EXTRA\.PRETRAINED_LAYERS; did you"):
        build_model(config, VIEWS, is_train=True)


@pytest.mark.slow
def test_load_pretrained_hrnet_loads_head_of_a_pose_network(make_config: Callable, tmp_path: Path) -> None:
    path = tmp_path / "model_best.pth.tar"
    config = make_config("pose_hrnet", *NARROW_HRNET, "NETWORK.PRETRAINED", str(path))
    source = build_model(config, VIEWS)
    torch.save(source.state_dict(), path)
    state = build_model(config, VIEWS, is_train=True).backbone.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.backbone.state_dict().items())

    config.NETWORK.NUM_JOINTS = 17  # other joints: the trunk is loaded, the head is not
    torch.save(build_model(config, VIEWS).state_dict(), path)
    config.NETWORK.NUM_JOINTS = 20
    state = build_model(config, VIEWS, is_train=True).backbone.state_dict()
    assert torch.equal(state["conv1.weight"], torch.load(path)["backbone.conv1.weight"])
    assert state["final_layer.weight"].shape[0] == 20


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        ("pose_resnet", "deconv_layers, final_layer"),
        ("pose_mobilenetv2", "deconv_layers, final_layer"),
        pytest.param("pose_hrnet", "final_layer", marks=pytest.mark.slow),
    ],
)
def test_load_pretrained_frozen_backbone_must_be_complete(
    backbone: str, head: str, make_config: Callable, randomize: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "single.pth.tar"
    opts = ["NETWORK.FUSION", "adaptive", "TRAIN.FREEZE_BACKBONE", "true", "NETWORK.PRETRAINED"]
    config = make_config(backbone, *NARROW_HRNET, *opts, str(path))
    source = randomize(build_model(config, VIEWS)).backbone.state_dict()
    torch.save({f"backbone.{name}": value for name, value in source.items()}, path)  # without fusion weights
    state = build_model(config, VIEWS, is_train=True).backbone.state_dict()
    assert all(torch.equal(state[name], value) for name, value in source.items())

    trunk = {name: value for name, value in source.items() if not name.startswith(("deconv_layers", "final_layer"))}
    other_joints = {**source, "final_layer.weight": torch.zeros(17, *source["final_layer.weight"].shape[1:])}
    for content, layers in ((trunk, head), (other_joints, "final_layer")):
        torch.save(content, path)
        with pytest.raises(
            InputError, match=rf"{layers} are missing or of another network, but TRAIN\.FREEZE_BACKBONE"
        ):
            build_model(config, VIEWS, is_train=True)
    torch.save(dict(list(source.items())[1:]), path)
    with pytest.raises(InputError, match="is missing"):
        build_model(config, VIEWS, is_train=True)
    fresh = make_config(backbone, *NARROW_HRNET, *opts, "")
    with pytest.raises(InputError, match=r"NETWORK\.PRETRAINED: .* received ''; TRAIN\.FREEZE_BACKBONE"):
        build_model(fresh, VIEWS, is_train=True)
    assert build_model(fresh, VIEWS, is_train=True, resumes=True).frozen  # the checkpoint holds the backbone


def test_load_pretrained_frozen_backbone_other_head_is_refused(make_config: Callable, tmp_path: Path) -> None:
    path = tmp_path / "single.pth.tar"
    opts = ["NETWORK.FUSION", "adaptive", "TRAIN.FREEZE_BACKBONE", "true", "NETWORK.PRETRAINED", str(path)]
    with_bias = build_model(make_config("pose_resnet", *opts, "POSE_RESNET.DECONV_WITH_BIAS", "true"), VIEWS)
    torch.save(with_bias.state_dict(), path)
    with pytest.raises(InputError, match="deconv_layers are missing or of another network"):
        build_model(make_config("pose_resnet", *opts), VIEWS, is_train=True)


def test_load_pretrained_multi_view_checkpoint(published: Callable, make_config: Callable, tmp_path: Path) -> None:
    original = published("pose_resnet")
    path = _checkpoint(tmp_path / "single.pth.tar", original, "module.")
    model = build_model(make_config("pose_resnet", "NETWORK.PRETRAINED", str(path)), VIEWS, is_train=True)
    state = model.backbone.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in original.resnet.state_dict().items())
    assert not torch.equal(model.fusion.weight[0, 0], original.aggre_layer.aggre[0].weight)


def test_load_pretrained_missing_file_is_refused(make_config: Callable, tmp_path: Path) -> None:
    config = make_config("pose_resnet", "NETWORK.PRETRAINED", "absent.pth", "DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match=r"no such file .*absent\.pth; .*--opts NETWORK\.PRETRAINED ''"):
        build_model(config, VIEWS, is_train=True)


def test_load_model_weights_of_other_fusions(make_config: Callable, tmp_path: Path) -> None:
    """Fusions without weights accept any checkpoint; fusions with weights need their own."""
    paths = {}
    for kind in ("none", "learned", "adaptive"):
        model = build_model(make_config("pose_resnet", "NETWORK.FUSION", kind), VIEWS)
        paths[kind] = tmp_path / f"{kind}.pth.tar"
        torch.save(model.state_dict(), paths[kind])
    for kind in ("none", "epipolar_sum", "epipolar_max"):
        for path in paths.values():
            load_model(build_model(make_config("pose_resnet", "NETWORK.FUSION", kind), 2), path)
    adaptive = build_model(make_config("pose_resnet", "NETWORK.FUSION", "adaptive"), 8)  # any number of views
    load_model(adaptive, paths["adaptive"])
    with pytest.raises(InputError, match=r"has no fusion weights; .* train a fusion from it with NETWORK\.PRETRAINED"):
        load_model(adaptive, paths["none"])
    with pytest.raises(
        InputError, match=r"expected weights of AdaptiveFusion, received the matrices of NETWORK\.FUSION learned"
    ):
        load_model(adaptive, paths["learned"])
    with pytest.raises(InputError, match=r"expected weights of CrossViewFusion, received 'fusion\.sharpness'"):
        load_model(build_model(make_config(), VIEWS), paths["adaptive"])


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda tensor: tensor * float("nan"), "NaN or infinity"),
        (lambda tensor: tensor.to_sparse(), "a sparse one"),
        (lambda tensor: tensor.to("meta"), "a meta one"),
        (lambda tensor: tensor.to(torch.int64), "integers"),
        (lambda tensor: tensor.to(torch.complex64), "a complex one"),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_load_unusable_tensors_are_refused(
    make_config: Callable, tmp_path: Path, change: Callable, kind: str, whole: bool
) -> None:
    model = build_model(make_config("pose_resnet"), VIEWS)
    state = model.state_dict()
    state["backbone.conv1.weight"] = change(state["backbone.conv1.weight"])
    torch.save({"state_dict": state}, tmp_path / "diverged.pth")
    with pytest.raises(InputError, match=f"diverged.pth: '.*conv1.weight': expected .*{kind}"):
        load_model(model, tmp_path / "diverged.pth") if whole else load_pretrained(
            model.backbone, tmp_path / "diverged.pth"
        )
