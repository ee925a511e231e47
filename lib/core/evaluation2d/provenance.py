"""What a file of predictions is of, and whether 3D results are still of what it holds; imports no torch."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.core.config import all_keys
from lib.dataset.storage.h36m_pickle import SUBSETS
from lib.models.registry import fusion_name
from lib.utils.errors import InputError
from lib.utils.files.digest import content_digest
from lib.utils.files.prediction_file import PredictionFile

logger = logging.getLogger(__name__)

_KEYS = {key.provenance: name for name, key in all_keys() if key.provenance}  # name in the file -> key


def describe_predictions(config: Any, weights: Path) -> dict[str, str]:
    """Return the attributes of a file of predictions: weights and their digest (checkpoint), fusion, dataset, subset.

    Args:
        config: of the evaluation.
        weights: the checkpoint that predicts.
    """
    return {"weights": str(weights), "checkpoint": content_digest(weights), **_asked_for(config)}


def _asked_for(config: Any) -> dict[str, str]:
    keys = config.DATASET
    return {
        "fusion": fusion_name(config.NETWORK),
        "dataset": keys.TEST_DATASET,
        "subset": SUBSETS.get(keys.TEST_SUBSET, keys.TEST_SUBSET),
    }


def check_description(config: Any, predictions: PredictionFile) -> None:
    """Log what predictions are of, with a warning if that is not what the configuration asks for, or old weights.

    Published files say nothing of themselves.
    """
    said = predictions.attributes
    if not said:
        return
    changed = _changed(said, config)
    if changed:
        logger.warning(
            "%s: predicted with other settings than the configuration's (then -> now): %s", predictions.path, changed
        )
    logger.info("predictions: %s", ", ".join(f"{key} {value}" for key, value in said.items()))
    if "checkpoint" in said and _digest_now(said.get("weights", "")) not in (None, said["checkpoint"]):
        logger.warning(
            "%s: predicted before %s changed; run/pose2d/valid.py predicts anew", predictions.path, said["weights"]
        )


def warn_of_replacement(config: Any, path: Path) -> None:
    """Warn if predictions of another fusion, data set or subset are there, which those of the configuration replace."""
    try:
        with PredictionFile(path, needs_heatmaps=False) as predictions:
            changed = _changed(predictions.attributes, config)
    except InputError:  # there are none, or damaged ones
        return
    if changed:
        logger.warning(
            "%s: predictions of other settings are replaced (then -> now): %s; an OUTPUT_DIR of its own "
            "with TEST.MODEL_FILE keeps both",
            path,
            changed,
        )


def _changed(said: Mapping[str, str], config: Any) -> str:
    return ", ".join(
        f"{_KEYS[key]} {said[key]} -> {value}"
        for key, value in _asked_for(config).items()
        if said.get(key, value) != value
    )


def _digest_now(weights: str) -> str | None:
    """Return the digest of a checkpoint, None where it is not, e.g. on another machine."""
    try:
        return content_digest(Path(weights))
    except (OSError, zipfile.BadZipFile):
        return None


def source_of(config: Any, predictions: PredictionFile) -> dict[str, str]:
    """Return what 3D results say that they are of: {"file": name of the predictions, "fingerprint": theirs}."""
    return {"file": config.TEST.HEATMAP_LOCATION_FILE, "fingerprint": predictions.fingerprint()}


def warn_of_outdated(
    directory: Path, results: Mapping[str, Mapping[str, Any]], poses: Mapping[str, Mapping[str, str] | None]
) -> None:
    """Warn, in one line, if 3D results or poses are not of the predictions that are there now.

    What does not say where it is from, and predictions that are gone, are passed over.

    Args:
        directory: of the predictions.
        results: method -> its entry in results_3d.json.
        poses: name of a file of poses -> their source_of(), None = unknown.
    """
    sources = {**poses, **{name: entry.get("predictions") for name, entry in results.items()}}
    known = {
        name: source
        for name, source in sources.items()
        if isinstance(source, Mapping) and {"file", "fingerprint"} <= source.keys()
    }
    present = {file: _fingerprint_now(directory / file) for file in {source["file"] for source in known.values()}}
    outdated = [name for name, source in known.items() if present[source["file"]] not in (None, source["fingerprint"])]
    if outdated:
        logger.warning(
            "%s: not of the predictions that are there now: %s; run run/pose3d/estimate.py again",
            directory,
            "; ".join(outdated),
        )


def _fingerprint_now(path: Path) -> str | None:
    try:
        with PredictionFile(path, needs_heatmaps=False) as predictions:
            return predictions.fingerprint()
    except InputError:  # whoever reads it says why
        return None
