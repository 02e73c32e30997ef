"""Online knowledge distillation by mutual contrastive learning."""

import os
import sys

if sys.argv[:1] == ["-m"] and sys.path[0] == os.getcwd() and not __file__.startswith(os.path.join(sys.path[0], "")):
    del sys.path[0]  # `python -m` puts the working folder in front: a received folder could shadow any module there

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mcl.lazy import lazy_exports

if find_spec("hydra_gpu_launcher") is None:  # a checkout that is not installed
    sys.path.append(str(Path(__file__).resolve().parents[1] / "packages" / "hydra_gpu_launcher"))

if TYPE_CHECKING:
    from mcl.commands.train import train
    from mcl.config.build_network import build_network
    from mcl.config.compose import compose
    from mcl.deploy.hub import from_pretrained
    from mcl.deploy.load import load

__all__ = ["build_network", "compose", "from_pretrained", "load", "train"]
__version__ = "0.2.0"
__getattr__ = lazy_exports(
    __name__,
    {
        "commands.train": ["train"],
        "config.build_network": ["build_network"],
        "config.compose": ["compose"],
        "deploy.hub": ["from_pretrained"],
        "deploy.load": ["load"],
    },
)
