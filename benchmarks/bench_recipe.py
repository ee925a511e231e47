"""Effect of the keys that change the published training, on a reduced quick start.

    python benchmarks/bench_recipe.py [--epochs 80] [--seeds 0 1 2] [--only baseline flip]

Reduced: ResNet-18 without fusion at 64 px, 80 epochs on 38 groups of 2 views of synthetic data, without single images.
Such a training overfits, as on small data of one's own. Each variant changes one thing; `all` has every key. A seed
sets initial weights, data order and augmentation. The table has the joint detection rate (JDR, 100 mm at the person) on
240 images of other subjects: mean and standard deviation over seeds, and the differences from the baseline of the same
seed. Results are stored per training, so an interrupted benchmark continues.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.evaluation2d.validate import validate
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.core.runtime.machine import describe_machine
from lib.core.training.epoch import EpochMeters, EpochSettings, train_one_epoch
from lib.core.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from lib.core.training.step import TrainStep
from lib.dataset.data_sets import build_parts
from lib.dataset.sample import SampleSettings
from lib.dataset.storage.crop_cache import CropFile, write_crops
from lib.dataset.synthetic.generate import SetSettings, is_made, make_dataset
from lib.dataset.synthetic.scene import WorldSettings
from lib.utils.files.json_file import read_json, write_json
from lib.utils.joints import UNION_20
from lib.utils.tables import markdown_table

CPU = torch.device("cpu")
EXPERIMENT = ROOT / "experiments-local/synthetic/resnet18/128_nofusion.yaml"
DATA = SetSettings(
    world=WorldSettings(image_size=250, occluders=0.2), train_groups=1, validation_groups=2, mpii_train=0, mpii_valid=0
)
REDUCED = """
NETWORK.IMAGE_SIZE 64 NETWORK.HEATMAP_SIZE 16 NETWORK.SIGMA 1 POSE_RESNET.NUM_DECONV_FILTERS [64,64,64] WORKERS 0
DATASET.TRAIN_DATASET multiview_h36m DATASET.CAMERAS [1,2] TRAIN.AMP off TRAIN.CHANNELS_LAST auto TRAIN.BATCH_SIZE 4
DATASET.TRAIN_STEP 4 TEST.PEAK_MODE log_quadratic
"""
VARIANTS = {"baseline": "", "clip": "TRAIN.CLIP_NORM 1", "flip": "DATASET.FLIP true"}
VARIANTS["all"] = " ".join(VARIANTS.values())


def prepare(folder: Path) -> None:
    """Make the data set and the crops, unless they exist."""
    root = folder / "data"
    if not is_made(root, DATA, False):
        make_dataset(root, DATA, 1)
    config = configuration(folder, "", 0, 1)
    for is_train in (True, False):
        for part in build_parts(config.DATASET, root, is_train):
            file = CropFile.of_part(folder / "crops", part, SampleSettings.from_config(config))
            if not file.path.is_file():
                write_crops(file, 1)


def configuration(folder: Path, opts: str, seed: int, epochs: int):
    """Return the configuration of a variant; the learning rate drops after 5/6 of the epochs."""
    length = ["TRAIN.END_EPOCH", str(epochs), "TRAIN.LR_STEP", f"[{epochs * 5 // 6}]"]
    paths = ["DATASET.ROOT", str(folder / "data"), "DATASET.CROP_CACHE", str(folder / "crops"), "SEED", str(seed)]
    return load_config(EXPERIMENT, [*REDUCED.split(), *length, *paths, *opts.split()])


def train(config) -> float:
    """Train and return the JDR in percent."""
    torch.manual_seed(config.SEED)
    train_set, test_set = (build_dataset(config, config.DATASET.ROOT, is_train) for is_train in (True, False))
    loader, test_loader = build_loader(config, train_set, True), build_loader(config, test_set, False)
    model = build_model(config, train_set.num_views, is_train=True)
    step = TrainStep(model, build_optimizer(config.TRAIN, model), CPU, clip_norm=config.TRAIN.CLIP_NORM)
    for epoch in range(config.TRAIN.END_EPOCH):
        set_learning_rate(step.optimizer, learning_rate(config.TRAIN, epoch))
        meters = EpochMeters(len(UNION_20), CPU)
        train_one_epoch(step, loader, meters, EpochSettings(train_set.settings, CPU), epoch)
    return 100 * validate(step.network, test_loader, ValidationSettings.from_config(config), CPU).perf


def table(rates: dict[str, dict[str, float]]) -> str:
    """Format variant -> seed -> JDR."""
    rows = []
    for name, by_seed in rates.items():
        values = list(by_seed.values())
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        keys = f"`{VARIANTS[name]}`" if name not in ("baseline", "all") else None
        shared = [seed for seed in by_seed if name != "baseline" and seed in rates.get("baseline", {})]
        differences = [by_seed[seed] - rates["baseline"][seed] for seed in shared]
        mean = f"{np.mean(differences):+.1f}" if differences else None
        of_seeds = ", ".join(f"{value:+.1f}" for value in differences) or None
        rows.append([name, keys, f"{np.mean(values):.1f}{spread}", mean, of_seeds])
    header = ["variant", "keys", "JDR (%)", "difference", "by seed"]
    return markdown_table(header, rows, left_columns=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--folder", type=Path, default=Path("output/bench_recipe"), help="data and results")
    args = parser.parse_args()
    print(describe_machine(("torch",)), flush=True)
    prepare(args.folder)
    path = args.folder / f"rates_{args.epochs}.json"
    rates = read_json(path) if path.is_file() else {}
    for seed in args.seeds:
        for name in args.only:
            if str(seed) not in rates.setdefault(name, {}):
                rates[name][str(seed)] = train(configuration(args.folder, VARIANTS[name], seed, args.epochs))
                write_json(path, rates)
                print(f"{name}, seed {seed}: {rates[name][str(seed)]:.1f} %", flush=True)
    print(table(rates))


if __name__ == "__main__":
    main()
