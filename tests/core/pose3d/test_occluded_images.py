"""Images that are partly covered by other images."""

from __future__ import annotations

import numpy as np
import torch

from lib.core.pose3d.occluded_images import COVERED_SHARE, OccludedImages, paste_patches


def numbered_crops(groups: int = 40, views: int = 3, side: int = 32) -> torch.Tensor:
    """Return crops (B, V, H, W, 3) whose values are the number of the image."""
    numbers = torch.arange(groups * views, dtype=torch.uint8)
    return numbers.reshape(groups, views, 1, 1, 1).expand(-1, -1, side, side + 8, 3).contiguous()


def test_paste_patches_covers_a_third_of_the_images():
    crops = numbered_crops()
    found = paste_patches(crops, np.random.default_rng(0))
    changed = (found != crops).any(-1)
    is_covered = changed.flatten(2).any(-1)
    assert abs(is_covered.float().mean() - COVERED_SHARE) < 0.12
    share = changed.flatten(2).float().mean(-1)[is_covered]
    assert 0.01 < share.min() < share.max() < 0.25
    for number in is_covered.nonzero().tolist():
        values = found[tuple(number)].unique()
        assert len(values) == 2  # one patch, of one image
    np.testing.assert_array_equal(crops, numbered_crops())


class Loader:
    dataset = "images"
    batch_sampler = "batches"

    def __len__(self):
        return 2

    def __iter__(self):
        return iter([{"crops": numbered_crops(), "name": 1}, {"crops": numbered_crops(), "name": 2}])


def test_occluded_images_repeat_and_keep_the_rest():
    images = OccludedImages(Loader(), 3)
    assert (images.dataset, images.batch_sampler, len(images)) == ("images", "batches", 2)
    first, second = list(images), list(images)
    assert [batch["name"] for batch in first] == [1, 2]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["crops"], other["crops"])
    assert not torch.equal(first[0]["crops"], first[1]["crops"])
