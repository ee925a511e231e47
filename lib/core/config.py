"""Every configuration key with its default, meaning and unit; nothing here reads files.

Sizes are [width, height] or one integer for a square; KEYS without an entry here do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib.dataset.conventions import CAMERA_T_MEANINGS, MM_PER_UNIT
from lib.dataset.data_sets import DATA_SETS
from lib.dataset.protocol import TOTALCAPTURE_ACTIONS
from lib.multiviews.keypoints.peaks import PEAK_MODES
from lib.utils.files.image_io import DATA_FORMATS
from lib.utils.files.prediction_io import COMPRESSIONS, DTYPES

BACKBONES = ("pose_resnet", "pose_mobilenetv2", "pose_hrnet")
FUSIONS = ("learned", "epipolar_sum", "epipolar_max", "adaptive", "none")
JDR_THRESHOLDS = ("published", "crop", "head")


@dataclass(frozen=True)
class Key:
    """One configuration key.

    Attributes:
        default: value when no YAML names it; its type is the type of the key.
        help: meaning and unit.
        choices: the allowed values, empty = any.
        minimum: smallest allowed number, None = any.
        below: numbers must be smaller than this, None = any.
        is_size: [width, height], or one integer for both.
        item: example of an entry, for lists that are empty by default.
    """

    default: Any
    help: str
    choices: tuple = ()
    minimum: float | None = None
    below: float | None = None
    is_size: bool = False
    item: Any = None


def _stage(modules: int, channels: list[int]) -> dict[str, Key]:
    return {
        "NUM_MODULES": Key(modules, "exchange modules", minimum=1),
        "NUM_BRANCHES": Key(len(channels), "parallel resolutions", minimum=1),
        "BLOCK": Key("BASIC", "residual block", ("BASIC", "BOTTLENECK")),
        "NUM_BLOCKS": Key([4] * len(channels), "blocks per branch", minimum=1),
        "NUM_CHANNELS": Key(channels, "channels per branch", minimum=1),
        "FUSE_METHOD": Key("SUM", "how resolutions are joined", ("SUM",)),
    }


_HRNET_LAYERS = [
    "conv1",
    "bn1",
    "conv2",
    "bn2",
    "layer1",
    "transition1",
    "stage2",
    "transition2",
    "stage3",
    "transition3",
    "stage4",
]

DEFAULTS: dict[str, Any] = {
    "NAME": Key("", "name of the run, last part of its directory; '' = the YAML's. A BASE's is not inherited"),
    "OUTPUT_DIR": Key("output", "run directories go here"),
    "LOG_DIR": Key("log", "TensorBoard files go here"),
    "DATA_DIR": Key("", "put before DATASET.ROOT and NETWORK.PRETRAINED"),
    "BACKBONE_MODEL": Key("pose_resnet", "heatmap network", BACKBONES),
    "MODEL": Key("multiview_pose_resnet", "the backbone with fusion", tuple("multiview_" + b for b in BACKBONES)),
    "GPUS": Key("0,1", "CUDA devices, comma separated; ignored where there is no CUDA"),
    "WORKERS": Key(
        8, "data loading processes of each loader, on a machine with several GPUs for all of them together", minimum=0
    ),
    "PRINT_FREQ": Key(100, "steps between log lines and debug pictures", minimum=1),
    "SEED": Key(0, "seed of initialisation, data order and augmentation", minimum=0),
    "MODEL_EXTRA": {
        "PRETRAINED_LAYERS": Key(
            _HRNET_LAYERS,
            "HRNet modules taken from NETWORK.PRETRAINED, '*' = all; from a trained pose network always all",
        ),
        "FINAL_CONV_KERNEL": Key(1, "kernel of HRNet's last convolution, px", (1, 3)),
        "STAGE2": _stage(1, [48, 96]),
        "STAGE3": _stage(4, [48, 96, 192]),
        "STAGE4": _stage(3, [48, 96, 192, 384]),
    },
    "CUDNN": {
        "BENCHMARK": Key(True, "let cuDNN search the fastest algorithm"),
        "DETERMINISTIC": Key(False, "deterministic cuDNN algorithms"),
        "ENABLED": Key(True, "use cuDNN"),
    },
    "NETWORK": {
        "PRETRAINED": Key("models/pytorch/imagenet/resnet50-19c8e357.pth", "ImageNet weights; '' = from scratch"),
        "NUM_JOINTS": Key(20, "joints of the union set", (20,)),
        "HEATMAP_SIZE": Key([80, 80], "heatmap, px", minimum=1, is_size=True),
        "IMAGE_SIZE": Key([320, 320], "network input, px", minimum=1, is_size=True),
        "SIGMA": Key(2.0, "standard deviation of the target Gaussian, heatmap px", minimum=0.1),
        "TARGET_TYPE": Key("gaussian", "kind of target", ("gaussian",)),
        "TARGET_SUBPIXEL": Key(False, "targets around the joint itself (true) or its rounded px, as published (false)"),
        "AGGRE": Key(
            True,
            "published key: fusion across views, learned (true) or none (false); FUSION, where it is "
            "set, decides instead",
        ),
        "FUSION": Key(
            "",
            "'': as AGGRE says; learned: the paper's matrices, for one rig; epipolar_sum, epipolar_max: "
            "the paper's baselines from the cameras, nothing learned; adaptive: learned weights per view and "
            "joint, from the cameras, for any rig and number of views; none",
            ("", *FUSIONS),
        ),
        "INIT": Key("published", "fresh backbone weights: published N(0, .001) or kaiming", ("published", "kaiming")),
        "FUSION_INIT": Key("published", "fresh fusion weights: published U(0, .1) or zeros", ("published", "zeros")),
    },
    "POSE_RESNET": {
        "NUM_LAYERS": Key(50, "depth of the ResNet", (18, 34, 50, 101, 152)),
        "DECONV_WITH_BIAS": Key(False, "deconvolutions have a bias (ResNet and MobileNetV2)"),
        "NUM_DECONV_LAYERS": Key(3, "deconvolutions (ResNet and MobileNetV2)", minimum=1),
        "NUM_DECONV_FILTERS": Key([256, 256, 256], "filters per deconvolution", minimum=1),
        "NUM_DECONV_KERNELS": Key([4, 4, 4], "kernel per deconvolution, px", minimum=2),
        "FINAL_CONV_KERNEL": Key(1, "kernel of the last convolution, px", (1, 3)),
    },
    "LOSS": {"USE_TARGET_WEIGHT": Key(True, "joints without annotation do not count")},
    "DATASET": {
        "ROOT": Key("data/", "folder with h36m/, totalcapture/ and mpii/"),
        "TRAIN_DATASET": Key("mixed", "training data set", tuple(DATA_SETS)),
        "TEST_DATASET": Key("multiview_h36m", "validation data set", tuple(DATA_SETS)),
        "TRAIN_SUBSET": Key("train", "annotation file for training"),
        "TEST_SUBSET": Key("validation", "annotation file for validation"),
        "TRAIN_STEP": Key(5, "training keeps every n-th multi-view group", minimum=1),
        "TEST_STEP": Key(64, "validation keeps every n-th multi-view group", minimum=1),
        "INCOMPLETE_GROUPS": Key("drop", "groups that lack a view: drop with a warning, or error", ("drop", "error")),
        "TEST_EXCLUDE": Key(
            [],
            "recordings left out of the evaluated groups: SUBJECT-ACTION-SUBACTION, or damaged for "
            "those of Human3.6M's subject 9 with wrong 3D truth (9-5-2, 9-10-2, 9-13-1)",
            item="",
        ),
        "CAMERAS": Key([], "camera_id of the views to use, in this order; [] = all of the annotation", item=0),
        "TOTALCAPTURE_ACTIONS": Key(
            list(TOTALCAPTURE_ACTIONS.values()), "names of the actions that the file of Total Capture numbers 1, 2, ..."
        ),
        "POSE_UNIT": Key("mm", "length unit of the file's 3D joints", tuple(MM_PER_UNIT)),
        "CAMERA_UNIT": Key("mm", "length unit of the file's camera T", tuple(MM_PER_UNIT)),
        "CAMERA_T": Key(
            "centre",
            "the file's camera T is the centre, x_cam = R (x - T), or the translation of x_cam = R x + T",
            CAMERA_T_MEANINGS,
        ),
        "ROOTIDX": Key(0, "index of the root joint", minimum=0),
        "DATA_FORMAT": Key("jpg", "images in folders (jpg) or in images.zip (zip)", DATA_FORMATS),
        "CROP": Key(True, "boxes around the person (true) or the whole image (false)"),
        "SCALE_FACTOR": Key(0.0, "scale augmentation: standard deviation and clip", minimum=0, below=1),
        "ROT_FACTOR": Key(0.0, "rotation augmentation: standard deviation, degrees", minimum=0),
        "SHIFT_FACTOR": Key(
            0.0,
            "shift augmentation: standard deviation, share of the box's side; for networks that "
            "have to find people who are not in the middle of the box",
            minimum=0,
        ),
    },
    "TRAIN": {
        "LR": Key(0.001, "learning rate", minimum=0),
        "LR_FACTOR": Key(0.1, "factor at each LR_STEP", minimum=0),
        "LR_STEP": Key([90, 110], "epochs at which the rate drops", minimum=0),
        "OPTIMIZER": Key("adam", "optimizer", ("adam", "sgd")),
        "MOMENTUM": Key(0.9, "momentum of SGD", minimum=0),
        "WD": Key(0.0001, "weight decay of SGD; Adam ignores it, as published", minimum=0),
        "NESTEROV": Key(False, "Nesterov momentum of SGD"),
        "BEGIN_EPOCH": Key(0, "first epoch", minimum=0),
        "END_EPOCH": Key(140, "training stops before this epoch", minimum=0),
        "RESUME": Key(False, "continue from checkpoint.pth.tar if there is one"),
        "BATCH_SIZE": Key(8, "groups per step and GPU", minimum=1),
        "SHUFFLE": Key(True, "new order of the data each epoch"),
        "AMP": Key(
            "off",
            "type of the products in forward and backward pass, weights stay float32; fp16 scales the loss",
            ("off", "bf16", "fp16"),
        ),
        "FUSION_STATE": Key(
            "float32", "type of Adam's moments of the fusion matrices; bfloat16 halves them", ("float32", "bfloat16")
        ),
        "FREEZE_BACKBONE": Key(
            False,
            "train the fusion alone: backbone and batch-norm statistics stay as "
            "NETWORK.PRETRAINED, a trained pose network, has them",
        ),
        "ACCUMULATE": Key(
            1,
            "parts into which each batch is split, one after the other: less memory, the same "
            "gradient but for batch norm",
            minimum=1,
        ),
        "CHECKPOINT_ACTIVATIONS": Key(
            False,
            "keep the heatmaps of each view alone and compute the backbone again in "
            "the backward pass: a quarter of the activations with 4 views, more time",
        ),
        "CHANNELS_LAST": Key(False, "memory format of the backbone: faster on tensor cores and CPUs with AMX"),
        "COMPILE": Key(False, "torch.compile the backbone; needs a C++ compiler"),
        "SYNC_BN": Key(False, "batch norm over the images of all processes"),
        "CHECKPOINT_STEPS": Key(0, "steps between checkpoints within an epoch; 0 = at its end alone", minimum=0),
        "KEEP_CHECKPOINTS": Key(1, "checkpoints to keep; checkpoint.pth.tar is the newest", minimum=1),
        "VALIDATE_EVERY": Key(1, "epochs between validations; the last epoch is always validated", minimum=1),
    },
    "TEST": {
        "BATCH_SIZE": Key(8, "groups per step", minimum=1),
        "STATE": Key("", "weights to validate: best (also '') or final", ("", "best", "final")),
        "POST_PROCESS": Key(False, "published key: true makes the PEAK_MODE argmax a quarter"),
        "PEAK_MODE": Key(
            "argmax",
            "place of a joint in its map: highest px (argmax), 1/4 px toward the larger "
            "neighbour (quarter), top of a fit to the logarithms (log_quadratic)",
            PEAK_MODES,
        ),
        "MODEL_FILE": Key("", "checkpoint to validate instead of the run's own"),
        "JOINTS": Key(
            [],
            "joints that the network has learned, if its training data label fewer than the test data; "
            "the others get empty heatmaps and no detection rate, and stand in 3D where their limbs put "
            "them; [] = all of the test data",
            item="",
        ),
        "HEATMAP_LOCATION_FILE": Key("predicted_heatmaps.h5", "predictions, in the run directory"),
        "HEATMAP_COMPRESSION": Key(
            "none", "of the heatmaps in the file, without loss: none is fastest to read", COMPRESSIONS
        ),
        "HEATMAP_DTYPE": Key("float32", "of the heatmaps in the file; float16 halves it and keeps 11 bits", DTYPES),
        "JDR_THRESHOLD": Key(
            "published",
            "perf counts joints within IMAGE_SIZE/20 image px (published), 1/20 of the "
            "crop side (crop) or, as the paper defines it, half the annotated head size (head; MPII "
            "with head boxes)",
            JDR_THRESHOLDS,
        ),
    },
    "TRIANGULATE": {
        "WEIGHTS": Key(
            "peaks",
            "how much a view counts in the linear triangulation: the height of its peak, or equal",
            ("peaks", "equal"),
        ),
        "NUM_PEAKS": Key(3, "peaks per map that the robust triangulation considers", minimum=1),
        "PEAK_MODE": Key("log_quadratic", "place of those peaks in their maps, as TEST.PEAK_MODE", PEAK_MODES),
        "TOLERANCE": Key(0.04, "distance up to which a peak agrees with a point, share of the box side", minimum=1e-6),
    },
    "DEBUG": {
        "DEBUG": Key(True, "write debug pictures at every PRINT_FREQ"),
        "SAVE_BATCH_IMAGES_GT": Key(True, "images with true joints"),
        "SAVE_BATCH_IMAGES_PRED": Key(True, "images with predicted joints"),
        "SAVE_HEATMAPS_GT": Key(True, "target heatmaps"),
        "SAVE_HEATMAPS_PRED": Key(True, "predicted heatmaps"),
    },
    "PICT_STRUCT": {
        "FIRST_NBINS": Key(16, "points per axis of the first grid", minimum=2),
        "PAIRWISE_FILE": Key("", "limb-length prior, made by run/data/make_limb_prior.py"),
        "RECUR_NBINS": Key(2, "points per axis of the later grids", minimum=2),
        "RECUR_DEPTH": Key(10, "number of later grids", minimum=0),
        "LIMB_LENGTH_TOLERANCE": Key(150.0, "allowed deviation of a limb length, mm", minimum=0),
        "GRID_SIZE": Key(2000.0, "edge of the first grid, mm", minimum=1),
        "ROOT_SOURCE": Key(
            "triangulated", "root from the predicted 2D roots, or the true one", ("triangulated", "ground_truth")
        ),
        "LIMB_LENGTH_SOURCE": Key(
            "prior", "limb lengths: training means, or the frame's true ones", ("prior", "ground_truth")
        ),
        "REFINE": Key(False, "--method rpsm goes on between the pixels, as rpsm+refine does"),
        "REFINE_PERSON": Key(True, "the refinement measures each subject's own lengths over all frames"),
        "REFINE_LENGTH_STD": Key(
            0.05, "spread of people's limb lengths around the means, share of a length", minimum=1e-4
        ),
    },
}

# Keys of published YAMLs that the released code never read: accepted with one warning.
UNUSED = frozenset(
    ["DATASET.BBOX", "TRAIN.GAMMA1", "TRAIN.GAMMA2"]
    + [
        f"TEST.{key}"
        for key in (
            "SHIFT_HEATMAP",
            "USE_GT_BBOX",
            "IMAGE_THRE",
            "NMS_THRE",
            "OKS_THRE",
            "IN_VIS_THRE",
            "BBOX_FILE",
            "BBOX_THRE",
            "MATCH_IOU_THRE",
            "DETECTOR",
            "DETECTOR_DIR",
        )
    ]
    + [f"PICT_STRUCT.{key}" for key in ("DEBUG", "TEST_PAIRWISE", "SHOW_ORIIMG", "SHOW_CROPIMG", "SHOW_HEATIMG")]
)
