"""Make the paper's tables: train and evaluate all their rows, and write a results page.

    python run/experiments/tables.py --seeds 0 1 2 --jobs 2                    # on synthetic data, which it makes
    python run/experiments/tables.py --large resnet50 --minutes 5              # the paper's size, in pieces
    python run/experiments/tables.py --cfg experiments-local/mixed/resnet50/256_fusion.yaml --out output/tables_h36m

Every training and every evaluation is a cell. Finished cells are kept: after an interruption, or with more seeds, the
same command continues. Then it writes the page (RESULTS.md in OUT) and its charts. A page is not replaced by one with
fewer cells, or by one that lacks its link to an analysis.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import argparse
import shlex

from lib.core.config_io import load_config
from lib.core.experiments.cells import CellRunner
from lib.core.experiments.plan import make_plan
from lib.core.experiments.protocols import LARGE_CFGS, config_protocol, large_protocol, synthetic_protocol
from lib.core.experiments.results_page import PageSettings, check_page, write_page
from lib.core.experiments.seed_results import SeedResults
from lib.core.run_directory import model_name, run_name
from lib.core.runtime.command_line import plain_parser, run_main
from lib.core.runtime.machine import describe_machine
from lib.utils.errors import InputError


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("--cfg", type=Path, metavar="YAML", help="experiment with learned fusion; default: synthetic data")
    add("--large", choices=LARGE_CFGS, help="synthetic data and networks of the paper's size instead of small ones")
    add("--smoke", action="store_true", help="with --large: all cells with a tiny network and few images, as a test")
    add("--data", type=Path, help="folder of the synthetic data sets (data/experiments, data/experiments-large)")
    add(
        "--out",
        type=Path,
        help="folder of runs, logs and records (output/experiments; output/experiments-NETWORK with --large; "
        "output/experiments_MODEL_NAME with --cfg)",
    )
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds; each trains its own networks")
    add("--jobs", type=int, default=1, help="cells that run at the same time; they share the cores")
    add("--minutes", type=float, help="stop after this time with exit code 75; the same command continues")
    add("--page", type=Path, help="Markdown file of the results (OUT/RESULTS.md)")
    add("--plots", type=Path, help="folder of its charts (OUT/plots)")
    add("--analysis", type=Path, metavar="FILE", help="Markdown file that the page links")
    add("--remarks", dest="analysis", type=Path, help=argparse.SUPPRESS)  # former name of --analysis
    add("--page-only", action="store_true", help="write the page of the existing results without running cells")
    add("--redo", action="store_true", help="remove and rerun cells that were run with other options")
    add("--list", action="store_true", help="list the cells and their state")
    add("--opts", nargs="*", action="extend", default=[], metavar="KEY VALUE", help="any configuration keys")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    repeated = [seed for seed in args.seeds if args.seeds.count(seed) > 1]
    if repeated:
        raise InputError(f"--seeds: expected each seed once, received {repeated[0]} more than once")
    if args.cfg and args.large:
        raise InputError("--cfg and --large: expected one of them, received both")
    if args.smoke and not args.large:
        raise InputError(f"--smoke: expected --large {' or '.join(LARGE_CFGS)} with it, received none")
    if args.minutes is not None and not args.minutes > 0:
        raise InputError(f"--minutes: expected a time above 0, received {args.minutes:g}")
    if args.cfg:
        config = load_config(args.cfg, args.opts)
        out = args.out or Path("output") / f"experiments_{model_name(config)}_{run_name(args.cfg)}"
        protocol = config_protocol(args.cfg, out, args.opts)
    elif args.large:
        name = f"{args.large}-smoke" if args.smoke else args.large
        out = args.out or Path(f"output/experiments-{name}")
        data = args.data or Path("data/experiments-smoke" if args.smoke else "data/experiments-large")
        protocol = large_protocol(args.large, data, out, args.opts, args.smoke)
    else:
        out = args.out or Path("output/experiments")
        protocol = synthetic_protocol(args.data or Path("data/experiments"), out, args.opts)
    plan = make_plan(protocol, args.seeds, out)
    runner = CellRunner(plan.cells, out, args.jobs)
    machine = describe_machine()
    if args.list:
        done = runner.seconds()
        for cell in plan.cells:
            print(f"{cell.name}: {f'{done[cell.name]:.0f} s' if cell.name in done else 'not done'}")
        return
    page = args.page or out / "RESULTS.md"
    check_page(page, len(runner.seconds()) if args.page_only else len(plan.cells), args.analysis)
    if not args.page_only:
        runner.run(args.redo, args.minutes)
    words = [word for word in sys.argv[1:] if word != "--page-only"]
    settings = PageSettings(
        path=page,
        plots=args.plots or out / "plots",
        command=shlex.join(["python", "run/experiments/tables.py", *words]),
        machine=machine,
        seconds=runner.seconds(),
        num_cells=len(plan.cells),
        seeds=args.seeds,
        analysis=args.analysis,
    )
    done = {
        row: {seed: directory for seed, directory in seeds.items() if f"seed{seed}/{row}/results" in settings.seconds}
        for row, seeds in plan.results.items()
    }
    if not any(done.values()):
        seeds = ", ".join(map(str, args.seeds))
        raise InputError(f"{out}: no results yet of seeds {seeds}; run the cells first, without --page-only")
    write_page(SeedResults(done, args.seeds), protocol, settings)
    print(f"{page}: {len(settings.seconds)} of {len(plan.cells)} cells")


if __name__ == "__main__":
    run_main(main)
