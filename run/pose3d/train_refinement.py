"""Train the learned refinement (--method rpsm+learned) on a trained network's heatmaps of training images.

    python run/pose3d/train_refinement.py --cfg experiments-local/mixed/resnet50/256_nofusion.yaml
    python run/pose3d/estimate.py         --cfg experiments-local/mixed/resnet50/256_nofusion.yaml --method rpsm+learned

The network predicts the groups of DATASET.TRAIN_SUBSET, or of DATASET.HELD_OUT_SUBJECTS if there are any: people that
the network has not seen teach more. rpsm+refine estimates their poses. Writes learned_refinement_<fusion>.npz into the
run directory, or PICT_STRUCT.REFINE_LEARNED.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import copy
import logging

import torch
from tqdm import tqdm

from lib.core.config_io import load_config
from lib.core.evaluation2d.provenance import file_digest
from lib.core.pose3d.frames import load_frames
from lib.core.pose3d.from_images import predict_frames
from lib.core.pose3d.learned_file import learned_path, save_learned
from lib.core.pose3d.make_prior import load_prior
from lib.core.pose3d.methods import make_context
from lib.core.pose3d.train_choice import ChoiceSettings, train_choice
from lib.core.pose3d.train_refinement import TrainingSettings, collect_examples, train
from lib.core.run_directory import evaluation_directory, start_run, weights_file
from lib.core.runtime.command_line import collect_opts, make_parser, run_main
from lib.core.runtime.device import CPU, device_names
from lib.core.runtime.run_identity import check_evaluates_own_training, record_run
from lib.models.registry import fusion_name
from lib.multiviews.body import body_of
from lib.multiviews.pictorial.backend_torch import TorchBackend
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.refinement.learned_refinement import LearnedRefinement
from lib.utils.files.atomic import make_directory

logger = logging.getLogger("train_refinement")
FRAMES_PER_BATCH = 64
FEW_GROUPS = 500


def main() -> None:
    flags = ("--modelDir", "--dataDir", "--state", "--model-file", "--gpus", "--workers", "--data-format")
    args = make_parser(__doc__, *flags).parse_args()
    config = load_config(args.cfg, collect_opts(args))
    directory = evaluation_directory(config, args.cfg)
    check_evaluates_own_training(config, args.cfg, directory)
    path = learned_path(config, directory)
    start_run(config, args.cfg, "train_refinement")
    make_directory(path.parent)  # before the long computation

    on_training_data = copy.deepcopy(config)
    keys = on_training_data.DATASET
    keys.TEST_SUBSET = keys.TRAIN_SUBSET
    keys.TEST_STEP = keys.TRAIN_STEP
    keys.TEST_EXCLUDE = []
    keys.TRAIN_DATASET = keys.TEST_DATASET  # groups, whatever the items of the training were
    held_out = bool(keys.HELD_OUT_SUBJECTS)
    frames = load_frames(on_training_data, held_out)
    if len(frames) < FEW_GROUPS:
        logger.warning("%d groups are few: rpsm+learned may be no better than rpsm+refine", len(frames))
    body = body_of(frames.joint_set)
    is_cuda = device_names(config.GPUS)[0] != CPU and torch.cuda.is_available()
    network = TorchBackend("cuda" if is_cuda else CPU)
    backend = network if is_cuda else make_cpu_backend()
    context = make_context(config, body, load_prior(config.PICT_STRUCT, body), backend)
    batches = predict_frames(on_training_data, directory, frames, network, FRAMES_PER_BATCH, held_out, occluded=True)
    settings = TrainingSettings()
    progress = tqdm(batches, unit="batch", disable=None, leave=False)
    places, choices = collect_examples(progress, context, settings, config.SEED)
    logger.info("%d groups of %d views; %.0f s of network", *frames.groups.shape, batches.seconds)
    weights = train(places, settings, config.SEED, network.device)
    del places  # some 65 kB per group
    choice = train_choice(choices, ChoiceSettings(), config.SEED, network.device)
    checkpoint = file_digest(weights_file(config, directory)) or ""
    fusion = fusion_name(config.NETWORK)
    save_learned(path, LearnedRefinement(weights, body.joint_names, fusion, checkpoint, choice))
    record_run(config, args.cfg, directory, "train_refinement")
    print(f"\n{path}: learned refinement for the heatmaps of NETWORK.FUSION {fusion}")


if __name__ == "__main__":
    run_main(main)
