from __future__ import annotations

import logging
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.config_io import load_config, plain_config
from lib.core.runtime.device import prepare_model
from lib.core.training.checkpoint import Progress, save_training_state, training_state
from lib.core.training.epoch import EpochMeters, EpochSettings, train_one_epoch
from lib.core.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from lib.core.training.resume import check_resumable, checkpoint_to_resume, load_training_state, resume
from lib.core.training.step import TrainStep
from lib.dataset.loader import EpochBatches
from lib.models.training_pass import CompiledPass
from lib.utils.errors import InputError
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

CPU = torch.device("cpu")
AUGMENTED = ["DATASET.TRAIN_DATASET", "mixed", "DATASET.SCALE_FACTOR", "0.2", "DATASET.ROT_FACTOR", "20"]


class Run:
    """A training as in run/pose2d/train.py, without validation."""

    def __init__(self, config, root, seed=0, device="cpu"):
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.config = config
        self.device = torch.device(device)
        self.loader = build_loader(config, build_dataset(config, root, True), True)
        self.model = build_model(config, 2, is_train=True)
        prepared = prepare_model(self.model, config.TRAIN, self.device, SINGLE_PROCESS)
        self.optimizer = build_optimizer(config.TRAIN, self.model)
        self.step = TrainStep(prepared, self.optimizer, self.device, clip_norm=config.TRAIN.CLIP_NORM)
        self.progress = Progress()

    def train(self, until):
        settings = EpochSettings(self.loader.dataset.settings, self.device)
        for epoch in range(self.progress.epoch, until):
            set_learning_rate(self.optimizer, learning_rate(self.config.TRAIN, epoch))
            row = train_one_epoch(self.step, self.loader, EpochMeters(20, self.device), settings, epoch)
            self.progress.history.append({"epoch": epoch, "loss": row["loss"]})
            self.progress.epoch = epoch + 1
            self.progress.perf = 0.25 / (epoch + 1)
            self.progress.best_perf = 0.5
        return self

    def save(self, path):
        save_training_state(path, training_state(self.config.MODEL, self.model, self.optimizer, self.progress))

    def resume(self, path):
        self.progress = load_training_state(path, self.config.MODEL, self.model, self.optimizer)
        return self


@pytest.fixture
def start(tiny_root, tiny_config):
    root = tiny_root(num_views=2, frames=3, mpii=2)

    def make(*opts, seed=0, device="cpu", resnet=False):
        return Run(tiny_config(root, *AUGMENTED, *opts, resnet=resnet), root, seed, device)

    return make


def check_same_tensors(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name])), name


@pytest.fixture
def deterministic(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("opts", [(), ("TRAIN.OPTIMIZER", "sgd", "TRAIN.LR", "0.01")], ids=["adam", "sgd"])
def test_load_training_state_resumed_run_equals_the_uninterrupted_one(start, tmp_path, opts, device):
    whole = start(*opts, device=device).train(2)  # the rate drops at epoch 1
    start(*opts, device=device).train(1).save(tmp_path / "checkpoint.pth.tar")
    resumed = start(*opts, seed=99, device=device).resume(tmp_path / "checkpoint.pth.tar")
    assert (resumed.progress.epoch, resumed.progress.perf, resumed.progress.best_perf) == (1, 0.25, 0.5)
    resumed.train(2)
    check_same_tensors(whole.model.state_dict(), resumed.model.state_dict())
    states = [run.optimizer.state_dict() for run in (whole, resumed)]
    assert states[0]["state"].keys() == states[1]["state"].keys()
    for index in states[0]["state"]:
        check_same_tensors(states[0]["state"][index], states[1]["state"][index])
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[1]["param_groups"][0]["lr"] == pytest.approx(whole.config.TRAIN.LR / 10)
    assert whole.progress == resumed.progress
    assert len(whole.progress.history) == 2


RECIPE = "TRAIN.CLIP_NORM 0.5 DATASET.FLIP true NETWORK.FUSION epipolar_max"


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_load_training_state_resumed_recipe_equals_the_uninterrupted_one(start, tmp_path, device):
    whole = start(*RECIPE.split(), device=device).train(2)
    start(*RECIPE.split(), device=device).train(1).save(tmp_path / "checkpoint.pth.tar")
    resumed = start(*RECIPE.split(), seed=99, device=device).resume(tmp_path / "checkpoint.pth.tar").train(2)
    check_same_tensors(whole.model.state_dict(), resumed.model.state_dict())


@pytest.mark.slow
def test_load_training_state_resumed_run_with_a_compiled_pass_equals_the_uninterrupted_one(start, tmp_path):
    """The last batch of an epoch has another size, so both kinds of pass run."""

    def compiled(**seed):
        run = start("TRAIN.BATCH_SIZE", "4", **seed)
        run.model.compiled = CompiledPass(4, uses_graphs=False, backend="aot_eager")
        return run

    whole = compiled().train(2)
    sizes = {len(whole.loader.batch_sampler.batch(whole.loader.batch_sampler.order(), step)) for step in (0, -1)}
    assert len(sizes) == 2
    compiled().train(1).save(tmp_path / "checkpoint.pth.tar")
    resumed = compiled(seed=99).resume(tmp_path / "checkpoint.pth.tar").train(2)
    check_same_tensors(whole.model.state_dict(), resumed.model.state_dict())


def test_load_training_state_restores_the_random_state(start, tmp_path):
    run = start()
    run.save(tmp_path / "a.pth.tar")
    expected = torch.rand(5)
    torch.manual_seed(1234)
    run.resume(tmp_path / "a.pth.tar")
    assert torch.equal(torch.rand(5), expected)


def test_load_training_state_optimizer_settings_follow_the_configuration(start, tmp_path):
    start("TRAIN.OPTIMIZER", "sgd", "TRAIN.MOMENTUM", "0.9").save(tmp_path / "a.pth.tar")
    run = start("TRAIN.OPTIMIZER", "sgd", "TRAIN.MOMENTUM", "0.5", "TRAIN.WD", "0.125").resume(tmp_path / "a.pth.tar")
    assert run.optimizer.param_groups[0]["momentum"] == 0.5
    assert run.optimizer.param_groups[0]["weight_decay"] == 0.125


def test_load_training_state_other_model_or_optimizer_is_refused(start, tmp_path):
    path = tmp_path / "a.pth.tar"
    start = partial(start, resnet=True)
    start().save(path)
    with pytest.raises(InputError, match=r"a\.pth\.tar: TRAIN\.OPTIMIZER: expected adam, received sgd"):
        start("TRAIN.OPTIMIZER", "sgd").resume(path)
    run = start()
    run.config.MODEL = "multiview_pose_hrnet"
    with pytest.raises(InputError, match="MODEL: expected 'multiview_pose_hrnet', received 'multiview_pose_resnet'"):
        run.resume(path)
    with pytest.raises(InputError, match=r"a\.pth\.tar: expected the weights of PoseResNet: 'backbone\.layer1\.2"):
        start("POSE_RESNET.NUM_LAYERS", "34").resume(path)
    maps = ("NETWORK.IMAGE_SIZE", "96", "NETWORK.HEATMAP_SIZE", "24")
    with pytest.raises(
        InputError, match=r"a\.pth\.tar: expected fusion weights for 2 views and 576 heatmap px .* 256 px"
    ):
        start(*maps).resume(path)
    with pytest.raises(InputError, match="does not fit the configured network"):
        start("NETWORK.AGGRE", "false").resume(path)


@pytest.mark.parametrize("content", [{"weight": torch.zeros(2)}, [1], torch.zeros(3), {"epoch": 3, "state_dict": {}}])
def test_load_training_state_file_without_training_state_is_refused(start, tmp_path, content):
    torch.save(content, tmp_path / "a.pth.tar")
    with pytest.raises(InputError, match=r"a\.pth\.tar: holds no training state; set TRAIN\.RESUME false"):
        start().resume(tmp_path / "a.pth.tar")


def test_load_training_state_checkpoint_of_the_original_code_is_resumed(start, tmp_path, caplog):
    trained = start().train(1)
    state = {}
    for name, value in trained.model.state_dict().items():  # names of the original code; one matrix per pair of views
        if name == "fusion.weight":
            state |= {f"aggre_layer.aggre.{n}.weight": matrix for n, matrix in enumerate(value.flatten(0, 1))}
        else:
            state[name.replace("backbone.", "resnet.", 1)] = value
    torch.save(
        {
            "epoch": 5,
            "model": ("resnet", "x"),
            "state_dict": state,
            "perf": np.float64(0.875),
            "optimizer": trained.optimizer.state_dict(),
        },
        tmp_path / "checkpoint.pth.tar",
    )
    with caplog.at_level(logging.WARNING):
        run = start(seed=3).resume(tmp_path / "checkpoint.pth.tar")
    assert run.progress == Progress(epoch=5, perf=0.875, best_perf=0.875)
    assert not run.optimizer.state
    check_same_tensors(run.model.state_dict(), trained.model.state_dict())
    (message,) = caplog.messages
    assert "original code" in message
    assert "epoch 5" in message
    assert "new optimizer state" in message
    run.train(6)
    assert run.progress.epoch == 6


def test_load_training_state_restores_step_and_loss_scale(start, tmp_path):
    run = start()
    run.progress.epoch = 3
    run.progress.step = 17
    run.progress.meters = {"sums": torch.tensor([1.5, 2.0], dtype=torch.float64)}
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    state = training_state(run.config.MODEL, run.model, run.optimizer, run.progress, scaler)
    save_training_state(tmp_path / "a.pth.tar", state)
    other = torch.amp.GradScaler("cpu")
    found = load_training_state(tmp_path / "a.pth.tar", run.config.MODEL, run.model, run.optimizer, other)
    assert (found.epoch, found.step) == (3, 17)
    assert torch.equal(found.meters["sums"], run.progress.meters["sums"])
    assert other.state_dict()["scale"] == 64.0


def test_load_training_state_file_without_steps_resumes_at_an_epoch(start, tmp_path):
    run = start().train(1)
    run.save(tmp_path / "a.pth.tar")
    state = torch.load(tmp_path / "a.pth.tar", weights_only=True)
    for key in ("step", "meters", "scaler"):
        del state[key]
    torch.save(state, tmp_path / "a.pth.tar")
    progress = start().resume(tmp_path / "a.pth.tar").progress
    assert (progress.epoch, progress.step, progress.meters) == (1, 0, {})
    assert (progress.groups, progress.steps_before, progress.data) == (0, None, {})


DATA = {"groups": 5, "digest": "abc"}


def load(run, path, data, config=None):
    return load_training_state(path, run.config.MODEL, run.model, run.optimizer, data=data, config=config)


@pytest.mark.parametrize(
    ("data", "how"),
    [
        ({"groups": 7, "digest": "def"}, "7 groups"),
        ({"groups": 5, "digest": "def"}, "the same number of groups with other images, boxes or joints"),
    ],
)
def test_load_training_state_other_data_are_refused(start, tmp_path, data, how):
    run = start()
    run.progress.data = DATA
    run.save(tmp_path / "a.pth.tar")
    assert load(run, tmp_path / "a.pth.tar", DATA).data == DATA
    with pytest.raises(
        InputError, match=rf"a\.pth\.tar: DATASET: expected .* \(5 groups\), received {how}; .*NAME.*remove"
    ):
        load(run, tmp_path / "a.pth.tar", data)


def test_load_training_state_other_settings_are_refused(start, tmp_path):
    run = start()
    path = tmp_path / "a.pth.tar"
    run.progress.config = {"SEED": 0, "NETWORK": {"SIGMA": 1.0}}
    run.save(path)
    assert torch.load(path, weights_only=True)["config"] == run.progress.config
    assert load(run, path, None, {"SEED": 0, "NETWORK": {"SIGMA": 1.0}, "WORKERS": 3}).config["WORKERS"] == 3
    with pytest.raises(InputError, match=r"a\.pth\.tar: .*: SEED 0 -> 1, NETWORK\.SIGMA 1\.0 -> 3\.0; .*NAME.*remove"):
        load(run, path, DATA, {"SEED": 1, "NETWORK": {"SIGMA": 3.0}})


@pytest.mark.parametrize(
    ("stored", "now", "kept"),
    [({}, "crop", False), ({}, "published", True), ("crop", "crop", True), ("crop", "published", False)],
)
def test_load_training_state_best_score_with_another_threshold_is_not_compared(
    start, tmp_path, caplog, stored, now, kept
):
    """Files without TEST.JDR_THRESHOLD have scores with "published", the default of their time."""
    run = start()
    run.progress.best_perf = 0.5
    run.progress.history = [{"epoch": 0, "loss": 1.0, "jdr": 0.5}]
    run.progress.config = {"SEED": 0} | ({"TEST": {"JDR_THRESHOLD": stored}} if stored else {})
    run.save(tmp_path / "a.pth.tar")
    progress = load(run, tmp_path / "a.pth.tar", None, {"SEED": 0, "TEST": {"JDR_THRESHOLD": now}})
    assert progress.best_perf == (0.5 if kept else -1)
    then = stored or "published"
    assert list(progress.history[0]) == ["epoch", "loss", "jdr" if kept else f"jdr_{then}"]
    messages = [message for message in caplog.messages if "best JDR" in message]
    assert len(messages) == (not kept)
    assert kept or f"50.00 %, was measured with TEST.JDR_THRESHOLD {then};" in messages[0]


def test_load_training_state_file_without_fingerprint_warns(start, tmp_path, caplog):
    start().save(tmp_path / "a.pth.tar")
    state = torch.load(tmp_path / "a.pth.tar", weights_only=True)
    for key in ("groups", "steps_before", "data"):
        del state[key]
    state |= {"step": 3, "meters": {"sums": torch.tensor([1.0, 1, 0, 6], dtype=torch.float64)}}  # last entry: groups
    torch.save(state, tmp_path / "a.pth.tar")
    progress = load(start(), tmp_path / "a.pth.tar", DATA)
    assert (progress.step, progress.groups, progress.data) == (3, 6, DATA)
    (message,) = caplog.messages
    assert "no data fingerprint" in message


def corrupt_weights(run):
    run.model.backbone.features[1].running_var[3] = float("nan")
    return "state_dict.backbone.features.1.running_var"


def corrupt_moments(run):
    run.train(1)
    run.optimizer.state[run.model.fusion.weight]["exp_avg_sq"][0, 0, 5, 5] = float("inf")
    return r"optimizer.state.\d+.exp_avg_sq"


def corrupt_sums(run):
    run.progress.meters = {"sums": torch.tensor([float("nan"), 1])}
    return "meters.sums"


@pytest.mark.parametrize("corrupt", [corrupt_weights, corrupt_moments, corrupt_sums])
def test_training_state_not_finite_is_neither_written_nor_loaded(start, tmp_path, monkeypatch, corrupt):
    run = start()
    path = tmp_path / "a.pth.tar"
    run.save(path)
    before = path.read_bytes()
    name = corrupt(run)
    with pytest.raises(InputError, match=rf"a\.pth\.tar: not written, .* '{name}' is not finite"):
        run.save(path)
    assert path.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr("lib.core.training.checkpoint.check_finite_state", lambda *words: None)
        run.save(path)  # as older versions wrote it
    with pytest.raises(
        InputError,
        match=rf"a\.pth\.tar: checkpoint of a training that diverged: '{name}' is not finite; .*--resume FILE",
    ):
        start().resume(path)


def test_load_training_state_bfloat16_moments_are_refused(start, tmp_path):
    path = tmp_path / "a.pth.tar"
    start().save(path)
    state = torch.load(path, weights_only=True)
    torch.save({**state, "optimizer_kind": "LeanAdam"}, path)
    with pytest.raises(InputError, match=r"a\.pth\.tar: TRAIN\.FUSION_STATE bfloat16 is no longer supported; validate"):
        start().resume(path)


@pytest.fixture
def compare(tmp_path, caplog):
    """compare(opts of then, opts of now) -> the log messages."""
    (tmp_path / "a.yaml").write_text("")
    caplog.set_level(logging.INFO)

    def run(then, now):
        caplog.clear()
        check_resumable("a.pth.tar", *(plain_config(load_config(tmp_path / "a.yaml", opts)) for opts in (then, now)))
        return caplog.messages

    return run


LEARNED = [
    ("MODEL", "multiview_pose_hrnet"),
    ("BACKBONE_MODEL", "pose_hrnet"),
    ("MODEL_EXTRA.STAGE4.NUM_BLOCKS", "[4, 4, 4]"),
    ("MODEL_EXTRA.FINAL_CONV_KERNEL", "3"),
    ("NETWORK.IMAGE_SIZE", "256"),
    ("NETWORK.HEATMAP_SIZE", "64"),
    ("NETWORK.SIGMA", "3"),
    ("NETWORK.TARGET_SUBPIXEL", "true"),
    ("NETWORK.AGGRE", "false"),
    ("NETWORK.FUSION", "adaptive"),
    ("POSE_RESNET.NUM_LAYERS", "18"),
    ("LOSS.USE_TARGET_WEIGHT", "false"),
    ("DATASET.TRAIN_DATASET", "multiview_h36m"),
    ("DATASET.TRAIN_SUBSET", "other"),
    ("DATASET.TRAIN_STEP", "1"),
    ("DATASET.CAMERAS", "[0, 1]"),
    ("DATASET.CROP", "false"),
    ("DATASET.ROT_FACTOR", "20"),
    ("DATASET.CAMERA_T", "translation"),
    ("TRAIN.OPTIMIZER", "sgd"),
    ("TRAIN.FREEZE_BACKBONE", "true"),
    ("SEED", "1"),
    ("TRAIN.SHUFFLE", "false"),
]


@pytest.mark.parametrize(("key", "value"), LEARNED)
def test_check_resumable_key_that_affects_the_weights_is_refused(compare, key, value):
    shown = key.replace("AGGRE", "FUSION")
    with pytest.raises(InputError, match=rf"a\.pth\.tar: .*\(then -> now\): {shown} .* -> .*NAME.*remove"):
        compare([], [key, value])


FREE = [
    ("TRAIN.END_EPOCH", "150"),
    ("TRAIN.LR", "1e-5"),
    ("TRAIN.LR_STEP", "[5]"),
    ("TRAIN.BATCH_SIZE", "3"),
    ("WORKERS", "0"),
    ("GPUS", "0"),
    ("OUTPUT_DIR", "b"),
    ("NAME", "c"),
    ("DATA_DIR", "d"),
    ("DATASET.ROOT", "e"),
    ("DATASET.DATA_FORMAT", "zip"),
    ("DEBUG.DEBUG", "false"),
    ("TEST.STATE", "final"),
    ("PICT_STRUCT.RECUR_DEPTH", "3"),
    ("NETWORK.PRETRAINED", ""),
    ("TRAIN.MOMENTUM", "0.5"),
    ("TRAIN.AMP", "bf16"),
    ("MODEL_EXTRA.PRETRAINED_LAYERS", "['*']"),
    ("DATASET.TEST_DATASET", "mpii"),
]


@pytest.mark.parametrize(("key", "value"), FREE)
def test_check_resumable_other_key_is_logged(compare, key, value):
    (message,) = compare([], [key, value])
    assert message.startswith(f"a.pth.tar: changed settings (then -> now): {key} ")
    assert " -> " in message


def test_check_resumable_all_changes_are_in_one_line(compare):
    with pytest.raises(InputError, match=r"now\): SEED 0 -> 4, NETWORK\.SIGMA 2\.0 -> 3\.0; "):
        compare([], ["SEED", "4", "NETWORK.SIGMA", "3", "TRAIN.LR", "1"])
    (message,) = compare([], ["TRAIN.LR", "1e-6", "WORKERS", "0"])
    assert message.endswith("WORKERS 8 -> 0, TRAIN.LR 0.001 -> 1e-06")
    (message,) = compare([], ["NETWORK.PRETRAINED", ""])
    assert message.endswith("resnet50-19c8e357.pth -> ''")


def test_check_resumable_equal_settings_under_other_keys_are_accepted(compare):
    assert compare(["NETWORK.AGGRE", "true"], ["NETWORK.FUSION", "learned", "TRAIN.RESUME", "true"]) == []


def test_check_resumable_missing_keys_have_their_defaults(tmp_path, caplog):
    (tmp_path / "a.yaml").write_text("")
    now = plain_config(load_config(tmp_path / "a.yaml"))
    caplog.set_level(logging.INFO)
    check_resumable("a.pth.tar", {"NETWORK": {"SIGMA": 2.0, "GONE": 1}}, now)
    assert not caplog.messages
    with pytest.raises(InputError, match=r"NETWORK\.SIGMA 1 -> 2\.0"):
        check_resumable("a.pth.tar", {"NETWORK": {"SIGMA": 1}}, now)


def batches_of(num_items, batch_size, world_size, epoch, first_step=0):
    """EpochBatches of each rank."""
    made = [
        EpochBatches(num_items, batch_size, True, 3, Ranks(rank, world_size), every_item=False)
        for rank in range(world_size)
    ]
    for one in made:
        one.set_epoch(epoch, first_step)
    return made


def items(batches):
    return [index for one in batches for batch in one for _, index in batch]


@pytest.fixture
def resumed(tmp_path, monkeypatch):
    """resumed(progress, batches) -> the progress of a run resumed with these batches."""
    step = SimpleNamespace(optimizer=None, scaler=None)

    def run(progress, batches):
        monkeypatch.setattr("lib.core.training.resume.load_training_state", lambda *words: progress)
        return resume(tmp_path / "a.pth.tar", "", tmp_path, None, step, batches, {}, {})

    return run


@pytest.mark.parametrize(
    ("before", "after"),
    [((2, 1), (1, 4)), ((1, 4), (2, 1)), ((3, 2), (4, 1)), ((4, 2), (3, 1)), ((2, 2), (2, 2)), ((1, 1), (5, 2))],
)
@pytest.mark.parametrize("num_items", [24, 29])
def test_resume_with_another_batch_or_number_of_ranks_leaves_no_group_out(resumed, caplog, num_items, before, after):
    """`before`, `after`: (BATCH_SIZE, processes) of the first and of the resumed run."""
    first = batches_of(num_items, *before, epoch=2)
    every = set(range(num_items))
    for step in range(len(first[0]) + 1):
        done = set(first[0].order()[: first[0].items_before(step)].tolist())
        progress = resumed(Progress(2, step, len(done), 100), batches_of(num_items, *after, epoch=2)[0])
        follows = items(batches_of(num_items, *after, epoch=2, first_step=progress.step))
        again = done & set(follows)
        lost = every - done - set(follows)
        assert len(follows) == len(set(follows))
        assert len(lost) < after[1]  # training skips a last step with too few groups for all ranks
        assert len(again) < after[0] * after[1]
        assert [
            f"{len(again)} groups are repeated" in message for message in caplog.messages if "repeated" in message
        ] == [True] * bool(again)
        assert progress.steps_before + progress.step == 100 + step  # the number of steps made
        caplog.clear()


def test_checkpoint_to_resume_prefers_the_named_file(tmp_path):
    own, other = tmp_path / "checkpoint.pth.tar", tmp_path / "other.pth.tar"
    assert checkpoint_to_resume(None, True, tmp_path) is None
    own.touch()
    assert checkpoint_to_resume(None, True, tmp_path) == own
    assert checkpoint_to_resume(None, False, tmp_path) is None
    assert checkpoint_to_resume(other, False, tmp_path) == checkpoint_to_resume(other, True, tmp_path) == other
