"""``python -m mcl benchmark``: how fast a configuration trains on this machine, and what would make it faster."""

import argparse
from pathlib import Path

HELP = "How fast training is on this machine, where its time goes, and the fastest safe settings."
EPILOG = """\
OVERRIDE is whatever python train.py takes. Steps of that training are timed by phase, its memory and its share of the
machine's convolution peak are measured, and other settings tried, each for some steps in a process of its own:
precision, memory format, threads, how the meta round keeps its graphs, torch.compile. Nothing is written but FILE.
Images of a published dataset that are not here are generated, and the output says so.

  python -m mcl benchmark
  python -m mcl benchmark pair=resnet32 dataset=cifar100 --json speed.json
  python -m mcl benchmark experiment=imagenet_lmcl trainer.batch_size=32 --quick"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``benchmark``."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as pair=resnet32, dataset=cifar100")
    parser.add_argument(
        "--steps", type=int, default=20, metavar="N", help="to time, fewer if slow; default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="measure the settings given, try no others")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found as JSON, too")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the file."""
    import json
    import sys

    from mcl.benchmarking.settings import LEAST
    from mcl.errors import UserError

    if arguments.steps < LEAST:
        raise UserError(f"--steps {arguments.steps}: must be at least {LEAST}.")
    if arguments.json is not None and not arguments.json.absolute().parent.is_dir():
        raise UserError(f"--json {arguments.json}: there is no such folder.")

    from mcl.benchmarking.benchmark import run_benchmark
    from mcl.benchmarking.table import print_results
    from mcl.console import display_path
    from mcl.files import write_atomically

    def log(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    found = run_benchmark(arguments.overrides, steps=arguments.steps, quick=arguments.quick, log=log)
    print(file=sys.stderr)
    print_results(found)
    if arguments.json is not None:
        write_atomically(arguments.json, json.dumps(found, indent=2) + "\n")
        print(f"\n{display_path(arguments.json)}")
    return 0
