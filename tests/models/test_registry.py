from __future__ import annotations

import pytest
from easydict import EasyDict

from lib.core.config_io import load_config
from lib.models.registry import BACKBONES, FUSIONS, Backbone, Fusion, fusion_name, model_names


@pytest.mark.parametrize(
    ("aggre", "fusion", "name"),
    [
        (True, "", "learned"),
        (False, "", "none"),
        (False, "epipolar_max", "epipolar_max"),
        (True, "none", "none"),
        (False, "adaptive", "adaptive"),
        (False, "learned", "learned"),
    ],
)
def test_fusion_name_fusion_overrides_aggre(aggre: bool, fusion: str, name: str) -> None:
    assert fusion_name(EasyDict(AGGRE=aggre, FUSION=fusion)) == name


def test_registry_additions_are_choices_of_the_configuration(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(BACKBONES, "toy", Backbone(lambda num_joints, settings: None))
    monkeypatch.setitem(FUSIONS, "mean", Fusion(lambda num_views, heatmap_hw, init: None))
    (tmp_path / "a.yaml").write_text("BACKBONE_MODEL: toy\nMODEL: multiview_toy\nNETWORK: {FUSION: mean}\n")
    config = load_config(tmp_path / "a.yaml")
    assert (config.BACKBONE_MODEL, config.MODEL, config.NETWORK.FUSION) == ("toy", "multiview_toy", "mean")
    assert "multiview_toy" in model_names()
