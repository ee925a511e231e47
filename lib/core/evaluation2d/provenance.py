"""Provenance of predictions and 3D results: what they were made from, and whether it has changed. Imports no torch."""

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

_KEYS = {key.evaluation: name for name, key in all_keys() if key.evaluation}  # name in the file -> key


def prediction_provenance(config: Any, weights: Path) -> dict[str, str]:
    """Return the attributes of a prediction file: weights, checkpoint (their digest), fusion, dataset, subset.

    Args:
        config: configuration of the evaluation; reads NETWORK.FUSION, DATASET.TEST_DATASET and DATASET.TEST_SUBSET.
        weights: the checkpoint that predicts.
    """
    return {"weights": str(weights), "checkpoint": content_digest(weights), **_configured(config)}


def _configured(config: Any) -> dict[str, str]:
    keys = config.DATASET
    return {
        "fusion": fusion_name(config.NETWORK),
        "dataset": keys.TEST_DATASET,
        "subset": SUBSETS.get(keys.TEST_SUBSET, keys.TEST_SUBSET),
    }


def log_provenance(config: Any, predictions: PredictionFile) -> None:
    """Log the provenance of predictions; warn if the configuration or the weights have changed since.

    Files of the original code have no provenance and are not checked.
    """
    stored = predictions.attributes
    if not stored:
        return
    changed = _changed(stored, config)
    if changed:
        logger.warning("%s: predicted with other settings (then -> now): %s", predictions.path, changed)
    logger.info("predictions: %s", ", ".join(f"{key} {value}" for key, value in stored.items()))
    if weights_changed(stored):
        logger.warning(
            "%s: %s has changed since; run run/pose2d/valid.py to predict again", predictions.path, stored["weights"]
        )


def weights_changed(stored: Mapping[str, str]) -> bool:
    """Return whether the weights of predictions or 2D results are another file content by now.

    Args:
        stored: prediction_provenance(); without a digest, or if the weights are missing, nothing is known to change.
    """
    return "checkpoint" in stored and file_digest(Path(stored.get("weights", ""))) not in (None, stored["checkpoint"])


def warn_of_replacement(config: Any, path: Path) -> None:
    """Warn if `path` has predictions of another fusion, data set or subset, which are about to be replaced."""
    try:
        with PredictionFile(path, needs_heatmaps=False) as predictions:
            changed = _changed(predictions.attributes, config)
    except InputError:  # missing or damaged
        return
    if changed:
        logger.warning("%s: replacing predictions of other settings (then -> now): %s", path, changed)


def _changed(stored: Mapping[str, str], config: Any) -> str:
    return ", ".join(
        f"{_KEYS[key]} {stored[key]} -> {value}"
        for key, value in _configured(config).items()
        if stored.get(key, value) != value
    )


def file_digest(weights: Path) -> str | None:
    """Return the digest of a checkpoint, or None if it is missing, e.g. on another machine."""
    try:
        return content_digest(weights)
    except (OSError, zipfile.BadZipFile):
        return None


def results_provenance(file_name: str, fingerprint: str) -> dict[str, str]:
    """Return the provenance that 3D results store.

    Args:
        file_name: TEST.HEATMAP_LOCATION_FILE.
        fingerprint: predictions_fingerprint() of the predictions.
    """
    return {"file": file_name, "fingerprint": fingerprint}


def warn_of_outdated_results(
    directory: Path, results: Mapping[str, Mapping[str, Any]], poses: Mapping[str, Mapping[str, str] | None]
) -> None:
    """Warn, in one line, if 3D results or poses were made from other predictions than the current ones.

    Args:
        directory: directory of the predictions.
        results: method -> its entry in results_3d.json.
        poses: name of a pose file -> its results_provenance(); None = unknown.
    """
    sources = {name: entry.get("predictions") for name, entry in results.items()}
    outdated = outdated_results(directory, {**poses, **sources})
    if outdated:
        logger.warning(
            "%s: made from other predictions than the current ones: %s; run run/pose3d/estimate.py again",
            directory,
            "; ".join(outdated),
        )


def outdated_results(directory: Path, sources: Mapping[str, Mapping[str, str] | None]) -> list[str]:
    """Return the names of the 3D results that were made from other predictions than the current ones.

    Results without provenance, and results whose predictions are missing, are not checked.

    Args:
        directory: directory of the predictions.
        sources: name of a result -> its results_provenance(); None = unknown.
    """
    known = {
        name: source
        for name, source in sources.items()
        if isinstance(source, Mapping) and {"file", "fingerprint"} <= source.keys()
    }
    current = {file: _current_fingerprint(directory / file) for file in {source["file"] for source in known.values()}}
    return [name for name, source in known.items() if current[source["file"]] not in (None, source["fingerprint"])]


def _current_fingerprint(path: Path) -> str | None:
    try:
        with PredictionFile(path, needs_heatmaps=False) as predictions:
            return predictions.fingerprint()
    except InputError:  # reported where the file is needed
        return None
