"""Compare the second derivatives written by hand with PyTorch's own and with finite differences, in float64."""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.gpu import needs_gpu
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mcl.double_backward import DoubleBackward

CONVOLUTIONS = [
    {},
    {"stride": 2},  # leaves a row and a column over
    {"padding": 1, "dilation": 2},
    {"stride": (2, 1), "padding": (0, 1)},
    {"groups": 2, "padding": 1},
    {"groups": 4, "bias": False},
]
FORMATS = pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolution_twice_differentiated(options: dict[str, Any]) -> None:
    options = dict(options)
    bias = [drawn(4, seed=2)] if options.pop("bias", True) else []
    inputs = [drawn(2, 4, 6, 5), drawn(4, 4 // options.get("groups", 1), 3, 3, seed=1), *bias]

    def convolve(*tensors: Tensor) -> Tensor:
        with DoubleBackward():
            return F.conv2d(*tensors, **options)

    assert type(convolve(*inputs).grad_fn).__name__ == "_ConvolutionBackward"
    assert torch.equal(convolve(*inputs), F.conv2d(*inputs, **options))
    assert torch.autograd.gradcheck(convolve, inputs)
    assert torch.autograd.gradgradcheck(convolve, inputs)


def test_batch_norm_twice_differentiated() -> None:
    inputs = [drawn(3, 4, 2, 2), drawn(4, seed=1), drawn(4, seed=2)]

    def normalize(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with DoubleBackward():
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=0.1)

    assert type(normalize(*inputs).grad_fn).__name__ == "_BatchNormBackward"
    assert torch.autograd.gradcheck(normalize, inputs)
    assert torch.autograd.gradgradcheck(normalize, inputs)


@pytest.mark.parametrize("inplace", [False, True])
def test_relu_twice_differentiated(inplace: bool) -> None:
    x = drawn(3, 4, 2, 2)

    def rectify(x: Tensor) -> Tensor:
        with DoubleBackward():
            return F.relu(x * 1, inplace) * x  # without the product there is no second derivative

    assert torch.equal(rectify(x), F.relu(x) * x)
    assert torch.autograd.gradcheck(rectify, [x])
    assert torch.autograd.gradgradcheck(rectify, [x])


def test_attention_twice_differentiated() -> None:
    inputs = [drawn(2, 1, 3, 4, seed=i) for i in range(3)]

    def attend(*tensors: Tensor) -> Tensor:
        with DoubleBackward():
            return F.scaled_dot_product_attention(*tensors)

    torch.testing.assert_close(attend(*inputs), F.scaled_dot_product_attention(*inputs))
    assert torch.autograd.gradgradcheck(attend, inputs)


def test_layer_of_attention_twice_differentiated() -> None:
    layer = nn.MultiheadAttention(4, 2, batch_first=True).double()
    x = drawn(2, 3, 4)

    def attend(x: Tensor) -> Tensor:
        with DoubleBackward():
            return layer(x, x, x, need_weights=False)[0]

    assert torch.autograd.gradgradcheck(attend, [x])


@pytest.mark.parametrize("inplace", [False, True])
def test_hardsigmoid_twice_differentiated(inplace: bool) -> None:
    x = drawn(3, 4, 2, 2)

    def squash(x: Tensor) -> Tensor:
        with DoubleBackward():
            return F.hardsigmoid(x * 3, inplace) * x

    torch.testing.assert_close(squash(x), F.hardsigmoid(x * 3) * x)
    (first,) = torch.autograd.grad(squash(x).sum(), [x])
    torch.testing.assert_close(first, torch.autograd.grad((F.hardsigmoid(x * 3) * x).sum(), [x])[0])
    assert torch.autograd.gradgradcheck(squash, [x])


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        *(nn.Conv2d(8, 8, 3, stride=2, groups=4, bias=False), nn.BatchNorm2d(8), nn.Tanh()),
        *(nn.Flatten(), nn.LazyLinear(5)),
    ]
    model = nn.Sequential(*layers)
    model(torch.zeros(2, 3, 9, 9))
    return model.double()


def second_derivatives(model: nn.Module, memory_format: torch.memory_format) -> list[Tensor]:
    """Return the derivatives of the squared gradient norm by parameters and images."""
    inputs = list(model.parameters())
    images = drawn(4, 3, 9, 9).detach().to(inputs[0].device, memory_format=memory_format).requires_grad_()
    inputs.append(images)
    loss = model(images).square().sum()
    gradients = torch.autograd.grad(loss, inputs, create_graph=True)
    return list(torch.autograd.grad(sum(g.square().sum() for g in gradients), inputs, materialize_grads=True))


def assert_equal_to_pytorch(memory_format: torch.memory_format, device: str) -> None:
    replaced, original = network().to(device, memory_format=memory_format), network().to(device)
    with DoubleBackward():
        actual = second_derivatives(replaced, memory_format)
    for value, expected in zip(actual, second_derivatives(original, torch.contiguous_format), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
    for name, buffer in original.named_buffers():
        torch.testing.assert_close(replaced.get_buffer(name), buffer, rtol=1e-12, atol=1e-12)


@FORMATS
def test_network_second_derivatives_equal_pytorch(memory_format: torch.memory_format) -> None:
    assert_equal_to_pytorch(memory_format, "cpu")


@needs_gpu
@FORMATS
def test_network_second_derivatives_equal_pytorch_on_a_gpu(memory_format: torch.memory_format) -> None:
    assert_equal_to_pytorch(memory_format, "cuda")


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_unneeded_gradients_are_not_computed() -> None:
    """A mixed derivative needs no second gradient by the input or the weight of a convolution."""
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    model, images = network(), drawn(4, 3, 9, 9).detach()
    with DoubleBackward():
        loss = (factor * model(images).square()).sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    squares = sum(g.square().sum() for g in gradients)
    with Counting() as mixed:
        torch.autograd.grad(squares, [factor], retain_graph=True)
    with Counting() as everything:
        torch.autograd.grad(squares, [factor, *model.parameters()])
    assert mixed.calls["convolution_backward"] == 0
    assert mixed.calls["convolution"] > 0
    assert everything.calls["convolution_backward"] > 0


def count_kept_tensors(model: nn.Module, images: Tensor) -> int:
    """Count the distinct tensors of the images' size that second derivatives keep."""
    kept_tensors = set()

    def pack(tensor: Tensor) -> Tensor:
        if tensor.numel() == images.numel():
            kept_tensors.add(tensor.data_ptr())
        return tensor

    with DoubleBackward(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(images).square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    assert all(gradient.requires_grad for gradient in gradients)
    return len(kept_tensors)


def test_gradient_between_convolution_and_normalization_is_not_kept() -> None:
    def layers(count: int) -> nn.Module:
        layer = [nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
        return nn.Sequential(*copy.deepcopy(layer * count)).double()

    images = drawn(4, 8, 5, 5)
    # The outputs of the convolution and of ReLU, and ReLU's gradient. PyTorch also keeps the convolution's gradient.
    assert count_kept_tensors(layers(4), images) - count_kept_tensors(layers(3), images) == 3


def test_modified_gradient_is_kept() -> None:
    def second(model: nn.Module) -> list[Tensor]:
        def change(grad: Tensor) -> None:
            with torch.no_grad():
                grad.mul_(0.5)

        images = drawn(4, 3, 9, 9).detach()
        output = model[:4](images)
        output.register_hook(change)
        loss = model[4:](output).square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        squares = sum(gradient.square().sum() for gradient in gradients)
        return list(torch.autograd.grad(squares, list(model.parameters())))

    with DoubleBackward():
        actual = second(network())
    for value, expected in zip(actual, second(network()), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


def refused_or_same(function: Callable[[], Tensor]) -> None:
    with DoubleBackward():
        output = function()
    assert not type(output.grad_fn).__name__.startswith("_")
    assert torch.equal(output, function())


def test_other_calls_use_pytorch() -> None:
    x, weight = drawn(2, 4, 5, 5), drawn(4, 4, 3, 3)
    mean, var = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    refused_or_same(lambda: F.conv2d(x, weight, padding="same"))
    refused_or_same(lambda: F.conv2d(x[0], weight))
    refused_or_same(lambda: F.batch_norm(x, mean, var, drawn(4), drawn(4)))
    refused_or_same(lambda: F.batch_norm(x, None, None, training=True))
    refused_or_same(lambda: F.relu((x * 1)[0], inplace=True))
    refused_or_same(lambda: F.batch_norm(x[:, :, 0, 0], None, None, drawn(4), drawn(4), training=True))
    with DoubleBackward(), pytest.raises(ValueError, match="more than 1 value per channel"):
        F.batch_norm(x[:1, :, :1, :1], None, None, drawn(4), drawn(4), training=True)
