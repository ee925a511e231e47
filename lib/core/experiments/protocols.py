"""Protocols of the tables: on synthetic data, and on the data set of any YAML."""

from collections.abc import Sequence
from pathlib import Path

from lib.core.experiments.plan import ExperimentProtocol, ExtraTestSet, RigTraining

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
furniture in front of each camera on average. Groups: trained from scratch on the groups. Groups +
single images: trained on the single images, then on both. All fusions of groups use the same frozen
single-view backbone, and all fusions of groups + single images another one. JDR counts joints within
1/20 of the crop side length (100 mm at the person). The last weights are evaluated; nothing is
selected on the test groups."""


LARGE_CFGS = {
    "resnet50": Path("experiments-local/synthetic/resnet50/256_large.yaml"),
    "resnet152": Path("experiments-local/synthetic/resnet152/320_large.yaml"),
}
_LARGE_TEXTS = {
    "resnet50": "ResNet-50, 256 px input, 64 px heatmaps (31 mm per px at the person)",
    "resnet152": "ResNet-152, 320 px input, 80 px heatmaps (25 mm per px at the person)",
}
_PEOPLE = (1, 5, 6, 7, 8, *range(12, 31))  # 24 for training; 9 and 11 are for validation
_TRAINING_RIGS = ("0", "2", "3", "4")  # rig 1 is unseen
_LARGE_TRAINING = (
    f"--image-size 500 --subjects 9 11 {' '.join(map(str, _PEOPLE))} --groups-per-train 23 --groups-per-validation 3 "
    f"--frame-step 50 --occluders {OCCLUDERS} --mpii-train 20000 --mpii-valid 16"
)
_LARGE_SETTING = """\
{network}. Synthetic data: 16,560 training groups of 24 people on one rig; 20,000 single images; test
groups of subjects 9 and 11; 0.5 pieces of furniture in front of each camera on average. Every row is
one training of backbone and fusion together, from scratch, 12 epochs (single images alone: 24). Sum
and Max use the network of Single. The networks of several rigs are trained on the same people on 4
rigs. JDR counts joints within 1/20 of the crop side length (100 mm at the person). The last weights
are evaluated; nothing is selected on the test groups."""
_SMOKE_TRAINING = (
    f"--image-size 96 --subjects 1 5 9 11 --actions 2 13 --groups-per-train 1 --groups-per-validation 1 "
    f"--occluders {OCCLUDERS} --mpii-train 8 --mpii-valid 1"
)
_SMOKE_TEST = "--image-size 96 --subjects 9 11 --actions 2 --groups-per-validation 1 --mpii-train 1 --mpii-valid 1"
_SMOKE_OPTS = (
    *("POSE_RESNET.NUM_LAYERS", "18", "POSE_RESNET.NUM_DECONV_FILTERS", "[16, 16, 16]"),
    *("NETWORK.IMAGE_SIZE", "[64, 64]", "NETWORK.HEATMAP_SIZE", "[16, 16]", "NETWORK.SIGMA", "1"),
    *("TRAIN.END_EPOCH", "1", "TRAIN.LR_STEP", "[9]", "TRAIN.BATCH_SIZE", "4", "WORKERS", "0"),
)
_SMOKE_SETTING = "A test of the plan with a tiny network and few images: no figure means anything."


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
        counts_free=False,
    )


def large_protocol(
    network: str, data: Path, out: Path, opts: Sequence[str] = (), smoke: bool = False
) -> ExperimentProtocol:
    """Return the protocol of `make experiments-large`: the paper's networks, each trained with its fusion from scratch.

    Args:
        network: a key of LARGE_CFGS.
        data: folder of the data sets; both networks use the same ones.
        out: folder of all results; also receives the limb prior.
        opts: further keys and values.
        smoke: all cells with few images and a tiny network, to test the plan.
    """
    make_training, make_test = (_SMOKE_TRAINING, _SMOKE_TEST) if smoke else (_LARGE_TRAINING, _MAKE_TEST)
    tests = [
        ExtraTestSet(
            "occluders2",
            "training rig, 2 pieces of furniture in front of each camera",
            data / "occluders2",
            (*make_test.split(), "--occluders", "2"),
            num_views=4,
            same_rig=True,
        )
    ]
    for views in (2,) if smoke else (2, 4, 8):
        flags = ("--occluders", OCCLUDERS, "--rig", "1", "--views", str(views))
        text = f"unseen rig, {views} views"
        tests.append(ExtraTestSet(f"rig1_v{views}", text, data / f"rig1_v{views}", (*make_test.split(), *flags), views))
    cfg = LARGE_CFGS[network]
    return ExperimentProtocol(
        cfg=cfg,
        opts=("DATASET.ROOT", str(data / "main"), *_prior_in(out), *(_SMOKE_OPTS if smoke else ()), *opts),
        make=tuple(make_training.split()),
        adaptive_opts=None,
        start_opts=() if smoke else ("TRAIN.END_EPOCH", "24", "TRAIN.LR_STEP", "[16, 22]"),
        free_opts=() if smoke else ("TRAIN.END_EPOCH", "4", "TRAIN.LR_STEP", "[3]"),
        setting=_SMOKE_SETTING if smoke else _LARGE_SETTING.format(network=_LARGE_TEXTS[network]),
        validation_text=f"validation set, {OCCLUDERS} pieces of furniture",
        test_sets=tuple(tests),
        crops=data / f"crops_{network}",
        rig_training=RigTraining(data / "rigs", (*make_training.split(), "--rig", *_TRAINING_RIGS)),
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
