"""Plan of the tables: all trainings and evaluations, as cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib.core.config_io import load_config
from lib.core.experiments.cell_records import Cell
from lib.core.experiments.result_affecting_keys import decisive_values
from lib.core.run_directory import FINAL_NAME, RESULTS_2D_NAME, RESULTS_3D_NAME, run_directory
from lib.dataset.synthetic.generate import MARKER
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, MPII_16
from lib.utils.parallel.processes import usable_processors

# name of the rows -> value of NETWORK.FUSION
FUSION_COLUMNS = {
    "single": "none",
    "sum": "epipolar_sum",
    "max": "epipolar_max",
    "fusion": "learned",
    "adaptive": "adaptive",
}
TRAINED_FUSIONS = ("fusion", "adaptive")
TRAINING_DATA = {"h36m": "multiview_h36m", "mixed": "mixed"}
START = "mpii"  # single images alone: the start of the training without pose labels
FREE = "free"
FREE_JOINTS = tuple(name for name in H36M_17.names if name in MPII_16.names)  # labeled in single images
DEPTHS = (0, 1, 3, 5)  # of the recursion
DEEPEST = 10
PLAIN = "triangulate, equal weights"  # the paper's baseline
METHODS_3D = (PLAIN, "triangulate", "triangulate_robust", "rpsm", "rpsm+refine")
LEARNED = "rpsm+learned"  # trained on the groups; on single-view heatmaps only
# entry of results_3d.json -> method in lib/core/pose3d/methods.py, and keys with other values than the defaults
DEPTHS_3D = {f"rpsm, depth {depth}": ("rpsm", "PICT_STRUCT.RECUR_DEPTH", str(depth)) for depth in DEPTHS}
EVALUATIONS_3D = {
    **DEPTHS_3D,
    PLAIN: ("triangulate", "TRIANGULATE.WEIGHTS", "equal"),
    **{name: (name,) for name in (*METHODS_3D[1:], LEARNED)},
}
DEPTHS_ROW = "mixed/fusion"
RIGS = "rigs"  # trained on several rigs
RIGS_KINDS = ("single", "max", "adaptive")  # the learned matrices hold for one rig
_ON_SINGLE_IMAGES = ("DATASET.TRAIN_DATASET", "multiview_mpii", "NETWORK.FUSION", "none")
WITH_3D = ("single", "max", "fusion", "adaptive")


@dataclass(frozen=True)
class ExtraTestSet:
    """Further test set."""

    key: str  # prefix of its rows, e.g. "rig1_v8"
    text: str  # description in tables
    root: Path  # folder of the data set
    make: tuple[str, ...]  # arguments of run/data/make_synthetic.py
    num_views: int  # views per group
    same_rig: bool = False  # the rig of the training, for which the learned matrices are valid


@dataclass(frozen=True)
class RigTraining:
    """Training set with several rigs."""

    root: Path  # folder of the data set
    make: tuple[str, ...]  # arguments of run/data/make_synthetic.py


@dataclass(frozen=True)
class ExperimentProtocol:
    """Data sets and training schedules of the tables."""

    cfg: Path  # YAML of the network with learned fusion
    opts: tuple[str, ...] = ()  # keys and values for all cells
    make: tuple[str, ...] = ()  # arguments of run/data/make_synthetic.py; () = the data set exists
    fusion_opts: tuple[str, ...] | None = None  # learned fusion on a frozen backbone; None = trained together
    adaptive_opts: tuple[str, ...] | None = ()  # adaptive fusion on a frozen backbone; None = trained together
    start_opts: tuple[str, ...] = ()  # training on single images alone
    mixed_opts: tuple[str, ...] | None = None  # single views, from the start's weights; None = from the YAML's
    free_opts: tuple[str, ...] = ()  # training on labels that the views agree on
    setting: str = ""  # description on the results page
    validation_text: str = "validation set"  # description of the validation set in the table of further test sets
    test_sets: tuple[ExtraTestSet, ...] = ()  # further test sets
    crops: Path | None = None  # folder of ready crops for the trainings on the main data set; None = images
    rig_training: RigTraining | None = None  # further training set
    counts_free: bool = True  # the start knows enough people for the orderings of section 7.5 to count

    @property
    def difficulty_rows(self) -> tuple[tuple[str, str], ...]:
        """Key and description of the rows of the table of test sets."""
        rows = [("mixed", self.validation_text), *((one.key, one.text) for one in self.test_sets)]
        if self.rig_training is not None:
            others = [("mixed", self.validation_text), *((one.key, one.text) for one in self.rig_tests)]
            rows += [(f"{RIGS}_{key}", f"{text}; trained on several rigs") for key, text in others]
        return tuple(rows)

    @property
    def rig_tests(self) -> tuple[ExtraTestSet, ...]:
        """Test sets for networks that were trained on several rigs: those of an unseen rig."""
        return tuple(test for test in self.test_sets if not test.same_rig)


@dataclass
class Plan:
    """All cells and where their results are."""

    cells: list[Cell] = field(default_factory=list)  # cells, each after the cells that it needs
    results: dict[str, dict[int, Path]] = field(default_factory=dict)  # row -> seed -> run directory


@dataclass(frozen=True)
class _Trained:
    """Name of a training's cell, and its weights."""

    cell: str
    weights: Path

    @property
    def as_start(self) -> list[str]:
        """Options of a training that these weights initialize."""
        return ["NETWORK.PRETRAINED", str(self.weights)]


class _Planner:
    """Builds the plan of one protocol."""

    def __init__(self, protocol: ExperimentProtocol, out: Path) -> None:
        self.protocol = protocol
        self.out = out
        self.plan = Plan()
        made = {"main": Path(self.config(()).DATASET.ROOT)} if protocol.make else {}
        made |= {test.key: test.root for test in protocol.test_sets}
        made |= {} if protocol.rig_training is None else {RIGS: protocol.rig_training.root}
        self._folders = {out: "out", **{root: f"data/{key}" for key, root in made.items()}}

    def config(self, opts: Sequence[str]) -> Mapping:
        return load_config(self.protocol.cfg, [*self.protocol.opts, *opts])

    def decisive(self, opts: Sequence[str]) -> dict[str, object]:
        """Return the configuration values that affect results."""
        return decisive_values(self.config(opts), self._folders)

    def run_directory(self, opts: Sequence[str]) -> Path:
        return run_directory(self.config(opts), self.protocol.cfg)

    def add(self, name: str, *commands: Sequence[str], needs: Sequence[str] = (), **more: object) -> str:
        self.plan.cells.append(Cell(name, tuple(map(tuple, commands)), tuple(needs), **more))
        return name

    def script(self, script: str, opts: Sequence[str], *flags: str) -> tuple[str, ...]:
        return (f"run/{script}", "--cfg", str(self.protocol.cfg), *flags, "--opts", *self.protocol.opts, *opts)

    def make_data(self, key: str, root: Path, flags: Sequence[str]) -> str:
        """Add a synthetic data set; return its cell."""
        workers = ("--workers", str(usable_processors()))
        command = ("run/data/make_synthetic.py", "--root", str(root), *flags, *workers, "--reuse")
        return self.add(f"data/{key}", command, output=root / MARKER, depends={"make": list(flags)})

    def train(self, seed: int, row: str, opts: Sequence[str], needs: Sequence[str]) -> _Trained:
        """Add a training."""
        folder = self.out / f"seed{seed}" / row / "train"
        where = ("OUTPUT_DIR", str(folder), "LOG_DIR", str(self.out / "log"))
        opts = [*opts, "SEED", str(seed), "TRAIN.RESUME", "true", *where]
        if self.protocol.crops is not None:
            opts += ["DATASET.CROP_CACHE", str(self.protocol.crops)]
        weights = self.run_directory(opts) / FINAL_NAME
        cell = self.add(
            f"seed{seed}/{row}/train",
            self.script("pose2d/train.py", opts),
            needs=needs,
            folder=folder,
            output=weights,
            depends=self.decisive(opts),
        )
        return _Trained(cell, weights)

    def fusion_training(self, kind: str) -> tuple[str, ...] | None:
        """Return the options of a fusion on a frozen backbone; None = trained together with its backbone."""
        return self.protocol.fusion_opts if kind == "fusion" else self.protocol.adaptive_opts

    def train_fusion(
        self, seed: int, row: str, kind: str, opts: Sequence[str], single: _Trained, needs: Sequence[str]
    ) -> _Trained:
        """Add the training of a fusion, on the frozen backbone of a single-view network or with its own backbone."""
        extra = self.fusion_training(kind)
        opts = [*opts, "NETWORK.FUSION", FUSION_COLUMNS[kind]]
        if extra is None:
            return self.train(seed, row, opts, needs)
        frozen = [*single.as_start, "TRAIN.FREEZE_BACKBONE", "true"]
        return self.train(seed, row, [*opts, *frozen, *extra], [*needs, single.cell])

    def evaluate(
        self, seed: int, row: str, opts: Sequence[str], trained: _Trained, needs: Sequence[str], methods: Sequence[str]
    ) -> None:
        """Add the 2D results of a row, and the results of 3D methods (keys of EVALUATIONS_3D)."""
        folder = self.out / f"seed{seed}" / row / "results"
        opts = [*opts, "SEED", str(seed), "OUTPUT_DIR", str(folder), "TEST.MODEL_FILE", str(trained.weights)]
        commands = [self.script("pose2d/valid.py", opts)]
        if LEARNED in methods:
            commands.append(self.script("pose3d/train_refinement.py", opts))
        for method, *keys in (EVALUATIONS_3D[name] for name in methods):
            commands.append(self.script("pose3d/estimate.py", [*opts, *keys], "--method", method))
        directory = self.run_directory(opts)
        self.add(
            f"seed{seed}/{row}/results",
            *commands,
            needs=[trained.cell, *needs],
            folder=folder,
            output=directory / (RESULTS_3D_NAME if methods else RESULTS_2D_NAME),
            depends={**self.decisive(opts), "methods": [EVALUATIONS_3D[name] for name in methods]},
        )
        self.plan.results.setdefault(row, {})[seed] = directory


def make_plan(protocol: ExperimentProtocol, seeds: Sequence[int], out: Path) -> Plan:
    """List all cells of the tables.

    Args:
        protocol: data sets and training schedules.
        seeds: networks are trained once per seed.
        out: folder of all results.

    Raises:
        InputError: the YAML or an option is wrong.
    """
    planner = _Planner(protocol, out)
    config = planner.config(())
    if config.DATA_DIR:
        raise InputError("DATA_DIR: the tables need DATASET.ROOT alone, received both")
    if config.PICT_STRUCT.RECUR_DEPTH != DEEPEST:
        raise InputError(
            f"PICT_STRUCT.RECUR_DEPTH: expected {DEEPEST}, since the tables compare depths themselves, received "
            f"{config.PICT_STRUCT.RECUR_DEPTH}"
        )
    if config.DATASET.TEST_DATASET != "multiview_h36m":
        raise InputError(
            "DATASET.TEST_DATASET: expected multiview_h36m, the data set of the paper's tables, received "
            f"{config.DATASET.TEST_DATASET}"
        )
    data = (planner.make_data("main", Path(config.DATASET.ROOT), protocol.make),) if protocol.make else ()
    if protocol.crops is not None:
        keys = ("DATASET.CROP_CACHE", str(protocol.crops))
        data = (
            planner.add("data/crops", planner.script("data/cache_crops.py", keys), needs=data, folder=protocol.crops),
        )
    prior = planner.add(
        "data/prior",
        planner.script("data/make_limb_prior.py", ()),
        needs=data,
        output=Path(config.PICT_STRUCT.PAIRWISE_FILE),
        depends=planner.decisive(()),
    )
    for test in protocol.test_sets:
        planner.make_data(test.key, test.root, test.make)
    mixed, starts = {}, {}
    for seed in seeds:
        starts[seed] = planner.train(seed, f"{START}/single", [*_ON_SINGLE_IMAGES, *protocol.start_opts], data)
        _add_rows(planner, seed, "h36m", starts[seed], data, prior)
        mixed[seed] = _add_rows(planner, seed, "mixed", starts[seed], data, prior)
    for seed in seeds:
        _add_label_free(planner, seed, starts[seed], prior)
    for seed in seeds:
        _add_extra_sets(planner, seed, mixed[seed], prior)
    if protocol.rig_training is not None:
        rigs = planner.make_data(RIGS, protocol.rig_training.root, protocol.rig_training.make)
        for seed in seeds:
            _add_rig_training(planner, seed, protocol.rig_training.root, rigs, prior)
    return planner.plan


def _add_rows(
    planner: _Planner, seed: int, data_key: str, start: _Trained, data: tuple[str, ...], prior: str
) -> dict[str, _Trained]:
    """Add the rows of Tables 1 to 4 of one training set; return the network of each fusion."""
    opts = ["DATASET.TRAIN_DATASET", TRAINING_DATA[data_key]]
    single_opts = [*opts, "NETWORK.FUSION", "none"]
    needs = data
    if data_key == "mixed" and planner.protocol.mixed_opts is not None:
        single_opts += [*start.as_start, *planner.protocol.mixed_opts]
        needs = (start.cell,)
    single = planner.train(seed, f"{data_key}/single", single_opts, needs)
    networks = dict.fromkeys(FUSION_COLUMNS, single)
    for kind in TRAINED_FUSIONS:
        networks[kind] = planner.train_fusion(seed, f"{data_key}/{kind}", kind, opts, single, data)
    for kind, fusion in FUSION_COLUMNS.items():
        row = f"{data_key}/{kind}"
        methods = METHODS_3D if kind in WITH_3D else ()
        if kind == "single":
            methods = (*METHODS_3D, LEARNED)
        if row == DEPTHS_ROW:
            methods = (*DEPTHS_3D, *METHODS_3D)
        planner.evaluate(seed, row, [*opts, "NETWORK.FUSION", fusion], networks[kind], [prior], methods)
    return networks


def _add_extra_sets(planner: _Planner, seed: int, networks: Mapping[str, _Trained], prior: str) -> None:
    """Add the rows of the further test sets."""
    for test in planner.protocol.test_sets:
        for kind, fusion in FUSION_COLUMNS.items():
            if kind != "fusion" or test.same_rig:
                opts = ["DATASET.TRAIN_DATASET", "mixed", "NETWORK.FUSION", fusion, "DATASET.ROOT", str(test.root)]
                needs = [prior, f"data/{test.key}"]
                planner.evaluate(seed, f"{test.key}/{kind}", opts, networks[kind], needs, ("rpsm",))


def _add_rig_training(planner: _Planner, seed: int, root: Path, rigs: str, prior: str) -> None:
    """Add networks that are trained on several rigs, on the rig of the validation set and on the unseen rig."""
    opts = ["DATASET.TRAIN_DATASET", "mixed", "DATASET.ROOT", str(root)]
    single = planner.train(seed, f"{RIGS}/single", [*opts, "NETWORK.FUSION", "none"], (rigs,))
    networks = dict.fromkeys(RIGS_KINDS, single)
    networks["adaptive"] = planner.train_fusion(seed, f"{RIGS}/adaptive", "adaptive", opts, single, (rigs,))
    tests = [("mixed", (), ())]
    tests += [
        (test.key, ("DATASET.ROOT", str(test.root)), (f"data/{test.key}",)) for test in planner.protocol.rig_tests
    ]
    for key, where, needs in tests:
        for kind, trained in networks.items():
            test_opts = ["DATASET.TRAIN_DATASET", "mixed", "NETWORK.FUSION", FUSION_COLUMNS[kind], *where]
            row = f"{RIGS}_{key}/{kind}"
            planner.evaluate(seed, row, test_opts, trained, [prior, *needs], ("rpsm",))


def _add_label_free(planner: _Planner, seed: int, start: _Trained, prior: str) -> None:
    """Add the rows of section 7.5: trained without joint labels of the rig, with its boxes and limb lengths.

    Single images label 13 of Human3.6M's 17 joints, so these networks know no others.
    """
    protocol = planner.protocol
    learned = ["TEST.JOINTS", str(list(FREE_JOINTS))]
    test = [*_ON_SINGLE_IMAGES, *learned]
    planner.evaluate(seed, f"{START}/single", test, start, [prior], METHODS_3D)
    folder = planner.out / f"seed{seed}" / FREE / "labels"
    root = folder / "data"
    step = str(planner.config(()).DATASET.TRAIN_STEP)
    on_train = [*test, "SEED", str(seed), "DATASET.TEST_SUBSET", "train", "DATASET.TEST_STEP", step]
    on_train += ["OUTPUT_DIR", str(folder), "TEST.MODEL_FILE", str(start.weights)]
    labels = planner.add(
        f"seed{seed}/{FREE}/labels",
        planner.script("pose2d/valid.py", on_train, "--locations-only"),
        planner.script("data/pseudo_labels.py", on_train, "--root", str(root), "--force"),
        needs=[start.cell],
        folder=folder,
        output=root / "h36m/annot/h36m_train.pkl",
        depends=planner.decisive(on_train),
    )
    free = ["DATASET.ROOT", str(root), "DATASET.TRAIN_DATASET", "mixed", "DATASET.TRAIN_STEP", "1"]
    needs = [labels, start.cell]
    first = [*start.as_start, *protocol.free_opts]
    single = planner.train(seed, f"{FREE}/single", [*free, "NETWORK.FUSION", "none", *first], needs)
    networks = {"single": single}
    for kind in TRAINED_FUSIONS:
        with_backbone = planner.fusion_training(kind) is None
        opts = [*free, *first] if with_backbone else free
        networks[kind] = planner.train_fusion(seed, f"{FREE}/{kind}", kind, opts, single, needs)
    for kind, trained in networks.items():
        opts = ["DATASET.TRAIN_DATASET", "mixed", "NETWORK.FUSION", FUSION_COLUMNS[kind], *learned]
        planner.evaluate(seed, f"{FREE}/{kind}", opts, trained, [prior], METHODS_3D)
