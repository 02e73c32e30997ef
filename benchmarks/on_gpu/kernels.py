"""Where a step goes: its kernels on the GPU, or its operators on a CPU, by torch's own profiler."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mcl.reports.markdown import table
from on_gpu.setup import NotAvailable, Setup

TITLE = "Where a step goes"
STEPS, SHOWN = 5, 12
KINDS = {  # the first kind whose words a name contains, in lower case; operators first, then names of CUDA kernels
    "convolution": ("conv", "wgrad", "dgrad", "fprop", "implicit_gemm", "xmma", "cudnn_infer"),
    "batch normalization": ("batch_norm", "bn_fw", "bn_bw", "batchnorm", "native_batch_norm"),
    "optimizer": ("multi_tensor_apply", "_fused_sgd", "_foreach", "fused_adam"),
    "matrix products": (
        "gemm",
        "::mm",
        "::bmm",
        "::addmm",
        "aten.mm",
        "aten.bmm",
        "aten.addmm",
        "baddbmm",
        "cublas",
        "cutlass",
    ),
    "ReLU": ("relu", "threshold", "clamp_min"),
    "softmax and losses": ("softmax", "nll_loss", "logsumexp", "kl_div", "cross_entropy", "nllloss"),
    "pooling": ("pool", "::mean", "aten.mean"),
    "copies and casts": ("copy", "memcpy", "memset", "::to", "_to_copy", "fill", "zero_", "cat", "contiguous"),
    "sums and other arithmetic": ("add", "mul", "sum", "div", "reduce", "elementwise", "exp", "norm", "sqrt"),
}


def measure(setup: Setup, *, problem: str, precision: str, form: str) -> dict[str, Any]:
    """Return the seconds of each kernel or operator of a step, the launches, and how long the step took."""
    import time

    import torch
    from torch.profiler import ProfilerActivity, profile

    from on_gpu.forms import available, build, problem_of, waiting

    chosen, synchronize = problem_of(setup, problem), waiting(setup)
    ready, reasons = available([form], lambda name: build(setup, chosen, name, precision), setup)
    if not ready:
        raise NotAvailable(reasons[form])
    step, steps = ready[form].call(ready[form].next_step), setup.size(STEPS, 1)
    on_gpu = setup.device == "cuda"
    synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize()
    wall = (time.perf_counter() - start) / steps
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            step()
        synchronize()
    seconds: dict[str, float] = defaultdict(float)
    launches: dict[str, int] = defaultdict(int)
    for event in profiler.key_averages():
        if getattr(event, "is_user_annotation", False) or "Optimizer." in event.key:  # a span around kernels
            continue
        device = event.device_type == torch.autograd.DeviceType.CUDA
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if device == on_gpu and spent:
            seconds[event.key] += spent / 1e6 / steps
            launches[event.key] += event.count
    if not seconds:
        raise NotAvailable("torch.profiler recorded no kernels")
    return {
        "seconds": dict(sorted(seconds.items(), key=lambda item: -item[1])[:200]),
        "busy": sum(seconds.values()),
        "launches": sum(launches.values()) / steps,
        "wall": wall,
        "what": "kernels" if on_gpu else "operators",
    }


def kind_of(name: str) -> str:
    """Return the kind of a kernel or operator by its name."""
    lower = name.lower()
    return next((kind for kind, words in KINDS.items() if any(word in lower for word in words)), "other")


def shares(found: dict[str, Any]) -> dict[str, float]:
    """Return the share of each kind in the time of all, the largest first."""
    by_kind: dict[str, float] = defaultdict(float)
    for name, seconds in found["seconds"].items():
        by_kind[kind_of(name)] += seconds
    total = sum(by_kind.values())
    return {kind: value / total for kind, value in sorted(by_kind.items(), key=lambda item: -item[1])}


def line(found: dict[str, Any], **arguments: Any) -> str:
    """Return the result in one line."""
    first = ", ".join(f"{kind} {100 * value:.0f} %" for kind, value in list(shares(found).items())[:3])
    return f"{found['launches']:,.0f} {found['what']} a step, busy {100 * found['busy'] / found['wall']:.0f} %; {first}"


def report(rows: Sequence[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Return the section of the page."""
    kinds = list(dict.fromkeys(kind for row in rows for kind in shares(row["found"])))
    cells = []
    for row in rows:
        found, arguments, part = row["found"], row["arguments"], shares(row["found"])
        cells.append(
            [
                f"{arguments['problem']}, {arguments['precision']}, {arguments['form']}",
                *(f"{found['launches']:,.0f}", f"{1e3 * found['wall']:.3g}", f"{1e3 * found['busy']:.3g}"),
                *(f"{100 * part[kind]:.1f} %" if kind in part else "–" for kind in kinds),
            ]
        )
    what = rows[0]["found"]["what"]
    lines = [
        f"One step with its data under `torch.profiler`; *busy* is the time of all {what} together, *a step* the time"
        " without the profiler. If busy is much less than a step, the device waits for the host. Shares are of busy.",
        "",
        *table(["", f"{what} a step", "a step, ms", "busy, ms", *kinds], cells, 1),
    ]
    for row in rows:
        found, arguments = row["found"], row["arguments"]
        longest = list(found["seconds"].items())[:SHOWN]
        cells = [[name[:90], f"{1e3 * value:.3f}", f"{100 * value / found['busy']:.1f} %"] for name, value in longest]
        heading = f"{arguments['problem']}, {arguments['precision']}, {arguments['form']}"
        lines += [f"The longest {what} of {heading}:", "", *table([what, "ms a step", "share"], cells, 1)]
    return lines
