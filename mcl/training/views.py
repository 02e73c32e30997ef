"""How many views of each image the networks get: one for all, or one for each network."""

from mcl.data.dataset import Dataset
from mcl.errors import UserError
from mcl.losses.base import Loss
from mcl.training.options import TrainerOptions


def count_views(options: TrainerOptions, loss: Loss, dataset: Dataset, networks: int) -> int:
    """Return the number of views that the loader makes of each image, as ``trainer.views`` or else the loss asks.

    Raises:
        UserError: the views would all be equal.
    """
    separate = loss.separate_views if options.views is None else options.views == "separate"
    if not separate or networks == 1:
        return 1
    if not dataset.is_random and not options.overfit:
        asked = "trainer.views=separate" if options.views else f"loss {type(loss).__name__} asks for separate views"
        raise UserError(
            f"{asked}: the images of {dataset.spec.name} are not augmented, so all views would be equal. Set"
            " dataset.augmentation.padding=4 or dataset.augmentation.flip=true, or use trainer.views=shared."
        )
    return networks


def view_notes(options: TrainerOptions, networks: int) -> list[str]:
    """Return a note if views were asked for and there is one network, whose view is the only one."""
    if options.views == "separate" and networks == 1:
        return ["trainer.views=separate changes nothing: there is one network."]
    return []
