import torch

from mcl.losses.classification import classification
from mcl.losses.distillation import kl_divergence
from mcl.losses.ffl import Fusion
from mcl.losses.ramps import sigmoid_ramp


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
