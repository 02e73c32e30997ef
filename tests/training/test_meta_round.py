"""The meta round on a cohort and a loss: the exact gradient, and no other change."""

import copy
from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from mcl.errors import UserError
from mcl.losses.base import Loss, MetaSchedule
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.networks.cohort import Cohort
from mcl.networks.resnet import ResNet
from mcl.reference.unrolled_gradient import meta_gradient as textbook_meta_gradient
from mcl.training.meta_round import MetaRound
from mcl.types import Batch, Outputs

WEIGHT_DECAY = 5e-4
MODES = ["keep", "recompute"]


class SmallCohort(nn.Module):
    """Two networks of one convolution, batch normalization and, if asked for, dropout."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.bodies = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(dropout)) for _ in range(2)
        )
        self.heads = nn.ModuleList(nn.Linear(6, 4) for _ in range(2))

    def forward(self, images: Tensor) -> list[Outputs]:
        features = [body(images).mean((2, 3)) for body in self.bodies]
        return [Outputs([f], [head(f)]) for f, head in zip(features, self.heads, strict=True)]


class AgreementLoss(Loss):
    """The networks' projections agree sample by sample, as far as a learned matching says."""

    def __init__(self, **schedule):
        super().__init__()
        self.meta = MetaSchedule(**schedule)
        self.projections = nn.ModuleList(nn.Linear(6, 5) for _ in range(2))
        self.matching = nn.Linear(6, 1)
        self.register_buffer("calls", torch.zeros(()))

    def inner_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.projections.named_parameters(prefix="projections"))

    def meta_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.matching.named_parameters(prefix="matching"))

    def inner_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        self.calls += 1
        first, second = (
            F.normalize(projection(output.features[-1]))
            for projection, output in zip(self.projections, outputs, strict=True)
        )
        weights = torch.sigmoid(self.matching(outputs[0].features[-1] * outputs[1].features[-1])).squeeze(1)
        return -(weights * F.log_softmax(first @ second.T / 0.1, 1).diagonal()).mean()

    def outer_objective(self, outputs: Sequence[Outputs], batch: Batch) -> Tensor:
        return torch.stack([F.cross_entropy(output.logits[-1], batch.labels) for output in outputs]).sum()


def make_batch(seed: int, dtype: torch.dtype = torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(8, 3, 8, 8, generator=generator, dtype=torch.float64).to(dtype)
    return Batch(images, torch.arange(8) % 4, torch.arange(8))


def make(dropout: float = 0.0, dtype: torch.dtype = torch.float64, **schedule) -> tuple[SmallCohort, AgreementLoss]:
    torch.manual_seed(0)
    return SmallCohort(dropout).to(dtype), AgreementLoss(**schedule).to(dtype)


def optimizer_of(loss: Loss) -> torch.optim.SGD:
    return torch.optim.SGD(loss.meta_parameters().values(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)


def plain_autograd(
    cohort: nn.Module,
    loss: Loss,
    batch: Batch,
    outer_batch: Batch,
    lr: float,
    weight_decay: float | dict[str, float] = WEIGHT_DECAY,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the outer objective and the meta-gradient by autograd over the whole loop, on copies of the modules."""
    moved = {f"cohort.{name}": value for name, value in cohort.named_parameters() if value.requires_grad}
    moved |= {f"loss.{name}": value for name, value in loss.inner_parameters().items() if value.requires_grad}
    meta = {f"loss.{name}": value for name, value in loss.meta_parameters().items() if value.requires_grad}

    class Call(nn.Module):
        def __init__(self):
            super().__init__()
            self.cohort, self.loss = copy.deepcopy(cohort), copy.deepcopy(loss)

        def forward(self, objective: str, batch: Batch) -> Tensor:
            return getattr(self.loss, objective)(self.cohort(batch.images), batch)

    call = partial(functional_call, Call())
    outer_loss, gradients = textbook_meta_gradient(
        lambda p, m: call({**p, **m}, ("inner_objective", batch)),
        lambda p: call(p, ("outer_objective", outer_batch)),
        moved,
        meta,
        steps=loss.meta.steps,
        lr=lr,
        momentum=loss.meta.momentum,
        weight_decay=weight_decay,
    )
    return outer_loss, {name.removeprefix("loss."): value for name, value in gradients.items()}


def assert_gradients(loss: Loss, expected: dict[str, Tensor], tolerance: float) -> None:
    for name, parameter in loss.meta_parameters().items():
        assert expected[name].norm() > 0, name
        assert (parameter.grad - expected[name]).norm() <= tolerance * expected[name].norm(), name


def snapshot(cohort: nn.Module, loss: Loss, optimizers: Sequence[torch.optim.Optimizer] = ()) -> dict[str, object]:
    """Clone everything that a round must not change: all but the meta-parameters and their optimizer."""
    learned = {id(parameter) for parameter in loss.meta_parameters().values()}
    state: dict[str, object] = {"random": torch.get_rng_state()}
    for place, module in (("cohort", cohort), ("loss", loss)):
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            if id(value) not in learned:
                state[f"{place}.{name}"] = value.detach().clone()
                state[f"{place}.{name}.requires_grad"] = value.requires_grad
                state[f"{place}.{name}.grad"] = None if value.grad is None else value.grad.clone()
                state[f"{place}.{name}.identity"] = (id(value), value.data_ptr())
        state |= {f"{place}.{name}.training": submodule.training for name, submodule in module.named_modules()}
    for index, optimizer in enumerate(optimizers):
        state[f"optimizer.{index}"] = copy.deepcopy(optimizer.state_dict())
    return state


def assert_same_state(left: dict[str, object], right: dict[str, object]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=0, atol=0, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("memory", MODES)
@pytest.mark.parametrize("steps", [1, 2])
def test_gradient_equals_plain_autograd(steps, memory):
    cohort, loss = make(steps=steps, memory=memory, momentum=0.8)
    batch, outer_batch = make_batch(1), make_batch(2)
    expected_loss, expected = plain_autograd(cohort, loss, batch, outer_batch, lr=0.1)
    outer_loss = MetaRound(cohort, loss, optimizer_of(loss), weight_decay=WEIGHT_DECAY)(batch, outer_batch, 0.1)
    torch.testing.assert_close(outer_loss, expected_loss, rtol=1e-12, atol=0)
    assert not outer_loss.requires_grad
    assert_gradients(loss, expected, 1e-9)


def test_parameters_decay_by_themselves_in_the_unrolled_steps():
    cohort, loss = make()
    batch = make_batch(1)
    decays = {f"cohort.{name}": WEIGHT_DECAY * (value.dim() > 1) for name, value in cohort.named_parameters()}
    decays |= {f"loss.{name}": 0.1 for name in loss.inner_parameters()}
    expected_loss, expected = plain_autograd(cohort, loss, batch, batch, lr=0.1, weight_decay=decays)
    meta_round = MetaRound(cohort, loss, optimizer_of(loss), weight_decay=decays)
    torch.testing.assert_close(meta_round(batch, batch, 0.1), expected_loss, rtol=1e-12, atol=0)
    assert_gradients(loss, expected, 1e-9)


@pytest.mark.parametrize("memory", MODES)
def test_optimizer_steps_the_meta_parameters_by_that_gradient(memory):
    cohort, loss = make(memory=memory)
    twin = copy.deepcopy(loss)
    optimizer, twin_optimizer = optimizer_of(loss), optimizer_of(twin)
    meta_round = MetaRound(cohort, loss, optimizer, weight_decay=WEIGHT_DECAY)
    for seed in (1, 2):
        meta_round(make_batch(seed), make_batch(seed), 0.1)
        for name, parameter in twin.meta_parameters().items():
            parameter.grad = loss.meta_parameters()[name].grad.clone()
        twin_optimizer.step()
    for name, parameter in loss.meta_parameters().items():
        assert torch.equal(parameter, twin.meta_parameters()[name])
    assert not torch.equal(loss.matching.weight, make()[1].matching.weight)


@pytest.mark.parametrize("memory", MODES)
def test_everything_else_stays_bitwise_equal(memory):
    cohort, loss = make(dropout=0.3, memory=memory)
    batch = make_batch(1)
    # A training step first: gradients, optimizer state and statistics are there to be disturbed.
    main = torch.optim.SGD([*cohort.parameters(), *loss.inner_parameters().values()], lr=0.1, momentum=0.9)
    outputs = cohort(batch.images)
    (loss.inner_objective(outputs, batch) + loss.outer_objective(outputs, batch)).backward()
    main.step()
    before = snapshot(cohort, loss, [main])
    MetaRound(cohort, loss, optimizer_of(loss), weight_decay=WEIGHT_DECAY)(batch, batch, 0.1)
    assert_same_state(snapshot(cohort, loss, [main]), before)


@pytest.mark.parametrize("memory", MODES)
def test_branched_lmcl_pair_has_the_exact_gradient_and_is_unchanged(memory):
    make_network = partial(ResNet, name="resnet8", num_classes=4, depths=[1, 1, 1])
    cohort = Cohort({"first": make_network, "second": make_network}, branched=True, seed=0).double()
    torch.manual_seed(0)
    schedule = MetaSchedule(steps=2, memory=memory)
    loss = LMCL(widths=cohort.widths, matching=LayerMatching, meta=schedule, dim=16).double()
    batch = make_batch(1)
    learned = {id(parameter) for parameter in loss.meta_parameters().values()}
    main = torch.optim.SGD(
        [p for p in (*cohort.parameters(), *loss.parameters()) if id(p) not in learned], lr=0.01, momentum=0.9
    )
    loss.total(loss(cohort(batch.images), batch)).backward()
    main.step()

    expected_loss, expected = plain_autograd(cohort, loss, batch, batch, lr=0.01)
    before = snapshot(cohort, loss, [main])
    outer_loss = MetaRound(cohort, loss, optimizer_of(loss), weight_decay=WEIGHT_DECAY)(batch, batch, 0.01)
    torch.testing.assert_close(outer_loss, expected_loss, rtol=1e-10, atol=0)
    assert_gradients(loss, expected, 1e-9)
    assert_same_state(snapshot(cohort, loss, [main]), before)


def test_recomputed_round_sees_the_same_dropout():
    gradients = []
    for memory in MODES:
        cohort, loss = make(dropout=0.3, memory=memory)
        MetaRound(cohort, loss, optimizer_of(loss), weight_decay=WEIGHT_DECAY)(make_batch(1), make_batch(1), 0.1)
        gradients.append({name: value.grad for name, value in loss.meta_parameters().items()})
    assert_gradients(loss, gradients[0], 1e-12)


@pytest.mark.parametrize("wrong", [{"outer_batch": "nxet"}, {"memory": "keeep"}, {"steps": 0}, {"lr": -1.0}])
def test_wrong_meta_schedule_is_refused_before_training(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(UserError, match=f"loss.meta.{name}={value}: (must|expected)"):
        MetaSchedule(**wrong)


def test_meta_schedule_learning_rate_has_precedence():
    cohort, loss = make(lr=0.03)
    _, expected = plain_autograd(cohort, loss, make_batch(1), make_batch(1), lr=0.03)
    MetaRound(cohort, loss, optimizer_of(loss), weight_decay=WEIGHT_DECAY)(make_batch(1), make_batch(1), 0.1)
    assert_gradients(loss, expected, 1e-9)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_autocast_does_not_change_precision(memory_format):
    cohort, loss = make(dtype=torch.float32)
    batch = make_batch(1, torch.float32)
    MetaRound(cohort, loss, optimizer_of(loss), weight_decay=WEIGHT_DECAY)(batch, batch, 0.1)
    expected = {name: value.grad.clone() for name, value in loss.meta_parameters().items()}

    cohort, loss = make(dtype=torch.float32)
    cohort.to(memory_format=memory_format)
    images = batch.images.contiguous(memory_format=memory_format)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        meta_round = MetaRound(cohort, loss, optimizer_of(loss), weight_decay=WEIGHT_DECAY)
        outer_loss = meta_round(batch._replace(images=images), batch._replace(images=images), 0.1)
    assert outer_loss.dtype == torch.float32
    for name, value in loss.meta_parameters().items():
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-5, atol=1e-6)


def test_half_precision_modules_are_differentiated_in_float32():
    cohort, loss = make(dtype=torch.bfloat16)
    exact_cohort, exact_loss = copy.deepcopy(cohort).float(), copy.deepcopy(loss).float()
    half, single = make_batch(1, torch.bfloat16), make_batch(1, torch.bfloat16)
    single = single._replace(images=single.images.float())
    for modules, batch in (((cohort, loss), half), ((exact_cohort, exact_loss), single)):
        MetaRound(*modules, optimizer_of(modules[1]), weight_decay=WEIGHT_DECAY)(batch, batch, 0.1)
    for name, value in loss.meta_parameters().items():
        assert torch.equal(value.grad, exact_loss.meta_parameters()[name].grad.bfloat16())


@pytest.mark.parametrize("memory", MODES)
@pytest.mark.parametrize(
    "frozen",
    [["bodies.0"], ["bodies.0.1", "heads.1.bias"], ["projections.1"], ["bodies.1", "matching.bias"]],
    ids=",".join,
)
def test_frozen_parameters_stay_fixed_in_unrolled_steps(frozen, memory):
    cohort, loss = make(memory=memory)
    for name, parameter in (*cohort.named_parameters(), *loss.named_parameters()):
        parameter.requires_grad_(not name.startswith(tuple(frozen)))
    batch, outer_batch = make_batch(1), make_batch(2)
    bias = loss.matching.bias.detach().clone()
    expected_loss, expected = plain_autograd(cohort, loss, batch, outer_batch, lr=0.1)
    before = snapshot(cohort, loss)
    outer_loss = MetaRound(cohort, loss, optimizer_of(loss), weight_decay=WEIGHT_DECAY)(batch, outer_batch, 0.1)
    torch.testing.assert_close(outer_loss, expected_loss, rtol=1e-12, atol=0)
    for name, expected_gradient in expected.items():
        torch.testing.assert_close(loss.meta_parameters()[name].grad, expected_gradient, rtol=1e-9, atol=1e-15)
    assert torch.equal(loss.matching.bias, bias) == ("matching.bias" in frozen)
    assert_same_state(snapshot(cohort, loss), before)


def test_gradient_that_is_not_finite_shows_in_the_outer_loss(monkeypatch):
    cohort, loss = SmallCohort(), AgreementLoss()
    optimizer = torch.optim.SGD(loss.meta_parameters().values(), lr=0.1)
    parameters = {f"loss.{name}": value for name, value in loss.meta_parameters().items()}
    for broken in (False, True):
        gradients = {name: torch.zeros_like(value) for name, value in parameters.items()}
        if broken:
            next(iter(gradients.values()))[0] = torch.inf
        result = (torch.tensor(1.5), gradients)
        monkeypatch.setattr("mcl.training.meta_round.meta_gradient", lambda *_, result=result, **__: result)
        batch = Batch(torch.randn(4, 3, 8, 8), torch.arange(4), torch.arange(4))
        outer_loss = MetaRound(cohort, loss, optimizer, weight_decay=0.0)(batch, batch, lr=0.1)
        assert bool(outer_loss.isnan()) == broken
        assert broken or outer_loss == 1.5


def test_loss_with_nothing_to_learn_is_refused():
    cohort, _ = make()
    with pytest.raises(AssertionError, match="Loss has nothing to meta-learn"):
        MetaRound(cohort, Loss(), torch.optim.SGD(cohort.parameters(), lr=0.1), weight_decay=0.0)
