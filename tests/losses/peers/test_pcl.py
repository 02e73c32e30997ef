import math

import pytest
import torch
from support.plain_losses import batch_of, cross_entropy, divergence, outputs_of

from mcl.losses.pcl import PCL, ema_decay
from mcl.losses.ramps import sigmoid_ramp
from mcl.types import NetworkShape, Outputs


def test_decay_of_the_average(arrays, close):
    golden = arrays("pcl")
    mean = golden["ema.start"].clone()
    for k, step in enumerate(golden["ema.steps"].tolist()):
        decay = ema_decay(step)
        close(torch.tensor(decay, dtype=torch.float64), golden["ema.decay"][k])
        mean = decay * mean + (1 - decay) * golden["ema.student"][k]
        close(mean, golden["ema.mean"][k])
    assert ema_decay(0) == 0
    assert ema_decay(10**6) == 0.999


def test_mended_ramp(arrays, close):
    golden = arrays("pcl")
    values = [sigmoid_ramp(epoch, 80) for epoch in golden["ramp.epochs"].tolist()]
    close(torch.tensor(values, dtype=torch.float64), golden["ramp.mended"])


@pytest.mark.parametrize("networks", [2, 4])
def test_two_and_four_peers_with_loops(random_logits, close, gradients, networks):
    logits, labels = random_logits(networks)
    torch.manual_seed(networks)
    averaged = 3 * torch.randn_like(logits)
    widths = [3 + i for i in range(networks)]
    features = [torch.randn(len(labels), width, dtype=torch.float64, requires_grad=True) for width in widths]
    loss = PCL(shapes=[NetworkShape([width], [width], 4) for width in widths]).double()
    epoch = 20
    loss.set_epoch(epoch)
    outputs = [Outputs([f], [z]) for f, z in zip(features, logits, strict=True)]
    total = loss.total(loss(outputs, batch_of(labels), teachers=outputs_of(averaged)))

    weight, bias = loss.classifier.weight, loss.classifier.bias
    rows = []
    for b in range(len(labels)):
        for c in range(4):
            value, column = bias[c], 0
            for of_network in features:
                for x in of_network[b]:
                    value, column = value + weight[c, column] * x, column + 1
            rows.append(value)
    ensemble = torch.stack(rows).reshape(len(labels), 4)
    ramp = math.exp(-5 * (1 - epoch / 80) ** 2)
    expected = cross_entropy(ensemble, labels)
    for i in range(networks):
        expected = expected + cross_entropy(logits[i], labels) + ramp * divergence(ensemble, logits[i], 3.0)
        for j in range(networks):
            if j != i:
                expected = expected + ramp / (networks - 1) * divergence(averaged[j], logits[i], 3.0)
    close(total, expected)
    leaves = [logits, *features, weight, bias]
    for actual, other in zip(gradients(total, *leaves), gradients(expected, *leaves), strict=True):
        close(actual, other)
