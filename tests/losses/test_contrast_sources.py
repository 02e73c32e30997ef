"""Sources of contrast for L-MCL and MCL: the batch of a process, that of all processes, or memory banks."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mcl import distributed
from mcl.errors import UserError
from mcl.losses.base import MetaSchedule
from mcl.losses.contrast import last_stage_contrast, mutual_contrast
from mcl.losses.contrast_sources import BankContrast, BatchContrast
from mcl.losses.lmcl import LMCL
from mcl.losses.matching import LayerMatching
from mcl.losses.mcl import MCL
from mcl.losses.memory import MemoryBank
from mcl.losses.numerics import l2_normalize
from mcl.types import Batch, Outputs

WIDTHS = [[4, 4], [6, 6, 6]]
LABELS = torch.arange(24) % 4
BATCH = Batch(torch.empty(0), LABELS[[3, 8, 20, 1]], torch.tensor([3, 8, 20, 1]), step=5)
OPTIONS = {"tau": 0.1, "temperature": 3.0}


def outputs(seed: int = 0) -> list[Outputs]:
    generator = torch.Generator().manual_seed(seed)
    features = [[torch.randn(4, width, generator=generator) for width in stages] for stages in WIDTHS]
    return [Outputs(stages, [torch.randn(4, 4, generator=generator) for _ in stages]) for stages in features]


def embeddings(seed: int = 0, batch: int = 4) -> tuple[list[Tensor], Tensor]:
    """Return embeddings of two networks, and weights."""
    generator = torch.Generator().manual_seed(seed)
    z = [F.normalize(torch.randn(len(stages), batch, 7, generator=generator), dim=-1) for stages in WIDTHS]
    return z, torch.rand(5, 5, batch, generator=generator)


def with_banks(**options) -> LMCL:
    torch.manual_seed(0)
    contrast = partial(BankContrast, **{"neg_k": 9, **options})
    loss = LMCL(widths=WIDTHS, matching=LayerMatching, contrast=contrast, meta=MetaSchedule(), dim=7)
    loss.prepare(LABELS)
    return loss


@pytest.fixture
def second_process(monkeypatch):
    """``second_process(a, b, ...)`` simulates a second process that holds b if this one holds a, and so on."""

    def hold(*pairs: Tensor) -> None:
        second = {first.shape: other for first, other in zip(pairs[::2], pairs[1::2], strict=True)}

        def gather(tensors, dims):
            return [torch.cat([tensor, second[tensor.shape]], dim) for tensor, dim in zip(tensors, dims, strict=True)]

        monkeypatch.setattr(distributed, "gather_coalesced", gather)

    return hold


@pytest.mark.parametrize("gather", [True, False])
def test_processes_contrast_all_samples_or_their_own(gather, second_process):
    z, weights = embeddings(batch=8)
    labels = torch.arange(8) % 3
    nodes, share = torch.cat(z), slice(0, 4 if not gather else 8)
    second_process(*(nodes[:, :4], nodes[:, 4:]), *(weights[..., :4], weights[..., 4:]), *(labels[:4], labels[4:]))
    local = [network[:, :4] for network in z]
    terms = BatchContrast(gather)(local, Batch(torch.empty(0), labels[:4], labels[:4]), weights[..., :4], **OPTIONS)
    expected = mutual_contrast([network[:, share] for network in z], labels[share], weights[..., share], **OPTIONS)
    torch.testing.assert_close(torch.stack(terms), torch.stack(expected))


@pytest.mark.parametrize("gather", [True, False])
def test_mcl_contrasts_all_samples_or_those_of_its_process(gather, second_process):
    loss, shares, labels = MCL(widths=WIDTHS, dim=7, gather=gather), [outputs(0), outputs(1)], LABELS[:8]
    last = [
        torch.cat([heads(network.features[-1:]) for heads, network in zip(loss.heads, share, strict=True)]).detach()
        for share in shares
    ]
    second_process(*last, labels[:4], labels[4:])
    seen = torch.cat(last, 1) if gather else last[0]
    expected = last_stage_contrast(list(seen), labels[: seen.shape[1]], **OPTIONS)
    terms = loss(shares[0], BATCH._replace(labels=labels[:4]))
    for name, value in expected._asdict().items():
        torch.testing.assert_close(terms[name], value)


def test_lmcl_contrasts_with_its_banks():
    loss, network_outputs = with_banks().eval(), outputs()
    terms = loss(network_outputs, BATCH)
    z = [heads(network.features) for heads, network in zip(loss.heads, network_outputs, strict=True)]
    contrast = loss.contrast
    rows = contrast.sampler(BATCH.indices, 5)
    weights = loss.matching([network.features for network in network_outputs])
    expected = contrast.bank.contrast(z, BATCH.indices, *rows, weights, tau=0.1, temperature=3.0)
    for name, value in expected._asdict().items():
        torch.testing.assert_close(terms[name], value)
    assert not torch.equal(loss(network_outputs, BATCH._replace(step=6))["icl"], terms["icl"])


def test_banks_are_updated_after_the_terms_of_a_training_step():
    loss, network_outputs = with_banks(momentum=0.25), outputs()
    before = loss.contrast.bank.rows.clone()
    expected = loss.eval()(network_outputs, BATCH)
    assert torch.equal(loss.contrast.bank.rows, before)
    terms = loss.train()(network_outputs, BATCH)
    assert {name: value.item() for name, value in terms.items()} == {n: v.item() for n, v in expected.items()}
    after = loss.contrast.bank.rows
    for heads, network, old, new in zip(loss.heads, network_outputs, before, after, strict=True):
        last = heads(network.features)[-1].detach()
        moved = F.normalize(0.25 * old[BATCH.indices] + 0.75 * last, dim=-1)
        torch.testing.assert_close(new[BATCH.indices], moved)
    assert ((after != before).any(2).sum(1) == 4).all()
    loss.total(terms).backward()


def test_meta_objectives_do_not_change_the_banks():
    loss, network_outputs = with_banks(), outputs()
    before = loss.contrast.bank.rows.clone()
    first = loss.inner_objective(network_outputs, BATCH)
    loss.outer_objective(network_outputs, BATCH)
    assert torch.equal(loss.inner_objective(network_outputs, BATCH), first)
    assert torch.equal(loss.contrast.bank.rows, before)
    assert "contrast.bank.rows" in loss.static_buffers()
    assert not LMCL(widths=WIDTHS, matching=LayerMatching, meta=None).static_buffers()


def test_only_rows_are_saved_as_training_state():
    saved = {name for name in with_banks().state_dict() if name.startswith(LMCL.training_state)}
    assert saved == {"contrast.bank.rows"}


def test_seed_determines_the_initial_rows():
    one, same, other = (with_banks(seed=seed).contrast.bank.rows for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])


@pytest.mark.parametrize(
    ("option", "value"), [("momentum", 1.0), ("momentum", -0.1), ("pos_k", 0), ("neg_k", 0), ("dtype", "float16")]
)
def test_bad_options_are_refused(option, value):
    with pytest.raises(UserError, match=rf"loss\.contrast\.{option}={value}: (must|expected)"):
        BankContrast(**{option: value})


def cosine_after_many_updates(momentum, dtype):
    """Return the mean cosine of rows and the embeddings that they were repeatedly updated with."""
    generator = torch.Generator().manual_seed(0)
    bank = MemoryBank(50, 1, 128, momentum, dtype=dtype, generator=generator)
    embeddings = l2_normalize(torch.randn(50, 128, generator=generator))
    for _ in range(round(5 / (1 - momentum))):
        bank.update([embeddings], torch.arange(50))
    return float((bank.rows[0].float() * embeddings).sum(1).mean())


def test_rows_of_bfloat16_follow_the_embeddings_or_are_refused():
    BankContrast(momentum=0.99, dtype="bfloat16")
    assert cosine_after_many_updates(0.99, "bfloat16") > 0.97
    BankContrast(momentum=0.999)
    assert cosine_after_many_updates(0.999, "float32") > 0.99
    assert cosine_after_many_updates(0.999, "bfloat16") < 0.5
    for momentum in (0.995, 0.999):
        with pytest.raises(UserError, match=rf"^loss\.contrast\.dtype=bfloat16, .*={momentum}: .*dtype=float32, or"):
            BankContrast(momentum=momentum, dtype="bfloat16")


def test_images_of_one_class_are_refused():
    with pytest.raises(UserError, match="one class"):
        BankContrast().prepare(torch.zeros(5, dtype=torch.int64), networks=2, dim=3)
