# Each target's line after ## is its line of `make help`.

.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUICK := experiments-local/synthetic/resnet18/128_fusion.yaml
QUICK_DATA := data/synthetic
QUICK_CROPS := --opts DATASET.CROP_CACHE $(QUICK_DATA)/crops
QUICK_RUN := output/mixed/multiview_pose_resnet_18/128_fusion

SEEDS ?= 0 1 2
JOBS ?= 2
LARGE ?= resnet50
MINUTES ?= 5
SMOKE ?=

DEMO := data/demo
DEMO_CAMERAS := run/demo/pose2sim_demo.toml
PEERS := data/.venv-peers
DETECTIONS ?=

.PHONY: help quickstart demo experiments experiments-large configuration-docs docs test test-all lint clean clean-what
.PHONY: bench bench-gpu bench-rpsm bench-peers bench-training bench-annotations bench-fusion bench-fusion-learning bench-recipe bench-accuracy

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-22s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(VENV)/.installed: requirements.txt requirements-onnx.txt tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r tests/requirements.txt
	touch $@

quickstart: $(VENV)/.installed  ## synthetic data, training, validation, 3D poses and report from nothing (13 minutes)
	$(BIN)/python run/data/make_synthetic.py --root $(QUICK_DATA) --image-size 500 --groups-per-train 16 \
	  --mpii-train 1280 --occluders 0.2 --reuse
	$(BIN)/python run/data/cache_crops.py --cfg $(QUICK) $(QUICK_CROPS)
	$(BIN)/python run/pose2d/train.py --cfg $(QUICK) $(QUICK_CROPS)
	$(BIN)/python run/pose2d/valid.py --cfg $(QUICK) $(QUICK_CROPS)
	$(BIN)/python run/data/make_limb_prior.py --cfg $(QUICK)
	$(BIN)/python run/pose3d/estimate.py --cfg $(QUICK)
	$(BIN)/python run/pose3d/estimate_cuda.py --cfg $(QUICK) --check poses3d.npz
	$(BIN)/python run/pose3d/report.py --cfg $(QUICK)

$(VENV)/.installed-demo: $(VENV)/.installed requirements-demo.txt
	$(BIN)/pip install --quiet -r requirements-demo.txt
	touch $@

demo: $(VENV)/.installed-demo  ## 3D poses in four real videos from PyPI; DETECTIONS=PATH replaces BlazePose's heatmaps
	$(BIN)/python run/demo/fetch_demo.py --out $(DEMO)
	$(BIN)/python run/demo/multiview.py --videos $(DEMO)/videos --cameras $(DEMO_CAMERAS) \
	  $(if $(DETECTIONS),--detections $(DETECTIONS)) --out output/demo

experiments: $(VENV)/.installed  ## the paper's tables on synthetic data, into RESULTS.md (hours; continues after an interruption)
	$(BIN)/python run/experiments/tables.py --seeds $(SEEDS) --jobs $(JOBS) --page RESULTS.md \
	  --plots docs/images/results --analysis docs/analysis.md

experiments-large: $(VENV)/.installed  ## the paper's tables with its own networks, on a GPU, in pieces: run it again until it is done
	$(BIN)/python run/experiments/tables.py --large $(LARGE) --seeds $(SEEDS) --minutes $(MINUTES) $(if $(SMOKE),--smoke)

test: $(VENV)/.installed  ## the tests, without the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow"

test-all: $(VENV)/.installed  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal

bench: bench-rpsm bench-fusion bench-training  ## bench-rpsm, bench-fusion and bench-training (needs 15 GB of memory)

bench-gpu: $(VENV)/.installed  ## speed on a GPU, part by part, compared with lower bounds (5 minutes)
	$(BIN)/python benchmarks/bench_gpu.py

bench-rpsm: $(VENV)/.installed  ## speed of RPSM compared with a plain dense implementation
	$(BIN)/python benchmarks/bench_rpsm.py

bench-peers:  ## accuracy and speed of 3D poses from points, beside aniposelib and Pose2Sim (4 GB of packages)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet -r requirements.txt aniposelib==0.8.0 pose2sim==0.10.49
	$(PEERS)/bin/python benchmarks/bench_peers.py --peers
	$(PEERS)/bin/python benchmarks/bench_peers.py --seeds 0 1 2 3

bench-training: $(VENV)/.installed  ## speed of loading, steps, validation and checkpoints compared with a plain loop
	$(BIN)/python benchmarks/bench_training.py

bench-annotations: $(VENV)/.installed  ## time and memory to open an annotation of Human3.6M's size
	$(BIN)/python benchmarks/bench_annotations.py

bench-fusion: $(VENV)/.installed  ## time per group of each fusion
	$(BIN)/python benchmarks/bench_fusion.py

bench-fusion-learning: $(VENV)/.installed  ## JDR of each fusion on simulated heatmaps, by amount of training (15 minutes)
	$(BIN)/python benchmarks/bench_fusion_learning.py

bench-recipe: $(VENV)/.installed  ## JDR with each key that changes the published training, on a reduced quick start
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench_recipe.py

bench-accuracy: $(VENV)/.installed  ## errors of all 3D methods on simulated heatmaps
	$(BIN)/python benchmarks/bench_accuracy.py

# The site has its own environment, so that building it does not need torch. Without warnings (--quiet) mkdocs is not strict.
$(VENV)/docs/.installed: docs/requirements.txt
	$(PYTHON) -m venv $(VENV)/docs
	$(VENV)/docs/bin/pip install --quiet -r docs/requirements.txt
	touch $@

configuration-docs: $(VENV)/.installed  ## docs/configuration.md from lib/core/config.py
	$(BIN)/python -m lib.core.config_docs

docs: $(VENV)/docs/.installed  ## the documentation as a site in output/site; a dead link is an error
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build

lint: $(VENV)/.installed  ## ruff check and ruff format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

clean-what:  ## sizes of what make clean removes, and of output/
	@du -sh $(VENV) $(QUICK_DATA) $(QUICK_RUN) output 2>/dev/null || true

clean:  ## remove the environment, the synthetic data and the quick start run
	rm -rf $(VENV) $(QUICK_DATA)
	if grep -qs '"yaml": "$(QUICK)"' $(QUICK_RUN)/record_train.json; then rm -rf $(QUICK_RUN); \
	elif test -e $(QUICK_RUN); then echo "$(QUICK_RUN) stays: no record that $(QUICK) was trained there"; fi
