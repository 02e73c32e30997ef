"""The batched contrast against the loops of the textbook, to the second derivative."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mcl.errors import UserError
from mcl.losses.contrast import last_stage_contrast, mutual_contrast
from mcl.reference import formulas as textbook

FACTORS = torch.tensor([0.1, 1.0, 0.2, 0.7], dtype=torch.float64)


@dataclass
class Case:
    """Random embeddings, labels and non-symmetric weights, drawn from `seed`."""

    stages: list[int]
    labels: list[int]
    seed: int
    dim: int = 5
    tau: float = 0.3
    temperature: float = 2.0

    def __post_init__(self):
        generator = torch.Generator().manual_seed(self.seed)
        batch, nodes = len(self.labels), sum(self.stages)
        self.raw = [
            torch.randn(stages, batch, self.dim, generator=generator, dtype=torch.float64, requires_grad=True)
            for stages in self.stages
        ]
        self.weights = torch.rand(nodes, nodes, batch, generator=generator, dtype=torch.float64, requires_grad=True)
        self.classes = torch.tensor(self.labels)
        self.inputs = [*self.raw, self.weights]
        self.directions = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in self.inputs]

    def fast(self, raw: list[Tensor], weights: Tensor) -> Tensor:
        projections = [F.normalize(x, dim=-1) for x in raw]
        terms = mutual_contrast(projections, self.classes, weights, tau=self.tau, temperature=self.temperature)
        return torch.stack(terms)

    def slow(self, raw: list[Tensor], weights: Tensor) -> Tensor:
        projections = [list(F.normalize(x, dim=-1)) for x in raw]
        first = [sum(self.stages[:i]) for i in range(len(self.stages))]
        terms = textbook.mutual_contrast(
            projections,
            self.classes,
            lambda i, k, j, m: weights[first[i] + k, first[j] + m],
            tau=self.tau,
            temperature=self.temperature,
        )
        return torch.stack(terms)


def cases(max_networks: int = 4, max_stages: int = 4, max_batch: int = 12):
    return st.builds(
        Case,
        stages=st.lists(st.integers(1, max_stages), min_size=2, max_size=max_networks),
        labels=st.lists(st.integers(0, 4), min_size=2, max_size=max_batch),
        seed=st.integers(0, 2**31),
        tau=st.floats(0.05, 1.0),
        temperature=st.floats(0.5, 5.0),
    )


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * max(1.0, expected.abs().max().item()))


@settings(max_examples=25, deadline=None)
@given(cases())
def test_values_and_gradients_equal_the_textbook(case):
    fast, slow = case.fast(case.raw, case.weights), case.slow(case.raw, case.weights)
    close(fast, slow)
    for a, b in zip(
        torch.autograd.grad(FACTORS @ fast, case.inputs), torch.autograd.grad(FACTORS @ slow, case.inputs), strict=True
    ):
        close(a, b)


@settings(max_examples=10, deadline=None)
@given(cases(max_networks=3, max_stages=3, max_batch=8))
def test_hessian_vector_products_equal_the_textbook(case):
    def product(function):
        gradients = torch.autograd.grad(FACTORS @ function(case.raw, case.weights), case.inputs, create_graph=True)
        slope = sum((g * v).sum() for g, v in zip(gradients, case.directions, strict=True))
        return torch.autograd.grad(slope, case.inputs)

    for a, b in zip(product(case.fast), product(case.slow), strict=True):
        close(a, b)


# Soft terms are left to the textbook: numerical differences would move their detached targets.
@pytest.mark.parametrize("term", ["vcl", "icl"])
def test_hard_terms_are_twice_differentiable(term):
    case = Case(stages=[1, 2], labels=[0, 0, 1], seed=1, dim=2)

    def function(first, second, weights):
        z = [F.normalize(first, dim=-1), F.normalize(second, dim=-1)]
        return getattr(mutual_contrast(z, case.classes, weights, tau=0.5, temperature=2.0), term)

    assert torch.autograd.gradcheck(function, case.inputs)
    assert torch.autograd.gradgradcheck(function, case.inputs)


def test_last_stage_contrast_equals_the_textbook():
    case = Case(stages=[1, 1, 1], labels=[0, 1, 0, 2, 1], seed=3)
    options = {"tau": 0.2, "temperature": 3.0}
    values, gradients = [], []
    for function in (last_stage_contrast, textbook.last_stage_contrast):
        z = [F.normalize(x[0], dim=-1) for x in case.raw]
        values.append(torch.stack(function(z, case.classes, **options)))
        gradients.append(torch.cat(torch.autograd.grad(FACTORS @ values[-1], case.raw)))
    close(*values)
    close(*gradients)


def test_anchor_without_positive_contributes_nothing_to_hard_terms():
    case = Case(stages=[2, 1], labels=[0, 1, 2, 3], seed=4)
    vcl, soft_vcl, icl, soft_icl = case.fast(case.raw, case.weights)
    assert vcl == 0
    assert icl == 0
    assert soft_vcl > 0
    assert soft_icl > 0


def test_mean_stays_over_all_anchors_when_some_have_no_positive():
    # The anchor without a positive stays in the denominators of the others. Its own weight therefore changes nothing in
    # the hard terms.
    case = Case(stages=[1, 1], labels=[0, 0, 1], seed=5)
    weights = case.weights.detach().clone()
    before = case.fast(case.raw, weights)
    weights[..., 2] = 0
    after = case.fast(case.raw, weights)
    close(after[[0, 2]], before[[0, 2]])
    assert after[1] < before[1]


def test_batch_of_one_is_finite():
    case = Case(stages=[1, 2], labels=[0], seed=6)
    value = case.fast(case.raw, case.weights)
    assert value.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(value.sum(), case.inputs))


def test_weights_within_a_network_are_ignored():
    case = Case(stages=[2, 2], labels=[0, 0, 1], seed=7)
    filled = case.weights.detach().clone()
    filled[:2, :2] = filled[2:, 2:] = torch.nan
    assert torch.equal(case.fast(case.raw, filled), case.fast(case.raw, case.weights.detach()))


@pytest.mark.parametrize(("tau", "temperature"), [(0.1, 3.0), (0.051, 3.0), (0.1, 0.51), (0.03, 3.0), (0.006, 1.0)])
def test_low_temperatures_are_exact_to_the_second_derivative_where_networks_disagree(tau, temperature):
    case = Case(stages=[1, 1], labels=[0, 0, 1, 1], seed=13, tau=tau, temperature=temperature)
    generator = torch.Generator().manual_seed(13)
    one = torch.randn(1, 1, 5, generator=generator, dtype=torch.float64).expand(1, 4, 5)
    noise = [0.05 * torch.randn(1, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    case.inputs = [(one + noise[0]).requires_grad_(), (noise[1] - one).requires_grad_(), case.weights]

    def derivatives(function, inputs, factors):
        value = function(inputs[:-1], inputs[-1])
        gradients = torch.autograd.grad(factors @ value, inputs, create_graph=True)
        slope = sum((g * v.to(g.dtype)).sum() for g, v in zip(gradients, case.directions, strict=True))
        return [value, *gradients, *torch.autograd.grad(slope, inputs)]

    single = [x.detach().float().requires_grad_() for x in case.inputs]
    actual = derivatives(case.fast, single, FACTORS.float())
    assert {x.dtype for x in actual} == {torch.float32}
    for a, b in zip(actual, derivatives(case.slow, case.inputs, FACTORS), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3 * float(b.detach().abs().max()))


@pytest.mark.parametrize(("tau", "temperature"), [(0.1, 10.0), (0.5, 3.0), (1.0, 4.0), (0.1, 100.0)])
def test_divergences_of_flat_distributions_are_accurate(tau, temperature):
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(1, 64, 32, generator=generator)
    pair = [F.normalize(both + 1e-3 * torch.randn(2, 64, 32, generator=generator), dim=-1) for _ in range(2)]
    labels, weights, options = torch.arange(64) % 8, torch.ones(4, 4, 64), {"tau": tau, "temperature": temperature}
    actual = mutual_contrast(pair, labels, weights, **options)
    exact = mutual_contrast([network.double() for network in pair], labels, weights.double(), **options)
    for name in actual._fields:
        value = getattr(actual, name)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), getattr(exact, name), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float64", "float32"), ("bfloat16", "float64")])
def test_mixed_dtypes_are_promoted_to_the_widest(dtypes):
    case = Case(stages=[2, 1], labels=[0, 0, 1, 1], seed=15)
    pair = [F.normalize(x, dim=-1).to(getattr(torch, name)) for x, name in zip(case.raw, dtypes, strict=True)]
    options = {"tau": 0.3, "temperature": 2.0}
    actual = mutual_contrast(pair, case.classes, case.weights, **options)
    wide = [network.to(torch.float64) for network in pair]
    for value, expected in zip(actual, mutual_contrast(wide, case.classes, case.weights, **options), strict=True):
        assert torch.equal(value, expected)


def test_temperatures_that_are_too_low_are_refused():
    z = torch.eye(3)[None]
    with pytest.raises(UserError, match=r"Use loss\.tau=0\.0059 or more"):
        mutual_contrast([z, z], torch.zeros(3), torch.ones(2, 2, 3), tau=0.001, temperature=3.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_embeddings_are_contrasted_in_float32(dtype):
    case = Case(stages=[2, 1], labels=[0, 0, 1, 1], seed=8)
    low = [F.normalize(x.detach(), dim=-1).to(dtype) for x in case.raw]
    weights = case.weights.detach()
    actual = mutual_contrast(low, case.classes, weights.to(dtype), tau=0.3, temperature=2.0)
    assert {value.dtype for value in actual} == {torch.float32}
    exact = mutual_contrast(
        [x.double() for x in low], case.classes, weights.to(dtype).double(), tau=0.3, temperature=2.0
    )
    torch.testing.assert_close(torch.stack(actual).double(), torch.stack(exact), rtol=1e-5, atol=1e-6)


def test_autocast_does_not_lower_the_precision():
    case = Case(stages=[2, 2], labels=[0, 0, 1, 1], seed=9)
    z = [F.normalize(x.detach(), dim=-1).float() for x in case.raw]
    weights = case.weights.detach().float()
    outside = mutual_contrast(z, case.classes, weights, tau=0.3, temperature=2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = mutual_contrast(z, case.classes, weights, tau=0.3, temperature=2.0)
    assert torch.equal(torch.stack(inside), torch.stack(outside))


def test_first_use_in_inference_mode_does_not_spoil_training():
    case = Case(stages=[3, 1, 2], labels=[0, 0, 1], seed=10)  # stage counts no other test uses
    with torch.inference_mode():
        mutual_contrast([x.clone() for x in case.raw], case.classes, case.weights.clone(), tau=0.3, temperature=2.0)
    case.fast(case.raw, case.weights).sum().backward()


def test_no_block_of_similarities_is_computed_twice():
    batch, dim, stages = 64, 32, [3, 2, 2]
    case = Case(stages=stages, labels=[n % 8 for n in range(batch)], seed=11, dim=dim)
    nodes = sum(stages)
    pairs = (nodes**2 - sum(s**2 for s in stages)) // 2
    with FlopCounterMode(display=False) as counter:
        case.fast(case.raw, case.weights)
    block = 2 * batch**2 * dim
    means = nodes * block  # embeddings of positives averaged
    products = 2 * nodes**2 * batch * (dim + batch)  # of nodes with each other, anchor by anchor
    assert counter.get_total_flops() <= (nodes + pairs) * block + means + products


def test_no_operation_synchronizes_with_the_device():
    class Names(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.seen = set()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.seen.add(function.overloadpacket.__name__)
            return function(*args, **(kwargs or {}))

    case = Case(stages=[2, 1], labels=[0, 0, 1], seed=12)
    case.fast(case.raw, case.weights)  # what is kept between calls is made here
    with Names() as names:
        gradients = torch.autograd.grad(case.fast(case.raw, case.weights).sum(), case.inputs, create_graph=True)
        torch.autograd.grad(sum(g.sum() for g in gradients), case.inputs)
    assert "bmm" in names.seen
    # What depends on values reads them back; what is made from Python lists is copied over.
    assert not names.seen & {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "repeat_interleave"}


@pytest.mark.parametrize("stages", [[4, 4], [2, 2, 2, 2], [1] * 8], ids=str)
@pytest.mark.parametrize(("batch", "twice"), [(256, False), (32, True)])
def test_no_tensor_compares_all_nodes_with_all_nodes(stages, batch, twice):
    class Sizes(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            outputs = function(*args, **(kwargs or {}))
            self.largest = max(
                [self.largest, *(each.numel() for each in tree_leaves(outputs) if torch.is_tensor(each))]
            )
            return outputs

    nodes = sum(stages)
    case = Case(stages=stages, labels=[i % 10 for i in range(batch)], seed=1)
    with Sizes() as sizes:
        gradients = torch.autograd.grad(case.fast(case.raw, case.weights).sum(), case.inputs, create_graph=twice)
        if twice:
            torch.autograd.grad(sum(g.sum() for g in gradients), case.inputs)
    first, later = stages[0], nodes - stages[0]
    assert sizes.largest == max(first * later, nodes) * batch**2  # a network with all later ones; each with itself
    assert sizes.largest <= (nodes * batch) ** 2 / 4


def test_single_network_is_refused():
    z = torch.eye(3)[None]
    with pytest.raises(AssertionError, match="two networks"):
        mutual_contrast([z], torch.zeros(3), torch.ones(1, 1, 3), tau=0.1, temperature=3.0)
