"""Train a cohort of networks that teach each other: ``python train.py --help`` lists the choices.

The task is in `mcl.commands.train`; ``mcl train`` runs the same. Hydra's shell completion completes the options of a
script that contains the word @hydra.main, as this one now does.
"""

from mcl.signals import catch_stop_signals

if __name__ == "__main__":
    catch_stop_signals()  # before the other imports, which take seconds

from mcl.commands.train import run as train

if __name__ == "__main__":
    train()
