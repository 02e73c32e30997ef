"""``python -m mcl benchmark``: measure how fast a configuration trains here, and what would make it faster."""

import argparse
from pathlib import Path

from mcl.commands.arguments import check_out, require_at_least

HELP = "How fast training is on this machine, where its time goes, and the fastest safe settings."
EPILOG = """\
OVERRIDE is any override of python train.py. The command times the phases of training steps, measures memory and the
share of the machine's convolution peak, and tries other settings for some steps, each in its own process: precision,
memory format, threads, how the meta round keeps its graphs, torch.compile. It writes nothing except FILE. Images of a
published dataset that are not on this machine are generated; the output reports it.

  python -m mcl benchmark
  python -m mcl benchmark pair=resnet32 dataset=cifar100 --json speed.json
  python -m mcl benchmark experiment=imagenet_lmcl trainer.batch_size=32 --quick"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``benchmark``."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="such as pair=resnet32, dataset=cifar100")
    parser.add_argument(
        "--steps", type=int, default=20, metavar="N", help="steps to time (fewer if slow); default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="measure these settings only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and write the file."""
    import json
    import sys

    from mcl.benchmarking.settings import LEAST

    require_at_least(LEAST, "--steps", arguments.steps)
    check_out(arguments.json, is_file=True, option="--json ")

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
