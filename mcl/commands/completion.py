"""Shell completion of ``mcl``: the names of its commands, and behind ``train`` and ``sweep`` what Hydra completes."""

import os
import re
import sys
from collections.abc import Sequence

HELP = """\
Completion of mcl in your shell, by Hydra. Put the line of your shell into its start-up file:

  bash  eval "$(mcl -sc install=bash)"
  zsh   autoload -U +X bashcompinit && bashcompinit && eval "$(mcl -sc install=bash)"
  fish  mcl -sc install=fish | source

Inside a checkout, the same with `python train.py` in place of `mcl`."""
_STUDY = re.compile(r"study=\S*$")


def complete(arguments: Sequence[str], commands: Sequence[str]) -> int:
    """Do what ``mcl -sc install=bash`` asks for, or what the shell then asks for: ``mcl -sc query=bash``.

    Args:
        arguments: from ``-sc`` on.
        commands: what the first word may be.

    Returns:
        The exit status.
    """
    action, _, shell = (arguments[1] if len(arguments) > 1 else "").partition("=")
    if action not in ("install", "uninstall", "query") or not shell:
        print(HELP)
        return 0
    if action == "query":
        program, *words = os.environ.get("COMP_LINE", "").split(" ")
        if len(words) < 2:  # the command itself is being typed
            print("\n".join(name for name in commands if name.startswith("".join(words))))
            return 0
        name, *typed = words
        if name not in ("train", "sweep"):
            return 0  # the shell completes files
        if name == "sweep" and _STUDY.fullmatch(typed[-1]):
            from mcl.studies.study import study_names

            print("\n".join(each for study in study_names() if (each := f"study={study}").startswith(typed[-1])))
            return 0
        os.environ["COMP_LINE"] = " ".join([program, *typed])
    from mcl.commands.train import run

    sys.argv[1:] = [*arguments]
    run()
    return 0
