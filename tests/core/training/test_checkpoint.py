from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from lib.core.build_data import build_dataset, build_loader
from lib.core.build_model import build_model
from lib.core.training.checkpoint import Progress, load_training_state, save_training_state
from lib.core.training.epoch import train_one_epoch
from lib.core.training.epoch_meters import EpochMeters
from lib.core.training.optimizer import build_optimizer, learning_rate, set_learning_rate
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError

CPU = torch.device("cpu")
AUGMENTED = ["DATASET.TRAIN_DATASET", "mixed", "DATASET.SCALE_FACTOR", "0.2", "DATASET.ROT_FACTOR", "20"]


class Run:
    """A training run as run/pose2d/train.py makes it, without validation."""

    def __init__(self, config, root, seed=0):
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.config = config
        self.loader = build_loader(config, build_dataset(config, root, True), True)
        self.model = build_model(config, 2, is_train=True)
        self.optimizer = build_optimizer(config, self.model)
        self.step = TrainStep(self.model, self.optimizer, config, CPU)
        self.progress = Progress()

    def train(self, until):
        for epoch in range(self.progress.epoch, until):
            set_learning_rate(self.optimizer, learning_rate(self.config, epoch))
            row = train_one_epoch(self.step, self.loader, EpochMeters(20, CPU), self.config, epoch, CPU)
            self.progress.history.append({"epoch": epoch, "loss": row["loss"]})
            self.progress.epoch = epoch + 1
            self.progress.perf = 0.25 / (epoch + 1)
            self.progress.best_perf = 0.5
        return self

    def save(self, path):
        save_training_state(path, self.config.MODEL, self.model, self.optimizer, self.progress)

    def resume(self, path):
        self.progress = load_training_state(path, self.config.MODEL, self.model, self.optimizer)
        return self


@pytest.fixture
def start(tiny_root, tiny_config):
    root = tiny_root(num_views=2, frames=3, mpii=2)
    return lambda *opts, seed=0: Run(tiny_config(root, *AUGMENTED, *opts), root, seed)


def check_same_tensors(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name])), name


LEAN = ("TRAIN.FUSION_STATE", "bfloat16")


@pytest.mark.parametrize(
    "opts", [(), LEAN, ("TRAIN.OPTIMIZER", "sgd", "TRAIN.LR", "0.01")], ids=["adam", "bfloat16 state", "sgd"]
)
def test_a_resumed_run_equals_the_uninterrupted_one(start, tmp_path, opts):
    whole = start(*opts).train(2)  # the rate drops at epoch 1
    start(*opts).train(1).save(tmp_path / "checkpoint.pth.tar")
    resumed = start(*opts, seed=99).resume(tmp_path / "checkpoint.pth.tar")
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


def test_the_random_state_continues(start, tmp_path):
    run = start()
    run.save(tmp_path / "a.pth.tar")
    expected = torch.rand(5)
    torch.manual_seed(1234)
    run.resume(tmp_path / "a.pth.tar")
    assert torch.equal(torch.rand(5), expected)


def test_the_file_has_the_published_entries(start, tmp_path):
    start().save(tmp_path / "a.pth.tar")
    state = torch.load(tmp_path / "a.pth.tar", weights_only=True)
    assert state.keys() >= {"epoch", "model", "state_dict", "perf", "optimizer"}
    assert state["model"] == "multiview_pose_resnet"


def test_settings_of_the_optimizer_are_the_configurations(start, tmp_path):
    start("TRAIN.OPTIMIZER", "sgd", "TRAIN.MOMENTUM", "0.9").save(tmp_path / "a.pth.tar")
    run = start("TRAIN.OPTIMIZER", "sgd", "TRAIN.MOMENTUM", "0.5", "TRAIN.WD", "0.125").resume(tmp_path / "a.pth.tar")
    assert run.optimizer.param_groups[0]["momentum"] == 0.5
    assert run.optimizer.param_groups[0]["weight_decay"] == 0.125


def test_another_run_is_refused(start, tmp_path):
    path = tmp_path / "a.pth.tar"
    start().save(path)
    with pytest.raises(InputError, match=r"was trained with Adam, TRAIN\.OPTIMIZER and .* make SGD"):
        start("TRAIN.OPTIMIZER", "sgd").resume(path)
    with pytest.raises(InputError, match=r"was trained with Adam, .* TRAIN\.FUSION_STATE make LeanAdam"):
        start(*LEAN).resume(path)
    start(*LEAN).save(tmp_path / "lean.pth.tar")
    with pytest.raises(InputError, match=r"was trained with LeanAdam, .* TRAIN\.FUSION_STATE make Adam"):
        start().resume(tmp_path / "lean.pth.tar")
    run = start()
    run.config.MODEL = "multiview_pose_hrnet"
    with pytest.raises(InputError, match="holds 'multiview_pose_resnet', the configuration wants 'multiview_pose_hr"):
        run.resume(path)
    with pytest.raises(InputError, match=r"a\.pth\.tar: holds another network than PoseResNet: 'backbone\.layer1\.2"):
        start("POSE_RESNET.NUM_LAYERS", "34").resume(path)
    maps = ("NETWORK.IMAGE_SIZE", "96", "NETWORK.HEATMAP_SIZE", "24")
    with pytest.raises(InputError, match=r"a\.pth\.tar: fusion is for 2 views and maps of 256 pixels, .* 576 pixels"):
        start(*maps).resume(path)
    with pytest.raises(InputError, match="does not fit the configured network"):
        start("NETWORK.AGGRE", "false").resume(path)


@pytest.mark.parametrize("content", [{"weight": torch.zeros(2)}, [1], torch.zeros(3), {"epoch": 3, "state_dict": {}}])
def test_files_without_a_training_state(start, tmp_path, content):
    torch.save(content, tmp_path / "a.pth.tar")
    with pytest.raises(InputError, match=r"a\.pth\.tar: holds no training state; set TRAIN\.RESUME false"):
        start().resume(tmp_path / "a.pth.tar")


def test_a_checkpoint_of_the_released_code_goes_on(start, tmp_path, caplog):
    trained = start().train(1)
    state = {}
    for name, value in trained.model.state_dict().items():  # published names; a matrix per pair of views
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
    assert "released code" in message
    assert "epoch 5" in message
    assert "afresh" in message
    run.train(6)
    assert run.progress.epoch == 6


def test_the_middle_of_an_epoch_and_the_loss_scale_are_kept(start, tmp_path):
    run = start()
    run.progress.epoch = 3
    run.progress.step = 17
    run.progress.meters = {"sums": torch.tensor([1.5, 2.0], dtype=torch.float64)}
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    save_training_state(tmp_path / "a.pth.tar", run.config.MODEL, run.model, run.optimizer, run.progress, scaler)
    other = torch.amp.GradScaler("cpu")
    found = load_training_state(tmp_path / "a.pth.tar", run.config.MODEL, run.model, run.optimizer, other)
    assert (found.epoch, found.step) == (3, 17)
    assert torch.equal(found.meters["sums"], run.progress.meters["sums"])
    assert other.state_dict()["scale"] == 64.0


def test_a_file_of_before_steps_were_stored_stands_between_epochs(start, tmp_path):
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
        ({"groups": 7, "digest": "def"}, "5 groups, here 7"),
        ({"groups": 5, "digest": "def"}, r"as many groups \(5\), but other images, boxes or joints"),
    ],
)
def test_other_data_are_refused(start, tmp_path, data, how):
    run = start()
    run.progress.data = DATA
    run.save(tmp_path / "a.pth.tar")
    assert load(run, tmp_path / "a.pth.tar", DATA).data == DATA
    with pytest.raises(InputError, match=rf"a\.pth\.tar: is of other .*: {how}; .*--modelDir .*TRAIN\.RESUME false"):
        load(run, tmp_path / "a.pth.tar", data)


def test_the_settings_are_stored_and_others_refused(start, tmp_path):
    run = start()
    path = tmp_path / "a.pth.tar"
    run.progress.config = {"SEED": 0, "NETWORK": {"SIGMA": 1.0}}
    run.save(path)
    assert torch.load(path, weights_only=True)["config"] == run.progress.config
    assert load(run, path, None, {"SEED": 0, "NETWORK": {"SIGMA": 1.0}, "WORKERS": 3}).config["WORKERS"] == 3
    with pytest.raises(InputError, match=r"a\.pth\.tar: .*: SEED 0 -> 1, NETWORK\.SIGMA 1\.0 -> 3\.0; .*NAME.*RESUME"):
        load(run, path, DATA, {"SEED": 1, "NETWORK": {"SIGMA": 3.0}})


def test_a_file_that_does_not_tell_its_data_goes_on_with_a_warning(start, tmp_path, caplog):
    start().save(tmp_path / "a.pth.tar")
    state = torch.load(tmp_path / "a.pth.tar", weights_only=True)
    for key in ("groups", "steps_before", "data"):
        del state[key]
    state |= {"step": 3, "meters": {"sums": torch.tensor([1.0, 1, 0, 6], dtype=torch.float64)}}  # the last: groups
    torch.save(state, tmp_path / "a.pth.tar")
    progress = load(start(), tmp_path / "a.pth.tar", DATA)
    assert (progress.step, progress.groups, progress.data) == (3, 6, DATA)
    (message,) = caplog.messages
    assert "does not tell on which data" in message


def spoil_weights(run):
    run.model.backbone.bn1.running_var[3] = float("nan")
    return "state_dict.backbone.bn1.running_var"


def spoil_moments(run):
    run.train(1)
    run.optimizer.state[run.model.fusion.weight]["exp_avg_sq"][0, 0, 5, 5] = float("inf")
    return r"optimizer.state.\d+.exp_avg_sq"


def spoil_sums(run):
    run.progress.meters = {"sums": torch.tensor([float("nan"), 1])}
    return "meters.sums"


@pytest.mark.parametrize("spoil", [spoil_weights, spoil_moments, spoil_sums])
def test_what_is_not_finite_is_neither_written_nor_taken_up(start, tmp_path, monkeypatch, spoil):
    run = start()
    path = tmp_path / "a.pth.tar"
    run.save(path)
    before = path.read_bytes()
    name = spoil(run)
    with pytest.raises(InputError, match=rf"a\.pth\.tar: not written, .* '{name}' is not finite"):
        run.save(path)
    assert path.read_bytes() == before
    monkeypatch.setattr("lib.core.training.checkpoint._check_finite", lambda *words: None)  # as older versions wrote it
    run.save(path)
    monkeypatch.undo()
    with pytest.raises(InputError, match=rf"a\.pth\.tar: of a training .* '{name}' is not finite; .*--resume FILE"):
        start().resume(path)
