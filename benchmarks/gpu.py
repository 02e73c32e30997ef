"""Measure training on one GPU, ours and the textbook in turns; write results.json, RESULTS.md and pictures.

    python benchmarks/gpu.py --minutes 12 --out DIR                    # a machine with a GPU; type it again to continue
    python benchmarks/gpu.py --minutes 12 --out DIR --wheels WHEELS    # without internet: installs from a folder
    python benchmarks/gpu.py --minutes 12 --out DIR --images CIFAR10   # also a real training, from JPEG files
    python benchmarks/gpu.py --device cpu --tiny --out DIR             # rehearse everything, without a GPU

Items are measured in the order of their importance, each in time or not at all; five minutes answer the main question.
Each result is a line of DIR/results.jsonl as soon as it is known. Nothing else should use the card. See docs/gpu.md.
"""

import argparse
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from on_gpu import requirements  # noqa: E402

RESERVED = 0.25  # share of the time that is kept for the real training
LIMIT = (60.0, 4.0)  # an item is ended after so many seconds, or this factor times its estimate
SLOWEST = 4.0  # factor by which estimates grow at most on a machine that is slower


def main(typed: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = _parse_arguments(typed)
    if arguments.wheels and (problem := requirements.install(arguments.wheels)):
        print(problem, file=sys.stderr)
        return 1
    if names := requirements.missing(requirements.PACKAGES):
        print(requirements.advice(names), file=sys.stderr)
        return 1
    os.environ["MPLBACKEND"] = "Agg"
    from on_gpu.journal import Journal
    from on_gpu.setup import Setup
    from on_gpu.worker import InProcess, Worker

    setup = Setup(arguments.device, arguments.tiny, arguments.out.resolve(), arguments.images)
    journal = Journal(setup.out)
    worker = InProcess(setup) if arguments.in_process else Worker(setup)
    try:
        return Session(setup, journal, worker, arguments).run()
    except KeyboardInterrupt:
        return 130
    finally:
        worker.stop()


class Session:
    """One call of the command.

    Args:
        setup: what all measurements share.
        journal: takes in every result.
        worker: makes the measurements.
        arguments: of the command line.
    """

    def __init__(self, setup: Any, journal: Any, worker: Any, arguments: argparse.Namespace):
        from on_gpu.plan import items

        from mcl.version import code_version

        self.setup, self.journal, self.worker = setup, journal, worker
        self.start = time.monotonic()
        self.end = self.start + 60 * arguments.minutes
        self.again = set(arguments.again or ())
        self.only = set(arguments.only or ())
        self.plan = items(setup)
        self.code = code_version()
        self.paces: list[float] = []  # seconds of measured items relative to their estimates

    def run(self) -> int:
        """Measure what is missing; return 1 if there is no device, or if anything failed."""
        from on_gpu.page import write
        from on_gpu.pictures import draw

        if unknown := (self.again | self.only) - {item.name for item in self.plan}:
            names = ", ".join(item.name for item in self.plan)
            print(f"no such item: {', '.join(sorted(unknown))}. Choose from {names}.", file=sys.stderr)
            return 1
        if reason := self.worker.start():
            print(f"{reason}. Without a GPU, --device cpu --tiny rehearses everything.", file=sys.stderr)
            return 1
        if difference := self.journal.other_machine(self.worker.where):
            print(f"{self.setup.out} has results of {difference}: give another --out.", file=sys.stderr)
            return 1
        print(f"{self.worker.where['card']}, torch {self.worker.where['torch']}", flush=True)
        failed = []
        for item in self._wanted():
            if self._measure(item) == "failed":
                failed.append(item.name)
            write(self.journal, self.plan, {})
        write(self.journal, self.plan, draw(self.journal, self.plan))
        self._print_end(failed)
        return int(bool(failed))

    def _wanted(self) -> list[Any]:
        chosen = [item for item in self.plan if not self.only or item.name in self.only]
        return [item for item in chosen if item.name in self.again or not self.journal.measured(item.name)]

    def _measure(self, item: Any) -> str:
        """Measure one item if it fits into the time left; record and print the outcome, and return its status."""
        from on_gpu.journal import MEASURED, SKIPPED

        left = self.end - time.monotonic()
        slowness = median(self.paces) if self.paces else 1.0
        estimate = min(SLOWEST, max(1.0, slowness)) * item.seconds
        usable = left if item.grows or self.setup.images is None else left - RESERVED * (self.end - self.start)
        if estimate > usable:
            reason = f"takes about {estimate:.0f} s, and {max(0, usable):.0f} s were left"
            return self._record(item, SKIPPED, reason=reason)
        start = time.monotonic()
        arguments = {**item.arguments, "seconds": left} if item.grows else item.arguments
        limit = left if item.grows or self.setup.tiny else min(left, max(LIMIT[0], LIMIT[1] * estimate))
        answer = self.worker.measure(item.module, arguments, limit + 30 * item.grows)
        seconds = time.monotonic() - start
        if answer.status == MEASURED and not item.grows:
            self.paces.append(seconds / item.seconds)
        return self._record(item, answer.status, answer.reason, answer.found, seconds)

    def _record(self, item: Any, status: str, reason: str = "", found: Any = None, seconds: float = 0.0) -> str:
        from importlib import import_module

        from on_gpu.journal import UNREADABLE

        row = {
            "item": item.name,
            "module": item.module,
            "arguments": item.arguments,
            "status": status,
            "reason": reason,
            "found": found,
            "seconds": seconds,
            "where": self.worker.where,
            "code": self.code,
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        }
        self.journal.add(row)
        words = f"{status}: {reason}"
        if found is not None:
            with suppress(*UNREADABLE):
                words = import_module(f"on_gpu.{item.module}").line(found)
        minutes, second = divmod(int(time.monotonic() - self.start), 60)
        print(f"[{minutes:2}:{second:02}] {item.name}, {seconds:.0f} s: {words}", flush=True)
        return status

    def _print_end(self, failed: list[str]) -> None:
        left = [item.name for item in self.plan if not self.journal.measured(item.name)]
        print(f"{len(self.plan) - len(left)} of {len(self.plan)} items measured: {self.setup.out / 'RESULTS.md'}")
        if failed:
            print(f"failed: {', '.join(failed)}")


def _parse_arguments(typed: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; type it again to continue")
    parser.add_argument("--minutes", type=float, default=12.0, help="time for everything; default: %(default)s")
    parser.add_argument("--images", type=Path, help="folder or archive of CIFAR-10 as JPEG: {train,test}/CLASS/*.jpg")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install from, for what is missing")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu needs --tiny")
    parser.add_argument("--tiny", action="store_true", help="rehearse: tiny sizes, figures without meaning")
    parser.add_argument("--only", nargs="+", metavar="ITEM", help="measure only these items")
    parser.add_argument("--again", nargs="+", metavar="ITEM", help="measure these items although they are measured")
    parser.add_argument("--in-process", action="store_true", help="without a process that measures, for tests")
    arguments = parser.parse_args(typed)
    if arguments.device == "cpu" and not arguments.tiny:
        parser.error("--device cpu is a rehearsal: add --tiny. For figures of a CPU, use benchmarks/run.py.")
    if arguments.images:
        arguments.images = arguments.images.resolve()
    return arguments


if __name__ == "__main__":
    sys.exit(main())
