import math

import pytest
import torch
from support.plain_losses import batch_of, cross_entropy, divergence
from torch import Tensor

from mcl.losses.classification import classification
from mcl.losses.distillation import kl_divergence
from mcl.losses.ffl import FFL, Fusion
from mcl.losses.ramps import sigmoid_ramp
from mcl.types import NetworkShape, Outputs


def load(golden) -> Fusion:
    maps = golden["map"]
    fusion = Fusion([maps.shape[2]] * len(maps), len(golden["fusion.classifier.bias"])).double()
    missing = fusion.load_state_dict(golden.under("fusion"), strict=False)
    assert not missing.unexpected_keys
    assert all("running" in key or "tracked" in key for key in missing.missing_keys)
    return fusion


def test_fusion_losses_and_gradients(arrays, close, gradients):
    golden = arrays("ffl")
    fusion, maps = load(golden), golden.leaf("map")
    own = [
        maps[i].mean((-2, -1)) @ golden[f"classifier.{i + 1}.weight"].mT + golden[f"classifier.{i + 1}.bias"]
        for i in range(2)
    ]
    logits = torch.stack([*own, fusion(list(maps))])
    close(logits, golden["logits"])
    for name, value in golden.under("after.fusion").items():
        close(fusion.get_buffer(name), value)
    options = {"temperature": float(golden["temperature"]), "epsilon": float(golden["epsilon"])}
    from_fused = kl_divergence(logits[2].detach(), logits[:2], **options)
    from_mean = kl_divergence(logits[:2].mean(0).detach(), logits[2], **options)
    close(from_fused, golden["loss.distillation"][:2].sum())
    close(from_mean, golden["loss.distillation"][2])
    for k, epoch in enumerate(golden["epochs"].tolist()):
        ramp = sigmoid_ramp(epoch, 80)
        total = classification(logits, golden.labels()) + ramp * (from_fused + from_mean)
        close(total, golden["total"][k])
        close(gradients(total, logits)[0], golden["grad.logits"][k])
        if k == 0:
            close(gradients(total, maps)[0], golden["grad.map"])
            for name, parameter in fusion.named_parameters():
                close(gradients(total, parameter)[0], golden[f"grad.fusion.{name}"])


def test_unlike_networks_are_fused_to_the_width_of_the_first():
    fusion = Fusion([4, 6, 8], 5)
    logits = fusion([torch.randn(2, width, 3, 3) for width in (4, 6, 8)])
    assert logits.shape == (2, 5)
    assert fusion.classifier.in_features == 4
    published = Fusion([64, 64], 100)
    assert sum(parameter.numel() for parameter in published.parameters()) == 16228
    assert abs(published.depthwise.weight.std() - (2 / (9 * 128)) ** 0.5) < 0.003


def normalized_with_relu(channel: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalize a channel (B, H, W) by its mean and its biased variance, then take what is positive."""
    mean = channel.sum() / channel.numel()
    variance = ((channel - mean) ** 2).sum() / channel.numel()
    x = weight * (channel - mean) / (variance + 1e-5).sqrt() + bias
    return x * (x > 0)


def fused_logits(fusion: Fusion, maps: list[Tensor]) -> Tensor:
    """Return the logits of a fusion module, channel by channel and image by image."""
    channels = [each[:, c] for each in maps for c in range(each.shape[1])]
    height, width = channels[0].shape[-2:]
    deep = []
    for c, channel in enumerate(channels):
        padded = channel.new_zeros(len(channel), height + 2, width + 2)
        padded[:, 1:-1, 1:-1] = channel
        shifts = [(y, x) for y in range(3) for x in range(3)]
        sums = [fusion.depthwise.weight[c, 0, y, x] * padded[:, y : y + height, x : x + width] for y, x in shifts]
        deep.append(normalized_with_relu(sum(sums), fusion.bn1.weight[c], fusion.bn1.bias[c]))
    pooled = []
    for d, row in enumerate(fusion.pointwise.weight[:, :, 0, 0]):
        mixed = sum(factor * channel for factor, channel in zip(row, deep, strict=True))
        mixed = normalized_with_relu(mixed, fusion.bn2.weight[d], fusion.bn2.bias[d])
        pooled.append(mixed.sum((-2, -1)) / (height * width))
    weight, bias = fusion.classifier.weight, fusion.classifier.bias
    columns = [bias[c] + sum(weight[c, d] * each for d, each in enumerate(pooled)) for c in range(len(bias))]
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("networks", [3, 4])
def test_three_and_four_networks_with_loops(random_logits, close, gradients, networks):
    logits, labels = random_logits(networks)
    torch.manual_seed(networks)
    widths = [2 + i % 2 for i in range(networks)]
    maps = [torch.randn(len(labels), width, 3, 4, dtype=torch.float64, requires_grad=True) for width in widths]
    loss = FFL(shapes=[NetworkShape([width], [width], 4) for width in widths]).double()
    for name, parameter in loss.named_parameters():  # no symmetric start
        torch.nn.init.uniform_(parameter, 0.5, 1.5) if "bn" in name else torch.nn.init.normal_(parameter)
    epoch = 30
    loss.set_epoch(epoch)
    outputs = [Outputs([], [z], [m]) for z, m in zip(logits, maps, strict=True)]
    total = loss.total(loss(outputs, batch_of(labels)))

    fused = fused_logits(loss.fusion, maps)
    ramp = math.exp(-5 * (1 - epoch / 80) ** 2)
    expected = cross_entropy(fused, labels)
    for i in range(networks):
        expected = expected + cross_entropy(logits[i], labels)
        expected = expected + ramp * divergence(fused, logits[i], 3.0, epsilon=1e-7)
    expected = expected + ramp * divergence(sum(logits) / networks, fused, 3.0, epsilon=1e-7)
    close(total, expected)
    leaves = [logits, *maps, *loss.parameters()]
    for actual, other in zip(gradients(total, *leaves), gradients(expected, *leaves), strict=True):
        close(actual, other)
