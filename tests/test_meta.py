"""The gradient through unrolled SGD steps, against recorded arrays, plain autograd and finite differences."""

import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mcl.errors import UserError
from mcl.meta import meta_gradient
from mcl.reference.unrolled_gradient import meta_gradient as textbook_meta_gradient
from mcl.reference.unrolled_gradient import meta_gradient_by_copies

GOLDEN = Path(__file__).parent / "golden"
MODES = ["keep", "recompute"]
WAYS = {mode: partial(meta_gradient, memory=mode) for mode in MODES}
WAYS |= {"textbook": textbook_meta_gradient, "textbook by copies": meta_gradient_by_copies}
SGD = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}

Tensors = dict[str, Tensor]


def assert_same(left: Tensors, right: Tensors, tolerance: float) -> None:
    """Assert equality relative to the largest entry of each tensor; no tensor may be all zeros."""
    assert list(left) == list(right)
    for name, value in right.items():
        assert value.abs().max() > 0, name
        assert (left[name] - value).abs().max() <= tolerance * value.abs().max(), name


class Problem:
    """A small smooth problem in float64: a two-layer network whose outputs ``phi`` maps to weights of the samples."""

    def __init__(self, seed: int):
        generator = torch.Generator().manual_seed(seed)
        draw = partial(torch.randn, generator=generator, dtype=torch.float64)
        self.x, self.target = draw(7, 3), draw(7, 2)
        self.parameters = {"first": draw(4, 3), "bias": draw(4), "second": draw(2, 4)}
        self.meta_parameters = {"weight": draw(1, 2), "bias": draw(1), "temperature": draw(())}

    def network(self, parameters: Tensors, dropout: float = 0.0) -> Tensor:
        hidden = F.dropout(torch.tanh(F.linear(self.x, parameters["first"], parameters["bias"])), dropout)
        return F.linear(hidden, parameters["second"])

    def inner(self, parameters: Tensors, meta: Tensors, dropout: float = 0.0) -> Tensor:
        output = self.network(parameters, dropout)
        weights = torch.sigmoid(F.linear(output, meta["weight"], meta["bias"])).squeeze(1)
        return (weights * (output - self.target).square().sum(1)).mean() * torch.exp(0.1 * meta["temperature"])

    def outer(self, parameters: Tensors) -> Tensor:
        return F.cross_entropy(self.network(parameters), self.target.argmax(1))

    def gradient(self, way: Callable = meta_gradient, **options) -> tuple[Tensor, Tensors]:
        return way(self.inner, self.outer, self.parameters, self.meta_parameters, **{"steps": 2, **SGD, **options})


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_meta_gradient_agrees_with_recorded_arrays(case, way):
    with np.load(GOLDEN / f"meta_gradient_{case}.npz") as arrays:
        golden = {name: torch.from_numpy(arrays[name]) for name in arrays}
    parameters = {name: value for name, value in golden.items() if name.startswith(("net.", "head."))}
    meta = {name: value for name, value in golden.items() if name.startswith("phi.")}

    def network(p: Tensors) -> Tensor:
        hidden = torch.tanh(F.linear(golden["x"], p["net.0.weight"], p["net.0.bias"]))
        return F.linear(hidden, p["net.2.weight"], p["net.2.bias"])

    def inner(p: Tensors, phi: Tensors) -> Tensor:
        output = network(p)
        errors = (F.linear(output, p["head.weight"], p["head.bias"]) - golden["t"]).square().sum(1)
        return (torch.sigmoid(F.linear(output, phi["phi.weight"], phi["phi.bias"])).squeeze(1) * errors).mean()

    def outer(p: Tensors) -> Tensor:
        return F.cross_entropy(network(p), golden["y"])

    sgd = {name: golden[name].item() for name in SGD}
    loss, gradients = WAYS[way](inner, outer, parameters, meta, steps=int(golden["inner_steps"]), **sgd)
    torch.testing.assert_close(loss, golden["outer_loss_after"], rtol=1e-10, atol=0)
    assert_same(gradients, {name: golden[f"grad.{name}"] for name in meta}, 1e-10)


@pytest.mark.parametrize("decays", [(0.1, 0.0, 0.1), (0.1, 0.2, 0.0), (0.0, 0.0, 0.0)], ids=["two", "three", "none"])
@pytest.mark.parametrize("mode", MODES)
def test_equals_plain_autograd_if_each_parameter_has_its_own_decay(mode, decays):
    problem = Problem(0)
    weight_decay = dict(zip(problem.parameters, decays, strict=True))
    loss, gradients = problem.gradient(weight_decay=weight_decay, memory=mode)
    expected_loss, expected = problem.gradient(textbook_meta_gradient, weight_decay=weight_decay)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    assert_same(gradients, expected, 1e-10)


class BranchedNetwork(nn.Module):
    """Two stages of strided convolution and batch normalization, and a branch after the first."""

    def __init__(self):
        super().__init__()
        self.stem, self.stage, self.branch = block(3, 4), block(4, 6), block(4, 6)
        self.heads = nn.ModuleList([nn.Linear(6, 5), nn.Linear(6, 5)])

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        trunk = self.stem(images)
        features = [module(trunk).mean((2, 3)) for module in (self.branch, self.stage)]
        return features, [head(feature) for head, feature in zip(self.heads, features, strict=True)]


def block(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width_out, 3, 2, 1), nn.BatchNorm2d(width_out), nn.ReLU())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_equals_plain_autograd_on_a_branched_network_with_batch_normalization(steps, mode):
    torch.manual_seed(0)
    network = BranchedNetwork().double()
    images, labels = torch.randn(6, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 2, 3])
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def call(parameters: Tensors) -> tuple[list[Tensor], list[Tensor]]:
        return functional_call(network, {**buffers, **parameters}, (images,))

    def inner(parameters: Tensors, meta: Tensors) -> Tensor:
        early, late = (F.normalize(feature) for feature in call(parameters)[0])
        logs = F.log_softmax(early @ late.T / 0.1, 1).diagonal()
        return -(torch.sigmoid(F.linear(early, meta["early"]) * F.linear(late, meta["late"])).squeeze(1) * logs).mean()

    def outer(parameters: Tensors) -> Tensor:
        return torch.stack([F.cross_entropy(logits, labels) for logits in call(parameters)[1]]).sum()

    parameters = dict(network.named_parameters())
    meta = {"early": torch.randn(1, 6, dtype=torch.float64), "late": torch.randn(1, 6, dtype=torch.float64)}
    loss, gradients = meta_gradient(inner, outer, parameters, meta, steps=steps, **SGD, memory=mode)
    expected_loss, expected = textbook_meta_gradient(inner, outer, parameters, meta, steps=steps, **SGD)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-12, atol=0)
    assert_same(gradients, expected, 1e-10)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    steps=st.integers(1, 4),
    lr=st.floats(0.001, 0.3),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    weight_decay=st.sampled_from([0.0, 5e-4, 0.1]),
    way=st.sampled_from([way for way in WAYS if way != "textbook"]),
)
def test_equals_plain_autograd_on_any_small_problem(seed, steps, lr, momentum, weight_decay, way):
    problem = Problem(seed)
    options = {"steps": steps, "lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    loss, gradients = problem.gradient(WAYS[way], **options)
    expected_loss, expected = problem.gradient(textbook_meta_gradient, **options)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=1e-12)
    # Relative to the whole gradient: one part of it may be tiny beside the others.
    scale = torch.cat([value.flatten() for value in expected.values()]).norm()
    for name, value in expected.items():
        assert (gradients[name] - value).norm() <= 1e-9 * scale


@pytest.mark.parametrize("way", WAYS)
def test_agrees_with_finite_differences(way):
    problem, step = Problem(3), 1e-5
    _, gradients = problem.gradient(WAYS[way])
    start = problem.meta_parameters
    for name, value in start.items():
        for index in range(value.numel()):
            shift = torch.zeros_like(value)
            shift.view(-1)[index] = step
            losses = []
            for sign in (1, -1):
                problem.meta_parameters = {**start, name: value + sign * shift}
                losses.append(problem.gradient()[0])
            numerical = (losses[0] - losses[1]) / (2 * step)
            torch.testing.assert_close(gradients[name].view(-1)[index], numerical, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_unrolled_steps_equal_torch_sgd_also_without_gradient(mode):
    problem = Problem(1)
    problem.parameters["untouched"] = torch.randn(3, dtype=torch.float64)
    reached: list[Tensors] = []

    def outer(parameters: Tensors) -> Tensor:
        reached.append({name: value.detach().clone() for name, value in parameters.items()})
        # Only the last layer has a gradient; the inner objective has given the others momentum.
        return parameters["second"].square().sum()

    options = {"steps": 3, **SGD, "memory": mode}
    meta_gradient(problem.inner, outer, problem.parameters, problem.meta_parameters, **options)
    expected = {name: value.clone().requires_grad_() for name, value in problem.parameters.items()}
    optimizer = torch.optim.SGD(expected.values(), **SGD)
    at_outer_step, after_it = (value for value in reached[:2])
    for step in range(4):
        if step == 3:
            torch.testing.assert_close(at_outer_step, {n: v.detach() for n, v in expected.items()}, rtol=0, atol=0)
        optimizer.zero_grad(set_to_none=False)
        for value in expected.values():
            value.grad = torch.zeros_like(value)
        loss = problem.inner(expected, problem.meta_parameters) if step < 3 else expected["second"].square().sum()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(after_it, {n: v.detach() for n, v in expected.items()}, rtol=0, atol=0)
    assert not torch.equal(after_it["untouched"], problem.parameters["untouched"])


@pytest.mark.parametrize("mode", MODES)
def test_parameter_of_the_outer_objective_alone_keeps_the_decay_in_its_path(mode):
    problem = Problem(2)
    problem.parameters["scale"] = torch.tensor(1.3, dtype=torch.float64)

    def outer(parameters: Tensors) -> Tensor:
        return problem.outer(parameters) * parameters["scale"].square()

    arguments = (problem.inner, outer, problem.parameters, problem.meta_parameters)
    _, gradients = meta_gradient(*arguments, steps=2, **SGD, memory=mode)
    _, expected = textbook_meta_gradient(*arguments, steps=2, **SGD)
    assert_same(gradients, expected, 1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_meta_parameter_without_influence_gets_zeros(mode):
    problem = Problem(4)
    problem.meta_parameters["idle"] = torch.randn(2, 3, dtype=torch.float64)
    _, gradients = problem.gradient(memory=mode)
    assert torch.equal(gradients.pop("idle"), torch.zeros(2, 3, dtype=torch.float64))
    assert all(value.abs().max() > 0 for value in gradients.values())


@pytest.mark.parametrize("mode", MODES)
def test_inner_objective_linear_in_the_parameters_has_a_constant_gradient(mode):
    start, meta = {"x": torch.tensor([1.0, 2.0])}, {"scale": torch.tensor(0.5)}
    options = {"steps": 2, "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "memory": mode}
    _, gradients = meta_gradient(lambda p, m: p["x"].sum(), lambda p: p["x"].sum(), start, meta, **options)
    assert gradients["scale"] == 0
    _, gradients = meta_gradient(lambda p, m: m["scale"] * p["x"].sum(), lambda p: p["x"].sum(), start, meta, **options)
    torch.testing.assert_close(gradients["scale"], torch.tensor(-0.4))


@pytest.mark.parametrize("mode", MODES)
def test_without_inner_steps_one_outer_step_is_taken_and_the_gradient_is_zero(mode):
    problem = Problem(5)
    loss, gradients = problem.gradient(steps=0, memory=mode)
    torch.testing.assert_close(loss, problem.gradient(textbook_meta_gradient, steps=0)[0])
    assert loss != problem.outer(problem.parameters)
    assert all(torch.equal(value, torch.zeros_like(problem.meta_parameters[name])) for name, value in gradients.items())


def test_recomputed_steps_see_the_same_random_draws():
    problem = Problem(6)

    def gradient(mode: str, seed: int) -> Tensors:
        torch.manual_seed(seed)
        inner = partial(problem.inner, dropout=0.5)
        arguments = (inner, problem.outer, problem.parameters, problem.meta_parameters)
        return meta_gradient(*arguments, steps=3, **SGD, memory=mode)[1]

    assert_same(gradient("recompute", 0), gradient("keep", 0), 1e-12)
    assert not torch.allclose(gradient("keep", 0)["weight"], gradient("keep", 1)["weight"])


@pytest.mark.parametrize("mode", MODES)
def test_global_random_state_is_restored_also_after_an_error(mode):
    problem = Problem(7)

    def failing(parameters: Tensors) -> Tensor:
        torch.rand(3)
        raise RuntimeError("no outer objective")

    before = torch.get_rng_state()
    arguments = (partial(problem.inner, dropout=0.5), problem.outer, problem.parameters, problem.meta_parameters)
    meta_gradient(*arguments, steps=2, **SGD, memory=mode)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError, match="no outer objective"):
        meta_gradient(arguments[0], failing, *arguments[2:], steps=2, **SGD, memory=mode)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_random_state_of_the_gpu_is_rewound_and_restored():
    problem = Problem(6)
    for name, value in vars(problem).items():
        moved = {n: v.cuda() for n, v in value.items()} if isinstance(value, dict) else value.cuda()
        setattr(problem, name, moved)
    before = torch.cuda.get_rng_state()
    arguments = (partial(problem.inner, dropout=0.5), problem.outer, problem.parameters, problem.meta_parameters)
    (_, stored), (_, recomputed) = (meta_gradient(*arguments, steps=2, **SGD, memory=mode) for mode in MODES)
    assert_same(recomputed, stored, 1e-12)
    assert torch.equal(torch.cuda.get_rng_state(), before)


@pytest.mark.parametrize("mode", MODES)
def test_inputs_are_unchanged_and_results_require_no_gradient(mode):
    problem = Problem(8)
    for tensors in (problem.parameters, problem.meta_parameters):
        for value in tensors.values():
            value.requires_grad_()
    before = {name: value.detach().clone() for name, value in (problem.parameters | problem.meta_parameters).items()}
    with torch.no_grad():
        loss, gradients = problem.gradient(memory=mode)
    assert not any(value.requires_grad for value in (loss, *gradients.values()))
    for name, value in (problem.parameters | problem.meta_parameters).items():
        assert torch.equal(value, before[name])
        assert value.requires_grad
        assert value.grad is None


@pytest.mark.parametrize("mode", MODES)
def test_dtypes_may_be_mixed(mode):
    exact = Problem(9)
    mixed = Problem(9)
    mixed.parameters["bias"] = mixed.parameters["bias"].float()
    mixed.meta_parameters["bias"] = mixed.meta_parameters["bias"].float()

    def inner(parameters: Tensors, meta: Tensors) -> Tensor:
        return mixed.inner(in_double(parameters), in_double(meta))

    def outer(parameters: Tensors) -> Tensor:
        return mixed.outer(in_double(parameters))

    _, gradients = meta_gradient(inner, outer, mixed.parameters, mixed.meta_parameters, steps=2, **SGD, memory=mode)
    assert {name: value.dtype for name, value in gradients.items()} == {
        name: value.dtype for name, value in mixed.meta_parameters.items()
    }
    assert_same(in_double(gradients), exact.gradient()[1], 1e-5)


def in_double(tensors: Tensors) -> Tensors:
    return {name: value.double() for name, value in tensors.items()}


class SavedBytes:
    """Count the bytes of distinct tensors that autograd graphs keep, now and at the peak."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self.holders: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> "Held":
        held = Held(tensor.detach())
        address, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        if self.holders.setdefault(address, 0) == 0:
            self.now += size
            self.peak = max(self.peak, self.now)
        self.holders[address] += 1
        weakref.finalize(held, self.release, address, size)
        return held

    def release(self, address: int, size: int) -> None:
        self.holders[address] -= 1
        if self.holders[address] == 0:
            self.now -= size


class Held:
    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def test_recompute_holds_one_graph_at_a_time():
    problem = Problem(10)
    problem.x, problem.target = torch.randn(500, 3).double(), torch.randn(500, 2).double()

    def peak(mode: str, steps: int) -> int:
        saved = SavedBytes()
        with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda held: held.tensor):
            problem.gradient(steps=steps, memory=mode)
        assert saved.now == 0
        return saved.peak

    assert peak("recompute", 4) < 0.5 * peak("keep", 4)
    assert peak("recompute", 8) == peak("recompute", 2)
    assert peak("keep", 8) > 2 * peak("keep", 2)


@pytest.mark.parametrize("mode", MODES)
def test_first_inner_step_computes_no_second_derivative_in_the_parameters(mode):
    passes: list[Tensor] = []

    def inner(parameters: Tensors, meta: Tensors) -> Tensor:
        x = parameters["x"].exp()
        x.register_hook(passes.append)
        return (meta["scale"] * x**2).sum()

    start, meta = {"x": torch.tensor([1.0, 2.0])}, {"scale": torch.tensor(0.5)}
    meta_gradient(inner, lambda p: p["x"].sum(), start, meta, steps=3, **SGD, memory=mode)
    first_order = 3 if mode == "keep" else 6
    assert len(passes) == first_order + 2


def test_unknown_memory_mode_is_a_user_error():
    with pytest.raises(UserError, match=r"meta\.memory=forget: expected one of keep, recompute"):
        Problem(0).gradient(memory="forget")
