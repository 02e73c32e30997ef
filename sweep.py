"""Run a study: plan it, launch unfinished runs, write a report. ``python sweep.py --help`` lists the studies."""

from mcl.signals import catch_stop_signals

if __name__ == "__main__":
    catch_stop_signals()  # before the other imports, which take seconds

import inspect
import sys

from mcl.commands.sweep import main
from train import train

if __name__ == "__main__":
    sys.exit(main(inspect.unwrap(train), sys.argv[1:]))
