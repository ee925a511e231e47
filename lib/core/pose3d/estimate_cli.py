"""The command line that estimate.py and estimate_cuda.py share; imports no torch."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable

from lib.core.config_io import load_config
from lib.core.pose3d.inference import run_estimate
from lib.core.pose3d.methods import METHODS, chosen_method
from lib.core.pose3d.results_3d import results_name
from lib.core.pose3d.tables_3d import all_tables
from lib.core.run_directory import RESULTS_3D_NAME, record_config, start_run
from lib.core.runtime.command_line import collect_opts, make_parser
from lib.multiviews.pictorial.backend_numpy import Backend

logger = logging.getLogger("estimate")


def estimate_parser(description: str) -> argparse.ArgumentParser:
    """Return the parser of a 3D script."""
    parser = make_parser(description, "--modelDir", "--dataDir")
    parser.add_argument("--batch-size", type=int, default=64, help="frames read and solved at once")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="rpsm",
        help="what to run; PICT_STRUCT.REFINE true makes rpsm mean rpsm+refine",
    )
    parser.add_argument(
        "--poses",
        metavar="FILE",
        help="poses, in the run directory; default poses3d.npz for rpsm, else poses3d_<method>.npz, "
        "with torch ..._torch.npz; settings that are not the default stand in the name too",
    )
    parser.add_argument("--check", metavar="FILE", help="poses of the run directory to measure the distance to")
    return parser


def estimate_and_print(args: argparse.Namespace, phase: str, make_backend: Callable[[], Backend]) -> None:
    """Run a 3D script: poses, results file and tables.

    Args:
        args: of estimate_parser.
        phase: name of the log and of the stored configuration.
        make_backend: called when the log is open.
    """
    config = load_config(args.cfg, collect_opts(args))
    directory = start_run(config, args.cfg, phase)
    backend = make_backend()
    method = chosen_method(config, args.method)
    results = run_estimate(config, directory, backend, method, args.batch_size, args.poses, args.check)
    record_config(config, directory, phase)
    sources = {"root": results["root_source"], "limb lengths": results["limb_length_source"]}
    used = [f"{name}: {source}" for name, source in sources.items() if source]
    print(f"\n{', '.join([results_name(config, method, backend.xp.__name__), *used])}; mm\n")
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
