"""Heatmaps -> 3D poses -> errors and tables: what estimate.py and estimate_cuda.py run. Imports no torch."""

import argparse
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.config_io import load_config
from lib.core.evaluation2d.provenance import warn_of_outdated_results
from lib.core.pose3d.frames import FrameSource, Poses, load_frames, stored_frames
from lib.core.pose3d.learned_file import load_learned
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import METHODS, chosen_method, make_context, run_method
from lib.core.pose3d.metrics_3d import joint_errors, summarize
from lib.core.pose3d.results_3d import (
    default_poses_name,
    load_poses,
    poses_source,
    results_name,
    save_poses,
    save_results,
    sources_and_settings,
)
from lib.core.pose3d.tables_3d import all_tables
from lib.core.run_directory import RESULTS_3D_NAME, evaluation_directory, evaluation_label, log_disk_usage, start_run
from lib.core.runtime.command_line import collect_opts, make_parser
from lib.core.runtime.run_identity import check_evaluates_own_training, record_run
from lib.models.registry import fusion_name
from lib.multiviews.body import body_of
from lib.multiviews.pictorial.backend_numpy import Backend
from lib.multiviews.refinement.uncertainty import coverage, sd_mm
from lib.utils.errors import InputError, unknown_name

logger = logging.getLogger(__name__)

# (configuration, run directory, frames, backend, frames per batch) -> source; see stored_frames()
OpenSource = Callable[..., AbstractContextManager[FrameSource]]


def estimate_parser(description: str, *flags: str) -> argparse.ArgumentParser:
    """Return the command line parser of the 3D scripts, with further `flags` as in make_parser()."""
    parser = make_parser(description, "--modelDir", "--dataDir", "--state", "--model-file", *flags)
    parser.add_argument(
        "--batch-size", type=int, help="frames read and solved at a time (64; 256 on CUDA); does not affect the poses"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="rpsm",
        help="3D method; with PICT_STRUCT.REFINE true, rpsm means rpsm+refine",
    )
    parser.add_argument(
        "--poses",
        metavar="FILE",
        help="name of the pose file in the run directory; default poses3d.npz for rpsm, poses3d_<method>.npz for "
        "other methods, with suffix _torch on torch; non-default settings are part of the name",
    )
    parser.add_argument(
        "--check", metavar="FILE", help="pose file in the run directory; log the largest distance to its joints"
    )
    return parser


def estimate_and_print(
    args: argparse.Namespace, phase: str, make_backend: Callable[[], Backend], open_source: OpenSource = stored_frames
) -> None:
    """Run a 3D script: write poses and results, print the tables.

    Args:
        args: parsed by estimate_parser().
        phase: name of the log and of the stored configuration.
        make_backend: called after the log is open.
        open_source: opens the frames.
    """
    config = load_config(args.cfg, collect_opts(args))
    check_evaluates_own_training(config, args.cfg, evaluation_directory(config, args.cfg))
    directory = start_run(config, args.cfg, phase)
    backend = make_backend()
    method = chosen_method(args.method, config.PICT_STRUCT.REFINE)
    batch_size = backend.batch_frames if args.batch_size is None else args.batch_size
    results = run_estimate(config, directory, backend, method, batch_size, args.poses, args.check, open_source)
    record_run(config, args.cfg, directory, phase)
    sources = {"root": results["root_source"], "limb lengths": results["limb_length_source"]}
    used = [f"{name}: {source}" for name, source in sources.items() if source]
    name = results_name(config, method, backend.xp.__name__)
    print(f"\n{', '.join([evaluation_label(directory, results['fusion']), name, *used])}; mm\n")
    print(f"{all_tables(results)}\n")
    means = results["mpjpe"]["absolute"]
    logger.info(
        "MPJPE %.2f mm over %d frames, %.2f mm over actions; %.0f frames/s; results in %s",
        means["frames"],
        results["num_frames"],
        means["actions"],
        results["frames_per_second"],
        directory / RESULTS_3D_NAME,
    )
    log_disk_usage(config, directory)


def run_estimate(
    config: Any,
    directory: Path,
    backend: Backend,
    method: str,
    batch_size: int,
    poses_name: str | None = None,
    check_name: str | None = None,
    open_source: OpenSource = stored_frames,
) -> dict[str, Any]:
    """Estimate, evaluate and store the poses of the test frames.

    Args:
        config: the configuration.
        directory: the run directory; holds the predictions and receives the results.
        backend: NumpyBackend or TorchBackend.
        method: a name in METHODS.
        batch_size: frames read and solved at a time.
        poses_name: name of the pose file in the run directory; None = default_poses_name().
        check_name: pose file in the run directory; the largest distance to its joints is logged; None = no check.
        open_source: opens the frames.

    Returns:
        The entry of results_3d.json.

    Raises:
        InputError: an argument or a file cannot be used, or writing fails.
    """
    _check_arguments(method, batch_size, poses_name)
    library = backend.xp.__name__
    poses_name = poses_name or default_poses_name(config, method, library)
    frames = load_frames(config)
    body = body_of(frames.joint_set)
    others = None
    if check_name is not None:
        others = load_poses(directory / check_name, frames.image_ids, body.joint_names)
    prior = load_prior(config.PICT_STRUCT, body) if METHODS[method].needs_prior else None
    learned = load_learned(config, directory, body.joint_names) if METHODS[method].needs_learned else None
    context = make_context(config, body, prior, backend, learned)
    sources = sources_and_settings(config, method)
    logger.info("%d frames of %d views; %s", *frames.groups.shape, method)
    if prior is not None:
        logger.info("root: %s; limb lengths: %s", sources["root_source"], sources["limb_length_source"])
    with open_source(config, directory, frames, backend, batch_size) as source:
        if others is not None:
            warn_of_outdated_results(directory, {}, {check_name: poses_source(others)})
        start_time = time.perf_counter()
        poses = run_method(METHODS[method], source.batches, context)
        seconds = time.perf_counter() - start_time
        provenance = source.provenance()
    num_filled = 0 if poses.filled is None else int(poses.filled.sum())
    _warn_of_gaps(poses, num_filled)
    results = {
        "unit": "mm",
        "fusion": fusion_name(config.NETWORK),
        **sources,
        "num_box_roots": poses.num_box_roots,
        "num_filled_joints": num_filled,
        "mean_confidence": float(poses.num_views_agree.mean() / frames.groups.shape[1]),
        **summarize(poses.pose_world, frames.gt_world, frames.actions, body.joint_names, context.root, frames.parts),
        **_uncertainty(poses, frames.gt_world),
        "frames_per_second": len(frames) / max(seconds, 1e-9),
        "poses": poses_name,
        **({} if source.is_stored else {"predictions_stored": False}),
    }
    save_poses(directory / poses_name, frames, poses, provenance)
    save_results(directory, provenance, results_name(config, method, library), results)
    if others is not None:
        distance = float(joint_errors(poses.pose_world, others["pose_world"]).max())
        logger.info("largest distance to the joints of %s: %.4f mm", check_name, distance)
    return results


def _uncertainty(poses: Poses, gt_world: np.ndarray) -> dict[str, Any]:
    """Return the coverage of the regions and the median standard deviation; {} for methods without covariance."""
    if poses.covariance is None:
        return {}
    return {
        "coverage": coverage(poses.pose_world, gt_world, poses.covariance, poses.degrees_of_freedom),
        "median_sd_mm": float(np.median(sd_mm(poses.covariance))),
    }


def _check_arguments(method: str, batch_size: int, poses_name: str | None) -> None:
    if method not in METHODS:
        raise unknown_name("method", method, METHODS, "--method")
    if batch_size < 1:
        raise InputError(f"--batch-size: expected at least 1, received {batch_size}")
    if poses_name is not None and not poses_name.endswith(".npz"):
        raise InputError(f"--poses: expected a name that ends in .npz, received '{poses_name}'")


def _warn_of_gaps(poses: Poses, num_filled: int) -> None:
    if poses.num_box_roots:
        logger.warning(
            "%d frames: no two views agree on any joint; the root is the triangulated box center", poses.num_box_roots
        )
    if num_filled:
        logger.warning(
            "%d of %d joints: no two views agree; they copy their neighbor on the skeleton",
            num_filled,
            poses.num_views_agree.size,
        )
