"""Random numbers of modules: different in each process, and not repeated after a resume."""

from functools import partial

import pytest
import torch
from support.small_runs import assert_same

from mcl import build_network
from mcl.data.samplers import Shuffle
from mcl.data.synthetic import Synthetic
from mcl.distributed.process_group import ProcessGroup
from mcl.losses.independent import Independent
from mcl.networks.cohort import Cohort
from mcl.training.build_trainer import build_trainer
from mcl.training.learner import Learner
from mcl.training.options import TrainerOptions
from mcl.training.random_state import random_state, seed_everything
from mcl.training.results import Results
from mcl.training.schedules import Constant
from mcl.training.trainer import Trainer

CPU = torch.device("cpu")


class Rank(ProcessGroup):
    """One of several processes, simulated without the others."""

    def __init__(self, rank: int, world_size: int):
        self.rank, self.world_size = rank, world_size

    def all_gather_object(self, value):
        return [value]


@pytest.fixture
def make_trainer(monkeypatch: pytest.MonkeyPatch):
    """``make_trainer(rank, world_size)``: the trainer of that process, from the same random state as the others."""
    monkeypatch.setattr("mcl.training.build_trainer.data_parallel", lambda learner, **options: learner)
    dataset = Synthetic(image_size=8, classes=2, train_per_class=6, test_per_class=4)

    def make(rank: int, world_size: int) -> Trainer:
        cohort = Cohort({"first": partial(build_network, "resnet8", 2)}, branched=False, seed=0)
        seed_everything(7)
        return build_trainer(
            TrainerOptions(epochs=2, batch_size=12, device="cpu"),
            Learner(cohort, Independent(widths=cohort.widths)),
            dataset.load(),
            dataset,
            Shuffle(),
            make_optimizer=partial(torch.optim.SGD, lr=0.1),
            schedule=Constant(),
            results=Results([("first", "resnet8")], chosen_on="test"),
            seed=7,
            data="",
            processes=Rank(rank, world_size),
        )

    return make


def draw() -> list[float]:
    return torch.rand(4).tolist()


def test_processes_draw_different_numbers_and_the_first_those_of_a_single_process(make_trainer) -> None:
    seed_everything(7)
    alone = draw()
    drawn = []
    for rank in range(4):
        make_trainer(rank, 4)
        drawn.append(tuple(draw()))
    assert list(drawn[0]) == alone
    assert len(set(drawn)) == 4


def test_resumed_process_continues_its_random_numbers_and_new_ones_repeat_none(make_trainer) -> None:
    drawn = set()
    states = []
    for rank in range(2):
        trainer = make_trainer(rank, 2)
        drawn.add(tuple(draw()))
        states.append(random_state(CPU))
    saved = {**trainer.state.state_dict(), "seconds": 1.0, "random_states": states, "step": 1}
    following = []
    for state in states:
        torch.set_rng_state(state["torch"])
        following.append(draw())
    for rank, size in ((0, 2), (1, 2), (0, 1), (0, 3), (1, 3)):
        make_trainer(rank, size).state.load_state_dict(saved)
        assert draw() == following[rank]
    for step in (0, 1, 2):  # a process that joins for the first time, or again later
        make_trainer(2, 3).state.load_state_dict({**saved, "step": step})
        drawn.add(tuple(draw()))
    make_trainer(1, 2).state.load_state_dict({**saved, "random_states": states[:1]})
    drawn.add(tuple(draw()))
    assert len(drawn | {tuple(numbers) for numbers in following}) == 8


def test_state_of_all_generators_is_restored(make_trainer) -> None:
    make_trainer(1, 2)
    state = random_state(CPU)
    trainer = make_trainer(0, 1)
    trainer.state.load_state_dict({**make_trainer(0, 1).state.state_dict(), "seconds": 1.0, "random_states": [state]})
    assert_same(random_state(CPU), state, "state")
