from __future__ import annotations

import json
import subprocess
import sys

import pytest


def run(*options):
    return subprocess.run([sys.executable, "benchmarks/bench_gpu.py", *options], capture_output=True, text=True)


def test_bench_gpu_without_cuda_is_one_line(run_script):
    done = run_script("../benchmarks/bench_gpu.py")
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert "no CUDA device" in done.out


@pytest.mark.slow
def test_bench_gpu_tiny_measures_the_step_on_the_cpu(tmp_path):
    done = run("--device", "cpu", "--tiny", "--only", "step", "--out", str(tmp_path / "records.jsonl"))
    assert done.returncode == 0
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    by_name = {record["name"]: record for record in records}
    assert "failed" not in by_name
    assert {"plain loop, fp32", "fp32", "bf16", "part: fusion, bf16", "sum of the parts"} <= by_name.keys()
    assert by_name["fp32"]["operations"] < 1000  # the loop over views needs more
    assert "## step" in done.stdout


@pytest.mark.slow
def test_bench_gpu_tiny_measures_around_the_step_on_the_cpu(tmp_path):
    sections = ("input", "validation", "checkpoint")
    done = run("--device", "cpu", "--tiny", "--only", *sections, "--out", str(tmp_path / "records.jsonl"))
    assert done.returncode == 0
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert {record["section"] for record in records} == set(sections)
    assert not [record for record in records if record["name"] == "failed"]
    rates = {record["name"]: record["groups_per_s"] for record in records if record.get("workers") == 0}
    assert rates["ready crops, loader"] > rates["images, loader"]
