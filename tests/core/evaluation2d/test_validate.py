from __future__ import annotations

import logging
import tracemalloc
import weakref
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from cvf_tests.stubs import CPU, Table, inputs_of
from torch import nn

from lib.core.evaluation2d.predict_images import _rows_of_batch
from lib.core.evaluation2d.validate import validate
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.core.loss import training_losses
from lib.dataset.network_input import network_images
from lib.utils.errors import InputError
from lib.utils.files.prediction_file import PredictionWriter
from lib.utils.joints import H36M_17, MPII_16, UNION_20, union_subset

settings = ValidationSettings.from_config


def random_maps(batch, seed=0):
    shape = (*batch["crops"].shape[:2], 20, 16, 16)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_validate_writes_rows_in_order_with_the_joints_of_the_data_set(loaders, tmp_path):
    config, _, loader = loaders(num_views=3, frames=3, mpii=0)()
    outputs = [(random_maps(batch, 2 * i), random_maps(batch, 2 * i + 1)) for i, batch in enumerate(loader)]
    names = [loader.dataset.image_name(i) for i in range(9)]
    peaks = (1, "argmax")
    with PredictionWriter(tmp_path / "p.h5", 9, H36M_17.names, (16, 16), rows_per_chunk=3, peaks=peaks) as writer:
        chosen = replace(settings(config, output="heatmaps"), single_view_peaks=peaks)
        result = validate(Table(outputs), loader, chosen, CPU, writer)
    single_view = torch.cat([single.flatten(0, 1) for single, _ in outputs]).numpy()
    fused = torch.cat([fused.flatten(0, 1) for _, fused in outputs]).numpy()
    annotations = loader.dataset.parts[0].annotations
    with h5py.File(tmp_path / "p.h5") as file:
        assert [name.decode() for name in file["image_ids"]] == names
        for column, name in enumerate(H36M_17.names):
            joint = UNION_20.names.index(name)
            np.testing.assert_array_equal(file["heatmaps"][:, column], fused[:, joint])
            for row in range(9):
                y, x = np.unravel_index(fused[row, joint].argmax(), (16, 16))
                place = annotations.center[row] - 60 + np.array([x, y]) * 7.5  # boxes of 120 px on 16 heatmap px
                np.testing.assert_allclose(file["locations"][row, column, :2], place, rtol=1e-5)
                assert file["locations"][row, column, 2] == fused[row, joint, y, x]
                y, x = np.unravel_index(single_view[row, joint].argmax(), (16, 16))
                expected = [x, y, single_view[row, joint, y, x]]
                assert file["single_view_peaks"][row, column, 0].tolist() == expected
    assert result.joint_names == list(H36M_17.names)
    assert result.num_images == 9
    for name in ("fused", "single_view"):
        hits = result.hits[f"{name}, {result.jdr_threshold} threshold"]
        rates = [(column == 1).sum() / (column >= 0).sum() for column in hits.T]
        np.testing.assert_allclose(rates, result.rates[f"{name}, {result.jdr_threshold} threshold"])
        assert hits.shape == (9, 17)


def test_validate_rates_fused_and_single_view_heatmaps(loaders):
    config, _, loader = loaders(num_views=2, frames=2, mpii=0)("TEST.JDR_THRESHOLD", "crop")
    (inputs,) = inputs_of(loader)
    gt = inputs.target
    worse = gt.clone()
    worse[0, 1, UNION_20.index("nose")] = 0  # one of four images
    worse[:, :, UNION_20.index("lwri")] = 0
    model = Table([(worse, gt)])
    result = validate(model, loader, settings(config), CPU)
    assert not model.training
    assert list(result.rates) == [
        "fused, crop threshold",
        "single_view, crop threshold",
        "fused, published threshold",
        "single_view, published threshold",
    ]
    # half a heatmap px of rounding per axis is at most 5.3 px, a twentieth of the crop is 6 px
    assert result.perf == 1.0
    expected = np.ones(17)
    expected[H36M_17.index("nose")], expected[H36M_17.index("lwri")] = 0.75, 0
    np.testing.assert_allclose(result.rates["single_view, crop threshold"], expected)
    assert result.rates["fused, published threshold"].mean() < 1  # 3.2 px is less than the rounding


@pytest.mark.parametrize("has_fusion", [False, True])
def test_validate_loss_equals_the_training_loss(loaders, has_fusion):
    config, _, loader = loaders(num_views=2, frames=3, mpii=4)("DATASET.TEST_DATASET", "mixed", "TEST.BATCH_SIZE", "2")
    assert len(loader.dataset) == 5
    outputs = [(random_maps(batch, 1), random_maps(batch, 2) if has_fusion else None) for batch in loader]
    result = validate(Table(outputs), loader, settings(config, with_loss=True), CPU)
    losses = [
        training_losses(*maps, inputs.target, inputs.weight, inputs.is_multiview).total.item() * len(inputs)
        for maps, inputs in zip(outputs, inputs_of(loader), strict=True)
    ]
    assert result.loss == pytest.approx(sum(losses) / 5)
    assert validate(Table(outputs), loader, settings(config), CPU).loss is None


def test_validate_joints_not_learned_have_empty_heatmaps_and_do_not_count(loaders, tmp_path):
    learned = [name for name in H36M_17.names if name in MPII_16.names]
    assert len(learned) == 13
    config, _, loader = loaders(num_views=2, frames=2, mpii=0)(
        "TEST.JDR_THRESHOLD", "crop", "TEST.JOINTS", str(learned)
    )
    (inputs,) = inputs_of(loader)
    gt = inputs.target.clone()
    gt[:, :, UNION_20.indices(["neck", "nose"])] = 1.0
    with PredictionWriter(tmp_path / "p.h5", 4, H36M_17.names, (16, 16), rows_per_chunk=2) as writer:
        result = validate(Table([(gt, gt)]), loader, settings(config, output="heatmaps"), CPU, writer)
    others = [name not in learned for name in H36M_17.names]
    np.testing.assert_array_equal(np.isnan(result.rates["fused, crop threshold"]), others)
    assert result.perf == 1.0
    with h5py.File(tmp_path / "p.h5") as file:
        assert not file["heatmaps"][:][:, others].any()
        assert not file["locations"][:][:, others, 2].any()
        assert (file["locations"][:][:, ~np.array(others), 2] > 0).all()


def test_validate_unknown_joint_is_refused(loaders):
    config, _, loader = loaders(num_views=2, frames=2, mpii=0)("TEST.JOINTS", "[root, toe]")
    with pytest.raises(InputError, match=r"unknown joint 'toe' in TEST\.JOINTS"):
        validate(Table([]), loader, settings(config), CPU)


def test_validate_occluded_joints_have_separate_rates(loaders):
    nose = H36M_17.index("nose")

    def edit(records):
        for row, record in enumerate(records):
            record["joints_occluded"] = np.arange(17) == (nose if row % 2 else -1)

    config, _, loader = loaders(num_views=2, frames=2, mpii=0, edit=edit)("TEST.JDR_THRESHOLD", "crop")
    (inputs,) = inputs_of(loader)
    gt = inputs.target
    worse = inputs.target.clone()
    worse[0, 1, UNION_20.index("nose")] = 0  # one of the two images that do not show it
    result = validate(Table([(worse, gt)]), loader, settings(config), CPU)
    rates = result.rates
    assert result.tables().endswith(
        "all joints 4, occluded joints 2, visible joints 2 to 4. A rate over fewer than 100 images is imprecise."
    )
    assert list(rates)[-4:] == [
        f"{maps}, crop threshold, {which} joints"
        for which in ("occluded", "visible")
        for maps in ("fused", "single_view")
    ]
    assert rates["single_view, crop threshold, occluded joints"][nose] == 0.5
    assert rates["fused, crop threshold, occluded joints"][nose] == 1
    assert np.isnan(np.delete(rates["single_view, crop threshold, occluded joints"], nose)).all()
    assert (rates["single_view, crop threshold, visible joints"] == 1).all()


@pytest.mark.parametrize("kind", ["published", "crop"])
def test_validate_perf_is_the_mean_at_the_configured_threshold(loaders, kind):
    config, _, loader = loaders(num_views=2, frames=2, mpii=0)("TEST.JDR_THRESHOLD", kind)
    (inputs,) = inputs_of(loader)
    result = validate(Table([(inputs.target, None)]), loader, settings(config), CPU)
    assert next(iter(result.rates)) == f"single_view, {kind} threshold"
    assert result.perf == pytest.approx(result.rates[f"single_view, {kind} threshold"].mean())
    assert result.original_perf == pytest.approx(result.rates["single_view, published threshold"].mean())
    header, _, row, *_ = [line.split("|")[1:-1] for line in result.tables().splitlines() if line.startswith("|")]
    names = [name.strip() for name in header]
    assert float(row[names.index("mean")]) == pytest.approx(100 * result.perf, abs=0.051)
    assert names[0] == "JDR (%)"
    assert (names[-1] == "original code's threshold") == (kind == "crop")
    assert float(row[-1]) == pytest.approx(100 * result.original_perf, abs=0.051)


@pytest.mark.parametrize("name", ["mpii", "multiview_mpii"])
def test_validate_repeated_images_count_once(loaders, tmp_path, name):
    config, _, loader = loaders(num_views=2, frames=1, mpii=6, mpii_head_px=30.0)(
        "DATASET.TEST_DATASET", name, "TEST.JDR_THRESHOLD", "head", "NETWORK.AGGRE", "false"
    )
    batches = list(loader)
    rows = sum(batch["image_index"].numel() for batch in batches)
    assert rows == {"mpii": 6, "multiview_mpii": 8}[name]
    outputs = [inputs.target for inputs in inputs_of(loader)]
    lwri = UNION_20.index("lwri")
    outputs[0].flatten(0, 1)[0, lwri] = 0  # image 0, which comes again at the end: missed the first time
    names = [UNION_20.names[joint] for joint in union_subset(MPII_16)]
    with PredictionWriter(tmp_path / "p.h5", rows, names, (16, 16)) as writer:
        model = Table([(maps, None) for maps in outputs])
        result = validate(model, loader, settings(config, output="heatmaps"), CPU, writer)
    assert result.num_images == 6
    found = dict(zip(names, result.rates["single_view, head threshold"], strict=True))
    assert found["lwri"] == pytest.approx(5 / 6)
    assert found["rwri"] == found["root"] == 1
    assert result.perf == pytest.approx((14 + 5 / 6) / 15)  # head top is not annotated
    score = result.pckh["single_view"]["PCKh@0.5"]
    assert score["Wrist"] == pytest.approx((5 / 6 + 1) / 2)
    assert score["Mean"] == pytest.approx(77 / 78)  # 13 joints of 6 images, one missed
    assert np.isnan(score["Head"])
    assert result.pckh["single_view"]["PCKh@0.1"]["Mean"] < 0.9  # 3 px are less than the rounding to 7.5 px
    assert result.tables().count("| single") == 1 + 1
    with h5py.File(tmp_path / "p.h5") as file:
        images = [image.decode() for image in file["image_ids"]]
    assert images == [loader.dataset.image_name(i % 6) for i in range(rows)]


def test_validate_mixed_data_pckh_counts_mpii_images_only(loaders):
    config, _, loader = loaders(num_views=2, frames=1, mpii=3, mpii_head_px=30.0)("DATASET.TEST_DATASET", "mixed")
    batches = list(loader)
    assert [batch["is_multiview"].tolist() for batch in batches] == [[True, False], [False]]
    gt = [inputs.target for inputs in inputs_of(loader)]
    nothing = [maps * 0 for maps in gt]
    nothing[0][1], nothing[1][0] = gt[0][1], gt[1][0]  # Human3.6M's all missed
    result = validate(Table([(maps, maps) for maps in nothing]), loader, settings(config), CPU)
    assert result.num_images == 2 + 3
    assert result.pckh.keys() == {"fused", "single_view"}
    assert result.pckh["fused"]["PCKh@0.5"]["Mean"] == 1
    found = dict(zip(result.joint_names, result.rates["fused, head threshold"], strict=True))
    assert found["root"] == 1
    assert np.isnan(found["belly"])
    crop_rates = dict(zip(result.joint_names, result.rates["fused, crop threshold"], strict=True))
    assert crop_rates["root"] == pytest.approx(3 / 5)


def test_validate_without_head_sizes_has_no_pckh(loaders):
    config, _, loader = loaders(num_views=2, frames=1, mpii=4)("DATASET.TEST_DATASET", "mpii")
    result = validate(Table([(inputs.target, None) for inputs in inputs_of(loader)]), loader, settings(config), CPU)
    assert result.pckh == {}
    assert list(result.rates) == ["single_view, crop threshold", "single_view, published threshold"]
    assert "PCKh" not in result.tables()


def test_validate_unrelated_images_count_with_single_view_heatmaps(loaders):
    config, _, loader = loaders(num_views=2, frames=1, mpii=2)(
        "DATASET.TEST_DATASET", "mixed", "TEST.JDR_THRESHOLD", "crop"
    )
    (inputs,) = inputs_of(loader)  # one group, one pair of MPII images
    assert inputs.is_multiview.tolist() == [True, False]
    gt = inputs.target
    nothing = inputs.target * 0
    fused, single_view = torch.stack([gt[0], nothing[1]]), torch.stack([nothing[0], gt[1]])
    result = validate(Table([(single_view, fused)]), loader, settings(config), CPU)
    assert result.joint_names == list(UNION_20.names)
    found = dict(zip(result.joint_names, result.rates["fused, crop threshold"], strict=True))
    assert found["root"] == found["nose"] == found["thorax"] == 1.0
    assert np.isnan(found["head top"])  # not annotated
    assert result.perf == 1.0


def test_validate_flip_test_swaps_left_and_right_and_aligns(loaders):
    config, _, loader = loaders(num_views=2, frames=1, mpii=0)()
    (batch,) = loader
    plain, mirrored = random_maps(batch, 0), random_maps(batch, 1)

    class Flipped(nn.Module):
        def forward(self, images, views=None):
            expected = network_images(batch["crops"], CPU)
            if torch.equal(images, expected):
                return plain, None
            assert torch.equal(images, expected.flip(-1))
            return mirrored, None

    pairs = [(UNION_20.index(a), UNION_20.index(b)) for a, b in UNION_20.flip_pairs]
    shown = []
    validate(
        Flipped(),
        loader,
        replace(settings(config), flip_test=True),
        CPU,
        debug=lambda step, _, single_view, routed: shown.append((step, routed)),
    )
    other = {**dict(pairs), **{b: a for a, b in pairs}}
    expected = torch.empty_like(plain)
    for joint in range(20):
        for x in range(16):
            there = 15 - max(x - 1, 0)  # mirrored back, then one px to the right
            partner = mirrored[..., other.get(joint, joint), :, there]
            expected[..., joint, :, x] = (plain[..., joint, :, x] + partner) / 2
    assert [step for step, _ in shown] == [0]
    torch.testing.assert_close(shown[0][1], expected)


def test_validate_logs_progress_at_print_freq(loaders, caplog):
    config, _, loader = loaders(num_views=2, frames=5, mpii=0)("TEST.BATCH_SIZE", "1", "PRINT_FREQ", "2")
    with caplog.at_level(logging.INFO):
        validate(Table([(random_maps(batch), None) for batch in loader]), loader, settings(config), CPU)
    assert caplog.messages == ["validation step 2/5", "validation step 4/5"]


def test_validate_memory_does_not_grow_with_the_heatmaps(loaders):
    config, _, loader = loaders(num_views=2, frames=14, mpii=0)("TEST.BATCH_SIZE", "1")
    numpy_bytes, tensors, alive = [], [], []

    class Large(nn.Module):
        def forward(self, images, views=None):
            numpy_bytes.append(tracemalloc.get_traced_memory()[0])
            alive.append(sum(tensor() is not None for tensor in tensors))
            maps = torch.ones(1, 2, 20, 128, 128)
            tensors.append(weakref.ref(maps))
            return maps, maps * 2

    tracemalloc.start()
    validate(Large(), loader, settings(config), CPU)
    tracemalloc.stop()
    assert len(alive) == 14
    assert max(alive) <= 2  # the heatmaps of the batch before may still have a name
    assert numpy_bytes[-1] - numpy_bytes[3] < 2**20  # kept arrays would be 2 MB per batch


def test_validate_decodes_a_batch_after_the_next_one_is_sent(loaders, monkeypatch):
    config, _, loader = loaders(num_views=2, frames=5, mpii=0)()
    order = []

    class Recorded(Table):
        def forward(self, images, views=None):
            order.append("predict")
            return super().forward(images, views)

    def decode(*words):
        order.append("decode")
        return _rows_of_batch(*words)

    monkeypatch.setattr("lib.core.evaluation2d.predict_images._rows_of_batch", decode)
    validate(Recorded([(random_maps(batch), None) for batch in loader]), loader, settings(config), CPU)
    assert order == ["predict", "predict", "decode", "predict", "decode", "decode"]


@pytest.mark.gpu
@pytest.mark.parametrize("output", ["heatmaps", "locations"])
def test_validate_on_cuda_equals_the_cpu(loaders, tmp_path, output):
    config, _, loader = loaders(num_views=3, frames=9, mpii=0)("TEST.PEAK_MODE", "quarter")
    outputs = [(random_maps(batch, 2 * i), random_maps(batch, 2 * i + 1)) for i, batch in enumerate(loader)]
    results = []
    for device in (CPU, torch.device("cuda")):
        wh = (16, 16) if output == "heatmaps" else None
        moved = [tuple(maps.to(device) for maps in pair) for pair in outputs]
        with PredictionWriter(tmp_path / f"{device}.h5", 27, H36M_17.names, wh, rows_per_chunk=3) as writer:
            model = Table(moved).to(device)
            results.append(validate(model, loader, settings(config, output=output), device, writer))
    with h5py.File(tmp_path / "cpu.h5") as expected, h5py.File(tmp_path / "cuda.h5") as found:
        for name in expected:
            np.testing.assert_array_equal(found[name][:], expected[name][:], name)
    for name, rates in results[0].rates.items():
        np.testing.assert_array_equal(results[1].rates[name], rates)
