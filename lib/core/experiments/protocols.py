"""Protocols of the tables: on synthetic data, and on the data set of any YAML."""

from collections.abc import Sequence
from pathlib import Path

from lib.core.experiments.plan import ExperimentProtocol, ExtraTestSet

CFG = Path("experiments-local/synthetic/resnet18/192_tables.yaml")
OCCLUDERS = "0.5"
RIG_VIEWS = (2, 3, 4, 5, 8)
_MAKE_TRAINING = f"--image-size 500 --groups-per-train 8 --occluders {OCCLUDERS} --mpii-train 4800 --mpii-valid 16"
_MAKE_TEST = "--image-size 500 --subjects 9 11 --groups-per-validation 2 --mpii-train 1 --mpii-valid 1"
_VIEWS_ALONE = ("DATASET.TRAIN_DATASET", "multiview_h36m")  # single images do not train a fusion
_ONE_EPOCH = ("TRAIN.END_EPOCH", "1", "TRAIN.LR", "0.003")
_TWO_EPOCHS = ("TRAIN.END_EPOCH", "2", "TRAIN.LR_STEP", "[1]")
_SYNTHETIC_SETTING = """\
ResNet-18, 192 px input, 48 px heatmaps (42 mm per px at the person). Synthetic data: 1200 training
groups of subjects 1, 5, 6, 7, 8; 4800 single images; test groups of subjects 9 and 11; 0.5 pieces of
furniture in front of each camera on average. H36M: trained from scratch on the groups. H36M+MPII:
trained on the single images, then on both. All fusions of H36M use the same frozen single-view
backbone, and all fusions of H36M+MPII another one. JDR counts joints within 1/20 of the crop side
length (100 mm at the person). The last weights are evaluated; nothing is selected on the test
groups."""


def synthetic_protocol(data: Path, out: Path, opts: Sequence[str] = ()) -> ExperimentProtocol:
    """Return the protocol of `make experiments`: small networks, fusions trained on the single-view backbone.

    Args:
        data: folder of the data sets; several tables may share it.
        out: folder of all results; also receives the limb prior.
        opts: further keys and values.
    """
    occluded = [
        ExtraTestSet(
            f"occluders{count}",
            f"training rig, {count} pieces of furniture in front of each camera",
            data / f"occluders{count}",
            (*_MAKE_TEST.split(), "--occluders", str(count)),
            num_views=4,
            same_rig=True,
        )
        for count in (0, 2)
    ]
    rigs = [
        ExtraTestSet(
            f"rig1_v{views}",
            f"unseen rig, {views} views",
            data / f"rig1_v{views}",
            (*_MAKE_TEST.split(), "--occluders", OCCLUDERS, "--rig", "1", "--views", str(views)),
            num_views=views,
        )
        for views in RIG_VIEWS
    ]
    return ExperimentProtocol(
        cfg=CFG,
        opts=("DATASET.ROOT", str(data / "main"), *_prior_in(out), *opts),
        make=tuple(_MAKE_TRAINING.split()),
        fusion_opts=(*_VIEWS_ALONE, *_TWO_EPOCHS),
        mixed_opts=("TRAIN.END_EPOCH", "4", "TRAIN.LR_STEP", "[3]"),
        adaptive_opts=(*_VIEWS_ALONE, "DATASET.TRAIN_STEP", "2", *_ONE_EPOCH),
        start_opts=("TRAIN.END_EPOCH", "10", "TRAIN.LR_STEP", "[8, 9]"),
        free_opts=_TWO_EPOCHS,
        setting=_SYNTHETIC_SETTING,
        validation_text=f"validation set, {OCCLUDERS} pieces of furniture",
        test_sets=(*occluded, *rigs),
    )


def _prior_in(out: Path) -> tuple[str, str]:
    return "PICT_STRUCT.PAIRWISE_FILE", str(out / "pairwise.pkl")


def config_protocol(cfg: Path, out: Path, opts: Sequence[str] = ()) -> ExperimentProtocol:
    """Return the protocol for the data set of a YAML, with networks as the YAML defines them.

    The paper's fusion is trained together with its backbone; the adaptive fusion alone, since it has 98 weights.

    Args:
        cfg: YAML of the network with learned fusion.
        out: folder of all results; also receives the limb prior, so that the YAML's prior stays unchanged.
        opts: further keys and values.
    """
    return ExperimentProtocol(cfg=cfg, opts=(*_prior_in(out), *opts), adaptive_opts=_ONE_EPOCH)
