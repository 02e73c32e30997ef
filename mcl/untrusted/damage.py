"""Report a damaged or altered file in one line, whatever its content makes fail."""

from collections.abc import Iterator
from contextlib import contextmanager

from mcl.errors import UserError
from mcl.untrusted.text import printable, shorten

_KINDS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def refuse_damaged(source: object) -> Iterator[None]:
    """Turn what the content of a received file makes fail into UserError; the cause is shown by HYDRA_FULL_ERROR=1.

    Args:
        source: what messages call the file.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except MemoryError as error:
        raise UserError(f"{printable(source)} needs more memory than is free.") from error
    except _KINDS as error:
        problem = shorten(f"{type(error).__name__}: {' '.join(str(error).split())}")
        raise UserError(f"{printable(source)} is damaged or was altered ({problem}).") from error
