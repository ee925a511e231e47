"""Which trainings and evaluations the tables are made of."""

from __future__ import annotations

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

# key -> value of NETWORK.FUSION; the keys name the rows
FUSIONS = {"single": "none", "sum": "epipolar_sum", "max": "epipolar_max", "fusion": "learned", "adaptive": "adaptive"}
TRAINED_FUSIONS = ("fusion", "adaptive")
TRAINING_DATA = {"h36m": "multiview_h36m", "mixed": "mixed"}
START = "mpii"  # single images alone: what the training without pose labels starts from
FREE = "free"
FREE_ROWS = (f"{START}/single", f"{FREE}/single", f"{FREE}/fusion", f"{FREE}/adaptive")
FREE_JOINTS = tuple(name for name in H36M_17.names if name in MPII_16.names)  # those that single images label
DEPTHS = (0, 1, 3, 5)  # of the recursion
DEEPEST = 10
PLAIN = "triangulate, equal weights"  # the paper's baseline
# name in results_3d.json -> --method of estimate.py and keys
_ESTIMATES = {
    **{f"rpsm, depth {depth}": ("rpsm", "PICT_STRUCT.RECUR_DEPTH", str(depth)) for depth in DEPTHS},
    PLAIN: ("triangulate", "TRIANGULATE.WEIGHTS", "equal"),
    **{name: (name,) for name in ("triangulate", "triangulate_robust", "rpsm", "rpsm+refine")},
}
METHODS_3D = tuple(_ESTIMATES)[len(DEPTHS) :]
DEPTHS_ROW = "mixed/fusion"
_ON_SINGLE_IMAGES = ("DATASET.TRAIN_DATASET", "multiview_mpii", "NETWORK.FUSION", "none")
WITH_3D = ("single", "max", "fusion", "adaptive")


@dataclass(frozen=True)
class ExtraTestSet:
    """Other frames that the networks are tested on.

    Attributes:
        key: name of its rows, e.g. "rig1_v8".
        text: what it is.
        root: folder of the data set.
        make: arguments of run/data/make_synthetic.py.
        num_views: its views.
        same_rig: the learned matrices can be applied.
    """

    key: str
    text: str
    root: Path
    make: tuple[str, ...]
    num_views: int
    same_rig: bool = False


@dataclass(frozen=True)
class ExperimentProtocol:
    """How the tables are made.

    Attributes:
        cfg: YAML of the network with learned fusion.
        opts: keys and values for all of it.
        make: arguments of run/data/make_synthetic.py; () = the data set is there.
        fusion_opts: of the training of the learned fusion alone, on the backbone of the single-view network; None =
            backbone and fusion together, as the YAML says.
        adaptive_opts: of the training of the adaptive fusion alone.
        start_opts: of the training on single images alone.
        mixed_opts: of the single-view training on both, which goes on from the one on single images; None = from where
            the YAML says.
        free_opts: of the training on labels that the views agree on.
        own_set: what the validation set is called beside the further test sets.
        test_sets: those.
    """

    cfg: Path
    opts: tuple[str, ...] = ()
    make: tuple[str, ...] = ()
    fusion_opts: tuple[str, ...] | None = None
    adaptive_opts: tuple[str, ...] = ()
    start_opts: tuple[str, ...] = ()
    mixed_opts: tuple[str, ...] | None = None
    free_opts: tuple[str, ...] = ()
    own_set: str = "validation set"
    test_sets: tuple[ExtraTestSet, ...] = ()


@dataclass
class Plan:
    """What is to be run and where its results are.

    Attributes:
        cells: in an order in which they can be run.
        results: row -> seed -> run directory.
    """

    cells: list[Cell] = field(default_factory=list)
    results: dict[str, dict[int, Path]] = field(default_factory=dict)


class _Planner:
    """Builds the plan of one protocol."""

    def __init__(self, protocol: ExperimentProtocol, out: Path) -> None:
        self.protocol = protocol
        self.out = out
        self.plan = Plan()
        made = {"main": Path(self.config(()).DATASET.ROOT)} if protocol.make else {}
        made |= {test.key: test.root for test in protocol.test_sets}
        self._folders = {out: "out", **{root: f"data/{key}" for key, root in made.items()}}

    def decisive(self, config: Mapping) -> dict[str, object]:
        """Return what of a configuration the results depend on; of paths, nothing that the user may choose."""
        return decisive_values(config, self._folders)

    def config(self, opts: Sequence[str]) -> Mapping:
        return load_config(self.protocol.cfg, [*self.protocol.opts, *opts])

    def add(self, name: str, *commands: Sequence[str], needs: Sequence[str] = (), **more: object) -> str:
        self.plan.cells.append(Cell(name, tuple(map(tuple, commands)), tuple(needs), **more))
        return name

    def script(self, script: str, opts: Sequence[str], *flags: str) -> tuple[str, ...]:
        return (f"run/{script}", "--cfg", str(self.protocol.cfg), *flags, "--opts", *self.protocol.opts, *opts)

    def train(self, seed: int, row: str, opts: Sequence[str], needs: Sequence[str]) -> tuple[str, Path]:
        """Add a training; returns its cell and the weights."""
        folder = self.out / f"seed{seed}" / row / "train"
        opts = [
            *opts,
            "SEED",
            str(seed),
            "TRAIN.RESUME",
            "true",
            "OUTPUT_DIR",
            str(folder),
            "LOG_DIR",
            str(self.out / "log"),
        ]
        config = self.config(opts)
        weights = run_directory(config, self.protocol.cfg) / FINAL_NAME
        name = self.add(
            f"seed{seed}/{row}/train",
            self.script("pose2d/train.py", opts),
            needs=needs,
            folder=folder,
            output=weights,
            depends=self.decisive(config),
        )
        return name, weights

    def evaluate(
        self,
        seed: int,
        row: str,
        opts: Sequence[str],
        weights: tuple[str, Path],
        needs: Sequence[str],
        methods: Sequence[str],
    ) -> None:
        """Add the 2D results of a row, and those of 3D methods (keys of _ESTIMATES)."""
        folder = self.out / f"seed{seed}" / row / "results"
        opts = [*opts, "SEED", str(seed), "OUTPUT_DIR", str(folder), "TEST.MODEL_FILE", str(weights[1])]
        config = self.config(opts)
        commands = [self.script("pose2d/valid.py", opts)]
        for method, *keys in (_ESTIMATES[name] for name in methods):
            commands.append(self.script("pose3d/estimate.py", [*opts, *keys], "--method", method))
        directory = run_directory(config, self.protocol.cfg)
        self.add(
            f"seed{seed}/{row}/results",
            *commands,
            needs=[weights[0], *needs],
            folder=folder,
            output=directory / (RESULTS_3D_NAME if methods else RESULTS_2D_NAME),
            depends={**self.decisive(config), "methods": [_ESTIMATES[name] for name in methods]},
        )
        self.plan.results.setdefault(row, {})[seed] = directory

    def train_fusion(
        self, seed: int, row: str, kind: str, opts: Sequence[str], single: tuple[str, Path], needs: Sequence[str]
    ) -> tuple[str, Path]:
        """Add the training of a fusion, on the backbone of a single-view network or together with its own."""
        extra = self.protocol.fusion_opts if kind == "fusion" else self.protocol.adaptive_opts
        if extra is None:
            return self.train(seed, row, [*opts, "NETWORK.FUSION", FUSIONS[kind]], needs)
        frozen = ["NETWORK.PRETRAINED", str(single[1]), "TRAIN.FREEZE_BACKBONE", "true"]
        return self.train(seed, row, [*opts, "NETWORK.FUSION", FUSIONS[kind], *frozen, *extra], [*needs, single[0]])


def make_plan(protocol: ExperimentProtocol, seeds: Sequence[int], out: Path) -> Plan:
    """List all cells of the tables.

    Args:
        protocol: how they are made.
        seeds: networks are trained once per seed.
        out: folder of all results.

    Raises:
        InputError: the YAML or an option is wrong.
    """
    planner = _Planner(protocol, out)
    config = planner.config(())
    root = Path(config.DATASET.ROOT)
    if config.DATA_DIR:
        raise InputError("DATA_DIR: the tables need DATASET.ROOT alone, received both")
    if config.PICT_STRUCT.RECUR_DEPTH != DEEPEST:
        raise InputError(
            f"PICT_STRUCT.RECUR_DEPTH: the tables compare depths up to {DEEPEST} themselves, received "
            f"{config.PICT_STRUCT.RECUR_DEPTH}"
        )
    if config.DATASET.TEST_DATASET != "multiview_h36m":
        raise InputError(
            "DATASET.TEST_DATASET: the tables are those of Human3.6M, expected multiview_h36m, received "
            f"{config.DATASET.TEST_DATASET}"
        )
    data = (_add_data(planner, "main", root, protocol.make),) if protocol.make else ()
    prior = planner.add(
        "data/prior",
        planner.script("data/make_limb_prior.py", ()),
        needs=data,
        output=Path(config.PICT_STRUCT.PAIRWISE_FILE),
        depends=planner.decisive(config),
    )
    for test in protocol.test_sets:
        _add_data(planner, test.key, test.root, test.make)
    trained, starts = {}, {}
    for seed in seeds:
        starts[seed] = planner.train(seed, f"{START}/single", [*_ON_SINGLE_IMAGES, *protocol.start_opts], data)
        trained[seed] = {key: _add_rows(planner, seed, key, starts[seed], data, prior) for key in TRAINING_DATA}
    for seed in seeds:
        _add_label_free(planner, seed, starts[seed], prior)
    for seed in seeds:
        _add_extra_sets(planner, seed, trained[seed]["mixed"], prior)
    return planner.plan


def _add_data(planner: _Planner, key: str, root: Path, words: Sequence[str]) -> str:
    return planner.add(
        f"data/{key}",
        ("run/data/make_synthetic.py", "--root", str(root), *words, "--reuse"),
        output=root / MARKER,
        depends={"make": list(words)},
    )


def _add_rows(
    planner: _Planner, seed: int, data_key: str, start: tuple[str, Path], data: tuple[str, ...], prior: str
) -> dict[str, tuple[str, Path]]:
    """Add the rows of Tables 1 to 4 of one training set; returns the weights of its fusions."""
    opts = ["DATASET.TRAIN_DATASET", TRAINING_DATA[data_key]]
    if data_key == "mixed" and planner.protocol.mixed_opts is not None:
        first = ["NETWORK.PRETRAINED", str(start[1]), *planner.protocol.mixed_opts]
        single = planner.train(seed, f"{data_key}/single", [*opts, "NETWORK.FUSION", "none", *first], [start[0]])
    else:
        single = planner.train(seed, f"{data_key}/single", [*opts, "NETWORK.FUSION", "none"], data)
    weights = dict.fromkeys(FUSIONS, single)
    for kind in TRAINED_FUSIONS:
        weights[kind] = planner.train_fusion(seed, f"{data_key}/{kind}", kind, opts, single, data)
    for kind, fusion in FUSIONS.items():
        row = f"{data_key}/{kind}"
        planner.evaluate(
            seed,
            row,
            [*opts, "NETWORK.FUSION", fusion],
            weights[kind],
            [prior],
            tuple(_ESTIMATES) if row == DEPTHS_ROW else METHODS_3D if kind in WITH_3D else (),
        )
    return weights


def _add_extra_sets(planner: _Planner, seed: int, weights: Mapping[str, tuple[str, Path]], prior: str) -> None:
    """Add the rows of the further test sets."""
    for test in planner.protocol.test_sets:
        for kind, fusion in FUSIONS.items():
            if kind != "fusion" or test.same_rig:
                opts = ["DATASET.TRAIN_DATASET", "mixed", "NETWORK.FUSION", fusion, "DATASET.ROOT", str(test.root)]
                planner.evaluate(
                    seed, f"{test.key}/{kind}", opts, weights[kind], [prior, f"data/{test.key}"], ("rpsm",)
                )


def _add_label_free(planner: _Planner, seed: int, start: tuple[str, Path], prior: str) -> None:
    """Add the rows of section 7.5: no joint label of the rig is trained on; boxes and limb lengths are annotated.

    Single images label 13 of Human3.6M's 17 joints, so these networks know no others.
    """
    protocol = planner.protocol
    none = ["NETWORK.FUSION", "none"]
    learned = ["TEST.JOINTS", str(list(FREE_JOINTS))]
    test = [*_ON_SINGLE_IMAGES, *learned]
    planner.evaluate(seed, f"{START}/single", test, start, [prior], METHODS_3D)
    folder = planner.out / f"seed{seed}" / FREE / "labels"
    root = folder / "data"
    step = planner.config(()).DATASET.TRAIN_STEP
    on_train = [
        *test,
        "SEED",
        str(seed),
        "DATASET.TEST_SUBSET",
        "train",
        "DATASET.TEST_STEP",
        str(step),
        "OUTPUT_DIR",
        str(folder),
        "TEST.MODEL_FILE",
        str(start[1]),
    ]
    labels = planner.add(
        f"seed{seed}/{FREE}/labels",
        planner.script("pose2d/valid.py", on_train, "--locations-only"),
        planner.script("data/pseudo_labels.py", on_train, "--root", str(root), "--force"),
        needs=[start[0]],
        folder=folder,
        output=root / "h36m/annot/h36m_train.pkl",
        depends=planner.decisive(planner.config(on_train)),
    )
    free = ["DATASET.ROOT", str(root), "DATASET.TRAIN_DATASET", "mixed", "DATASET.TRAIN_STEP", "1"]
    single = planner.train(
        seed,
        f"{FREE}/single",
        [*free, *none, "NETWORK.PRETRAINED", str(start[1]), *protocol.free_opts],
        [labels, start[0]],
    )
    weights = {"single": single}
    for kind in TRAINED_FUSIONS:
        whole = kind == "fusion" and protocol.fusion_opts is None  # then it starts where the single one does
        first = ["NETWORK.PRETRAINED", str(start[1]), *protocol.free_opts] if whole else []
        weights[kind] = planner.train_fusion(seed, f"{FREE}/{kind}", kind, [*free, *first], single, [labels, start[0]])
    for kind, trained in weights.items():
        opts = ["DATASET.TRAIN_DATASET", "mixed", "NETWORK.FUSION", FUSIONS[kind], *learned]
        planner.evaluate(seed, f"{FREE}/{kind}", opts, trained, [prior], METHODS_3D)
