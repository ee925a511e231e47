"""All configuration keys: default, scope, meaning and unit. Imports no torch and reads no files.

To add a key, add a `Key` to DEFAULTS and run `make configuration-docs`. Its scope decides whether a training resumes
after the key has changed, and which results depend on it. Sizes are [width, height], or one integer for a square.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.dataset.conventions import CAMERA_T_MEANINGS, MM_PER_UNIT
from lib.dataset.data_sets import DATA_SETS
from lib.dataset.protocol import TOTALCAPTURE_ACTIONS
from lib.models.registry import BACKBONES, FUSIONS, model_names
from lib.multiviews.keypoints.peaks import PEAK_MODES
from lib.utils.files.image_store import DATA_FORMATS
from lib.utils.files.prediction_file import COMPRESSIONS, DTYPES

JDR_THRESHOLDS = ("crop", "published", "head")
FEW_IMAGES = 100  # detection rates over fewer images are marked as imprecise

# Scope of a key: the first stage whose result depends on it.
SCOPES = {
    "weights": "network, targets and training data; a training resumes only with the same value",
    "training": "course of the training; may change when a training resumes",
    "predictions": "predicted heatmaps and 2D results",
    "pose3d": "3D poses and their errors",
    "runtime": "files, speed and logs; no result depends on it",
}


@dataclass(frozen=True)
class Key:
    """One configuration key.

    Attributes:
        scope: one of SCOPES.
        default: value when no YAML sets the key; its type is the type of the key.
        help: meaning and unit.
        choices: the allowed values, or a function that returns them; empty = any.
        minimum: smallest allowed number; None = any.
        below: exclusive upper limit of numbers; None = any.
        is_size: [width, height], or one integer for both.
        is_path: path, in which ~ and $NAME are replaced.
        item: example of an entry, for lists that are empty by default.
        evaluation: word for the value in the names of evaluations (lib/core/run_directory.py); two evaluations of a run
            that differ in such a key have their own directories. "" = does not tell evaluations apart.
        former_names: dotted names, in the present sections, that YAMLs may still use.
        former_values: value that YAMLs may still use -> its present name.
    """

    scope: str
    default: Any
    help: str
    choices: Collection[Any] | Callable[[], Collection[Any]] = ()
    minimum: float | None = None
    below: float | None = None
    is_size: bool = False
    is_path: bool = False
    item: Any = None
    evaluation: str = ""
    former_names: tuple[str, ...] = ()
    former_values: Mapping[str, str] = field(default_factory=dict)

    @property
    def allowed(self) -> Collection[Any]:
        """The allowed values; empty = any."""
        return self.choices() if callable(self.choices) else self.choices


def _stage(modules: int, channels: list[int]) -> dict[str, Key]:
    return {
        "NUM_MODULES": Key("weights", modules, "number of modules in the stage", minimum=1),
        "NUM_BRANCHES": Key("weights", len(channels), "number of parallel resolutions", minimum=1),
        "BLOCK": Key("weights", "BASIC", "residual block", ("BASIC", "BOTTLENECK")),
        "NUM_BLOCKS": Key("weights", [4] * len(channels), "residual blocks per branch", minimum=1),
        "NUM_CHANNELS": Key("weights", channels, "channels per branch", minimum=1),
        "FUSE_METHOD": Key("weights", "SUM", "how the branches are combined", ("SUM",)),
    }


_HRNET_LAYERS = ["conv1", "bn1", "conv2", "bn2", "layer1"]
_HRNET_LAYERS += ["transition1", "stage2", "transition2", "stage3", "transition3", "stage4"]

DEFAULTS: dict[str, Any] = {
    "NAME": Key("runtime", "", "name of the run, the last part of its directory; '' = name of the YAML; not inherited"),
    "OUTPUT_DIR": Key("runtime", "output", "parent of the run directories", is_path=True),
    "LOG_DIR": Key("runtime", "log", "parent of the TensorBoard directories", is_path=True),
    "DATA_DIR": Key("runtime", "", "prefix of DATASET.ROOT and NETWORK.PRETRAINED", is_path=True),
    "BACKBONE_MODEL": Key("weights", "pose_resnet", "single-view heatmap network", BACKBONES),
    "MODEL": Key("weights", "multiview_pose_resnet", "multi-view network of that backbone", model_names),
    "GPUS": Key("training", "0,1", "CUDA devices, comma separated; ignored without CUDA"),
    "WORKERS": Key(
        "runtime",
        8,
        "data loading processes per loader, shared by the GPUs of a machine; with ready crops up to 4 threads per GPU",
        minimum=0,
    ),
    "PRINT_FREQ": Key("runtime", 100, "steps between log lines and between debug images", minimum=1),
    "SEED": Key("weights", 0, "seed of initialization, data order and augmentation", minimum=0),
    "MODEL_EXTRA": {
        "PRETRAINED_LAYERS": Key("training", _HRNET_LAYERS, "HRNet layers to load from an ImageNet file; '*' = all"),
        "FINAL_CONV_KERNEL": Key("weights", 1, "kernel size of HRNet's last convolution, px", (1, 3)),
        "STAGE2": _stage(1, [48, 96]),
        "STAGE3": _stage(4, [48, 96, 192]),
        "STAGE4": _stage(3, [48, 96, 192, 384]),
    },
    "CUDNN": {
        "BENCHMARK": Key("runtime", True, "let cuDNN search for the fastest algorithms"),
        "DETERMINISTIC": Key("runtime", False, "use deterministic cuDNN algorithms only"),
        "ENABLED": Key("runtime", True, "use cuDNN"),
    },
    "NETWORK": {
        "PRETRAINED": Key(
            "training",
            "models/pytorch/imagenet/resnet50-19c8e357.pth",
            "initial weights of the backbone: an ImageNet file or a trained pose network; '' = random weights",
            is_path=True,
        ),
        "NUM_JOINTS": Key("weights", 20, "number of union joints", (20,)),
        "HEATMAP_SIZE": Key("weights", [80, 80], "heatmap size, px", minimum=1, is_size=True),
        "IMAGE_SIZE": Key("weights", [320, 320], "crop size, px", minimum=1, is_size=True, evaluation="image_size"),
        "SIGMA": Key("weights", 2.0, "standard deviation of the target Gaussian, heatmap px", minimum=0.1),
        "TARGET_TYPE": Key("weights", "gaussian", "kind of target", ("gaussian",)),
        "TARGET_SUBPIXEL": Key("weights", False, "center targets on the joint instead of its rounded pixel"),
        "AGGRE": Key(
            "weights", True, "learned fusion (true) or none (false), as in the original code; FUSION overrides it"
        ),
        "FUSION": Key(
            "weights",
            "",
            "cross-view fusion. '': as AGGRE says. learned: the paper's matrices, for one rig. epipolar_sum, "
            "epipolar_max: the paper's baselines, computed from the cameras without weights. adaptive: learned weights "
            "per view and joint, for any rig and number of views. none: no fusion",
            lambda: ["", *FUSIONS],
            evaluation="fusion",
        ),
        "INIT": Key(
            "training",
            "published",
            "random backbone weights: N(0, 0.001) (published), or kaiming",
            ("published", "kaiming"),
        ),
        "FUSION_INIT": Key(
            "training", "published", "random fusion matrices: U(0, 0.1) (published), or zeros", ("published", "zeros")
        ),
    },
    "POSE_RESNET": {
        "NUM_LAYERS": Key("weights", 50, "depth of the ResNet", (18, 34, 50, 101, 152)),
        "DECONV_WITH_BIAS": Key("weights", False, "give the deconvolutions a bias (ResNet and MobileNetV2)"),
        "NUM_DECONV_LAYERS": Key("weights", 3, "number of deconvolutions (ResNet and MobileNetV2)", minimum=1),
        "NUM_DECONV_FILTERS": Key("weights", [256, 256, 256], "filters per deconvolution", minimum=1),
        "NUM_DECONV_KERNELS": Key("weights", [4, 4, 4], "kernel size per deconvolution, px", minimum=2),
        "FINAL_CONV_KERNEL": Key("weights", 1, "kernel size of the last convolution, px", (1, 3)),
    },
    "BLAZEPOSE": {
        "FILE": Key(
            "weights",
            "models/blazepose/pose_landmark_full.tflite",
            "landmark network (lite, full or heavy) of BACKBONE_MODEL blazepose, made by run/demo/fetch_blazepose.py",
            is_path=True,
        )
    },
    "LOSS": {"USE_TARGET_WEIGHT": Key("weights", True, "exclude joints without annotation from the loss")},
    "DATASET": {
        "ROOT": Key(
            "training", "data/", "folder that holds h36m/, totalcapture/ and mpii/", evaluation="root", is_path=True
        ),
        "TRAIN_DATASET": Key("weights", "mixed", "training data set", DATA_SETS),
        "TEST_DATASET": Key("predictions", "multiview_h36m", "validation data set", DATA_SETS, evaluation="dataset"),
        "TRAIN_SUBSET": Key("weights", "train", "annotation file for training"),
        "TEST_SUBSET": Key("predictions", "validation", "annotation file for validation", evaluation="subset"),
        "TRAIN_STEP": Key("weights", 5, "training uses every n-th group", minimum=1),
        "TEST_STEP": Key("predictions", 64, "validation uses every n-th group", minimum=1, evaluation="step"),
        "INCOMPLETE_GROUPS": Key(
            "training", "drop", "groups that lack a view: drop them with a warning, or stop (error)", ("drop", "error")
        ),
        "HELD_OUT_SUBJECTS": Key(
            "weights",
            [],
            "training subjects that the training validates and does not train on, so that model_best.pth.tar is not "
            "chosen on the test set; [] = validate on TEST_DATASET, as the original code does",
            item=0,
        ),
        "TEST_EXCLUDE": Key(
            "predictions",
            [],
            "recordings excluded from validation: SUBJECT-ACTION-SUBACTION, or damaged = the recordings of Human3.6M's "
            "subject 9 with wrong 3D ground truth (9-5-2, 9-10-2, 9-13-1)",
            item="",
            evaluation="exclude",
        ),
        "CAMERAS": Key(
            "weights",
            [],
            "camera_id of the views, in this order; [] = all in the annotation",
            item=0,
            evaluation="cameras",
        ),
        "TOTALCAPTURE_ACTIONS": Key(
            "training", list(TOTALCAPTURE_ACTIONS.values()), "names of the actions 1, 2, ... in the annotation"
        ),
        "POSE_UNIT": Key("pose3d", "mm", "length unit of the 3D joints in the annotation", MM_PER_UNIT),
        "CAMERA_UNIT": Key("weights", "mm", "length unit of the camera T in the annotation", MM_PER_UNIT),
        "CAMERA_T": Key(
            "weights",
            "center",
            "meaning of the camera T in the annotation: the camera center, x_cam = R (x - T), or the translation of "
            "x_cam = R x + T",
            CAMERA_T_MEANINGS,
            former_values={"centre": "center"},
        ),
        "ROOTIDX": Key("pose3d", 0, "index of the root joint", minimum=0),
        "DATA_FORMAT": Key("training", "jpg", "images in folders (jpg) or in images.zip (zip)", DATA_FORMATS),
        "CROP_CACHE": Key(
            "runtime",
            "",
            "folder of ready crops, written by run/data/cache_crops.py; '' = read the images",
            is_path=True,
        ),
        "CROP": Key("weights", True, "crop around the person (true) or use the whole image (false)", evaluation="crop"),
        "SCALE_FACTOR": Key("weights", 0.0, "scale augmentation: standard deviation and limit", minimum=0, below=1),
        "ROT_FACTOR": Key("weights", 0.0, "rotation augmentation: standard deviation, degrees", minimum=0),
        "SHIFT_FACTOR": Key(
            "weights", 0.0, "shift augmentation: standard deviation, share of the crop side length", minimum=0
        ),
        "FLIP": Key(
            "weights",
            False,
            "flip augmentation: mirror all views of half of the groups, swap left and right; not with FUSION learned",
        ),
    },
    "TRAIN": {
        "LR": Key("training", 0.001, "learning rate", minimum=0),
        "LR_FACTOR": Key("training", 0.1, "factor on the learning rate at each LR_STEP", minimum=0),
        "LR_STEP": Key("training", [90, 110], "epochs at which the learning rate drops", minimum=0),
        "OPTIMIZER": Key("weights", "adam", "optimizer", ("adam", "sgd")),
        "MOMENTUM": Key("training", 0.9, "momentum of SGD", minimum=0),
        "WD": Key("training", 0.0001, "weight decay of SGD; Adam ignores it, as in the original code", minimum=0),
        "NESTEROV": Key("training", False, "Nesterov momentum of SGD"),
        "CLIP_NORM": Key("training", 0.0, "largest norm of the gradient of a step; 0 = any", minimum=0),
        "BEGIN_EPOCH": Key("training", 0, "first epoch", minimum=0),
        "END_EPOCH": Key("training", 140, "training stops before this epoch", minimum=0),
        "RESUME": Key("runtime", False, "resume from checkpoint.pth.tar if it exists"),
        "BATCH_SIZE": Key("training", 8, "groups per step and GPU", minimum=1),
        "SHUFFLE": Key("weights", True, "shuffle the data in every epoch"),
        "AMP": Key(
            "training", "off", "data type of products (mixed precision); weights stay float32", ("off", "bf16", "fp16")
        ),
        "FREEZE_BACKBONE": Key("weights", False, "train only the fusion, on the pose network NETWORK.PRETRAINED"),
        "ACCUMULATE": Key("training", 1, "parts per batch; saves memory, same gradients except batch norm", minimum=1),
        "CHECKPOINT_ACTIVATIONS": Key("training", False, "recompute the backbone in backward: less memory, slower"),
        "CHANNELS_LAST": Key(
            "training",
            "auto",
            "channels-last memory format of the backbone. auto: on a GPU with AMP",
            ("auto", "true", "false"),
        ),
        "COMPILE": Key(
            "training",
            "auto",
            "torch.compile the training pass of the backbone; CUDA graphs with ACCUMULATE 1. auto: on a GPU. If "
            "compiling fails, a warning is logged and training runs without it",
            ("auto", "true", "false"),
        ),
        "TF32": Key(
            "training",
            "conv",
            "float32 products in TF32 (10-bit mantissa) on a GPU: none (off), convolutions (conv, torch's default), or "
            "also matrix products, i.e. the learned fusion (all)",
            ("off", "conv", "all"),
        ),
        "SYNC_BN": Key("training", False, "synchronize batch norm across processes; the views run one after the other"),
        "CHECKPOINT_STEPS": Key("runtime", 0, "steps between checkpoints in an epoch; 0 = only at its end", minimum=0),
        "KEEP_CHECKPOINTS": Key("runtime", 1, "number of checkpoints to keep", minimum=1),
        "VALIDATE_EVERY": Key("runtime", 1, "epochs between validations; also after the last epoch", minimum=1),
    },
    "TEST": {
        "BATCH_SIZE": Key("runtime", 8, "groups per step", minimum=1),
        "STATE": Key("predictions", "", "weights to validate: best (also '') or final", ("", "best", "final")),
        "POST_PROCESS": Key("predictions", False, "key of the original code: true turns PEAK_MODE argmax into quarter"),
        "PEAK_MODE": Key(
            "predictions",
            "argmax",
            "location of a joint in its heatmap: highest pixel (argmax), shifted 1/4 px toward the larger neighbor "
            "(quarter), or maximum of a quadratic fit to the logarithms (log_quadratic)",
            PEAK_MODES,
            evaluation="peak_mode",
        ),
        "FLIP_TEST": Key(
            "predictions", False, "average with the mirrored image; without fusion only", evaluation="flip_test"
        ),
        "MODEL_FILE": Key(
            "predictions", "", "checkpoint to validate instead of the run's", evaluation="weights", is_path=True
        ),
        "JOINTS": Key(
            "predictions",
            [],
            "learned joints, [] = all; others get empty heatmaps and no detection rate",
            item="",
            evaluation="joints",
        ),
        "HEATMAP_LOCATION_FILE": Key("runtime", "predicted_heatmaps.h5", "prediction file in the run directory"),
        "HEATMAP_COMPRESSION": Key("runtime", "none", "lossless compression of stored heatmaps", COMPRESSIONS),
        "HEATMAP_DTYPE": Key("predictions", "float32", "data type of stored heatmaps; float16 halves the file", DTYPES),
        "JDR_THRESHOLD": Key(
            "predictions",
            "crop",
            "largest error of a detected joint, half the head size. crop: 100 mm at the person, 1/20 of its box of "
            "2 m. published: the original code's, IMAGE_SIZE / 20 in px of the original image. head: half the "
            "annotated head size (MPII only)",
            JDR_THRESHOLDS,
        ),
    },
    "TRIANGULATE": {
        "WEIGHTS": Key("pose3d", "peaks", "weights of views: peak heights, or equal", ("peaks", "equal")),
        "NUM_PEAKS": Key("pose3d", 3, "peaks per heatmap that robust triangulation considers", minimum=1),
        "PEAK_MODE": Key("pose3d", "log_quadratic", "location of these peaks, see TEST.PEAK_MODE", PEAK_MODES),
        "TOLERANCE": Key(
            "pose3d", 0.04, "largest reprojection error of an inlier, share of the crop side length", minimum=1e-6
        ),
    },
    "DEBUG": {
        "DEBUG": Key("runtime", True, "write debug images every PRINT_FREQ steps"),
        "SAVE_BATCH_IMAGES_GT": Key("runtime", True, "images with ground-truth joints"),
        "SAVE_BATCH_IMAGES_PRED": Key("runtime", True, "images with predicted joints"),
        "SAVE_HEATMAPS_GT": Key("runtime", True, "target heatmaps"),
        "SAVE_HEATMAPS_PRED": Key("runtime", True, "predicted heatmaps"),
    },
    "PICT_STRUCT": {
        "FIRST_NBINS": Key("pose3d", 16, "points per axis of the first grid", minimum=2),
        "PAIRWISE_FILE": Key("pose3d", "", "limb prior, made by run/data/make_limb_prior.py", is_path=True),
        "RECUR_NBINS": Key("pose3d", 2, "points per axis of the later grids", minimum=2),
        "RECUR_DEPTH": Key("pose3d", 10, "number of later grids", minimum=0),
        "LIMB_LENGTH_TOLERANCE": Key("pose3d", 150.0, "allowed deviation of a limb length, mm", minimum=0),
        "GRID_SIZE": Key("pose3d", 2000.0, "side length of the first grid, mm", minimum=1),
        "ROOT_SOURCE": Key("pose3d", "triangulated", "center of the first grid", ("triangulated", "ground_truth")),
        "LIMB_LENGTH_SOURCE": Key("pose3d", "prior", "limb prior, or ground truth", ("prior", "ground_truth")),
        "REFINE": Key("pose3d", False, "run --method rpsm as rpsm+refine"),
        "REFINE_PERSON": Key("pose3d", True, "refinement estimates each subject's limb lengths from all groups"),
        "REFINE_LEARNED": Key(
            "pose3d", "", "weights of rpsm+learned; empty: learned_refinement_<fusion>.npz of the run", is_path=True
        ),
        "REFINE_LENGTH_STD": Key("pose3d", 0.05, "relative standard deviation of limb lengths", minimum=1e-4),
    },
}

# Keys of published YAMLs that the original code never reads, and keys removed long ago: accepted with one warning.
UNUSED = frozenset(
    f"{section}.{key}"
    for section, keys in {
        "DATASET": "BBOX",
        "TRAIN": "FUSION_STATE GAMMA1 GAMMA2",
        "TEST": "SHIFT_HEATMAP USE_GT_BBOX IMAGE_THRE NMS_THRE OKS_THRE IN_VIS_THRE BBOX_FILE BBOX_THRE MATCH_IOU_THRE "
        "DETECTOR DETECTOR_DIR",
        "PICT_STRUCT": "DEBUG TEST_PAIRWISE SHOW_ORIIMG SHOW_CROPIMG SHOW_HEATIMG",
    }.items()
    for key in keys.split()
)


def all_keys(schema: Mapping[str, Any] = DEFAULTS, prefix: str = "") -> Iterator[tuple[str, Key]]:
    """Yield (dotted name, key) for every key."""
    for name, entry in schema.items():
        if isinstance(entry, Key):
            yield prefix + name, entry
        else:
            yield from all_keys(entry, f"{prefix}{name}.")


def keys_with_scope(*scopes: str) -> frozenset[str]:
    """Return the dotted names of all keys with one of the scopes, e.g. {"TRAIN.LR", ...}."""
    return frozenset(name for name, key in all_keys() if key.scope in scopes)
