"""Errors of the launcher, which does not know this project, as errors of this project."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra_gpu_launcher.errors import LauncherError
from hydra_gpu_launcher.errors import Stopped as LauncherStopped
from mcl.errors import UserError
from mcl.signals import Stopped


@contextmanager
def own_errors() -> Iterator[None]:
    """Raise errors of the launcher as those that the entry points print in one line."""
    try:
        yield
    except LauncherError as error:
        raise UserError(str(error)) from error
    except LauncherStopped as stop:
        raise Stopped(stop.name) from None
