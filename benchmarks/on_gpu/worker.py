"""The process that measures. It keeps its imports and its device from item to item, and is replaced when it fails."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from on_gpu.journal import FAILED, MEASURED, NOT_AVAILABLE
from on_gpu.setup import NotAvailable, Setup, one_line

START = 180.0  # seconds in which a process must find its device


class Answer(NamedTuple):
    """The outcome of an item: what was found if it was measured, else the reason."""

    status: str
    found: Any = None
    reason: str = ""


class Worker:
    """Measures items one after the other in a process of its own.

    Args:
        setup: passed to every measurement.
    """

    def __init__(self, setup: Setup):
        self.setup = setup
        self.process: Any = None
        self.where: dict[str, Any] = {}

    def start(self) -> str:
        """Start the process unless it runs. Return why it has no device; empty if it has one."""
        if self.process is not None:
            return ""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.setup))
        self.process.start()
        theirs.close()
        answer = self._receive(START)
        if answer.status != MEASURED:
            self.stop()
            return answer.reason
        self.where = answer.found
        return ""

    def measure(self, module: str, arguments: Mapping[str, Any], limit: float) -> Answer:
        """Return the answer of ``on_gpu.MODULE.measure``; the process is ended after ``limit`` seconds."""
        if reason := self.start():
            return Answer(FAILED, reason=reason)
        try:
            self.pipe.send((module, dict(arguments)))
        except OSError:  # the process has ended since the last item
            answer = Answer(FAILED, reason="the process that measures had ended")
        else:
            answer = self._receive(limit)
        if answer.status == FAILED:  # an error on a GPU can leave it unusable for this process
            self.stop()
        return answer

    def stop(self) -> None:
        """End the process and all that it started."""
        if self.process is None:
            return
        self.pipe.close()
        self.process.join(2)
        if self.process.is_alive():
            _kill_group(self.process.pid)
        self.process.join()
        self.process = None

    def _receive(self, limit: float) -> Answer:
        if not self.pipe.poll(max(0.0, limit)):
            return Answer(FAILED, reason=f"stopped after {limit:.0f} s")
        try:
            answer: Answer = self.pipe.recv()
        except EOFError:
            self.process.join(5)
            return Answer(FAILED, reason=f"the process ended with status {self.process.exitcode}")
        return answer


class InProcess:
    """Measures in this process: no start-up, and no protection. For tests."""

    def __init__(self, setup: Setup):
        self.setup = setup
        self.where: dict[str, Any] = {}

    def start(self) -> str:
        """Describe the device."""
        self.where = _where(self.setup)
        return ""

    def measure(self, module: str, arguments: Mapping[str, Any], limit: float) -> Answer:
        """Return the answer of ``on_gpu.MODULE.measure``."""
        return _answer(self.setup, module, arguments)

    def stop(self) -> None:
        """Do nothing."""


def _serve(pipe: Any, setup: Setup) -> None:
    if hasattr(os, "setsid"):  # a group of its own, so that all it starts can be ended together
        os.setsid()
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        pipe.send(Answer(MEASURED, _where(setup)))
        while True:
            module, arguments = pipe.recv()
            pipe.send(_answer(setup, module, arguments))
    except (EOFError, OSError):  # the command has ended, or ends this process
        return
    except Exception as error:
        pipe.send(Answer(FAILED, reason=one_line(error)))


def _answer(setup: Setup, module: str, arguments: Mapping[str, Any]) -> Answer:
    from mcl.errors import UserError

    try:
        return Answer(MEASURED, import_module(f"on_gpu.{module}").measure(setup, **arguments))
    except (NotAvailable, UserError) as error:
        return Answer(NOT_AVAILABLE, reason=one_line(error))
    except Exception as error:
        return Answer(FAILED, reason=f"{type(error).__name__}: {one_line(error)}")
    finally:
        _free_memory(setup)


def _where(setup: Setup) -> dict[str, Any]:
    import torch

    from mcl.allocator import keep_freed_memory
    from mcl.devices import find_device
    from mcl.training.overview import device_name

    if setup.device == "cuda" and not torch.cuda.is_available():
        raise NotAvailable("PyTorch finds no GPU on this machine")
    device = find_device(setup.device)
    keep_freed_memory(device)
    return {"card": device_name(device), "torch": torch.__version__, "tiny": setup.tiny}


def _free_memory(setup: Setup) -> None:
    import gc

    import torch

    gc.collect()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    if setup.device == "cuda" and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
