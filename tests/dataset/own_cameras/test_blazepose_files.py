from __future__ import annotations

import zipfile

from lib.dataset.own_cameras.blazepose_files import DETECTOR, LANDMARKS, fetch_blazepose


def test_fetch_blazepose_writes_networks_and_license_once(tmp_path):
    wheel = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for folder, name in (("pose_landmark", LANDMARKS), ("pose_detection", DETECTOR), ("hands", "hand.tflite")):
            archive.writestr(f"mediapipe/modules/{folder}/{name}", name)
        archive.writestr("mediapipe-0.10.14.dist-info/LICENSE", "Apache")
    out = tmp_path / "models/blazepose"
    fetch_blazepose(out, wheel)
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        LANDMARKS: LANDMARKS,
        DETECTOR: DETECTOR,
        "LICENSE-mediapipe": "Apache",
    }
    wheel.unlink()
    fetch_blazepose(out, wheel)  # nothing is read again
