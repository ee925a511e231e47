"""Time and memory to open an annotation as large as Human3.6M's, as a pickle and as memory-mapped arrays.

    python benchmarks/bench_annotations.py --records 1560000

Writes a synthetic pickle (3.5 GB for 1.56 million records) to a temporary folder. Measures in separate processes: the
list of dictionaries as in the original code, the arrays read from the pickle, and the memory-mapped arrays; each also
with four spawned workers that read records at random.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np

from lib.core.runtime.machine import describe_machine
from lib.dataset.h36m import h36m_file
from lib.dataset.storage.h36m_pickle import load_records
from lib.dataset.storage.memmap import open_annotations
from lib.dataset.storage.memmap_writer import save_compact
from lib.dataset.storage.record_writer import Clip, camera_record, clip_records
from lib.utils.files.portable_pickle import write_pickle
from lib.utils.tables import markdown_table

CLIP_FRAMES = 3000
NUM_WORKERS = 4
READS = 5000  # records read by each worker
FORMS = {
    "list": "list of dictionaries, as in the original code",
    "arrays": "arrays read from the pickle",
    "mapped": "memory-mapped arrays",
}


def write_records(root: Path, num_records: int) -> None:
    """Write ROOT/h36m/annot/h36m_train.pkl with random joints, and its memory-mapped form."""
    rng = np.random.default_rng(0)
    records = []
    camera = camera_record(np.eye(3), np.zeros(3), (1145, 1145), (512, 512), np.zeros(3), np.zeros(2))
    recording = 0
    while len(records) < num_records:
        subject = 1 + recording // 30 % 5
        action = 2 + recording % 15
        for view in range(4):
            joints_cam = rng.normal(0, 300, (CLIP_FRAMES, 17, 3)) + [0, 0, 5000]
            joints_img = 1145 * joints_cam[..., :2] / joints_cam[..., 2:] + 512
            clip = Clip(subject, action, 1 + recording // 15, view)
            records += clip_records(clip, recording, camera, np.arange(1, CLIP_FRAMES + 1), joints_img, joints_cam, {})
        recording += 1
    (root / "h36m").mkdir()
    file = h36m_file(root, "train")
    write_pickle(file.path, records[:num_records])
    del records
    save_compact(file.read(), file)


def memory_mb(pid: int | str = "self") -> float:
    """Return the proportional set size of a process, MB: private memory plus its share of shared memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1e3
    raise RuntimeError("no Pss in smaps_rollup")


def available_mb() -> float:
    """Return the available memory of this machine, MB."""
    return int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) / 1e3


def look(data: object, seed: int, ready: multiprocessing.Queue, stop: multiprocessing.Event) -> None:
    """Read records at random, as a worker does in an epoch."""
    rows = np.random.default_rng(seed).integers(0, len(data), READS)
    total = 0.0
    for row in rows:
        total += float(data[row]["joints_2d"].sum() if isinstance(data, list) else data.joints_img[row].sum())
    ready.put((os.getpid(), total))
    stop.wait()


def measure(form: str, root: Path) -> None:
    """Open the annotation in this process, then in workers; print time and memory."""
    before = memory_mb()
    start = time.perf_counter()
    file = h36m_file(root, "train")
    openers = {"list": lambda: load_records(file.path), "arrays": file.read, "mapped": lambda: open_annotations(file)}
    data = openers[form]()
    seconds = time.perf_counter() - start
    own = memory_mb() - before
    copy = own if form == "list" else data.joints_img.nbytes * 4 / 1e6  # the arrays are about four times the 2D joints
    if copy * NUM_WORKERS > available_mb():
        print(seconds, own, "nan", "nan")
        return
    context = multiprocessing.get_context("spawn")
    ready, stop, start = context.Queue(), context.Event(), time.perf_counter()
    workers = [context.Process(target=look, args=(data, seed, ready, stop)) for seed in range(NUM_WORKERS)]
    for worker in workers:
        worker.start()
    pids = [ready.get()[0] for _ in workers]
    worker_seconds = time.perf_counter() - start
    together = memory_mb() + sum(memory_mb(pid) for pid in pids) - before
    stop.set()
    for worker in workers:
        worker.join()
    print(seconds, own, worker_seconds, together)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_560_000)
    parser.add_argument("--step", nargs=2, metavar=("STEP", "ROOT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:  # steps run in separate processes, so that memory is measured from zero
        step = args.step[0]
        root = Path(args.step[1])
        write_records(root, args.records) if step == "write" else measure(step, root)
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for step in ("write", *FORMS):
            words = [sys.executable, __file__, "--records", str(args.records), "--step", step, folder]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            if step in FORMS:
                rows.append([FORMS[step], *map(float, done.stdout.splitlines()[-1].split())])
    print(f"{args.records} records; {describe_machine()}\n")
    header = ["", "open (s)", "memory (MB)", f"{NUM_WORKERS} workers ready (s)", "memory of all (MB)"]
    print(markdown_table(header, rows, 2) + "\n\n-: copies for all workers do not fit into this machine's memory")


if __name__ == "__main__":
    main()
