from __future__ import annotations

import logging

import pytest
from lib.core.training.training_checks import check_training

from lib.core.build_data import build_dataset
from lib.core.build_model import build_fusion
from lib.utils.errors import InputError


@pytest.fixture
def check(tiny_root, tiny_config):
    """check(*opts) of a training with 4 views of 17 joints, and MPII beside it."""
    root = tiny_root(frames=1)

    def run(*opts):
        config = tiny_config(root, *opts)
        train_set, test_set = (build_dataset(config, root, is_train) for is_train in (True, False))
        check_training(config, build_fusion(config.NETWORK, train_set.num_views), test_set)

    return run


@pytest.mark.parametrize(
    ("fusion", "wanted"), [("learned", 4), ("epipolar_sum", 2), ("epipolar_max", 2), ("adaptive", 2)]
)
def test_the_test_set_needs_views_to_fuse(check, fusion, wanted):
    check("NETWORK.FUSION", fusion)
    with pytest.raises(InputError, match=rf"TEST_DATASET mpii: expected {wanted} views, .* received 1; name another"):
        check("NETWORK.FUSION", fusion, "DATASET.TEST_DATASET", "mpii")
    check("NETWORK.FUSION", "none", "DATASET.TEST_DATASET", "mpii")


def test_unknown_joints_are_said_before_the_training(check):
    check("TEST.JOINTS", "[nose, rank]")
    with pytest.raises(InputError, match=r"unknown joint 'rankle' in TEST\.JOINTS; did you mean 'rank'"):
        check("TEST.JOINTS", "[nose, rankle]")


@pytest.mark.parametrize("key", ["ROT_FACTOR", "SCALE_FACTOR", "SHIFT_FACTOR"])
def test_augmentation_that_breaks_the_matrices_is_warned_of_once(check, caplog, key):
    with caplog.at_level(logging.WARNING):
        check(f"DATASET.{key}", "0.25", "NETWORK.FUSION", "adaptive")
        check(f"DATASET.{key}", "0.25", "NETWORK.FUSION", "none")
        check()
        assert caplog.messages == []
        check(f"DATASET.{key}", "0.25")
    (message,) = caplog.messages
    assert message.startswith(f"DATASET.{key} 0.25: the matrices of NETWORK.FUSION learned")
