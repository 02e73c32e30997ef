import pytest
import torch

from mcl.data.synthetic import Synthetic
from mcl.distributed.process_group import ProcessGroup
from mcl.training.snapshot import SAMPLES, SnapshotRecorder
from mcl.types import Batch


@pytest.mark.parametrize(("count", "batch_size"), [(100, 7), (30, 30), (5, 2)])
def test_snapshot_has_every_prediction_and_a_few_original_images(count: int, batch_size: int) -> None:
    dataset = Synthetic(classes=3, image_size=4, mean=[0.4], std=[0.2])
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 4, 4), generator=rng, dtype=torch.uint8)
    labels = torch.randint(0, 3, (count,), generator=rng)
    logits = torch.randn(count, 3, generator=rng)
    recorder = SnapshotRecorder(dataset, count, ProcessGroup())
    normalized = (images / 255 - 0.4) / 0.2
    parts = torch.arange(count).split(batch_size)
    for part, batch in zip(
        parts, recorder.watch(Batch(normalized[part], labels[part], part) for part in parts), strict=True
    ):
        heads = {"first/stage1": -logits[part], "first/backbone": logits[part], "ensemble": logits[part]}
        recorder.on_batch(heads, batch.labels)
    snapshot = recorder.snapshot()
    assert torch.equal(snapshot.labels, labels)
    assert list(snapshot.predicted) == ["first", "ensemble"]
    assert torch.equal(snapshot.predicted["first"], logits.argmax(1))
    shown = list(range(0, count, max(1, count // SAMPLES)))[:SAMPLES]
    assert torch.equal(snapshot.images, images[shown])
    assert torch.equal(snapshot.image_labels, labels[shown])
    assert torch.equal(snapshot.image_predicted["first"], logits.argmax(1)[shown])
    torch.testing.assert_close(snapshot.image_confidence["first"], logits.softmax(1).amax(1)[shown])
