"""Each loss as a whole: total and gradients of the official code, form by form."""

import pytest
import torch

from mcl.losses.byot import BYOT
from mcl.losses.cl_ilr import CLILR
from mcl.losses.dks import DKS
from mcl.losses.dml import DML
from mcl.losses.ffl import FFL
from mcl.losses.kd import KD
from mcl.losses.kdcl import KDCL
from mcl.losses.okddip import OKDDip
from mcl.losses.one import ONE
from mcl.losses.pcl import PCL
from mcl.losses.switokd import SwitOKD
from mcl.types import Batch, NetworkShape, Outputs


def shapes(networks, width=8, channels=(8,), classes=5, **options):
    return [NetworkShape([width], list(channels), classes, **options) for _ in range(networks)]


def batch(labels):
    return Batch(torch.empty(0), labels, torch.arange(len(labels)))


def last(logits):
    return [Outputs([], [each]) for each in logits]


@pytest.mark.parametrize(
    ("form", "key", "official"),
    [
        ("mcl_okd", "mean_over_peers", False),
        ("authors", "paper", False),
        ("okddip_repo", "attached_mean", True),
        ("okddip_repo_pairs", "attached_pairwise", True),
    ],
)
def test_dml(arrays, close, gradients, form, key, official):
    golden = arrays("dml")
    loss = DML(shapes=shapes(2), form=form, reproduce_official_bug=official)
    logits = golden.leaf("logits")
    total = loss.total(loss(last(logits), batch(golden.labels())))
    close(total, golden[f"{key}.loss"].sum() if key == "paper" else golden[f"{key}.loss.total"])
    close(gradients(total, logits)[0], golden[f"{key}.gradient"])


def test_forms_that_are_a_paper_under_another_name_or_with_other_weights():
    one, other = (CLILR(shapes=shapes(2), form=form) for form in ("paper", "mcl_okd"))
    assert (one.weights, one.temperature, one.epsilon) == (other.weights, other.temperature, other.epsilon)
    scan = BYOT(shapes=shapes(1), form="scan")
    assert scan.weights == {"classification": 1, "branch_classification": 0.5, "distillation": 0.5, "feature": 5e-7}
    assert scan.temperature == 3


def test_scan_has_the_terms_of_the_paper(close):
    torch.manual_seed(0)
    features, logits = torch.randn(3, 4, 8, dtype=torch.float64), torch.randn(3, 4, 5, dtype=torch.float64)
    outputs = [Outputs(list(features), list(logits))]
    labels = batch(torch.tensor([0, 1, 2, 2]))
    losses = [BYOT(shapes=[NetworkShape([8, 8, 8], [8, 8, 8], 5)], form=form) for form in ("paper", "scan")]
    one, other = (loss(outputs, labels) for loss in losses)
    for name, term in one.items():
        close(term, other[name])


def test_dml_of_the_paper_has_temperature_1_and_detached_targets(random_logits, close, gradients, divergence):
    logits, labels = random_logits(2)
    loss = DML(shapes=shapes(2))
    terms = loss(last(logits), batch(labels))
    close(terms["distillation"], divergence(logits[0], logits[1], 1.0) + divergence(logits[1], logits[0], 1.0))
    for form in ("okddip_repo", "okddip_repo_pairs"):  # the same for two networks, but for the smoothing
        term = DML(shapes=shapes(2), form=form, temperature=1.0)(last(logits), batch(labels))["distillation"]
        torch.testing.assert_close(term, terms["distillation"], rtol=1e-4, atol=1e-5)
        own, paper = gradients(term, logits)[0], gradients(terms["distillation"], logits)[0]
        torch.testing.assert_close(own, paper, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["naive", "linear", "min_logit", "general", "mean"])
def test_kdcl(arrays, close, gradients, form):
    golden = arrays("kdcl")
    loss = KDCL(shapes=shapes(2), form=form).double()
    assert loss.needs_held_out == (form == "general")
    loss.measure_held_out(golden["held_out.logits"], golden.labels("held_out.labels"))
    if form == "mean":
        loss.mixing.fill_(0.5)
    logits = golden.leaf("logits")
    total = loss.total(loss(last(logits), batch(golden.labels())))
    key = form.replace("_", "")
    close(total, golden["mean.loss"].sum() if form == "mean" else golden[f"{key}.loss.total"])
    close(gradients(total, logits)[0], golden[f"{key}.gradient"])


@pytest.mark.parametrize(("form", "key"), [("paper", "mclokd"), ("okddip_repo", "okddip_repo")])
def test_cl_ilr(arrays, close, gradients, form, key):
    golden = arrays("cl_ilr")
    loss = CLILR(shapes=shapes(4), form=form, reproduce_official_bug=form == "okddip_repo")
    loss.set_epoch(int(golden["epoch"]))
    logits = golden.leaf("logits")
    total = loss.total(loss(last(logits), batch(golden.labels())))
    close(total, golden[f"{key}.loss.total"])
    close(gradients(total, logits)[0], golden[f"{key}.gradient"])


@pytest.mark.parametrize(("form", "key"), [("paper", "authors"), ("mcl_okd", "mclokd"), ("okddip_repo",) * 2])
def test_one(arrays, close, gradients, form, key):
    golden, case = arrays("one"), arrays("one").under(key)
    branches, channels = len(case["logits"]), case["feature"].shape[1]
    sizes = shapes(branches, channels=[channels], shared=1)
    loss = ONE(shapes=sizes, form=form, reproduce_official_bug=form == "okddip_repo").double()
    for name in ("linear.weight", "linear.bias", "bn.weight", "bn.bias"):
        loss.gate.get_parameter(name).data.copy_(case[f"gate.{name}"])
    loss.set_epoch(int(golden["epoch"]))
    logits, feature = case["logits"].clone().requires_grad_(), case["feature"].clone().requires_grad_()
    outputs = [Outputs([], [each], [feature]) for each in logits]
    total = loss.total(loss(outputs, batch(case["labels"].long())))
    close(total, case["loss.total"])
    close(gradients(total, logits)[0], case["gradient.logits"])
    for name, parameter in loss.gate.named_parameters():
        close(gradients(total, parameter)[0], case[f"gradient.gate.{name}"])
    close(loss.ensemble(outputs), case["logits.gate"])


@pytest.mark.parametrize("leader", [-1, 1])
@pytest.mark.parametrize(("form", "key"), [("paper", "authors"), ("mcl_okd", "mclokd")])
def test_okddip(arrays, close, gradients, form, key, leader):
    golden = arrays("okddip")
    loss = OKDDip(shapes=shapes(4, width=16), form=form, leader=leader).double()
    loss.attention.load_state_dict({f"{name}.weight": golden[f"{name}.weight"] for name in ("query", "key")})
    loss.set_epoch(int(golden["epoch"]))
    feature = golden.leaf("feature")
    logits = feature @ golden["classifier.weight"].mT + golden["classifier.bias"][:, None]
    outputs = [Outputs([f], [z]) for f, z in zip(feature, logits, strict=True)]
    if leader == 1:
        outputs.insert(1, outputs.pop())
    assert loss.deployed([]) == [3 if leader == -1 else 1]
    total = loss.total(loss(outputs, batch(golden.labels())))
    close(total, golden[f"{key}.loss.total"])
    close(gradients(total, feature)[0], golden[f"{key}.gradient.feature"])
    close(gradients(total, loss.attention.query.weight)[0], golden[f"{key}.gradient.query.weight"])


@pytest.mark.parametrize("key", ["mended", "official"])
def test_pcl(arrays, close, gradients, key):
    golden = arrays("pcl")
    classes, width = golden["ensemble.weight"].shape[0], golden["map"].shape[2]
    loss = PCL(shapes=shapes(3, width, classes=classes), reproduce_official_bug=key == "official").double()
    loss.classifier.load_state_dict(golden.under("ensemble"))
    for k, epoch in enumerate(golden["epochs"].tolist()):
        loss.set_epoch(epoch)
        maps, logits = golden.leaf("map"), golden.leaf("logits")
        outputs = [Outputs([m.mean((-2, -1))], [z]) for m, z in zip(maps, logits, strict=True)]
        total = loss.total(loss(outputs, batch(golden.labels()), teachers=last(golden["logits_mean"])))
        close(total, golden[f"{key}.total"][k])
        close(gradients(total, logits)[0], golden[f"{key}.grad.logits"][k, :3])
        close(loss.joint_logits(outputs), golden["logits.ensemble"])
        if key == "mended" and k == 0:
            close(gradients(total, loss.classifier.weight)[0], golden["mended.grad.ensemble.weight"])
    loss.set_epoch(0)
    ramps = []
    for epoch in golden["ramp.epochs"].tolist():
        loss.set_epoch(epoch)
        ramps.append(loss.weights["teacher_distillation"])
    close(torch.tensor(ramps, dtype=torch.float64), golden[f"ramp.{key}"])


def test_ffl(arrays, close, gradients):
    golden = arrays("ffl")
    maps = golden.leaf("map")
    loss = FFL(shapes=shapes(2, channels=[maps.shape[2]], classes=golden["logits"].shape[-1])).double()
    loss.fusion.load_state_dict(golden.under("fusion"), strict=False)
    own = [
        m.mean((-2, -1)) @ golden[f"classifier.{i}.weight"].mT + golden[f"classifier.{i}.bias"]
        for i, m in enumerate(maps, 1)
    ]
    for k, epoch in enumerate(golden["epochs"].tolist()):
        loss.set_epoch(epoch)
        outputs = [Outputs([], [z], [m]) for z, m in zip(own, maps, strict=True)]
        total = loss.total(loss(outputs, batch(golden.labels())))
        close(total, golden["total"][k])
        if k == 0:
            close(gradients(total, maps)[0], golden["grad.map"])
            close(gradients(total, loss.fusion.depthwise.weight)[0], golden["grad.fusion.depthwise.weight"])
    (group,) = loss.parameter_groups()
    assert group["weight_decay"] == 1e-5
    assert len(group["params"]) == len(list(loss.fusion.parameters()))


@pytest.mark.parametrize("case", [0, 1, 2])
def test_switokd_of_a_pair(arrays, close, gradients, case):
    golden = arrays("switokd")
    logits = torch.stack([golden[f"pair.logits.{name}"][case] for name in ("teacher", "student")]).requires_grad_()
    loss = SwitOKD(shapes=shapes(2))
    total = loss.total(loss(last(logits), batch(golden.labels("pair.labels")[case])))
    close(total, golden["pair.loss.teacher"][case] + golden["pair.loss.student"][case])
    for i, name in enumerate(("teacher", "student")):
        close(gradients(total, logits)[0][i], golden[f"pair.grad.logits.{name}"][case])
    assert loss.paused().tolist() == [bool(golden["pair.expert"][case]), False]


@pytest.mark.parametrize("key", ["official", "mended"])
@pytest.mark.parametrize(("trio", "teachers"), [("1t2s", 1), ("2t1s", 2)])
def test_switokd_of_three(arrays, close, gradients, key, trio, teachers):
    golden = arrays("switokd").under(f"multi.{trio}")
    logits = golden["logits"].clone().requires_grad_()
    loss = SwitOKD(shapes=shapes(3), teachers=teachers, reproduce_official_bug=key == "official")
    total = loss.total(loss(last(logits), batch(golden["labels"].long())))
    close(gradients(total, logits)[0], golden[f"{key}.grad.logits"])
    assert (~loss.paused()).int().tolist() == golden[f"{key}.steps"].int().tolist()
    switches = [each for row in loss.switches(logits, batch(golden["labels"].long())) for each in row]
    for name in ("epsilon", "delta", "paused"):
        close(torch.stack([getattr(each, name).double() for each in switches]), golden[f"{key}.{name}"])


@pytest.mark.parametrize(
    ("form", "total", "gradient"),
    [("paper", "plain.loss.total", "plain.grad.logits"), ("self_kd_lib", "selfkd.total", "selfkd.grad.logits")],
)
def test_dks_of_two_networks_is_the_sum_of_both(arrays, close, gradients, form, total, gradient):
    golden = arrays("dks")
    heads = golden.leaf("plain.logits")
    loss = DKS(shapes=shapes(2), form=form)
    value = loss.total(loss([Outputs([], list(heads)), Outputs([], list(heads))], batch(golden.labels())))
    close(value, 2 * golden[total])
    close(gradients(value, heads)[0], 2 * golden[gradient])


@pytest.mark.parametrize("key", ["code", "paper"])
def test_byot(arrays, close, gradients, key):
    golden = arrays("byot")
    names = ("feature.branch", "feature.final", "logits.branch", "logits.final")
    leaves = {name: golden.leaf(name) for name in names}
    loss = BYOT(shapes=shapes(1), reproduce_official_bug=key == "code")
    features, logits = ([*leaves[f"{kind}.branch"], leaves[f"{kind}.final"]] for kind in ("feature", "logits"))
    terms = loss([Outputs(features, logits)], batch(golden.labels()))
    total = loss.total(terms)
    close(total, golden[f"{key}.total"])
    assert float(golden["beta"]) == loss.weights["feature"]
    for name in ("feature.branch", "logits.branch", "logits.final"):
        close(gradients(total, leaves[name])[0], golden.get(f"{key}.grad.{name}", golden[f"code.grad.{name}"]))


@pytest.mark.parametrize("key", ["code", "mended"])
def test_byot_of_the_journal(arrays, close, gradients, key):
    golden = arrays("byot_journal")
    width = golden["feature"].shape[-1]
    sizes = [NetworkShape([width] * 4, [], 10)]
    loss = BYOT(shapes=sizes, form="journal", reproduce_official_bug=key == "code").double()
    used = {"code": [2, 1], "mended": [1, 0]}[key]
    for linear, i in zip(loss.adaptations[0], used, strict=True):
        linear.load_state_dict({part: golden[f"adaptation.{part}"][i] for part in ("weight", "bias")})
    logits, features = golden.leaf("logits"), golden.leaf("feature")
    total = loss.total(loss([Outputs(list(features.flip(0)), list(logits.flip(0)))], batch(golden.labels())))
    close(total, golden[f"{key}.total"])
    close(gradients(total, logits)[0], golden[f"{key}.grad.logits"])
    close(gradients(total, features)[0], golden[f"{key}.grad.feature"])
    for linear, i in zip(loss.adaptations[0], used, strict=True):
        close(gradients(total, linear.weight)[0], golden[f"{key}.grad.adaptation.weight"][i])


@pytest.mark.parametrize("form", ["cifar", "imagenet"])
def test_kd(arrays, close, gradients, form):
    golden = arrays("kd").under(form)
    student, teacher = (golden[f"logits.{name}"].clone().requires_grad_() for name in ("student", "teacher"))
    sizes = [NetworkShape([], [], 10), NetworkShape([], [], 10, frozen=True)]
    loss = KD(shapes=sizes, form=form)
    total = loss.total(loss(last([student, teacher]), batch(golden["labels"].long())))
    close(total, golden["loss.total"])
    close(gradients(total, student)[0], golden["grad.logits.student"])
    assert loss.deployed(sizes) == [0]
