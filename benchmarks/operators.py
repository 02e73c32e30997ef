"""Where the processor time of a training step goes, by operator, and what would be left to gain."""

import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from measuring import Options
from on_gpu.kernels import kind_of

from mcl.reports.markdown import table

TITLE = "Where a step goes"
WIDE = (64, 256, 16)  # batch, channels and side of the convolution that the others are compared with
CONVOLUTION = "convolution"


def measure(options: Options) -> dict[str, Any]:
    import torch
    from trainings import CONTIGUOUS_FLOAT32, WAYS, Textbook, build_parts, cifar_like, ours

    torch.set_num_threads(1)  # the clock is that of this thread, so other work on the machine does not count
    few = [*cifar_like(options), "trainer.threads=1", f"dataset.train_per_class={min(20, options.per_class)}"]
    parts = build_parts([*few, *WAYS["bfloat16, channels last"]])
    splits = parts.dataset.load()
    trainings = {
        "textbook": Textbook(build_parts([*few, *CONTIGUOUS_FLOAT32]), splits),
        "ours": ours(parts, splits),
    }
    work = _multiply_adds(parts) * options.batch
    results: dict[str, Any] = {"multiply_adds": work, "wide": _wide_convolution(options.repeats)}
    for name, training in trainings.items():
        training.step(next(training.batches))  # warms up
        steps = [_step(training) for _ in range(options.repeats)]
        operators = {key for _, seconds in steps for key in seconds}
        results[name] = {
            "steps": [whole for whole, _ in steps],
            "operators": {key: median(seconds.get(key, 0.0) for _, seconds in steps) for key in operators},
        }
    return results


def _step(training: Any) -> tuple[float, dict[str, float]]:
    """Return the processor seconds of a step, and those of each of its operators in the next one."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seconds: dict[str, float] = defaultdict(float)

    class Clock(TorchDispatchMode):
        def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            start = time.thread_time()
            try:
                return operator(*args, **(kwargs or {}))
            finally:
                seconds[str(operator.overloadpacket)] += time.thread_time() - start

    start = time.thread_time()
    training.step(next(training.batches))
    whole = time.thread_time() - start
    with Clock():
        training.step(next(training.batches))
    return whole, dict(seconds)


def _multiply_adds(parts: Any) -> int:
    from mcl.training.cost import Cost

    spec, learner = parts.dataset.spec, parts.learner
    return Cost.of(learner.cohort, learner.loss, spec.image_shape).step


def _wide_convolution(repeats: int) -> float:
    """Return the multiply-adds per processor second of a wide convolution in bfloat16, forward and backward."""
    import torch
    from torch.nn import functional as F

    batch, channels, side = WIDE
    options: Any = {"dtype": torch.bfloat16}
    images = torch.randn(batch, channels, side, side, **options).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(channels, channels, 3, 3, **options).to(memory_format=torch.channels_last).requires_grad_()
    seconds = []
    for _ in range(repeats + 1):
        start = time.thread_time()
        output = F.conv2d(images, weight, padding=1)
        torch.autograd.grad(output, (images, weight), output.detach())
        seconds.append(time.thread_time() - start)
    return 3 * batch * side**2 * channels**2 * 9 / min(seconds[1:])


def report(result: dict[str, Any], folder: Path) -> list[str]:
    found, options = result["found"], result["options"]
    kinds = {name: _by_kind(found[name]["operators"]) for name in ("textbook", "ours")}
    totals = {name: sum(seconds.values()) for name, seconds in kinds.items()}
    rows = []
    for kind in sorted(kinds["ours"], key=lambda kind: -kinds["ours"][kind]):
        cells = []
        for name in ("textbook", "ours"):
            part = kinds[name].get(kind, 0.0)
            cells += [f"{1e3 * part:.0f}", f"{100 * part / totals[name]:.1f} %"]
        rows.append([kind, *cells])
    steps = {name: median(found[name]["steps"]) for name in ("textbook", "ours")}
    convolution = kinds["ours"][CONVOLUTION]
    rate = found["multiply_adds"] / convolution
    best = steps["ours"] - convolution + found["multiply_adds"] / found["wide"]
    return [
        f"A step of the {options['pair']} pair, batch {options['batch']}, on one thread: processor time of each"
        " operator in milliseconds, medians. The textbook is float32 and contiguous, ours bfloat16 and channels_last."
        " Only the thread's own time counts, so other work on the machine changes these figures little.",
        "",
        *table(["operators", "textbook, ms", "share", "ours, ms", "share"], rows, 1),
        f"A whole step takes {steps['textbook']:.2f} s and {steps['ours']:.2f} s, a ratio of"
        f" {steps['textbook'] / steps['ours']:.2f}. Our convolutions run at {rate / 1e9:.0f} G multiply-adds per"
        f" second; a wide one, {WIDE[1]} channels at {WIDE[2]} x {WIDE[2]}, at {found['wide'] / 1e9:.0f} G. If all ran"
        f" at that rate, a step would take {best:.2f} s, a ratio of {steps['textbook'] / best:.2f}.",
        "",
    ]


def _by_kind(operators: dict[str, float]) -> dict[str, float]:
    kinds: dict[str, float] = defaultdict(float)
    for name, seconds in operators.items():
        kinds[kind_of(name)] += seconds
    return dict(kinds)
