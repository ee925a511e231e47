from __future__ import annotations

from cvf_tests.annotations import load_h36m


def test_the_command(tiny_root, tiny_yaml, run_script):
    root = tiny_root()
    cfg = tiny_yaml(root)
    done = run_script("data/compact_annotations.py", "--cfg", cfg)
    assert (done.code, done.err) == (0, "")
    names = {entry.name for entry in (root / "h36m/annot").iterdir() if entry.suffix == ".arrays"}
    assert names == {f"h36m_{subset}{kind}.arrays" for subset in ("train", "validation") for kind in ("", "_uncrop")}
    assert "h36m_train.arrays: 12 records" in done.out
    assert load_h36m(root, "validation", crop=False).reopen is not None
    trained = run_script("pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.END_EPOCH", 1, "WORKERS", 1)
    assert trained.code == 0, trained.err


def test_the_command_without_a_pickle(tiny_yaml, tmp_path, run_script):
    (tmp_path / "none/h36m").mkdir(parents=True)
    done = run_script("data/compact_annotations.py", "--cfg", tiny_yaml(tmp_path / "none"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "h36m_train.pkl" in done.err
