"""The training of L-MCL written for reading: every image, every pair and every number by itself.

Images pass through PIL one by one, losses are loops over ordered pairs, each term is fetched from the device in each
step, and a meta round copies the whole state and that of every unrolled step. The random draws are those of
`mcl.training.trainer.Trainer`, so both arrive at the same weights. Benchmarks measure against this training.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch.func import functional_call

from mcl.data.dataset import Images, Splits
from mcl.errors import UserError
from mcl.losses.contrast_sources import BatchContrast
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.reference.image_batches import Batches
from mcl.reference.objectives import TextbookLMCL
from mcl.reference.unrolled_gradient import meta_gradient_by_copies
from mcl.training.setup import Parts
from mcl.types import Batch


class TextbookTraining:
    """One training on the CPU, in the precision of the learner's parameters.

    Args:
        parts: parts of a run with ``loss=lmcl`` as published; the learner is trained in place.
        splits: the result of ``parts.dataset.load()``.
        seed: seed of the batches and of their augmentation.
        meta_gradient: one of the two functions of `mcl.reference.unrolled_gradient`.

    Raises:
        UserError: The parts belong to another method, or have options that the textbook leaves out.
    """

    def __init__(
        self, parts: Parts, splits: Splits, *, seed: int, meta_gradient: Callable[..., Any] = meta_gradient_by_copies
    ):
        loss = parts.learner.loss
        if (
            not isinstance(loss, LMCL)
            or not isinstance(loss.matching, LayerMatching)
            or not isinstance(loss.contrast, BatchContrast)
            or loss.meta is None
        ):
            raise UserError("The textbook training requires loss=lmcl with loss/contrast=batch and a meta round.")
        published = {
            "loss.meta.outer_batch": loss.meta.outer_batch == "same",
            "loss.meta.attach_features": loss.meta.attach_features,
            "loss.direction": loss.learners == slice(None),
            "loss.head_weight_decay": loss.head_weight_decay is None,
            "trainer.clip_norm": parts.options.clip_norm is None,
            "trainer.decay_norm_and_bias": parts.options.decay_norm_and_bias,
        }
        if changed := ", ".join(option for option, is_published in published.items() if not is_published):
            raise UserError(f"The textbook training supports no other value of {changed} than the published one.")
        if not isinstance(splits.train, Images):
            raise UserError("The textbook training requires images in memory: dataset.storage=memory.")
        self.parts = parts
        self.loss = loss
        self.schedule = loss.meta
        self.meta_gradient = meta_gradient
        self.cohort = parts.learner.cohort
        self.method = TextbookLMCL(self.cohort, loss)
        dtype = next(self.cohort.parameters()).dtype
        self.batches = Batches(splits.train, parts.dataset, parts.sampler, parts.options.batch_size, seed, dtype)
        self.optimizer = parts.make_optimizer(params=parts.learner.trained_parameters())
        self.meta_optimizer = parts.make_optimizer(params=list(loss.meta_parameters().values()))
        self.steps = 0
        self.order = self.all_batches()

    def step(self) -> dict[str, float]:
        """Take the next training step, with its data and, if one is due, its meta round.

        Returns:
            The raw terms by name, ``total``, ``top1/first`` and so on in percent, and after a meta round its
            ``outer_loss``.
        """
        batch = next(self.order)
        values = self.descend(batch)
        if self.steps % self.schedule.interval == 0:
            values["outer_loss"] = self.meta_round(batch)
        self.steps += 1
        return values

    def all_batches(self) -> Iterator[Batch]:
        """Yield the batches of all epochs; set the learning rate at the start of each epoch."""
        for epoch in range(self.parts.options.epochs):
            factor = self.parts.schedule(epoch, self.parts.options.epochs)
            for optimizer in (self.optimizer, self.meta_optimizer):
                for group in optimizer.param_groups:
                    group["lr"] = optimizer.defaults["lr"] * factor
            yield from self.batches.epoch(epoch)

    def descend(self, batch: Batch) -> dict[str, float]:
        """Take one optimization step on a batch; return the values of `step`."""
        self.method.train()
        terms, outputs = self.method.terms(batch)
        total = self.loss.total(terms)
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        values = {name: value.item() for name, value in {**terms, "total": total}.items()}
        for key, network in zip(self.cohort.keys, outputs, strict=True):
            correct = network.logits[-1].argmax(dim=1) == batch.labels
            values[f"top1/{key}"] = 100 * correct.double().mean().item()
        return values

    def meta_round(self, batch: Batch) -> float:
        """Take one step of the matching network; return the outer objective after the unrolled steps."""
        self.method.train()
        before = {name: tensor.clone() for name, tensor in self.method.state_dict().items()}
        meta = {f"loss.{name}": value for name, value in self.loss.meta_parameters().items()}
        unrolled = {f"cohort.{name}": value for name, value in self.cohort.named_parameters()}
        unrolled |= {f"loss.{name}": value for name, value in self.loss.inner_parameters().items()}
        call = partial(functional_call, self.method)
        group = self.optimizer.param_groups[0]
        outer_loss, gradients = self.meta_gradient(
            lambda theta, phi: call({**theta, **phi}, ("inner", batch)),
            lambda theta: call(theta, ("outer", batch)),
            unrolled,
            meta,
            steps=self.schedule.steps,
            lr=group["lr"] if self.schedule.lr is None else self.schedule.lr,
            momentum=self.schedule.momentum,
            weight_decay=group.get("weight_decay", 0.0),
        )
        self.method.load_state_dict(before)  # restores the buffers of batch normalization
        for name, parameter in meta.items():
            parameter.grad = gradients[name]
        self.meta_optimizer.step()
        return outer_loss.item()
