"""The measurements, most important first, and how long each takes on a fast card."""

from dataclasses import dataclass, field
from typing import Any

from on_gpu.setup import Setup

MAIN, OTHERS = "resnet32", ("wrn_16_2", "imagenet/resnet18")
STEP = ["textbook", "eager", "captured"]
COMPILED = ["textbook", "compiled", "compiled and captured", "reduce-overhead"]
AUTOTUNED = ["textbook", "max-autotune and captured"]
TINY = 8.0  # seconds of an item in a rehearsal
PATIENCE = 300.0  # seconds of a command in a rehearsal, beside other work on the machine


@dataclass(frozen=True)
class Item:
    """One measurement.

    Args:
        name: unique, in commands and results.
        module: of this folder: its ``measure(setup, **arguments)`` makes the measurement.
        seconds: estimate of its duration on a fast card. These are guesses until a card has been measured.
        arguments: see ``module``.
        grows: whether it uses all the time that is left.
    """

    name: str
    module: str
    seconds: float
    arguments: dict[str, Any] = field(default_factory=dict)
    grows: bool = False


def items(setup: Setup) -> list[Item]:
    """Return all items in the order in which they are measured."""
    plan = [
        Item("limits", "limits", 20),
        Item("tests/fast", "gpu_tests", 120, {"fast": True, "seconds": 240}),
        *(_step(MAIN, precision, STEP, 45) for precision in ("bfloat16", "float32")),
        *(_loop(precision) for precision in ("bfloat16", "float32")),
        _meta_round(MAIN, "bfloat16"),
        *(_runs(runs, 25 + 2 * runs) for runs in setup.size((1, 4, 16), (1, 2))),
        Item("contrast", "contrasts", 15, {"budget": 10}),
        _step(MAIN, "bfloat16", COMPILED, 150),
        *(_kernels(precision, form) for precision, form in (("bfloat16", "eager"), ("bfloat16", "captured"))),
        _meta_round(MAIN, "float32"),
        *(_step(MAIN, precision, STEP, 45) for precision in ("tf32", "float16")),
        *(_step(pair, precision, STEP, 50) for precision in ("bfloat16", "float32") for pair in reversed(OTHERS)),
        Item("loading", "image_loading", 50, {"budget": 30}),
        *(_launcher(per_gpu) for per_gpu in setup.size((1, 4), (2,))),
        *(_scaling(processes) for processes in setup.size((1, 2, 4, 8), (1, 2))),
        *(_step(pair, precision, STEP, 50) for precision in ("tf32", "float16") for pair in reversed(OTHERS)),
        _step(MAIN, "float32", COMPILED, 150),
        _meta_round("imagenet/resnet18", "bfloat16"),
        *(_step(pair, "bfloat16", COMPILED, 150) for pair in OTHERS),
        _step(MAIN, "bfloat16", AUTOTUNED, 300),
        Item("tests/all", "gpu_tests", 240, {"fast": False, "seconds": 600}),
        Item("training", "real_training", 150, {"pair": MAIN, "precision": "bfloat16"}, grows=True),
    ]
    if setup.tiny:
        return [Item(each.name, each.module, TINY, _tiny(each.arguments), each.grows) for each in plan]
    return plan


def _tiny(arguments: dict[str, Any]) -> dict[str, Any]:
    """Shorten what takes seconds, and be patient with commands."""
    tiny = {"budget": 0.1, "seconds": PATIENCE if {"fast", "side", "jobs"} & set(arguments) else 0.2, "jobs": 2}
    return {name: tiny.get(name, value) for name, value in arguments.items()}


def _step(pair: str, precision: str, forms: list[str], seconds: float) -> Item:
    suffix = "/compiled" if forms is COMPILED else "/max-autotune" if forms is AUTOTUNED else ""
    arguments = {"problem": pair, "precision": precision, "forms": forms, "budget": 25}
    return Item(f"step/{pair}/{precision}{suffix}", "steps", seconds, arguments)


def _loop(precision: str) -> Item:
    arguments = {"problem": MAIN, "precision": precision, "forms": ["eager", "captured"]}
    return Item(f"loop/{MAIN}/{precision}", "loop_share", 25, arguments)


def _meta_round(pair: str, precision: str) -> Item:
    arguments = {"problem": pair, "precision": precision, "budget": 30}
    return Item(f"meta/{pair}/{precision}", "meta_rounds", 60, arguments)


def _kernels(precision: str, form: str) -> Item:
    return Item(
        f"kernels/{MAIN}/{precision}/{form}", "kernels", 20, {"problem": MAIN, "precision": precision, "form": form}
    )


def _runs(runs: int, seconds: float) -> Item:
    arguments = {"runs": runs, "pair": "resnet20", "precision": "bfloat16", "seconds": 10.0}
    return Item(f"runs/{runs}", "runs_per_card", seconds, arguments)


def _launcher(per_gpu: int) -> Item:
    arguments = {"jobs": 4, "per_gpu": per_gpu, "pair": "resnet20", "seconds": 300.0}
    return Item(f"launcher/{per_gpu}", "launcher", 140 / per_gpu + 20, arguments)


def _scaling(processes: int) -> Item:
    arguments = {"processes": processes, "pair": MAIN, "batch": 128, "side": 32, "seconds": 90.0}
    return Item(f"scaling/{processes}", "scaling", 45, arguments)
