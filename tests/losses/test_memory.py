"""Contrast with memory banks: the official arrays, the textbook, and how the banks move."""

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mcl import distributed
from mcl.losses.memory import MemoryBank
from mcl.reference import memory_bank as textbook

CASES = ["memory_m2_s2", "memory_m2_s3_pos3", "memory_official_slip"]
PUBLISHED = torch.tensor([0.01, 1, 0.01, 1], dtype=torch.float64)
FACTORS = torch.tensor([0.1, 1.0, 0.2, 0.7], dtype=torch.float64)


@pytest.mark.parametrize("name", CASES)
def test_terms_gradients_and_updated_banks_equal_the_official_ones(golden_memory, close, name):
    case, embeddings, weights = golden_memory(name)
    networks, _, _, samples, _, _, dim = case["meta"].tolist()
    bank = MemoryBank(
        samples, networks, dim, float(case["momentum"]), reproduce_official_bug=name.endswith("slip")
    ).double()
    bank.load_state_dict({"rows": torch.stack([case[f"memory.{i}"] for i in range(networks)])})
    terms = bank.contrast(
        [torch.stack(stages) for stages in embeddings],
        *(case[part] for part in ("index", "positives", "negatives")),
        weights,
        tau=float(case["tau"]),
        temperature=float(case["temperature"]),
    )
    for term, value in terms._asdict().items():
        close(value, case[f"loss.{term}"])
    (PUBLISHED @ torch.stack(terms)).backward()
    for i, stages in enumerate(embeddings):
        for k, embedding in enumerate(stages):
            close(embedding.grad, case[f"grad.z.{i}.{k}"])
    bank.update([stages[-1].detach() for stages in embeddings], case["index"])
    for i in range(networks):
        close(bank.rows[i], case[f"memory_after.{i}"])


@pytest.mark.parametrize("name", CASES)
def test_textbook_equals_the_official_code_pair_by_pair(golden_memory, close, name):
    case, embeddings, weights = golden_memory(name)
    first = [sum(map(len, embeddings[:i])) for i in range(len(embeddings))]
    banks = [case[f"memory.{i}"] for i in range(len(embeddings))]
    columns = torch.cat([case["index"][:, None], case["positives"], case["negatives"]], 1)
    shared = {
        "tau": float(case["tau"]),
        "temperature": float(case["temperature"]),
        "reproduce_official_bug": "slip" in name,
    }
    terms = textbook.memory_contrast(
        embeddings,
        banks,
        *(case[part] for part in ("index", "positives", "negatives")),
        lambda i, k, j, m: weights[first[i] + k, first[j] + m],
        **shared,
    )
    for term, value in terms._asdict().items():
        close(value, case[f"loss.{term}"])
    (PUBLISHED @ torch.stack(terms)).backward()
    close(embeddings[0][-1].grad, case[f"grad.z.0.{len(embeddings[0]) - 1}"])
    pair = textbook.pair_contrast(
        embeddings[1][0],
        embeddings[0][1],
        banks[1],
        banks[0],
        columns,
        case["positives"].shape[1],
        case["weight.1.0.0.1"],
        **shared,
    )
    for term, value in pair._asdict().items():
        close(value, case[f"pair.1.0.0.1.{term}"])
    after = textbook.updated_bank(banks[0], case["index"], embeddings[0][-1].detach(), float(case["momentum"]))
    close(after, case["memory_after.0"])


@dataclass
class Case:
    """Random banks, embeddings, rows and non-symmetric weights, drawn from `seed`."""

    stages: list[int]
    seed: int
    batch: int = 3
    positives: int = 1
    negatives: int = 4
    dim: int = 5
    tau: float = 0.3
    temperature: float = 2.0
    reproduce_official_bug: bool = False

    def __post_init__(self):
        generator = torch.Generator().manual_seed(self.seed)
        networks, nodes, samples = len(self.stages), sum(self.stages), 20

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.raw = [random(stages, self.batch, self.dim).requires_grad_() for stages in self.stages]
        self.weights = random(nodes, nodes, self.batch).sigmoid().requires_grad_()
        self.inputs = [*self.raw, self.weights]
        self.directions = [random(*x.shape) for x in self.inputs]
        self.bank = MemoryBank(
            samples, networks, self.dim, reproduce_official_bug=self.reproduce_official_bug, generator=generator
        ).double()
        self.rows = [
            torch.randint(samples, (self.batch, count), generator=generator)
            for count in (1, self.positives, self.negatives)
        ]
        self.rows[0] = self.rows[0][:, 0]

    def fast(self, raw: list[Tensor], weights: Tensor) -> Tensor:
        projections = [F.normalize(x, dim=-1) for x in raw]
        return torch.stack(
            self.bank.contrast(projections, *self.rows, weights, tau=self.tau, temperature=self.temperature)
        )

    def slow(self, raw: list[Tensor], weights: Tensor) -> Tensor:
        first = [sum(self.stages[:i]) for i in range(len(self.stages))]
        terms = textbook.memory_contrast(
            [list(F.normalize(x, dim=-1)) for x in raw],
            self.bank.rows,
            *self.rows,
            lambda i, k, j, m: weights[first[i] + k, first[j] + m],
            tau=self.tau,
            temperature=self.temperature,
            reproduce_official_bug=self.reproduce_official_bug,
        )
        return torch.stack(terms)


def cases(max_networks: int = 3, max_stages: int = 4):
    return st.builds(
        Case,
        stages=st.lists(st.integers(1, max_stages), min_size=2, max_size=max_networks),
        seed=st.integers(0, 2**31),
        batch=st.integers(1, 5),
        positives=st.sampled_from([1, 3]),
        negatives=st.integers(1, 6),
        tau=st.floats(0.05, 1.0),
        temperature=st.floats(0.5, 5.0),
        reproduce_official_bug=st.booleans(),
    )


def agree(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * max(1.0, expected.abs().max().item()))


@settings(max_examples=25, deadline=None)
@given(cases())
def test_values_and_gradients_equal_the_textbook(case):
    fast, slow = case.fast(case.raw, case.weights), case.slow(case.raw, case.weights)
    agree(fast, slow)
    for a, b in zip(
        torch.autograd.grad(FACTORS @ fast, case.inputs), torch.autograd.grad(FACTORS @ slow, case.inputs), strict=True
    ):
        agree(a, b)


@settings(max_examples=10, deadline=None)
@given(cases(max_stages=3))
def test_hessian_vector_products_equal_the_textbook(case):
    def product(function):
        gradients = torch.autograd.grad(FACTORS @ function(case.raw, case.weights), case.inputs, create_graph=True)
        slope = sum((g * v).sum() for g, v in zip(gradients, case.directions, strict=True))
        return torch.autograd.grad(slope, case.inputs)

    for a, b in zip(product(case.fast), product(case.slow), strict=True):
        agree(a, b)


# Soft terms are left to the textbook: numerical differences would move their detached targets.
@pytest.mark.parametrize("slip", [False, True])
def test_hard_terms_are_twice_differentiable(slip):
    case = Case(stages=[1, 2], seed=1, batch=2, negatives=2, dim=2, reproduce_official_bug=slip)

    def function(first, second, weights):
        return case.fast([first, second], weights)[[0, 2]]

    assert torch.autograd.gradcheck(function, case.inputs)
    assert torch.autograd.gradgradcheck(function, case.inputs)


def test_weights_within_a_network_are_ignored():
    case = Case(stages=[2, 2], seed=2)
    filled = case.weights.detach().clone()
    filled[:2, :2] = filled[2:, 2:] = torch.nan
    assert torch.equal(case.fast(case.raw, filled), case.fast(case.raw, case.weights.detach()))


class LargestGathers(TorchDispatchMode):
    """Counts the operations that read rows of a bank, and records the largest tensor."""

    def __init__(self):
        super().__init__()
        self.gathers, self.largest = 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
        result = function(*arguments, **(kwargs or {}))
        self.gathers += function.overloadpacket in (torch.ops.aten.index_select, torch.ops.aten.index)
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_rows_are_gathered_once_a_bank_and_no_tensor_is_larger_than_they_are():
    case = Case(stages=[4, 3, 4], seed=3, batch=4, negatives=50, dim=16)
    with LargestGathers() as seen:
        torch.autograd.grad(FACTORS @ case.fast(case.raw, case.weights), case.inputs)
    assert seen.gathers == 3
    assert seen.largest == 4 * (2 + 50) * 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_embeddings_are_contrasted_in_float32(dtype):
    case = Case(stages=[2, 1], seed=4)
    case.bank.float()
    low = [F.normalize(x.detach(), dim=-1).to(dtype) for x in case.raw]
    options = {"tau": 0.3, "temperature": 2.0}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = case.bank.contrast(low, *case.rows, case.weights.detach().to(dtype), **options)
    assert {value.dtype for value in terms} == {torch.float32}
    exact = case.bank.double().contrast(
        [x.double() for x in low], *case.rows, case.weights.detach().to(dtype).double(), **options
    )
    torch.testing.assert_close(torch.stack(terms).double(), torch.stack(exact), rtol=1e-5, atol=1e-6)


def test_divergences_of_flat_distributions_are_accurate():
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(1, 16, 32, generator=generator)
    pair = [
        torch.nn.functional.normalize(both + 1e-3 * torch.randn(2, 16, 32, generator=generator), dim=-1)
        for _ in range(2)
    ]
    bank = MemoryBank(200, 2, 32, generator=generator)
    bank.rows[1] = bank.rows[0]
    index = torch.arange(16)
    rows = (index, index[:, None] + 20, torch.randint(40, 200, (16, 100), generator=generator))
    options = {"tau": 0.5, "temperature": 4.0}
    actual = bank.contrast(pair, *rows, torch.ones(4, 4, 16), **options)
    exact = bank.double().contrast([z.double() for z in pair], *rows, torch.ones(4, 4, 16), **options)
    for value, expected in zip(actual, exact, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=0)


def test_rows_of_bfloat16_are_contrasted_and_moved_in_float32():
    half = MemoryBank(10, 2, 4, dtype="bfloat16", generator=torch.Generator().manual_seed(0))
    full = MemoryBank(10, 2, 4)
    full.load_state_dict({"rows": half.rows.float()})
    z = F.normalize(torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
    rows = torch.tensor([1, 5, 7]), torch.tensor([[2], [3], [4]]), torch.tensor([[0, 9], [8, 6], [0, 0]])
    terms = [
        bank.contrast([z[:1], z[1:]], *rows, torch.ones(2, 2, 3), tau=0.1, temperature=3.0) for bank in (half, full)
    ]
    assert torch.equal(*map(torch.stack, terms))
    for bank in (half, full):
        bank.update(list(z), rows[0])
    assert half.rows.dtype == torch.bfloat16
    assert torch.equal(half.rows, full.rows.bfloat16())


def test_first_rows_are_uniform_with_the_variance_of_unit_vectors():
    rows = MemoryBank(2000, 2, 128, generator=torch.Generator().manual_seed(0)).rows
    bound = (3 / 128) ** 0.5
    assert rows.abs().max() <= bound
    assert rows.var().item() == pytest.approx(1 / 128, rel=0.01)
    assert rows.square().sum(-1).mean().item() == pytest.approx(1, rel=0.01)


def test_state_dict_contains_only_the_rows():
    assert {name: value.shape for name, value in MemoryBank(7, 2, 3).state_dict().items()} == {"rows": (2, 7, 3)}


def test_update_moves_the_rows_of_the_batch_alone():
    case = Case(stages=[1, 1], seed=5)
    before = case.bank.rows.clone()
    case.bank.update([torch.ones(2, 5), torch.ones(2, 5)], torch.tensor([3, 8]))
    moved = (case.bank.rows != before).any(2)
    assert moved.nonzero()[:, 1].tolist() == [3, 8, 3, 8]
    assert not case.bank.rows.requires_grad


def test_last_embedding_of_a_repeated_sample_counts():
    case = Case(stages=[1, 1], seed=6, dim=4)
    z = F.normalize(torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).double(), dim=-1)
    index = torch.tensor([3, 8, 3, 1, 8])
    expected = [
        textbook.updated_bank(bank, index, final, case.bank.momentum)
        for bank, final in zip(case.bank.rows, z, strict=True)
    ]
    case.bank.update(list(z), index)
    torch.testing.assert_close(case.bank.rows, torch.stack(expected))


def test_banks_are_updated_with_embeddings_of_all_processes(monkeypatch):
    z = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0)).double()
    index = torch.tensor([4, 2, 7, 2, 9, 0])
    alone = Case(stages=[1, 1], seed=7).bank
    alone.update(list(z), index)
    shares = {3: z[:, 3:], 1: index[3:]}  # by number of dimensions: what the second of two processes holds

    def gather(tensors, dims):
        return [torch.cat([tensor, shares[tensor.dim()]], dim) for tensor, dim in zip(tensors, dims, strict=True)]

    monkeypatch.setattr(distributed, "gather_coalesced", gather)
    one_of_two = Case(stages=[1, 1], seed=7).bank
    one_of_two.update(list(z[:, :3]), index[:3])
    assert torch.equal(one_of_two.rows, alone.rows)
