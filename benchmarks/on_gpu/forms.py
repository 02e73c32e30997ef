"""The forms of one training that are compared: the textbook, and ours step by step, captured or compiled."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from trainings import Textbook, build_parts, ours

from mcl.benchmarking.stopwatch import synchronizer
from mcl.errors import UserError
from on_gpu.setup import NotAvailable, Setup, one_line

TEXTBOOK = "textbook"
FORMS = {  # overrides of ours
    "eager": ("trainer.capture=off", "trainer.compile=false"),
    "captured": ("trainer.capture=auto", "trainer.compile=false"),
    "compiled": ("trainer.capture=off", "trainer.compile=true"),
    "compiled and captured": ("trainer.capture=auto", "trainer.compile=true"),
    "reduce-overhead": ("trainer.capture=off", "trainer.compile=reduce-overhead"),
    "max-autotune and captured": ("trainer.capture=auto", "trainer.compile=max-autotune"),
}
WARM_UP = 10  # steps
HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Problem(NamedTuple):
    """A training to time: a pair on generated images of a side, in batches; further options of `train.py`."""

    pair: str
    batch: int
    side: int
    classes: int = 100
    per_class: int = 20
    more: tuple[str, ...] = ()

    def overrides(self, setup: Setup) -> list[str]:
        """Return the options of `train.py`."""
        return [
            *("dataset=synthetic", f"dataset.classes={self.classes}", f"dataset.image_size={self.side}"),
            *(f"dataset.train_per_class={self.per_class}", "dataset.test_per_class=1"),
            *("dataset.augmentation.padding=4", "dataset.augmentation.flip=true"),
            *(f"pair={self.pair}", f"trainer.batch_size={self.batch}", f"trainer.device={setup.device}"),
            *(f"trainer.threads={torch.get_num_threads()}", *self.more),
        ]


PROBLEMS = {
    "resnet32": Problem("resnet32", 128, 32),
    "wrn_16_2": Problem("wrn_16_2", 128, 32),
    "imagenet/resnet18": Problem("imagenet/resnet18", 64, 224),
}
SMALL = ("pair.first.depths=[1,1]", "pair.second.depths=[1,1]")
TINY = {
    "resnet32": Problem("resnet8", 8, 8, classes=4, per_class=8, more=SMALL),
    "wrn_16_2": Problem("wrn_16_2", 4, 8, classes=2, per_class=8, more=SMALL),
    "imagenet/resnet18": Problem("resnet8", 4, 16, classes=2, per_class=8, more=SMALL),
}


def problem_of(setup: Setup, name: str) -> Problem:
    """Return the problem of that name, tiny in a rehearsal."""
    problem: Problem = setup.size(PROBLEMS, TINY)[name]
    return problem


@dataclass
class Form:
    """One form of a training, ready to step.

    Args:
        training: has ``step``, ``meta_round`` and ``batches``.
        flags: the TF32 flags of torch with which it was built; they are global, so every call restores them.
        parts: the parts of the run.
        memory: see `record_memory`.
        batch: one batch, for calls that need none of their own.
    """

    training: Any
    flags: tuple[bool, bool]
    parts: Any
    memory: dict[str, int] = field(default_factory=dict)
    batch: Any = None

    def next_step(self) -> None:
        """Take one step with its data."""
        self.training.step(next(self.training.batches))

    def call(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Return the function with the flags of this form."""

        def called() -> Any:
            _set_flags(self.flags)
            return function()

        return called


def build(setup: Setup, problem: Problem, name: str, precision: str, *more: str) -> Form:
    """Build a form.

    Raises:
        NotAvailable: this machine does not have it.
        UserError: an option is unknown or refused.
    """
    overrides = [*problem.overrides(setup), *more]
    if name == TEXTBOOK:
        return _textbook(overrides, precision)
    if FORMS[name][1] != "trainer.compile=false" and setup.tiny and setup.device == "cpu":
        raise NotAvailable("a rehearsal on a CPU does not compile")
    parts = build_parts([*overrides, f"trainer.precision={precision}", *FORMS[name]])
    return Form(ours(parts, parts.dataset.load()), _get_flags(), parts)


def _textbook(overrides: list[str], precision: str) -> Form:
    """Build the textbook: contiguous tensors, and autocast around its forward pass in half precision."""
    parts = build_parts([*overrides, "trainer.precision=float32", "trainer.channels_last=false"])
    if precision == "float16" and parts.options.device.type == "cpu":
        raise NotAvailable("float16 on a CPU")
    training = Textbook(parts, parts.dataset.load(), autocast=lambda: _autocast(parts.options.device, precision))
    return Form(training, (precision != "float32", precision == "tf32"), parts)


def _autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, dtype=HALF[precision]) if precision in HALF else nullcontext()


def take_steps(setup: Setup) -> Callable[[Form], object]:
    """Return a warm-up: kernels are chosen, memory is allocated, the second half of the steps may be replays."""
    return lambda form: [form.next_step() for _ in range(setup.size(WARM_UP, 1))]


def available(
    names: Sequence[str],
    make: Callable[[str], Form],
    setup: Setup,
    warm_up: Callable[[Form], object] | None = None,
) -> tuple[dict[str, Form], dict[str, str]]:
    """Build forms and warm them up one by one, so that the memory of each is its own.

    Args:
        names: of the forms.
        make: builds one by its name.
        setup: where this is.
        warm_up: by default, a few steps.

    Returns:
        The forms that run, and the reasons why the others do not.
    """
    forms: dict[str, Form] = {}
    reasons: dict[str, str] = {}
    for name in names:
        made = _make_ready(name, make, setup, warm_up or take_steps(setup))
        if isinstance(made, Form):
            forms[name] = made
        else:
            reasons[name] = made
    return forms, reasons


def _make_ready(name: str, make: Callable[[str], Form], setup: Setup, warm_up: Callable[[Form], object]) -> Form | str:
    """Return a form that was warmed up, or the reason why there is none."""
    try:
        with _warnings() as logged, record_memory(setup.device) as memory:
            form = make(name)
            form.call(lambda: warm_up(form))()
    except (NotAvailable, UserError, RuntimeError, ImportError) as error:  # among these, out of memory
        if "CUDA error" in str(error):  # the process cannot use its GPU any more
            raise
        return one_line(error)
    if "captured" in name and not form.training.captured:
        return logged[-1] if logged else f"{setup.device} has no CUDA graphs"
    form.memory = memory
    return form


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.logged: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Yield a list that receives the warnings which training logs, such as why it does not capture."""
    handler, logger = _Messages(), logging.getLogger("mcl")
    logger.addHandler(handler)
    try:
        yield handler.logged
    finally:
        logger.removeHandler(handler)


@contextmanager
def record_memory(device: str) -> Iterator[dict[str, int]]:
    """Yield a dictionary that receives the bytes a block added on the GPU: ``peak`` of tensors, ``reserved`` by torch.

    It stays empty on a CPU, where other forms of the same process would count as well.
    """
    memory: dict[str, int] = {}
    if device != "cuda":
        yield memory
        return
    torch.cuda.empty_cache()
    allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    yield memory
    torch.cuda.synchronize()
    memory["peak"] = torch.cuda.max_memory_allocated() - allocated
    memory["reserved"] = torch.cuda.max_memory_reserved() - reserved


def waiting(setup: Setup) -> Callable[[], None]:
    """Return a function that waits for the device."""
    return synchronizer(torch.device(setup.device))


def _get_flags() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def _set_flags(flags: tuple[bool, bool]) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


def multiply_adds(form: Form) -> Mapping[str, int]:
    """Return the multiply-adds per image of a step and of a meta round, in convolutions and linear layers."""
    from mcl.training.cost import Cost

    spec, learner = form.parts.dataset.spec, form.parts.learner
    cost = Cost.of(learner.cohort, learner.loss, spec.image_shape)
    return {"step": cost.step, "meta_round": cost.meta_round}
