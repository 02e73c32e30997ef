"""Run a study: plan it, launch unfinished runs, write a report. ``python sweep.py --help`` lists the studies."""

import inspect
import sys

from mcl.commands.sweep import main
from train import train

if __name__ == "__main__":
    sys.exit(main(inspect.unwrap(train), sys.argv[1:]))
