from __future__ import annotations

import copy
import logging

import pytest
import torch
from cvf_tests.view_by_view import ViewByView, largest_differences, relative
from torch import nn

from lib.models.fusion import CrossViewFusion
from lib.models.multiview_pose import MultiViewPose
from lib.models.pose_hrnet import HRStage, PoseHRNet
from lib.models.pose_mobilenetv2 import PoseMobileNetV2
from lib.models.pose_resnet import PoseResNet
from lib.models.training_pass import CompiledPass, one_pass_norms

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
STAGES = [HRStage(1, [1] * n, [4 * 2**i for i in range(n)]) for n in (2, 3, 4)]
BACKBONES = {
    "resnet": lambda: PoseResNet(18, 5, deconv_filters=(8, 8, 8)),
    "mobilenetv2": lambda: PoseMobileNetV2(5, (8, 8, 8)),
    "hrnet": lambda: PoseHRNet(STAGES, 5),
}


class Small(nn.Module):
    """Two convolutions with batch norms: (B, 3, 8, 8) -> (B, 4, 4, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),  # a bias before a batch norm has no gradient
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 4, 1, bias=False),
            nn.BatchNorm2d(4),
        )

    def forward(self, images):
        return self.layers(images)


def images_of(batch, views, size, dtype=torch.float64, memory_format=torch.contiguous_format):
    """(B, V, 3, size, size) images that differ in brightness between views, in view order in memory."""
    torch.manual_seed(1)
    images = torch.randn(views, batch, 3, size, size, dtype=dtype) + torch.arange(views)[:, None, None, None, None]
    flat = images.flatten(0, 1).contiguous(memory_format=memory_format)
    return flat.unflatten(0, (views, batch)).transpose(0, 1)


def backward(model, images):
    single_view, fused = model(images)
    target = torch.linspace(-1, 1, single_view.numel(), dtype=images.dtype).view_as(single_view)
    loss = (single_view - target).square().mean() + (0 if fused is None else fused.square().mean())
    loss.backward()
    return single_view.detach()


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("num_views", [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", BACKBONES)
def test_train_all_views_equals_the_loop_over_views_in_float64(name, num_views, memory_format):
    """Outputs, gradients of the backbone and the fusion, running statistics, two passes in sequence."""
    torch.manual_seed(0)
    size = 64
    model = MultiViewPose(BACKBONES[name](), CrossViewFusion(num_views, (size // 4, size // 4))).double().train()
    model.backbone.to(memory_format=memory_format)
    reference = ViewByView(model).train()
    for scale in (1, 2):
        images = scale * images_of(2, num_views, size, memory_format=memory_format)
        assert relative(backward(model, images), backward(reference, images)) < 1e-12
        gradients, buffers = largest_differences(model, reference)
        assert gradients < 1e-11  # sums over the views in another order
        assert buffers < 1e-12
    assert model.state_dict().keys() == reference.state_dict().keys()


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", BACKBONES)
def test_train_all_views_equals_the_loop_over_views_in_float32(name, memory_format):
    torch.manual_seed(0)
    model = MultiViewPose(BACKBONES[name]()).train()
    model.backbone.to(memory_format=memory_format)
    reference = ViewByView(model).train()
    images = images_of(4, 3, 64, torch.float32, memory_format)
    assert relative(backward(model, images), backward(reference, images)) < 1e-4
    assert largest_differences(model, reference)[1] < 1e-5


def test_train_all_views_backbone_without_batch_norm_is_one_call():
    calls = []
    model = MultiViewPose(nn.Conv2d(3, 2, 1)).train()
    model.backbone.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    assert model(images_of(2, 3, 8, torch.float32))[0].shape == (2, 3, 2, 8, 8)
    assert calls == [6]


def test_train_all_views_norms_in_evaluation_mode_keep_their_statistics():
    model = MultiViewPose(Small()).train()
    model.backbone.layers[1].eval()
    model(images_of(2, 3, 8, torch.float32))
    assert [model.backbone.layers[index].num_batches_tracked.item() for index in (1, 4)] == [0, 3]


@pytest.mark.parametrize("replaced", [nn.SyncBatchNorm.convert_sync_batchnorm, lambda x: x.append(nn.BatchNorm1d(2))])
def test_one_pass_norms_other_batch_norms_are_refused(replaced):
    backbone = nn.Sequential(nn.BatchNorm2d(3))
    model = MultiViewPose(backbone)
    assert one_pass_norms(model.backbone) is not None
    assert one_pass_norms(replaced(backbone)) is None


def test_one_pass_norms_different_momentum_is_refused():
    backbone = MultiViewPose(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=0.2))).backbone
    assert one_pass_norms(backbone) is None


def test_forward_synchronized_batch_norms_run_view_by_view():
    calls = []
    model = MultiViewPose(Small()).train()
    model.backbone = nn.SyncBatchNorm.convert_sync_batchnorm(model.backbone)
    model.backbone.forward = lambda images: calls.append(images.shape) or images  # they need CUDA
    model(images_of(2, 3, 8, torch.float32))
    assert calls == [(2, 3, 8, 8)] * 3


# --- compiled pass ----------------------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    """pair(backend) -> a model with a compiled pass for batches of 4 groups, and the same model without."""

    def make(backend):
        torch._dynamo.reset()
        torch.manual_seed(0)
        plain = MultiViewPose(Small()).double().train()
        model = copy.deepcopy(plain)
        model.compiled = CompiledPass(4, uses_graphs=False, backend=backend)
        return model, plain

    return make


def messages_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("lib.")]


def num_graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_pass_equals_the_eager_pass(pair, backend, caplog):
    model, plain = pair(backend)
    graphs = num_graphs()
    with caplog.at_level(logging.INFO):
        for scale in (1, 2):
            images = scale * images_of(4, 3, 8)
            assert relative(backward(model, images), backward(plain, images)) < 1e-12
    assert num_graphs() == graphs + 1
    (message,) = messages_of(caplog)
    assert "backbone compiled in" in message
    gradients, buffers = largest_differences(model, plain)
    assert gradients < 1e-11
    assert buffers < 1e-12  # the trial counts for nothing
    assert model.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_compiled_pass_traces_every_backbone_in_one_piece(name, caplog):
    """Tracing alone, under autocast and in channels last, as on a GPU."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = MultiViewPose(BACKBONES[name]()).train()
    model.backbone.to(memory_format=torch.channels_last)
    plain, exact = copy.deepcopy(model), copy.deepcopy(model)
    model.compiled = CompiledPass(2, uses_graphs=False, backend="eager")
    graphs = num_graphs()
    images = images_of(2, 2, 64, torch.float32, torch.channels_last)
    with caplog.at_level(logging.INFO), torch.autocast("cpu", torch.bfloat16):
        found, expected = model(images)[0], plain(images)[0]
    assert num_graphs() == graphs + 1
    assert ["backbone compiled in" in message for message in messages_of(caplog)] == [True]
    assert found.dtype == expected.dtype == torch.bfloat16
    errors = [(maps.float() - exact(images)[0]).square().mean().sqrt() for maps in (found, expected)]
    assert errors[0] < 1.3 * errors[1]  # few values per statistic enlarge the rounding of both


def test_compiled_pass_other_sizes_and_evaluation_are_eager(pair, caplog):
    model, plain = pair("aot_eager")
    graphs = num_graphs()
    with caplog.at_level(logging.INFO):
        images = images_of(3, 3, 8)  # the last batch of an epoch
        assert torch.equal(backward(model, images), backward(plain, images))
        model.eval()
        plain.eval()
        images = images_of(4, 3, 8)
        assert torch.equal(model(images)[0], plain(images)[0])
    assert num_graphs() == graphs
    assert messages_of(caplog) == []


@pytest.mark.parametrize("fails_in", ["forward", "backward"])
def test_compiled_pass_failing_compiler_warns_once_and_runs_eagerly(pair, caplog, fails_in):
    def broken(graph, inputs):
        if fails_in == "forward":
            raise RuntimeError("no Triton\nsecond line")

        class Broken(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *values):
                return tuple(value.clone() for value in values)

            @staticmethod
            def backward(ctx, *grads):
                raise RuntimeError("no Triton\nsecond line")

        return lambda *values: tuple(Broken.apply(*graph(*values)))

    model, plain = pair(broken)
    for scale in (1, 2, 3):
        images = scale * images_of(4, 3, 8)
        assert torch.equal(backward(model, images), backward(plain, images))
    assert messages_of(caplog) == [
        "TRAIN.COMPILE: torch.compile failed (RuntimeError: no Triton); training runs without it, more slowly"
    ]
    assert largest_differences(model, plain) == (0.0, 0.0)


def test_compiled_pass_graphs_results_survive_the_next_replay(monkeypatch):
    """A stand-in for CUDA graphs: every call returns the same memory, and steps are marked."""
    marks = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    static = {}

    def compile_to_static(run, **options):
        assert options == {"backend": "inductor", "dynamic": False, "fullgraph": True, "mode": "reduce-overhead"}

        def replay(backbone, norms, images):
            heatmaps, statistics = run(backbone, norms, images)
            kept = static.setdefault("heatmaps", heatmaps.detach().clone())
            kept.copy_(heatmaps.detach())
            return heatmaps + (kept - heatmaps.detach()), statistics

        return replay

    monkeypatch.setattr(torch, "compile", compile_to_static)
    model = MultiViewPose(Small()).train()
    model.compiled = CompiledPass(2, uses_graphs=True)
    first = model(images_of(2, 2, 8, torch.float32))[0]
    before = first.detach().clone()
    model(-images_of(2, 2, 8, torch.float32))
    assert torch.equal(first, before)
    assert len(marks) == 4  # two of the trial
    assert model.backbone.layers[1].num_batches_tracked == 4
