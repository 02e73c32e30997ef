import pytest
import torch

from mcl.losses.classification import classification
from mcl.losses.okddip import Attention, divergences, mixtures
from mcl.losses.ramps import sigmoid_ramp

CODES = {"authors": 1e-7, "mclokd": 0.0}


@pytest.mark.parametrize("code", CODES)
def test_attention_losses_and_gradients(arrays, close, gradients, code):
    golden = arrays("okddip")
    attention = Attention(golden["feature"].shape[-1]).double()
    attention.load_state_dict({f"{name}.weight": golden[f"{name}.weight"] for name in ("query", "key")})
    feature = golden.leaf("feature")
    logits = feature @ golden["classifier.weight"].mT + golden["classifier.bias"][:, None]
    close(logits, golden["logits"])
    shares = attention(feature[:-1])
    close(shares, golden["attention"])
    close(mixtures(logits[:-1], shares), golden["aggregated"])
    peers, leader = divergences(logits, shares, temperature=float(golden["temperature"]), epsilon=CODES[code])
    close(peers, golden[f"{code}.loss.peers"])
    close(leader, golden[f"{code}.loss.leader"])
    total = classification(logits, golden.labels()) + sigmoid_ramp(int(golden["epoch"]), 80) * (peers + leader)
    close(total, golden[f"{code}.loss.total"])
    found = gradients(total, logits, feature, attention.query.weight, attention.key.weight)
    for actual, name in zip(found, ("logits", "feature", "query.weight", "key.weight"), strict=True):
        close(actual, golden[f"{code}.gradient.{name}"])


@pytest.mark.parametrize("networks", [2, 3, 4])
def test_peers_learn_from_mixtures_and_the_leader_from_their_mean(random_logits, close, networks, divergence):
    logits, _ = random_logits(networks)
    shares = torch.rand(5, networks - 1, networks - 1, dtype=torch.float64).softmax(-1)
    peers, leader = divergences(logits, shares, temperature=3.0)
    expected = 0
    for a in range(networks - 1):
        aim = sum(shares[:, a, b, None] * logits[b] for b in range(networks - 1))
        expected += divergence(aim, logits[a], 3.0)
    close(peers, expected)
    close(leader, divergence(logits[:-1].mean(0), logits[-1], 3.0))


def test_detached_leader_leaves_the_peers_alone(random_logits, gradients):
    logits, _ = random_logits(3)
    shares = torch.full((5, 2, 2), 0.5, dtype=torch.float64)
    for detached in (False, True):
        _, leader = divergences(logits, shares, temperature=3.0, detach_leader_target=detached)
        moved = gradients(leader, logits)[0].abs().sum((-2, -1)) > 0
        assert moved.tolist() == [not detached, not detached, True]


def test_attention_of_narrow_features_can_learn():
    attention = Attention(4).double()
    shares = attention(torch.randn(3, 5, 4, dtype=torch.float64))
    assert shares.std() > 0
    shares[..., 0].sum().backward()
    assert attention.query.weight.grad.abs().sum() > 0
