"""Use a trained run: evaluate it, export its networks, load them, bundle it, release them.

Files in a run folder, a bundle, a release or an export are not trusted. Weights are read as tensors and plain values. A
configuration passes `mcl.runs.received`. A class that it names is built only if it is in the table of the classes that
belong in its place (`mcl.deploy.kinds`), or lies in a module that the caller allows. The file's own ``allow_modules``
is ignored. docs/security.md states what is trusted.
"""

from mcl.deploy.bundle import write_bundle
from mcl.deploy.detailed_evaluation import evaluate_run
from mcl.deploy.export import export_networks
from mcl.deploy.release import check_release, write_release
from mcl.deploy.release_folder import release_folders
from mcl.deploy.saved_run import SavedRun

__all__ = [
    "SavedRun",
    "check_release",
    "evaluate_run",
    "export_networks",
    "release_folders",
    "write_bundle",
    "write_release",
]
