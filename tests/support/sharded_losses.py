"""Compare every loss on shards of a batch with the loss on the whole batch, in every process of a test.

Before the processes meet, each computes the loss of the whole batch and its gradients, in float64; then that of its
shard. The mean over processes must be the same. Batch statistics are frozen: they are those of a shard.

    python sharded_losses.py [DEVICE]
"""

import sys

import torch
from torch import Tensor, nn

from mcl import distributed
from mcl.devices import find_device
from mcl.distributed.process_group import ProcessGroup
from mcl.distributed.sharding import Split
from mcl.losses import BYOT, CLILR, DKS, DML, FFL, KD, KDCL, ONE, PCL, Loss, OKDDip, SwitOKD
from mcl.types import Batch, NetworkShape, Outputs

NETWORKS, CLASSES = 3, 4
DEVICE = find_device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
SHAPES = [NetworkShape([8, 8, 8], [4, 6, 8], CLASSES, shared=2) for _ in range(NETWORKS)]
TEACHER = [shape._replace(frozen=i == 1) for i, shape in enumerate(SHAPES)]
METHODS = {
    "dml": lambda: DML(shapes=SHAPES),
    "dml authors": lambda: DML(shapes=SHAPES, form="authors"),
    "kdcl": lambda: KDCL(shapes=SHAPES, form="linear"),
    "cl_ilr": lambda: CLILR(shapes=SHAPES),
    "one": lambda: ONE(shapes=SHAPES),
    "okddip": lambda: OKDDip(shapes=SHAPES),
    "pcl": lambda: PCL(shapes=SHAPES),
    "ffl": lambda: FFL(shapes=SHAPES),
    "switokd": lambda: SwitOKD(shapes=SHAPES),
    "dks": lambda: DKS(shapes=SHAPES),
    "byot": lambda: BYOT(shapes=SHAPES, weights={"feature": 0.1}),
    "byot journal": lambda: BYOT(shapes=SHAPES, form="journal"),
    "kd": lambda: KD(shapes=TEACHER),
}


def make(name: str) -> Loss:
    torch.manual_seed(3)
    loss = METHODS[name]().double().to(DEVICE)
    for module in loss.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
    loss.set_epoch(80)
    return loss


def compute(loss: Loss, images: range, whole: int | None) -> tuple[Tensor, list[Tensor]]:
    """Return the total of some images of the batch, and the gradients of the outputs of all, zero for other images."""
    generator = torch.Generator().manual_seed(5)

    def leaf(*shape: int) -> Tensor:
        values = torch.randn(8, *shape, dtype=torch.float64, generator=generator).to(DEVICE)
        leaves.append(values.requires_grad_())
        return values[images.start : images.stop]

    leaves: list[Tensor] = []
    networks = [
        Outputs([leaf(8) for _ in range(3)], [leaf(CLASSES) for _ in range(3)], [leaf(c, 2, 2) for c in (4, 6, 8)])
        for _ in range(2 * NETWORKS)
    ]
    labels = torch.arange(8, device=DEVICE)[images.start : images.stop] % CLASSES
    batch = Batch(torch.empty(0, device=DEVICE), labels, labels, whole=whole)
    teachers = {"teachers": networks[NETWORKS:]} if loss.needs_ema else {}
    with distributed.sharing(whole):
        total = loss.total(loss(networks[:NETWORKS], batch, **teachers))
    weight = distributed.weight(whole)
    total.backward(torch.full_like(total, weight))
    parameters = [*leaves, *loss.parameters()]
    return weight * total.detach(), [torch.zeros_like(x) if x.grad is None else x.grad for x in parameters]


def main() -> None:
    sizes = (8, 7, 3)
    expected = {(name, size): compute(make(name), range(size), None) for name in METHODS for size in sizes}
    processes = ProcessGroup()
    for (name, size), (total, gradients) in expected.items():
        own, shares = compute(make(name), Split(size, processes.world_size).part(processes.rank), size)
        means = distributed.all_reduce_mean([own, *shares])
        for actual, wanted in zip(means, [total, *gradients], strict=True):
            torch.testing.assert_close(
                actual, wanted, rtol=1e-10, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
            )
    print("equal")


if __name__ == "__main__":
    main()
