"""Fetch the demo videos, four cameras with 100 frames each, from the package pose2sim (BSD-3-Clause) on PyPI.

    python run/demo/fetch_demo.py --out data/demo

Writes OUT/videos/cam0*.mp4 and the license of the package. Nothing is installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import logging
import subprocess
import tempfile
import zipfile

from lib.core.runtime.command_line import plain_parser, run_main
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_directory, write_bytes

logger = logging.getLogger("fetch_demo")

PACKAGE = "pose2sim==0.10.49"
VIDEOS = "Pose2Sim/Demo_SinglePerson/videos/"


def download(folder: Path) -> Path:
    """Download the wheel into a folder with pip, and return its path; raise an InputError on failure."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise InputError(
            f"{PACKAGE} cannot be downloaded (51 MB); connect to the internet, or give its wheel with "
            f"--wheel ({lines[-1]})"
        )
    return wheels[0]


def unpack(wheel: Path, out: Path) -> int:
    """Extract videos and license from a wheel; return the number of videos."""
    try:
        with zipfile.ZipFile(wheel) as archive, atomic_directory(out / "videos") as folder:
            names = [name for name in archive.namelist() if name.startswith(VIDEOS) and name.endswith(".mp4")]
            if not names:
                raise InputError(f"{wheel}: expected the wheel of {PACKAGE}, received one without {VIDEOS}*.mp4")
            for name in names:
                (folder / Path(name).name).write_bytes(archive.read(name))
            for name in archive.namelist():
                if ".dist-info/" in name and Path(name).name.upper().startswith("LICENSE"):
                    write_bytes(out / "LICENSE-pose2sim", archive.read(name))
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel}: not a wheel, or truncated ({error})") from None
    return len(names)


def main() -> None:
    """Fetch the videos unless they exist."""
    parser = plain_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/demo"), help="folder that receives videos/")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="wheel downloaded earlier")
    args = parser.parse_args()
    if (args.out / "videos").is_dir():
        logger.info("%s: exists", args.out / "videos")
        return
    with tempfile.TemporaryDirectory() as folder:
        count = unpack(args.wheel or download(Path(folder)), args.out)
    logger.info("%s: %d videos (Pose2Sim, BSD-3-Clause, see LICENSE-pose2sim)", args.out / "videos", count)


if __name__ == "__main__":
    run_main(main)
