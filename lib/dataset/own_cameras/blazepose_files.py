"""BlazePose's two networks, fetched from a wheel of the package mediapipe."""

import logging
from pathlib import Path

from lib.utils.files.wheel import extract, opened_wheel

logger = logging.getLogger(__name__)

DEFAULT_CFG = str(Path(__file__).parents[3] / "experiments-local/own/blazepose/256_nofusion.yaml")
PACKAGE = "mediapipe==0.10.14"  # later wheels hold no networks
LANDMARKS = "pose_landmark_full.tflite"
DETECTOR = "pose_detection.tflite"


def fetch_blazepose(folder: Path, wheel: Path | None = None) -> None:
    """Write both networks and the license into a folder, unless they exist.

    Args:
        folder: e.g. models/blazepose.
        wheel: wheel of the package; None = download it (36 MB).

    Raises:
        InputError: the package cannot be downloaded, or the wheel lacks the networks.
    """
    if (folder / LANDMARKS).is_file() and (folder / DETECTOR).is_file():
        logger.info("%s: exists", folder)
        return
    logger.info("fetching BlazePose's networks from %s (Apache-2.0)", PACKAGE)
    with opened_wheel(PACKAGE, 36, wheel) as archive:
        extract(archive, folder, _is_network, folder / "LICENSE-mediapipe", f"{LANDMARKS} and {DETECTOR}")


def _is_network(name: str) -> bool:
    return Path(name).name in (LANDMARKS, DETECTOR)
