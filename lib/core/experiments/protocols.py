"""The protocols of the tables: on the embedded data, and of a published experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lib.core.experiments.plan import ExperimentProtocol, ExtraTestSet

CFG = Path("experiments-local/synthetic/resnet18/192_tables.yaml")
OCCLUDERS = "0.5"
RIG_VIEWS = (2, 3, 4, 5, 8)
_TEST = (
    "--image-size",
    "500",
    "--subjects",
    "9",
    "11",
    "--groups-per-validation",
    "2",
    "--mpii-train",
    "1",
    "--mpii-valid",
    "1",
)

_VIEWS_ALONE = ("DATASET.TRAIN_DATASET", "multiview_h36m")  # single images do not train a fusion


def synthetic_protocol(data: Path, out: Path, opts: Sequence[str] = ()) -> ExperimentProtocol:
    """Return the protocol of `make experiments`: small networks, fusions trained on the backbone of the single one.

    Args:
        data: folder of the data sets; several tables may share it.
        out: folder of all results; receives the limb prior, too.
        opts: further keys and values.
    """
    root = data / "main"
    occluded = [
        ExtraTestSet(
            f"occluders{count}",
            f"rig of the training, {count} pieces of furniture before each camera",
            data / f"occluders{count}",
            (*_TEST, "--occluders", str(count)),
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
            (*_TEST, "--occluders", OCCLUDERS, "--rig", "1", "--views", str(views)),
            num_views=views,
        )
        for views in RIG_VIEWS
    ]
    return ExperimentProtocol(
        cfg=CFG,
        opts=("DATASET.ROOT", str(root), *_prior_in(out), *opts),
        make=(
            "--image-size",
            "500",
            "--groups-per-train",
            "8",
            "--occluders",
            OCCLUDERS,
            "--mpii-train",
            "4800",
            "--mpii-valid",
            "16",
        ),
        fusion_opts=(*_VIEWS_ALONE, "TRAIN.END_EPOCH", "2", "TRAIN.LR_STEP", "[1]"),
        mixed_opts=("TRAIN.END_EPOCH", "4", "TRAIN.LR_STEP", "[3]"),
        adaptive_opts=(*_VIEWS_ALONE, "DATASET.TRAIN_STEP", "2", "TRAIN.END_EPOCH", "1", "TRAIN.LR", "0.003"),
        start_opts=("TRAIN.END_EPOCH", "10", "TRAIN.LR_STEP", "[8, 9]"),
        free_opts=("TRAIN.END_EPOCH", "2", "TRAIN.LR_STEP", "[1]"),
        own_set=f"validation set, {OCCLUDERS} pieces of furniture",
        test_sets=(*occluded, *rigs),
    )


def _prior_in(out: Path) -> tuple[str, str]:
    return "PICT_STRUCT.PAIRWISE_FILE", str(out / "pairwise.pkl")


def config_protocol(cfg: Path, out: Path, opts: Sequence[str] = ()) -> ExperimentProtocol:
    """Return the protocol of a published experiment on a data set that is there: networks as its YAML says.

    The paper's fusion is trained together with its backbone; the adaptive one alone, since it has 98 weights.

    Args:
        cfg: YAML of the network with learned fusion.
        out: folder of all results; receives the limb prior, too, so that the YAML's own one stays as it is.
        opts: further keys and values.
    """
    return ExperimentProtocol(
        cfg=cfg, opts=(*_prior_in(out), *opts), adaptive_opts=("TRAIN.END_EPOCH", "1", "TRAIN.LR", "0.003")
    )
