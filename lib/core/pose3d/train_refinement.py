"""Training of the learned refinement on the heatmaps of a network; see learned_refinement.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lib.core.pose3d.frames import FrameBatch
from lib.core.pose3d.methods import MethodContext, solve_rpsm_refine, views_and_peaks
from lib.core.pose3d.small_network import matrix, optimize
from lib.core.pose3d.train_choice import ChoiceExamples, ChoiceSettings, choice_examples, initial_choice
from lib.multiviews.cameras import project
from lib.multiviews.keypoints.heatmap_values import on_host
from lib.multiviews.refinement.learned_refinement import NUM_INPUTS, LearnedRefinement, pose_inputs, view_offsets
from lib.multiviews.refinement.view_sampler import ViewSampler
from lib.utils.errors import InputError, check_finite
from lib.utils.transforms import transform_points


@dataclass(frozen=True)
class TrainingSettings:
    """Poses, network and optimizer."""

    jitter_mm: tuple[float, ...] = (0.0, 10.0, 25.0)  # noise on the joints, one copy of the poses each
    fewer_views: int = 4  # copies of the poses from random subsets of the views
    max_offset: float = 12.0  # cells; joints farther from the projection teach nothing
    width: int = 96
    body_width: int = 32
    epochs: int = 6
    frames_per_step: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1  # of the inputs
    left_out: tuple[str, ...] = ()  # weights that stay 0, for ablations


@dataclass(frozen=True)
class Examples:
    """Training examples: F frames of V views.

    Attributes:
        inputs: (F, V, J, NUM_INPUTS) float16, of pose_inputs().
        offset: (F, V, J, 2) of the ground truth from the projection, cells; NaN = unknown or too far.
    """

    inputs: Tensor
    offset: Tensor


def collect_examples(
    batches: Iterable[FrameBatch], context: MethodContext, settings: TrainingSettings, seed: int
) -> tuple[list[Examples], list[ChoiceExamples]]:
    """Estimate the poses of all frames with rpsm+refine; read the heatmaps around their projections, and at candidates.

    Args:
        batches: frames with ground truth.
        context: of make_context(), without networks.
        settings: `jitter_mm`, `fewer_views` and `max_offset` are used.
        seed: of the noise and of the subsets of views.

    Returns:
        Examples of the places and of the choice, one of each per batch and copy of its poses.

    Raises:
        InputError: there are no frames, or heatmaps are not finite.
    """
    rng = np.random.default_rng(seed)
    places, choices = [], []

    def add(batch: FrameBatch, poses_world: list[np.ndarray]) -> None:
        views, peaks = views_and_peaks(batch, context)
        for pose_world in poses_world:
            places.append(_examples(batch, views, pose_world, settings))
            choices.append(choice_examples(batch, views, peaks, pose_world))

    for batch in batches:
        batch = replace(batch, heatmaps=context.backend.heatmaps(on_host(batch.heatmaps)))
        check_finite(f"{batch.name}: heatmaps", batch.heatmaps)
        pose = solve_rpsm_refine(batch, context).pose_world
        add(batch, [pose + rng.normal(0, std, pose.shape) for std in settings.jitter_mm])
        num_views = batch.heatmaps.shape[1]
        for _ in range(settings.fewer_views if num_views > 2 else 0):
            chosen = np.sort(rng.permutation(num_views)[: rng.integers(2, num_views)])
            fewer = of_views(batch, chosen)
            add(fewer, [solve_rpsm_refine(fewer, context).pose_world])
    if not places:
        raise InputError("learned refinement: expected training frames, received none")
    return places, choices


def of_views(batch: FrameBatch, views: np.ndarray) -> FrameBatch:
    """Select views."""
    peaks = batch.single_view_peaks
    return replace(
        batch,
        heatmaps=batch.heatmaps[:, views],
        locations=batch.locations[:, views],
        cameras=batch.cameras[:, views],
        image_to_heatmap=batch.image_to_heatmap[:, views],
        center=batch.center[:, views],
        single_view_peaks=None if peaks is None else peaks[:, views],
    )


def _examples(batch: FrameBatch, views: ViewSampler, pose_world: np.ndarray, settings: TrainingSettings) -> Examples:
    inputs, projection = pose_inputs(views, pose_world)
    gt = np.broadcast_to(batch.gt_world[:, None], (*projection.shape[:3], 3))
    gt_hm = transform_points(project(gt, batch.cameras)[0], batch.image_to_heatmap)
    offset = (gt_hm - projection) / views.cell_px
    near = (np.abs(offset) < settings.max_offset).all(-1, keepdims=True)  # False for NaN
    offset = np.where(near, offset, np.nan)
    return Examples(torch.from_numpy(inputs).half(), torch.from_numpy(offset).float())


def train(
    examples: list[Examples], settings: TrainingSettings, seed: int, device: torch.device
) -> dict[str, np.ndarray]:
    """Train the network; return the weights of view_offsets().

    The loss is the negative logarithm of the likelihood of the offsets under a Laplace distribution, with AdamW and one
    cycle of the learning rate.
    """
    torch.manual_seed(seed)
    num_joints = examples[0].inputs.shape[2]
    sample = torch.cat([one.inputs.flatten(0, 2)[::7] for one in examples]).float()
    fixed = {"mean": sample.mean(0), "scale": 1 / (sample.std(0) + 0.01)}
    keep = 1 - settings.dropout

    def loss(weights: Mapping[str, Tensor], part: int, frames: Tensor) -> Tensor:
        inputs = examples[part].inputs[frames].to(device).float()
        mask = (torch.rand_like(inputs) < keep) / keep
        centered = (inputs - weights["mean"]) * mask + weights["mean"]
        return _loss(weights, centered, examples[part].offset[frames].to(device))

    initial = _initial_weights(num_joints, settings)
    return optimize("places", initial, fixed, [len(one.inputs) for one in examples], loss, settings, device)


def untrained(joint_names: Sequence[str], fusion: str = "none") -> LearnedRefinement:
    """Return networks that leave every joint where it is, for benchmarks of the speed."""
    weights = {name: values.numpy() for name, values in _initial_weights(len(joint_names), TrainingSettings()).items()}
    inputs = {"mean": np.zeros(NUM_INPUTS, np.float32), "scale": np.ones(NUM_INPUTS, np.float32)}
    choice = {name: values.numpy() for name, values in initial_choice(len(joint_names), ChoiceSettings()).items()}
    return LearnedRefinement(weights | inputs, tuple(joint_names), fusion, choice=choice)


def _loss(weights: Mapping[str, Tensor], inputs: Tensor, offset: Tensor) -> Tensor:
    """Return the mean negative log likelihood of the known offsets; NaN, with gradients of 0, without any."""
    predicted, log_error = view_offsets(weights, inputs)
    known = torch.isfinite(offset).all(-1)
    distance = ((predicted - offset)[known].square().sum(-1) + 1e-4).sqrt()
    log_error = log_error[known].clip(-4, 4)
    return (distance * torch.exp(-log_error) + 2 * log_error).mean()


def _initial_weights(num_joints: int, settings: TrainingSettings) -> dict[str, Tensor]:
    """Return random weights; the offsets and the logarithms of the errors begin at 0."""
    wide, narrow = settings.width, settings.body_width
    flat = num_joints * narrow

    return {
        "input": matrix(NUM_INPUTS, wide),
        "joint": torch.randn(num_joints, wide),
        "hidden": matrix(wide, wide),
        "hidden_bias": torch.zeros(wide),
        "narrow": matrix(wide, narrow),
        "body": matrix(flat, flat),
        "body_bias": torch.zeros(flat),
        "own": matrix(wide, wide),
        "from_body": matrix(narrow, wide),
        "combined_bias": torch.zeros(wide),
        "output": torch.zeros(wide, 3),
        "output_joint": torch.zeros(num_joints, 3),
    }
