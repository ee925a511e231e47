from __future__ import annotations

import pytest
import torch
from cvf_tests.own_recording import make_recording

from lib.core.build_data import build_dataset, build_loader


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Files of a recording with four views and 20 frames; read only."""
    return make_recording(tmp_path_factory.mktemp("recording"))


@pytest.fixture
def loaders(tiny_root, tiny_config):
    """loaders(resnet=False, **root options)(*opts) -> configuration, training loader, validation loader."""
    torch.set_num_threads(1)

    def with_root(resnet=False, **options):
        root = tiny_root(**options)

        def with_opts(*opts):
            config = tiny_config(root, *opts, resnet=resnet)
            train, test = build_dataset(config, root, True), build_dataset(config, root, False)
            return config, build_loader(config, train, True), build_loader(config, test, False)

        return with_opts

    return with_root
