"""Convolution, batch normalization and ReLU with second derivatives written by hand.

PyTorch differentiates the backward pass of a convolution by convolutions with batch and channels exchanged, that of
batch normalization by some thirty elementwise products, and that of ReLU by adding zeros. Here each takes a few calls
of the first-derivative kernels, in any memory format, and skips derivatives that are not needed. Second derivatives of
a convolution and its normalization need four tensors; one of them is recomputed from two others instead of saved.

On the CPU, values and first derivatives equal PyTorch's to the last bit. On CUDA, `F.batch_norm` uses cuDNN and this
file PyTorch's own CUDA kernels, whose backward pass reads the statistics they saved: last bits may differ.

Backends treat omitted arguments of internal calls differently. So on the CPU and on CUDA (and ROCm, from the same
sources) this file makes only the calls below, with these arguments; tests/test_double_backward_calls.py checks it.

==============================  ===================================  =================================================
call                            arguments                            guarantee relied on
==============================  ===================================  =================================================
`native_batch_norm`             weight and bias given, training,     (C,) mean and 1 / sqrt(variance + eps) of the
                                float32 or float64                   batch, of the input's dtype. CUDA has float32 ones
                                                                     of a float16 input, so half precision is excluded.
`native_batch_norm_backward`    weight and statistics given,         The masked gradients. Without a weight, CUDA
                                training, running statistics None;   raises (contiguous) or returns an empty gradient
                                all of the mask, or the gradient     (channels_last), and MPS raises. Without the input
                                by the weight alone                  in the mask, MPS returns uninitialized memory.
`convolution`                   not transposed                       The convolution, as `F.conv2d` computes it.
`convolution_backward`          bias sizes given if the mask         The masked gradients. Backends may return anything
                                includes the bias                    for the others, so those are dropped.
`relu`, `threshold_backward`    threshold 0                          PyTorch's own ReLU makes these calls.
==============================  ===================================  =================================================

All other operations are public. Other devices (MPS, XPU, ...) and dtypes use PyTorch's own derivatives.

Hardsigmoid and the fused kernels of attention have no second derivative in PyTorch. Here hardsigmoid is computed by
ReLU6, and attention by its two matrix products and a softmax, which have one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

_aten = torch.ops.aten


class DoubleBackward(TorchFunctionMode):
    """Within the block, use this file's 2-dimensional convolutions, batch normalizations in training, and ReLUs.

    They replace calls through `torch.nn.functional` on the CPU and on CUDA, and have no third derivatives. Hardsigmoid
    and attention are twice differentiable on every device.

    Example:
        >>> convolution, images = torch.nn.Conv2d(1, 2, 3), torch.ones(1, 1, 4, 4)
        >>> with DoubleBackward():
        ...     loss = convolution(images).square().sum()
        >>> (gradient,) = torch.autograd.grad(loss, [convolution.weight], create_graph=True)
        >>> torch.autograd.grad(gradient.sum(), [convolution.weight])[0].shape
        torch.Size([2, 1, 3, 3])
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        replacement = _REPLACEMENTS.get(func)
        result = NotImplemented if replacement is None else replacement(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if result is NotImplemented else result


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    if not _is_supported(input) or input.ndim != 4 or isinstance(padding, str):
        return NotImplemented
    return _Convolution.apply(input, _as_view(weight), bias, _two(stride), _two(padding), _two(dilation), groups)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    if not _is_supported(input) or not training or weight is None or bias is None:
        return NotImplemented
    if input.ndim != 4 or input[:, 0].numel() < 2:
        return NotImplemented
    return _BatchNorm.apply(input, _as_view(weight), bias, running_mean, running_var, momentum, eps)


def _relu(input: Tensor, inplace: bool = False) -> Any:
    if not _is_supported(input) or (inplace and input._is_view()):
        return NotImplemented
    return _Relu.apply(input, inplace)


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Any:
    return input.copy_(F.relu6(input + 3) / 6) if inplace else F.relu6(input + 3) / 6


def _unfused(attention: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of attention that runs without fused kernels."""

    def attend(*args: Any, **kwargs: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH):
            return attention(*args, **kwargs)

    return attend


_REPLACEMENTS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.conv2d: _conv2d,
    F.batch_norm: _batch_norm,
    F.relu: _relu,
    F.hardsigmoid: _hardsigmoid,
    F.scaled_dot_product_attention: _unfused(F.scaled_dot_product_attention),
    F.multi_head_attention_forward: _unfused(F.multi_head_attention_forward),
}

_DEVICES = ("cpu", "cuda")
_DTYPES = (torch.float32, torch.float64)


def _is_supported(input: Tensor) -> bool:
    """Return whether the internal calls of this file are known to work for such a tensor."""
    return input.device.type in _DEVICES and input.dtype in _DTYPES


def _two(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value) * (2 // len(value))


def _as_view(parameter: Tensor) -> Tensor:
    """Return a view: for leaves, autograd cannot tell whether their gradient is needed (`_needed_inputs`)."""
    return parameter.view_as(parameter)


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry  # stride, padding, dilation, groups
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        return _convolve(x, weight, bias, geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        needed = ctx.needs_input_grad[:3]
        gradients = _ConvolutionBackward.apply(grad, *ctx.saved_tensors, ctx.bias_sizes, ctx.geometry, needed)
        return *gradients, None, None, None, None


class _ConvolutionBackward(Function):
    """The gradients by input, weight and bias: linear in ``grad``, and the first two also in weight or input."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, bias_sizes: Any, geometry: Any, needed: Any) -> Any:
        made_from = (
            getattr(grad, _MADE_FROM, None) if grad._version == 0 else None
        )  # a gradient modified in place no longer matches
        ctx.save_for_backward(x, weight, *([grad] if made_from is None else made_from.tensors))
        ctx.eps = None if made_from is None else made_from.eps
        ctx.set_materialize_grads(False)
        ctx.geometry = geometry
        return _convolve_backward(grad, x, weight, geometry, needed, bias_sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v_x: Tensor | None, v_weight: Tensor | None, v_bias: Tensor | None) -> Any:
        x, weight, *made_from = ctx.saved_tensors
        grad = made_from[0]
        to_grad, to_x, to_weight = _needed_inputs(ctx)
        by_grad = None
        if to_grad:
            by_grad = torch.zeros_like(grad) if v_x is None else _convolve(v_x, weight, None, ctx.geometry)
            if v_weight is not None:
                by_grad += _convolve(x, v_weight, None, ctx.geometry)
            if v_bias is not None:
                by_grad += _channels(v_bias)
        needed = (to_x and v_weight is not None, to_weight and v_x is not None, False)
        by_x = by_weight = None
        if any(needed):
            if len(made_from) > 1:
                grad_y, y, weight_y, mean, s = made_from
                grad, _, _ = _batch_norm_backward(grad_y, y, weight_y, mean, s, ctx.eps)
            v_x, v_weight = x if v_x is None else v_x, weight if v_weight is None else v_weight
            by_x, by_weight, _ = _convolve_backward(grad, v_x, v_weight, ctx.geometry, needed)
        return by_grad, by_x, by_weight, None, None, None


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Sequence[Any]) -> Tensor:
    stride, padding, dilation, groups = geometry
    y: Tensor = _aten.convolution(x, weight, bias, stride, padding, dilation, False, [0, 0], groups)
    return y


def _convolve_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Sequence[Any], needed: Sequence[bool], bias_sizes: Any = None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of a convolution by its input, weight and bias; None unless ``needed``."""
    stride, padding, dilation, groups = geometry
    by_x, by_weight, by_bias = _aten.convolution_backward(
        grad, x, weight, bias_sizes, stride, padding, dilation, False, [0, 0], groups, list(needed)
    )
    return by_x if needed[0] else None, by_weight if needed[1] else None, by_bias if needed[2] else None


class _MadeFrom(NamedTuple):
    """Inputs of `_batch_norm_backward`, attached to its result for the convolution before."""

    tensors: tuple[Tensor, ...]
    eps: float


_MADE_FROM = "_made_from"


class _BatchNorm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> Tensor:
        y, mean, s = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(x, weight, mean, s)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return *_BatchNormBackward.apply(grad, *ctx.saved_tensors, ctx.eps), None, None, None, None


class _BatchNormBackward(Function):
    """Gradients by input, weight and bias.

    For a channel with n values, s the inverse of their standard deviation, z = s (x - mean), and with the projection
    P(v) = v - mean(v) - z mean(v z), they are  weight s P(grad),  sum(grad z)  and  sum(grad).  In these, z and s come
    from x, and follow it by  dz = s P(dx)  and  ds = -s² mean(z dx);  P is its own adjoint.
    """

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, s: Tensor, eps: float) -> Any:
        by_x, grad_z, grad_1 = _batch_norm_backward(grad, x, weight, mean, s, eps)
        setattr(by_x, _MADE_FROM, _MadeFrom((grad, x, weight, mean, s), eps))
        ctx.save_for_backward(grad, x, weight, mean, s, grad_z, grad_1)
        ctx.set_materialize_grads(False)
        ctx.eps = eps
        return by_x, grad_z, grad_1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor | None, v_weight: Tensor | None, v_bias: Tensor | None) -> Any:
        grad, x, weight, mean, s, grad_z, grad_1 = (
            ctx.saved_tensors
        )  # sums over a channel: ..._z of ... z, ..._1 of ...
        to_grad, to_x, to_weight = _needed_inputs(ctx)
        zero = torch.zeros_like(mean)
        v_weight, v_bias = zero if v_weight is None else v_weight, zero if v_bias is None else v_bias
        by_grad = by_x = by_weight = None
        if v is None:
            by_grad, v_z, v_1, v_grad = torch.zeros_like(grad), zero, zero, zero
        else:
            by_grad, v_z, v_1 = _batch_norm_backward(v, x, weight, mean, s, ctx.eps)
            if to_x or to_weight:
                v_grad = _inner_products(v, grad)
        if to_grad:
            slope = v_weight * s
            by_grad.addcmul_(x, _channels(slope)).add_(_channels(v_bias - slope * mean))
        if to_x or to_weight:
            n = x[:, 0].numel()
            through_s = v_grad - (v_1 * grad_1 + v_z * grad_z) / n
            by_weight = s * through_s
            # sum(v by_x) + sum(v_weight grad z) has the derivatives  a v + b grad  by z, and  weight through_s  by s.
            a = -weight * s * grad_z / n
            b = -weight * s * v_z / n + v_weight
            mean_1 = (a * v_1 + b * grad_1) / n
            mean_z = (a * v_z + b * grad_z) / n
        if to_x:
            slope = -s * s * (mean_z + weight * s * through_s / n)
            by_x = torch.addcmul(_channels(-s * mean_1 - slope * mean), x, _channels(slope))
            by_x.addcmul_(grad, _channels(s * b))
            if v is not None:
                by_x.addcmul_(v, _channels(s * a))
        return by_grad, by_x, by_weight, None, None, None


def _batch_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, s: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``weight s P(grad)`` (B, C, H, W), and of each channel (C,) the sums of ``grad z`` and of ``grad``."""
    gradients: tuple[Tensor, Tensor, Tensor] = _aten.native_batch_norm_backward(
        grad, x, weight, None, None, mean, s, True, eps, [True, True, True]
    )
    return gradients


def _inner_products(a: Tensor, b: Tensor) -> Tensor:
    """Return sums of ``a b`` by channel (C,), computed as the sums of ``grad z`` with mean 0 and deviation 1."""
    mean, ones = b.new_zeros(b.shape[1]), b.new_ones(b.shape[1])
    weight_only = [False, True, False]
    # The sum does not depend on the weight, but CUDA makes it in the shape and dtype of the weight.
    _, sums, _ = _aten.native_batch_norm_backward(a, b, ones, None, None, mean, ones, True, 0.0, weight_only)
    return sums


class _Relu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool) -> Tensor:
        y = x.relu_() if inplace else x.relu()
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _ReluBackward.apply(grad, *ctx.saved_tensors), None


class _ReluBackward(Function):
    """The gradient where ``y`` is positive: linear in the gradient, piecewise constant in ``y``."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return _mask(grad, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, v: Tensor) -> Any:
        return _mask(v, *ctx.saved_tensors), None


def _mask(grad: Tensor, y: Tensor) -> Tensor:
    masked: Tensor = _aten.threshold_backward(grad, y, 0)
    return masked


def _channels(values: Tensor) -> Tensor:
    """Reshape (C,) to broadcast against (B, C, H, W)."""
    return values[:, None, None]


def _needed_inputs(ctx: Any) -> list[bool]:
    """Return whether the current autograd call needs the derivatives by each of the first three inputs.

    ``ctx.needs_input_grad`` tells only which of them require grad.
    """
    nodes = [node for node, _ in ctx.next_functions[:3]]
    return [
        node is not None and (hasattr(node, "variable") or torch._C._will_engine_execute_node(node)) for node in nodes
    ]
