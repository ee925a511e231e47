"""Show what the learned refinement does: its view of a joint, where it moves the joint, and how much each view counts.

    python run/pose3d/show_refinement.py --cfg experiments-local/mixed/resnet50/256_nofusion.yaml
    python run/pose3d/show_refinement.py --cfg ... --frame 20 --joint rwri lank

Needs predicted_heatmaps.h5 (run/pose2d/valid.py), the file of run/pose3d/train_refinement.py, and the images. Writes
learned_refinement.png into the run directory, one row per joint. Without --joint, it shows the two joints that the
refinement of the frame moves most.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from lib.core.config_io import load_config
from lib.core.drawing import read_crops
from lib.core.pose3d.frames import has_usable_peaks, load_frames, open_predictions
from lib.core.pose3d.learned_file import load_learned
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import make_context, solve_rpsm_refine, views_and_peaks
from lib.core.report.refinement_figure import joint_views, save_refinement_figure
from lib.core.run_directory import REFINEMENT_FIGURE_NAME, evaluation_directory
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.multiviews.body import body_of
from lib.multiviews.cameras import project
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.utils.errors import InputError, unknown_name
from lib.utils.joints import union_subset
from lib.utils.transforms import transform_points

CROP_PX = 384
JOINTS_SHOWN = 2


def main() -> None:
    parser = make_parser(__doc__, "--modelDir", "--dataDir", "--data-format", "--state", "--model-file")
    parser.add_argument("--frame", type=int, metavar="N", help="test frame, from 0 (default: the middle one)")
    parser.add_argument("--joint", nargs="+", metavar="NAME", help="joints (default: the two that move most)")
    parser.add_argument("--out", metavar="FILE", help=f"PNG file (default: {REFINEMENT_FIGURE_NAME} of the run)")
    args = parser.parse_args()
    config = load_config(args.cfg, collect_opts(args))
    directory = evaluation_directory(config, args.cfg)
    path = Path(args.out) if args.out else directory / REFINEMENT_FIGURE_NAME
    if path.suffix.lower() != ".png":
        raise InputError(f"--out: expected a .png file, received {path}")
    frames = load_frames(config)
    body, joint_set = body_of(frames.joint_set), frames.joint_set
    index = len(frames) // 2 if args.frame is None else args.frame
    if not 0 <= index < len(frames):
        raise InputError(f"--frame: expected 0 to {len(frames) - 1}, received {index}")
    for name in args.joint or ():
        if name not in joint_set.names:
            raise unknown_name("joint", name, joint_set.names, "--joint")
    learned = load_learned(config, directory, body.joint_names)
    context = make_context(config, body, load_prior(config.PICT_STRUCT, body), make_cpu_backend())

    num_views = frames.groups.shape[1]
    with open_predictions(config, directory, frames) as predictions:
        images = (index * num_views, (index + 1) * num_views)
        stored = predictions.read(*images)
        has_peaks = has_usable_peaks(predictions, config.TRIANGULATE)
        peaks = predictions.read_single_view_peaks(*images) if has_peaks else None
    rows = slice(index, index + 1)
    batch = frames.batch(rows, *stored, config.NETWORK.IMAGE_SIZE, str(predictions.path), peaks)
    pose = solve_rpsm_refine(batch, context).pose_world
    views, rays = views_and_peaks(batch, context)
    prediction = learned.predict(views, learned.choose(views, rays, pose, body))

    def projected(points: np.ndarray) -> np.ndarray:
        per_view = np.repeat(points[:, None], num_views, 1)
        return transform_points(project(per_view, batch.cameras)[0], batch.image_to_heatmap)

    before, gt = projected(pose), projected(batch.gt_world)
    moved = np.linalg.norm(prediction[0] - before, axis=-1)[0].mean(0)
    names = args.joint or [joint_set.names[joint] for joint in np.argsort(-moved)[:JOINTS_SHOWN]]
    occluded = frames.annotations.occluded
    occluded = None if occluded is None else occluded[frames.groups[index]][:, union_subset(joint_set)]
    joints = [
        joint_views(learned, batch.heatmaps, prediction, before, gt, joint_set.index(name), occluded) for name in names
    ]
    crops, _ = read_crops(frames.annotations, frames.groups[index], (CROP_PX, CROP_PX), config.DATASET.DATA_FORMAT)
    save_refinement_figure(path, crops, joints, f"learned refinement of frame {index}")
    print(f"figure: {path}")


if __name__ == "__main__":
    run_main(main)
