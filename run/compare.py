"""Compare the 2D and 3D results of runs in one table.

    python run/compare.py output/.../run_a output/.../run_b
    python run/compare.py output/.../run_s0 output/.../run_s1 output/.../other_s0 output/.../other_s1 --seeds

The differences are paired: the same frames, and with --seeds the same seeds. Writes overview.md, overview.csv and
charts with --out. The columns are whatever valid.py and estimate.py have written into the run directories.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.core.report.compared_runs import group_by_settings, load_overview_runs, single_runs
from lib.core.report.run_overview import check_comparable, overview, save_overview
from lib.core.runtime.command_line import plain_parser, run_main


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories; differences are to the first one")
    parser.add_argument("--seeds", action="store_true", help="join runs that differ only in SEED: mean and spread")
    parser.add_argument("--paper", action="store_true", help="add the paper's means for the evaluated data set")
    parser.add_argument("--out", metavar="DIR", help="write tables and charts into this folder")
    args = parser.parse_args()
    runs = load_overview_runs(args.runs)
    groups = group_by_settings(runs) if args.seeds else single_runs(runs)
    text = "\n".join([overview(groups, args.paper), *(f"- {note}." for note in check_comparable(runs))])
    print(f"\n{text}\n")
    if args.out:
        print("\n".join(map(str, save_overview(args.out, groups, text))))


if __name__ == "__main__":
    run_main(main)
