# make quickstart   everything from nothing: environment, embedded data, training, 2D, 3D, tables and pictures
# make demo         3D poses in four real videos that pip fetches; DETECTIONS=PATH instead of the optional detector
# make experiments  the paper's tables on embedded data, beside the paper's rows, into RESULTS.md: hours, goes on where it was
# make test         the tests; make test-all adds the slow ones; make lint runs ruff
# make bench        bench-rpsm, bench-fusion and bench-training, which needs 15 GB of memory
# make bench-rpsm   frames per second of the 3D inference beside a plain dense implementation
# make bench-training  input, step, validation and checkpoints beside their floors or a plain loop
# make bench-annotations  time and memory to open an annotation of Human3.6M's size
# make bench-fusion  time per group of the fusions beside the floor of their lookups
# make bench-fusion-learning  detection rates of the fusions alone on simulated heatmaps, by amount of training: 15 minutes
# make bench-accuracy  errors of all 3D methods on perfect, noisy and detector-like heatmaps, beside the targets

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUICK := experiments-local/synthetic/resnet18/128_fusion.yaml
QUICK_DATA := data/synthetic
QUICK_RUN := output/mixed/multiview_pose_resnet_18/128_fusion

SEEDS ?= 0 1 2
JOBS ?= 2

DEMO := data/demo
DEMO_CAMERAS := run/demo/pose2sim_demo.toml
DETECTOR := $(DEMO)/.venv-detector
DETECTIONS ?= $(DEMO)/detections.npz

.PHONY: quickstart demo experiments test test-all bench bench-rpsm bench-training bench-annotations bench-fusion bench-fusion-learning bench-accuracy lint clean

$(VENV)/.installed: requirements.txt tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r tests/requirements.txt
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/python run/data/make_synthetic.py --root $(QUICK_DATA) --image-size 500 --groups-per-train 16 \
	  --mpii-train 1280 --occluders 0.2 --reuse
	$(BIN)/python run/pose2d/train.py --cfg $(QUICK)
	$(BIN)/python run/pose2d/valid.py --cfg $(QUICK)
	$(BIN)/python run/data/make_limb_prior.py --cfg $(QUICK)
	$(BIN)/python run/pose3d/estimate.py --cfg $(QUICK)
	$(BIN)/python run/pose3d/estimate_cuda.py --cfg $(QUICK) --check poses3d.npz
	$(BIN)/python run/pose3d/report.py --cfg $(QUICK)

# The detector has an environment of its own: it wants other versions of what this project uses.
$(DEMO)/detections.npz: | $(VENV)/.installed
	$(PYTHON) -m venv $(DETECTOR)
	$(DETECTOR)/bin/pip install --quiet mediapipe==0.10.14 av tqdm || { echo "error: the optional detector cannot \
	be installed (offline?); name detections of your own: make demo DETECTIONS=PATH" >&2; exit 2; }
	$(DETECTOR)/bin/python run/data/detect_people.py --videos $(DEMO)/videos --cameras $(DEMO_CAMERAS) --out $@

demo: $(VENV)/.installed
	$(BIN)/python run/demo/fetch_demo.py --out $(DEMO)
	test "$(DETECTIONS)" != $(DEMO)/detections.npz || $(MAKE) $(DEMO)/detections.npz
	$(BIN)/python run/demo/multiview.py --videos $(DEMO)/videos --cameras $(DEMO_CAMERAS) --detections $(DETECTIONS) \
	  --smooth 6 --leave-one-out --out output/demo

experiments: $(VENV)/.installed
	$(BIN)/python run/experiments/tables.py --seeds $(SEEDS) --jobs $(JOBS) --page RESULTS.md \
	  --plots experiments-local/synthetic/results --remarks experiments-local/synthetic/remarks.md

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: bench-rpsm bench-fusion bench-training

bench-rpsm: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_rpsm.py

bench-training: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_training.py

bench-annotations: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_annotations.py

bench-fusion: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_fusion.py

bench-fusion-learning: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_fusion_learning.py

bench-accuracy: $(VENV)/.installed
	$(BIN)/python benchmarks/bench_accuracy.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

clean:
	rm -rf $(VENV) $(QUICK_DATA) $(QUICK_RUN)
