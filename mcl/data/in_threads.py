"""Work on many files in threads, with progress on stderr."""

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from os import cpu_count
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mcl.console import announced

T = TypeVar("T")
_CHUNK = 128  # items a thread works on at a time
_QUIET_SECONDS = 10.0  # between two lines of progress without a terminal


def in_threads(work: Callable[[int], T], count: int, title: str) -> Generator[dict[int, T], None, None]:
    """Call ``work`` with 0 to ``count`` - 1 in threads. Yield the results by position, a chunk at a time, in any order.

    Closing the generator, or an exception in ``work``, stops the work that has not begun.
    """

    def chunk(start: int) -> dict[int, T]:
        return {position: work(position) for position in range(start, min(start + _CHUNK, count))}

    pool = ThreadPoolExecutor(min(32, cpu_count() or 1))
    try:
        tasks = [pool.submit(chunk, start) for start in range(0, count, _CHUNK)]
        yield from _with_progress((task.result() for task in as_completed(tasks)), count, title)
    finally:  # also stops at once when interrupted
        pool.shutdown(cancel_futures=True)


def _with_progress(chunks: Iterable[dict[int, T]], total: int, title: str) -> Iterator[dict[int, T]]:
    """Yield the chunks and show how many items they have, as a bar or, without a terminal, occasional lines."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    begun = nullcontext() if console.is_terminal else announced(title)  # large images: a chunk can take long
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar, begun:
        task = bar.add_task(title, total=total)
        done, printed = 0, time.monotonic()
        for chunk in chunks:
            done += len(chunk)
            bar.update(task, completed=done)
            if not console.is_terminal and time.monotonic() - printed > _QUIET_SECONDS:
                print(f"{title}: {done:,} of {total:,}", file=sys.stderr, flush=True)
                printed = time.monotonic()
            yield chunk
