import pytest
import torch

from mcl.losses.classification import classification
from mcl.losses.one import Gate, gated
from mcl.losses.one import divergence as from_ensemble
from mcl.losses.ramps import sigmoid_ramp

CODES = {"authors": (1e-7, True), "mclokd": (0.0, True), "okddip_repo": (1e-7, False)}


@pytest.mark.parametrize("code", CODES)
def test_gate_losses_and_gradients(arrays, close, gradients, code):
    golden = arrays("one")
    case = golden.under(code)
    epsilon, detach = CODES[code]
    branches = len(case["logits"])
    gate = Gate(case["feature"].shape[1], branches).double()
    weights = {
        f"{name}.{part}": case[f"gate.{name}.{part}"] for name in ("linear", "bn") for part in ("weight", "bias")
    }
    weights |= {f"bn.running_{name}": case[f"gate.bn.running_{name}"].clone() for name in ("mean", "var")}
    assert not gate.load_state_dict(weights, strict=False).unexpected_keys
    feature = case["feature"].clone().requires_grad_()
    pooled = feature.mean((-2, -1)).reshape(len(feature), branches, -1)
    logits = torch.einsum("bnw,ncw->nbc", pooled, case["classifier.weight"]) + case["classifier.bias"][:, None]
    close(logits, case["logits"])
    shares = gate(feature)
    close(shares, case["gate.weights"])
    ensemble = gated(logits, shares)
    close(ensemble, case["logits.gate"])
    term = from_ensemble(logits, ensemble, temperature=float(case["temperature"]), epsilon=epsilon, detach=detach)
    close(term, case["loss.divergence"])
    ramp = 1.0 if code == "mclokd" else sigmoid_ramp(int(golden["epoch"]), 80)
    total = classification([*logits, ensemble], case["labels"].long()) + ramp * term
    close(total, case["loss.total"])
    names = [name for name, _ in gate.named_parameters()]
    found = gradients(total, logits, feature, *gate.parameters())
    expected = [case["gradient.logits"], case["gradient.feature"], *(case[f"gradient.gate.{name}"] for name in names)]
    for actual, value in zip(found, expected, strict=True):
        close(actual, value)
    for name in ("mean", "var"):
        close(getattr(gate.bn, f"running_{name}"), case[f"gate.bn.running_{name}_after"])


@pytest.mark.parametrize("networks", [2, 3, 4])
def test_every_branch_learns_from_the_ensemble(random_logits, close, gradients, divergence, networks):
    logits, _ = random_logits(networks)
    ensemble = logits.detach().mean(0)
    term = from_ensemble(logits, ensemble, temperature=3.0)
    expected = sum(divergence(ensemble, branch, 3.0) for branch in logits)
    close(term, expected)
    close(gradients(term, logits)[0], gradients(expected, logits)[0])
