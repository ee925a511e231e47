from __future__ import annotations

from types import SimpleNamespace

import pytest

from lib.core.training.checkpoint import Progress
from lib.core.training.resume import checkpoint_to_resume, resume
from lib.dataset.loader import EpochBatches
from lib.utils.parallel.ranks import Ranks


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
    """resumed(progress, batches) -> the progress that a run with these batches goes on from."""
    step = SimpleNamespace(optimizer=None, scaler=None)

    def run(progress, batches):
        monkeypatch.setattr("lib.core.training.resume.load_training_state", lambda *words: progress)
        return resume(tmp_path / "a.pth.tar", SimpleNamespace(MODEL=""), tmp_path, None, step, {}, batches)

    return run


@pytest.mark.parametrize(
    ("before", "after"),
    [((2, 1), (1, 4)), ((1, 4), (2, 1)), ((3, 2), (4, 1)), ((4, 2), (3, 1)), ((2, 2), (2, 2)), ((1, 1), (5, 2))],
)
@pytest.mark.parametrize("num_items", [24, 29])
def test_no_group_is_left_out_whatever_the_steps_were(resumed, caplog, num_items, before, after):
    """(BATCH_SIZE, processes) of the run before and of this one."""
    first = batches_of(num_items, *before, epoch=2)
    every = set(range(num_items))
    for step in range(len(first[0]) + 1):
        done = set(first[0].order()[: first[0].items_before(step)].tolist())
        progress = resumed(Progress(2, step, len(done), 100), batches_of(num_items, *after, epoch=2)[0])
        follows = items(batches_of(num_items, *after, epoch=2, first_step=progress.step))
        again = done & set(follows)
        lost = every - done - set(follows)
        assert len(follows) == len(set(follows))
        assert len(lost) < after[1]  # those that training leaves out in any case: too few for all processes
        assert len(again) < after[0] * after[1]
        assert [
            f"{len(again)} of them come again" in message for message in caplog.messages if "come again" in message
        ] == [True] * bool(again)
        assert progress.steps_before + progress.step == 100 + step  # as many steps as were made
        caplog.clear()


def test_which_checkpoint(tmp_path):
    own, other = tmp_path / "checkpoint.pth.tar", tmp_path / "other.pth.tar"
    asks, does_not = (SimpleNamespace(TRAIN=SimpleNamespace(RESUME=value)) for value in (True, False))
    assert checkpoint_to_resume(None, asks, tmp_path) is None
    own.touch()
    assert checkpoint_to_resume(None, asks, tmp_path) == own
    assert checkpoint_to_resume(None, does_not, tmp_path) is None
    assert checkpoint_to_resume(other, does_not, tmp_path) == checkpoint_to_resume(other, asks, tmp_path) == other
