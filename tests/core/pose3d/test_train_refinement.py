"""Training of the learned refinement: what it teaches, and the whole way with the scripts."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from cvf_tests.batches import make_batch
from cvf_tests.scenes import LENGTHS, draw_gaussians, make_backend, make_scene

from lib.core.config_io import load_config
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.core.pose3d.train_refinement import TrainingSettings, collect_examples, of_views, train
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.multiviews.refinement.learned_refinement import NUM_INPUTS, LearnedRefinement, view_offsets
from lib.utils.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture
def context(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    prior = make_limb_prior(LENGTHS, H36M_BODY, PictorialSettings().first_grid)
    return make_context(load_config(tmp_path / "a.yaml"), H36M_BODY, prior, make_backend("numpy"))


def biased_batch(num_frames: int, seed: int):
    """Return frames whose heatmaps show each joint up to 4 px off, always at the same side."""
    scene = make_scene(num_frames, seed=seed)
    bias = np.random.default_rng(0).uniform(-3, 3, (17, 2))
    return make_batch(scene, draw_gaussians(scene.joints_hm + bias, (64, 64), 2.0))


def test_collect_examples_offsets_lead_to_ground_truth(context):
    batch = biased_batch(3, 1)
    settings = TrainingSettings(jitter_mm=(0.0, 20.0), fewer_views=3)
    found, choices = collect_examples([batch], context, settings, seed=0)
    assert len(choices) == len(found) == 5
    assert [tuple(one.inputs.shape[:3]) for one in found[:2]] == [(3, 4, 17)] * 2
    assert found[2].inputs.shape[1] in (2, 3)
    assert all(one.inputs.shape[-1] == NUM_INPUTS for one in found)
    sizes = [one.offset.nan_to_num().norm(dim=-1).mean() for one in found]
    assert sizes[0] > 0.3  # cells; the poses follow the biased heatmaps
    assert sizes[1] > sizes[0]


def test_collect_examples_far_and_unknown_joints_are_left_out(context):
    batch = biased_batch(2, 1)
    gt = batch.gt_world.copy()
    gt[0, 3] = np.nan
    gt[1, 4] += 3000
    found, _ = collect_examples([replace(batch, gt_world=gt)], context, TrainingSettings(jitter_mm=(0.0,)), seed=0)
    known = torch.isfinite(found[0].offset).all(-1)
    assert not known[0, :, 3].any()
    assert not known[1, :, 4].any()
    assert known.float().mean() > 0.9


def test_collect_examples_without_frames(context):
    with pytest.raises(InputError, match="expected training frames, received none"):
        collect_examples([], context, TrainingSettings(), seed=0)


def test_collect_examples_heatmaps_not_finite(context):
    batch = biased_batch(2, 1)
    batch.heatmaps[1, 0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="heatmaps"):
        collect_examples([batch], context, TrainingSettings(), seed=0)


def test_train_removes_systematic_errors(context):
    """A bias that all frames share is learned, for the same rig and for another number of views."""
    settings = TrainingSettings(epochs=20, frames_per_step=8, width=32, body_width=8)
    examples, _ = collect_examples([biased_batch(16, 1)], context, settings, seed=0)
    weights = train(examples, settings, seed=0, device=CPU)
    learned = replace(context, learned=LearnedRefinement(weights, H36M_BODY.joint_names, "none"))
    all_views = biased_batch(4, 2)
    for test in (all_views, of_views(all_views, np.array([0, 1]))):
        errors = [
            np.linalg.norm(run_method(METHODS[name], [test], one).pose_world - test.gt_world, axis=-1).mean()
            for name, one in (("rpsm+refine", context), ("rpsm+learned", learned))
        ]
        assert errors[0] > 30
        assert errors[1] < 0.5 * errors[0]


def test_train_frames_without_labels_do_not_matter(context, caplog):
    """A step without any known offset makes neither the weights nor the logged loss NaN."""
    caplog.set_level("INFO")
    settings = TrainingSettings(jitter_mm=(0.0,), fewer_views=0, epochs=1)
    (examples,), _ = collect_examples([biased_batch(4, 1)], context, settings, seed=0)
    unlabeled = replace(examples, offset=torch.full_like(examples.offset, torch.nan))
    weights = train([examples, unlabeled], settings, seed=0, device=CPU)
    for name, values in weights.items():
        assert np.isfinite(values).all(), name
    assert "places: 2 steps; loss of the last epoch" in caplog.text
    assert "nan" not in caplog.text


def test_train_same_seed_same_weights(context):
    settings = TrainingSettings(jitter_mm=(0.0,), fewer_views=0, epochs=1)
    examples, _ = collect_examples([biased_batch(4, 1)], context, settings, seed=0)
    one, other, third = (train(examples, settings, seed, CPU) for seed in (0, 0, 1))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert np.abs(one["input"] - third["input"]).max() > 0.01
    offset, log_error = view_offsets(one, examples[0].inputs.float().numpy())
    assert np.isfinite(offset).all()
    assert np.isfinite(log_error).all()


def test_scripts_train_and_estimate(tiny_root, tiny_yaml, tmp_path, run_script):
    yaml = tiny_yaml(tiny_root(frames=5, mpii=0))
    words = ["--cfg", str(yaml), "--opts", "NETWORK.FUSION", "none", "TRAIN.END_EPOCH", "1"]
    words += ["PICT_STRUCT.PAIRWISE_FILE", str(tmp_path / "prior.pkl"), "PICT_STRUCT.FIRST_NBINS", "9"]
    words += ["PICT_STRUCT.LIMB_LENGTH_TOLERANCE", "200"]
    steps = ("pose2d/train.py", "pose2d/valid.py", "data/make_limb_prior.py")
    for script in steps:
        done = run_script(script, *words)
        assert done.code == 0, done.err
    done = run_script("pose3d/estimate.py", "--method", "rpsm+learned", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "train_refinement.py" in done.err
    done = run_script("pose3d/train_refinement.py", *words)
    assert done.code == 0, done.err
    (path,) = tmp_path.rglob("learned_refinement_none.npz")
    done = run_script("pose3d/estimate.py", "--method", "rpsm+learned", *words)
    assert done.code == 0, done.err
    results = json.loads((path.parent / "results_3d.json").read_text())
    (entry,) = (value for name, value in results.items() if name.startswith("rpsm+learned"))
    assert entry["num_frames"] > 0
    assert np.isfinite(entry["mpjpe"]["absolute"]["frames"])
    for opts, height in (((), 780), (("--frame", "1", "--joint", "rwri"), 440)):
        done = run_script("pose3d/show_refinement.py", *opts, *words)
        assert done.code == 0, done.err
        image = cv2.imread(str(path.parent / "learned_refinement.png"))
        assert abs(image.shape[0] - height) < 60
    for opts, message in (
        (("--frame", "99"), "--frame: expected 0 to"),
        (("--joint", "rwrist"), "did you mean 'rwri'"),
    ):
        done = run_script("pose3d/show_refinement.py", *opts, *words)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert message in done.err
