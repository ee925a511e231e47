from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.core.config_io import load_config
from lib.core.evaluation2d.decode import get_max_preds
from lib.dataset.network_input import network_images
from lib.dataset.own_cameras.blazepose_files import LANDMARKS
from lib.dataset.own_cameras.keypoint_sets import POINT_SETS
from lib.models.pose_blazepose import BlazePose, build_blazepose, midpoint_maps
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, UNION_20

POINTS = POINT_SETS["blazepose33"]
# Joint -> its place (x, y) on the map; the root is the auxiliary point 33.
PLACES = {name: (4 + number, 60 - number) for number, name in enumerate(POINTS)} | {"hips": (40, 20)}


def gaussians(places) -> np.ndarray:
    """Draw Gaussians at places (K, 2): (K, 64, 64)."""
    rows, columns = np.mgrid[:64, :64]
    places = np.asarray(places, float)[:, :, None, None]
    return np.exp(-((columns - places[:, 0]) ** 2 + (rows - places[:, 1]) ** 2) / 8)


def stand_in(crops: np.ndarray) -> np.ndarray:
    """Logits with every landmark at its place, whatever the crops show."""
    maps = gaussians([*(PLACES[name] for name in POINTS), PLACES["hips"], *[(0, 0)] * 5])
    probability = np.clip(0.9 * maps, 1e-6, 1)
    logits = np.log(probability / (1 - probability)).transpose(1, 2, 0)
    return np.repeat(logits[None], len(crops), 0).astype(np.float32)


def peaks(heatmaps: torch.Tensor) -> torch.Tensor:
    best = heatmaps.flatten(-2).argmax(-1)
    return torch.stack([best % 64, best // 64], -1)


def test_blazepose_heatmaps_are_in_union_order():
    heatmaps = BlazePose(stand_in)(torch.zeros(2, 3, 256, 256))
    assert heatmaps.shape == (2, 20, 64, 64)
    found = dict(zip(UNION_20.names, peaks(heatmaps)[1].tolist(), strict=True))
    for name in (name for name in H36M_17.names if name in POINTS):
        assert found[name] == list(PLACES[name])
    assert found["root"] == [40, 20]
    lacking = [name for name in UNION_20.names if name not in H36M_17.names]
    assert not heatmaps[:, UNION_20.indices(lacking)].any()
    assert heatmaps[0, UNION_20.index("nose")].max() == pytest.approx(0.9, abs=0.03)


def test_blazepose_belly_neck_and_head_are_midpoints():
    heatmaps = BlazePose(stand_in)(torch.zeros(1, 3, 256, 256))[0]
    neck = np.mean([PLACES["lsho"], PLACES["rsho"]], 0)
    head = np.mean([PLACES[name] for name in ("leye", "reye", "lear", "rear")], 0)
    for name, place in (("neck", neck), ("belly", (neck + PLACES["hips"]) / 2), ("head", head)):
        one = heatmaps[UNION_20.index(name)].numpy()
        rows, columns = np.mgrid[:64, :64]
        np.testing.assert_allclose(
            [(one * columns).sum() / one.sum(), (one * rows).sum() / one.sum()], place - 1 / 8, atol=0.1
        )
        assert 0.8 < one.max() <= 0.91


def test_blazepose_peaks_are_on_the_grid_of_the_other_backbones():
    """Mirroring a crop about its center must mirror x = 4 u about it, too; BlazePose's u is (x + 0.5) / 4."""
    heatmaps = BlazePose(stand_in)(torch.zeros(1, 3, 256, 256))[0, UNION_20.index("nose")].numpy()
    found, _ = get_max_preds(heatmaps[None, None], "log_quadratic")
    np.testing.assert_allclose(4 * found[0, 0], 4 * np.array(PLACES["nose"]) - 0.5, atol=0.05)


def test_blazepose_gets_rgb_from_0_to_1():
    received = []

    def keep(crops: np.ndarray) -> np.ndarray:
        received.append(crops)
        return stand_in(crops)

    crops = np.random.default_rng(0).integers(0, 256, (1, 2, 256, 256, 3), np.uint8)
    BlazePose(keep)(network_images(torch.from_numpy(crops), torch.device("cpu"))[0])
    np.testing.assert_allclose(received[0], crops[0, ..., ::-1] / 255, atol=1e-5)


def test_blazepose_other_crop_size_is_refused():
    with pytest.raises(InputError, match=r"NETWORK\.IMAGE_SIZE: expected 256 x 256 for .*, received 320 x 256"):
        BlazePose(stand_in)(torch.zeros(1, 3, 256, 320))


def test_build_blazepose_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no such network; fetch it with run/demo/fetch_blazepose\.py"):
        build_blazepose(str(tmp_path / LANDMARKS), 20)


@pytest.fixture
def network() -> BlazePose:
    """Needs the file, see run/demo/fetch_blazepose.py, and the package ai-edge-litert."""
    pytest.importorskip("ai_edge_litert")
    config = load_config("experiments-local/own/blazepose/256_nofusion.yaml")
    try:
        return build_blazepose(config.BLAZEPOSE.FILE, 20)
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_build_blazepose_runs_the_networks_file(network):
    images = torch.randn(3, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    heatmaps = network(images)
    torch.testing.assert_close(network(images[1:2]), heatmaps[1:2], rtol=0, atol=1e-4)
    assert heatmaps.shape == (3, 20, 64, 64)
    assert 0 <= heatmaps.min() < heatmaps.max() <= 1


def test_midpoint_maps_two_peaks_give_two_midpoints():
    first = gaussians([(10, 20)]) + 0.8 * gaussians([(50, 20)])
    middle = midpoint_maps(first[None], 0.5 * gaussians([(20, 40)])[None])[0, 0]
    assert peaks(torch.from_numpy(middle)).tolist() == [15, 30]
    assert middle[30, 15] == pytest.approx(0.5**0.5, abs=1e-6)
    assert middle[30, 35] == pytest.approx(0.8 * 0.5**0.5, rel=0.01)
    assert middle[30, 25] < 0.05


def test_midpoint_maps_empty_map_gives_an_empty_map():
    maps = gaussians([(10, 20)])[None]
    assert not midpoint_maps(np.zeros_like(maps), maps).any()
