"""Every loss on the shards of a batch is the loss on the batch, gradients included."""

from pathlib import Path

from distributed.test_process_group import torchrun

SCRIPT = Path(__file__).parents[1] / "support" / "sharded_losses.py"


def test_losses_of_shards_average_to_the_loss_of_the_batch(device: str, warm: None, tmp_path: Path) -> None:
    ended = torchrun(2, str(SCRIPT), device, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("equal") == 2
