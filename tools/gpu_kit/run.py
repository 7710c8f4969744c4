#!/usr/bin/env python3
"""Tests and times Impasto on an NVIDIA GPU: `run --out OUT [--minutes 8]`. Needs Python's standard library only.

The kit brings the programs. The machine brings the driver and the libraries of CUDA; PyTorch's pip packages hold the libraries, and
PyTorch itself is what Impasto is compared with. The stages run one after another, each with its own time limit, and a stage that
fails stops no other. OUT is brought up to date after each command: `report.json` has the figures, `log.txt` what every command
printed, `table.txt` (written last) the figures beside their goals. The exit code is 0 if every stage passed, 1 if one failed, and 2 if
the arguments are wrong. Goals that are missed do not count as failures.
"""

import argparse
import sys
from pathlib import Path

KIT = Path(__file__).resolve().parent
sys.path.insert(0, str(KIT / "tools" / "gpu_kit"))
import stages  # noqa: E402
import table  # noqa: E402
from runner import Runner  # noqa: E402


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [stage.__name__ for stage, _ in stages.STAGES]
    one = lambda text: [check(name, names) for name in text.split(",")]  # noqa: E731
    parser.add_argument("--out", type=Path, required=True, help="folder for the results; made if missing")
    parser.add_argument("--minutes", type=float, default=8, help="time for everything; 8")
    parser.add_argument("--stages", type=one, default=names, help="only these: " + ",".join(names))
    parser.add_argument("--python", help="Python with PyTorch; by default this one, or the first on PATH that has it")
    parser.add_argument("--cache", type=Path, default=KIT / "cache", help="folder for compiled kernels; `cache` in the kit")
    return parser.parse_args()


def check(name, names):
    if name not in names:
        raise argparse.ArgumentTypeError(f"`{name}` is not one of {', '.join(names)}")
    return name


def main():
    options = parse_arguments()
    runner = Runner(KIT, options)
    try:
        for stage, seconds in stages.STAGES:
            if stage.__name__ in options.stages:
                runner.run(stage, seconds)
    except KeyboardInterrupt:
        runner.say("interrupted")
        runner.failed = True
    finally:
        text = table.table(runner.report)
        print(f"\n{text}", end="")
        (options.out / "table.txt").write_text(text)
        runner.close()
    return int(runner.failed)


if __name__ == "__main__":
    sys.exit(main())
