import torch

from mcl.losses.pcl import ema_decay
from mcl.losses.ramps import sigmoid_ramp


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
