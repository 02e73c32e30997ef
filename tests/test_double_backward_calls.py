"""Internal calls of `mcl.double_backward`: only documented ones, whose results are the same on all backends."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mcl import double_backward
from mcl.double_backward import DoubleBackward
from mcl.losses.base import Loss, MetaSchedule
from mcl.training.meta_round import MetaRound
from mcl.types import Batch, Outputs

FORMATS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
PUBLIC = {  # arithmetic, new tensors and views, which all backends have
    *("add", "add_", "addcmul", "addcmul_", "div", "hardtanh", "mul", "neg", "sub"),
    *("empty_like", "new_ones", "new_zeros", "ones", "ones_like", "zeros", "zeros_like"),
    *("alias", "detach", "select", "slice", "unsqueeze", "view"),
}


def _forward_norm(input: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *_: Any) -> bool:
    return weight is not None and bias is not None and training and input.dtype == weight.dtype


def _backward_norm(
    grad: Any, x: Any, weight: Any, mean: Any, var: Any, m: Any, s: Any, train: bool, *rest: Any
) -> bool:
    _, mask = rest
    defined = all(tensor is not None and tensor.dtype == x.dtype for tensor in (weight, m, s))
    return defined and train and list(mask) in ([True, True, True], [False, True, False])


def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, *_: Any
) -> bool:
    return not transposed


def _backward_convolution(grad: Any, x: Any, weight: Any, bias_sizes: Any, *rest: Any) -> bool:
    *_, transposed, _, _, mask = rest
    return not transposed and (bias_sizes is not None or not mask[2])


INTERNAL: dict[str, Callable[..., bool]] = {  # name -> whether the arguments are as documented
    "native_batch_norm": _forward_norm,
    "native_batch_norm_backward": _backward_norm,
    "convolution": _convolution,
    "convolution_backward": _backward_convolution,
    "relu": lambda x: True,
    "relu_": lambda x: True,
    "threshold_backward": lambda grad, y, threshold: threshold == 0,
}


def _is_made_by_the_file() -> bool:
    """Return whether a function of `mcl.double_backward` is running, other than the one that forwards to PyTorch."""
    frame = sys._getframe().f_back
    while frame is not None:
        if frame.f_code.co_filename == double_backward.__file__ and frame.f_code.co_name != "__torch_function__":
            return True
        frame = frame.f_back
    return False


class Calls(TorchDispatchMode):
    """Collect the calls that `mcl.double_backward` makes; fail at an undocumented one."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if _is_made_by_the_file():
            self.names.add(name)
            if name not in PUBLIC and not (name in INTERNAL and INTERNAL[name](*args)):
                pytest.fail(f"{name} is not documented with {[_short(value) for value in args]}")
        return func(*args, **(kwargs or {}))


def _short(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else value


class OtherBackend(TorchDispatchMode):
    """Imitate CUDA: batch normalization without a weight fails as there, and unrequested gradients are arbitrary."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name == "native_batch_norm_backward":
            x, weight = args[1:3]
            if weight is None and not x.is_contiguous(memory_format=torch.channels_last):
                raise RuntimeError("tensor does not have a device")  # `options` of an undefined weight
            channels = [0 if weight is None else len(weight)]
            result = _with_nan(result, args[-1], [x.shape, channels, channels], x)
            return (result[0], *(x.new_empty(0) for _ in range(2))) if weight is None else result
        if name == "convolution_backward":
            x, weight = args[1:3]
            return _with_nan(result, args[-1], [x.shape, weight.shape, weight.shape[:1]], x)
        return result


def _with_nan(
    result: Sequence[Tensor | None], mask: Sequence[bool], shapes: Sequence[Any], like: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the results, with NaN for those that the mask leaves out."""
    return tuple(
        value if needed else like.new_full(shape, torch.nan)
        for value, needed, shape in zip(result, mask, shapes, strict=True)
    )


class Small(nn.Module):
    """A network of convolutions with and without bias and groups, normalization, and both kinds of ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
            *(nn.Conv2d(6, 6, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Hardsigmoid()),
            # With one channel an empty gradient (0,) broadcasts, and the numbers are wrong without an error.
            *(nn.Conv2d(6, 1, 1, bias=False), nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 5, 3)),
        )
        self.head = nn.Linear(5, 4)

    def forward(self, images: Tensor) -> list[Outputs]:
        features = self.body(images).mean((2, 3))
        return [Outputs([features], [self.head(features)])]


class Weighted(Loss):
    """Cross-entropy; the inner objective weights the samples by a learned function."""

    def __init__(self) -> None:
        super().__init__()
        self.meta = MetaSchedule(steps=2)
        self.matching = nn.Linear(5, 1)

    def meta_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.matching.named_parameters(prefix="matching"))

    def inner_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        (network,) = outputs
        weights = torch.sigmoid(self.matching(network.features[-1])).squeeze(1)
        return (weights * F.cross_entropy(network.logits[-1], batch.labels, reduction="none")).mean()

    def outer_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        return F.cross_entropy(outputs[0].logits[-1], batch.labels)


def meta_gradient(memory_format: torch.memory_format) -> list[Tensor]:
    """Return the gradient of one meta round for the meta-parameters."""
    torch.manual_seed(0)
    cohort, loss = Small().to(memory_format=memory_format), Weighted()
    images = torch.randn(8, 3, 12, 12).contiguous(memory_format=memory_format)
    batch = Batch(images, torch.arange(8) % 4, torch.arange(8))
    optimizer = torch.optim.SGD(loss.meta_parameters().values(), lr=0.1)
    MetaRound(cohort, loss, optimizer, weight_decay=5e-4)(batch, batch, 0.1)
    gradients = [parameter.grad for parameter in loss.meta_parameters().values()]
    assert all(gradient is not None and gradient.norm() > 0 for gradient in gradients)
    return [gradient for gradient in gradients if gradient is not None]


@FORMATS
def test_only_documented_calls_are_made(memory_format: torch.memory_format) -> None:
    with Calls() as calls:
        meta_gradient(memory_format)
    assert INTERNAL.keys() <= calls.names  # the network takes all paths
    assert double_backward.__doc__ is not None
    for name in INTERNAL:
        assert f"`{name.removesuffix('_')}`" in double_backward.__doc__


@FORMATS
def test_meta_gradient_does_not_depend_on_the_backend(memory_format: torch.memory_format) -> None:
    expected = meta_gradient(memory_format)
    with OtherBackend():
        actual = meta_gradient(memory_format)
    for value, expected_value in zip(actual, expected, strict=True):
        assert torch.equal(value, expected_value)


@FORMATS
def test_on_other_devices_no_internal_call_is_made(
    memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = meta_gradient(memory_format)
    monkeypatch.setattr(double_backward, "_DEVICES", ())  # the CPU stands for another device
    with Calls() as calls:
        actual = meta_gradient(memory_format)
    assert not calls.names & INTERNAL.keys()
    for value, expected_value in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, expected_value, rtol=1e-4, atol=1e-7)


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_of_products_without_weight_are_bitwise_equal(
    memory_format: torch.memory_format, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(4, 5, 7, 6, dtype=dtype).contiguous(memory_format=memory_format) for _ in range(2))
    mean = torch.zeros(5, dtype=dtype)
    _, expected, _ = torch.ops.aten.native_batch_norm_backward(
        a, b, None, None, None, mean, mean + 1, True, 0.0, [False, True, False]
    )
    assert torch.equal(double_backward._inner_products(a, b), expected)
    torch.testing.assert_close(expected, (a * b).sum((0, 2, 3)))


def outputs(x: Tensor) -> Iterator[Tensor]:
    """Yield the outputs of a convolution, a batch normalization and a ReLU."""
    ones = torch.ones(4, device=x.device, dtype=x.dtype, requires_grad=True)
    yield F.conv2d(x, torch.ones(4, 4, 3, 3, device=x.device, dtype=x.dtype))
    yield F.batch_norm(x, None, None, ones, ones, training=True)
    yield F.relu(x)


@pytest.mark.parametrize("options", [{"device": "meta"}, {"dtype": torch.bfloat16}, {"dtype": torch.float16}], ids=str)
def test_other_devices_and_dtypes_use_pytorchs_derivatives(options: dict[str, Any]) -> None:
    x = torch.ones(2, 4, 5, 5, **options, requires_grad=True)
    single = torch.ones(2, 4, 5, 5, requires_grad=True)
    with DoubleBackward():
        functions = [type(y.grad_fn).__name__ for y in outputs(x)]
        by_hand = [type(y.grad_fn).__name__ for y in outputs(single)]
    assert functions == [type(y.grad_fn).__name__ for y in outputs(x)]
    assert by_hand == ["_ConvolutionBackward", "_BatchNormBackward", "_ReluBackward"]


@FORMATS
def test_values_and_first_derivatives_on_the_cpu_equal_pytorch_bitwise(
    memory_format: torch.memory_format,
) -> None:
    results = []
    for by_hand in (True, False):
        torch.manual_seed(0)
        body = Small().body[:6].to(memory_format=memory_format)
        images = torch.randn(8, 3, 12, 12).contiguous(memory_format=memory_format).requires_grad_()
        if by_hand:
            with DoubleBackward():
                y = body(images)
        else:
            y = body(images)
        results.append([y, *torch.autograd.grad(y.square().sum(), [images, *body.parameters()])])
    for value, expected in zip(*results, strict=True):
        assert torch.equal(value, expected)
