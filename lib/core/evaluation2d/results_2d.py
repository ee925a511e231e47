"""results_2d.json and hits_2d.npz: the detection rates of a run, and the joints detected in each image."""

from pathlib import Path
from typing import Any

import numpy as np

from lib.core.evaluation2d.metrics_2d import jdr_summary
from lib.core.evaluation2d.validate import ValidationResult
from lib.core.run_directory import HITS_2D_NAME, RESULTS_2D_NAME, weights_selection
from lib.models.registry import fusion_name
from lib.utils.files.atomic import atomic_path
from lib.utils.files.digest import content_digest
from lib.utils.files.json_file import write_json


def report_results_2d(result: ValidationResult, config: Any, directory: Path, weights: Path) -> None:
    """Print the tables of a validation and write results_2d.json and hits_2d.npz.

    Args:
        result: the detection rates.
        config: reads NETWORK.FUSION, DATASET.TEST_DATASET and DATASET.TEST_SUBSET.
        directory: directory of the evaluation.
        weights: the checkpoint that predicted.
    """
    selection = weights_selection(weights)
    path = directory / HITS_2D_NAME
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, rows=list(result.hits), hits=np.stack(list(result.hits.values())))
    write_json(
        directory / RESULTS_2D_NAME,
        {
            "dataset": config.DATASET.TEST_DATASET,
            "subset": config.DATASET.TEST_SUBSET,
            "fusion": fusion_name(config.NETWORK),
            "num_images": result.num_images,
            "weights": str(weights),
            "checkpoint": content_digest(weights),
            "selection": selection,
            "jdr_threshold": result.jdr_threshold,
            "perf": result.perf,
            "jdr": jdr_summary(result.rates, result.joint_names),
            "pckh": result.pckh,
            "hits": {"digest": content_digest(path), "truth": result.truth},
        },
    )
    print(f"\n{result.tables()}\n\nWeights: {selection}.\n")
