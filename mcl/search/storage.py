"""Where the trials of a search are stored: a journal file by default, or a database."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcl.console import display_path
from mcl.errors import UserError
from mcl.extras import require
from mcl.runs.secret_values import without_secrets

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

OLDEST = 4  # version of Optuna
FOLDER = "searches"  # in the folder of the runs: a folder for each search
JOURNAL = "trials.journal"


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's own lines and its warnings about experimental classes within the block."""
    require("search", asked="hydra/sweeper=optuna")
    import optuna

    if int(optuna.__version__.partition(".")[0]) < OLDEST:
        raise UserError(f"optuna {optuna.__version__} is too old: pip install 'optuna>={OLDEST},<{OLDEST + 1}'.")
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="optuna", category=UserWarning)
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_storage(place: str) -> "BaseStorage":
    """Open a storage, created if it does not exist.

    Args:
        place: URL of a database, such as ``sqlite:///search.db``, or the path of a journal file.

    Raises:
        UserError: it cannot be opened.
    """
    import optuna

    from mcl.search.journal import Journal

    try:
        if "://" in place:
            return optuna.storages.get_storage(place)
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        return optuna.storages.JournalStorage(Journal(place))
    except UserError:
        raise
    except Exception as error:  # of SQLAlchemy, of a driver of a database, of the file system
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"hydra.sweeper.storage={shown(place)}: it cannot be opened ({reason}). Give the path of a file, or a URL"
            " such as sqlite:///search.db."
        ) from error


def shown(place: str) -> str:
    """Return a storage as messages name it: a path shortened, a URL without its password."""
    return str(without_secrets(place)) if "://" in place else display_path(place)


def place_for_jobs(place: str) -> str:
    """Return a storage as jobs name it: the path of a file relative to the working folder, if it is in it."""
    if "://" in place:
        return place
    relative = os.path.relpath(place)
    return os.path.abspath(place) if relative.startswith("..") else relative


def build(node: Mapping[str, Any], part: str, **supplied: Any) -> Any:
    """Build a sampler or pruner of Optuna.

    Args:
        node: ``_target_`` and arguments.
        part: ``sampler`` or ``pruner``.
        supplied: further arguments, which replace those of the node.

    Raises:
        UserError: Optuna has no such class, or an argument is wrong.
    """
    import optuna

    option = f"hydra.sweeper.{part}"
    if not isinstance(node, Mapping):
        raise UserError(f"{option}={node}: choose a {part} with hydra/sweeper/{part}={node}.")
    target = str(node.get("_target_"))
    module, _, name = target.rpartition(".")
    if module != f"optuna.{part}s" or not hasattr(getattr(optuna, f"{part}s"), name):
        raise UserError(f"{option}._target_={target}: expected a class of optuna.{part}s.")
    arguments = {str(key): value for key, value in node.items() if not str(key).startswith("_")} | supplied
    try:
        return getattr(getattr(optuna, f"{part}s"), name)(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{option}: {name} does not accept these options: {error}.") from error
