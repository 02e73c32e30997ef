"""Wrong command lines: each gets one line that says what to type. All are typed in this process."""

import inspect
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

import mcl.__main__ as commands
import train
from mcl.commands import sweep
from mcl.config.catalog import options
from mcl.config.hints import type_of
from mcl.errors import nearest

OWN = """
from torch import nn
from mcl.losses.base import Loss
from mcl.losses.classification import classification
from mcl.networks.backbone import Backbone, Head

def block(i, o, s=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, s, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())

class Net(Backbone):
    def __init__(
        self, *, num_classes: int, in_channels: int, second: int = 8, head: int = 8, stride: int = 2,
        classes: int | None = None, inplace: bool = False,
    ):
        stages = [block(8, 8), nn.Sequential(nn.ReLU(inplace), block(second, 8, 2))]
        head = Head(head, classes or num_classes)
        super().__init__(
            name="net", stem=block(in_channels, 8), stages=stages, head=head, in_channels=in_channels, stride=stride
        )

class NoChannels(Backbone):
    def __init__(self, *, num_classes: int): ...

class Mine(Loss):
    terms = ("classification", "extra")

    def __init__(self, *, widths: list[list[int]], kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, outputs, batch):
        logits = [network.logits[-1] for network in outputs]
        good = classification(logits, batch.labels)
        return {
            "undeclared": {"other": good}, "vector": {"extra": logits[0].mean(1)}, "float": {"extra": 0.5},
            "detached": {"extra": good.detach()}, "no dict": good, "no term": {}, "one": {"classification": good},
        }[self.kind]

    def aggregate(self, outputs):
        return [outputs[0].logits[-1]] if self.kind == "one" else None

class Forgetful(Loss):
    def __init__(self, *, widths: list[list[int]]):
        nn.Module.__init__(self)

class NoLoss(nn.Module):
    def __init__(self, *, widths: list[list[int]]):
        super().__init__()

class Downwards:
    def __init__(self, returned: float | None = None):
        self.returned = returned

    def __call__(self, epoch, epochs):
        return self.returned

class OnlyEpoch:
    def __call__(self, epoch): ...
"""
NET = "allow_modules=[own_parts] network@pair.first=custom pair.first._target_=own_parts.Net"
VIT = "network@pair.first=timm/test_vit network@pair.second=timm/test_vit dataset.image_size=32"
OWN_SAMPLER = "allow_modules=[own_parts] sampler=shuffle ~sampler.drop_last"
OWN_SCHEDULE = "allow_modules=[own_parts] ~schedule.warmup_epochs"
MINE = "allow_modules=[own_parts] loss=custom loss._target_=own_parts.Mine"
TYPED = {  # after `python train.py`; `sweep` and `mcl` stand for the other programs
    # bare names, and what other programs call things
    "lr=0.1": "lr: there is no such option. Write optimizer.lr=0.1.",
    "epochs=10": "Write trainer.epochs=10.",
    "batch_size=64": "Write trainer.batch_size=64.",
    "--epochs 10": "--epochs 10: options have no dashes. Write trainer.epochs=10.",
    "--epochs=10": "Write trainer.epochs=10.",
    "-e 10": "Write trainer.epochs=10.",
    "--lr=0.1": "Write optimizer.lr=0.1.",
    "--seed 1": "Write seed=1.",
    "-seed=1": "Write seed=1.",
    "--resolve seed=1": "--resolve: only says how to show the configuration: add --cfg job, or leave it out.",
    "-p loss": "-p: only says how to show the configuration: add --cfg job, or leave it out.",
    "loss=größe --cfg job": "Write 'loss=\"größe\"'.",
    "--cfg job loss": "loss has no value. Write ",
    "--gpu 0": "Write trainer.device=cuda:0.",
    "--amp": "Write trainer.precision=bfloat16.",
    "--dtype fp16": "Write trainer.precision=float16.",
    "dtype=tf32": "Write trainer.precision=tf32.",
    "--wandb": "Write tracking=wandb.",
    "--wandb=false": "Write tracking=none.",
    "--model resnet20": "Write pair=resnet20.",
    "--multi-run": "Write -m for a multirun.",
    "--plan_only": "plan_only is one of sweep.py",
    "trainer.device=0": "trainer.device=0: expected a text. Write trainer.device=cuda:0.",
    "'tracking.wandb.tags=[a]'": "tracking.wandb.tags: there is no such option. Known: project, entity,",
    "'tags=[a]'": "tags: there is no such option. Known: dataset,",
    "trainer.lr=0.1": "trainer.lr: there is no such option. Write optimizer.lr=0.1.",
    "momentum=0.9": "Write optimizer.momentum=0.9.",
    "learning_rate=1": "Write optimizer.lr=1.",
    "dataset.bad_images=skip": "Write dataset.corrupt=skip.",
    "wd=1e-4": "Write optimizer.weight_decay=1e-4.",
    "workers=4": "Write dataset.workers=4.",
    "num_workers=4": "Write dataset.workers=4.",
    "root=/data": "Write dataset.root=/data.",
    "image_size=32": "Write dataset.image_size=32.",
    "neg_k=10": "Write loss.contrast.neg_k=10.",
    "weights=imagenet": "Write loss/weights=imagenet.",
    "scheduler=cosine": "Write schedule=cosine.",
    "model=resnet50": "Write pair=imagenet/resnet50.",
    "recipe=modern dataset=imagenet dataset.root=D": "recipe=modern chooses dataset/augmentation. ",
    "recipe=dks optimizer=adamw": "recipe=dks sets optimizer.nesterov: there is no such option of AdamW. ",
    "recipe=dks dataset=imagenet dataset.root=D": "or remove the option with '~dataset.augmentation'.",
    "recipe=dks schedule=cosine": "Choose another schedule=, or remove the option with '~schedule.milestones'.",
    "-m recipe=kd,dks optimizer=adamw": "recipe=kd sets optimizer.nesterov: ",
    "experiment=cifar100_lmcl optimizer=adamw": "experiment=cifar100_lmcl sets optimizer.momentum: ",
    "recipe=imagenet": "Did you mean 'modern_imagenet'? Known: byot, dks, ffl, kd, modern, ",
    "teacher=resnet20": "Write network@pair.first=resnet20.",
    "output_dir=x": "Write runs=x.",
    "+lr=0.1": "Write optimizer.lr=0.1.",
    "++epochs=3": "Write trainer.epochs=3.",
    "foo=1": "foo: there is no such option. Known: dataset,",
    # networks
    "pair.first=resnet20": "Write network@pair.first=resnet20",
    "network.first=resnet20": "network@pair.first=resnet20.",
    "network=resnet20": "network@pair.first=resnet20 or network@pair.second=resnet20.",
    "network@first=resnet20": "write network@pair.first=resnet20.",
    "network@pair.frist=resnet20": "write network@pair.first=resnet20.",
    "pair.second.branch=byot": "Write pair.second.branches=byot.",
    "pair.second.drop_pth=0.1": "Write pair.second.drop_path=0.1.",
    "network@pair.first=hcgnet_a1 pair.first.drop_path=0.1": "there is no such option of HCGNet. Known: ",
    "network@pair.first=torchvision/resnet18 pair.first.drop_path=0.1": "write pair.first.options.drop_path=0.1.",
    "pair.second.weigths=DEFAULT": "Write pair.second.weights=DEFAULT.",
    "pair.first.weight_decay=0.1": "or optimizer.weight_decay=0.1.",
    "pair.branches=light": "each network has this option. Write pair.first.branches=light.",
    "network@pair.third=resnet20": "To add one: +network@pair.third=resnet20.",
    "pair@foo=resnet8": "Write pair=resnet8.",
    "pair=resnet18": "Did you mean 'imagenet/resnet18'?",
    "pair=resnet9": "Did you mean 'resnet8'?",
    f"{NET} pair.first.width=8": "its first mention takes a plus: +pair.first.width=8",
    f"pair.first.width=8 {NET}": "its first mention takes a plus: +pair.first.width=8",
    # choices
    "loss=MCL": "Did you mean 'mcl'?",
    "optimizer=SGD": "Did you mean 'sgd'?",
    "optimizer=adam": "Did you mean 'adamw'?",
    "dataset=mnist": "Did you mean 'fashion_mnist'?",
    "dataset=CIFAR10": "Did you mean 'cifar10'?",
    "schedule=step": "Did you mean 'multistep'?",
    "experiment=mcl": "Did you mean 'cifar100_mcl'?",
    "loss=independent loss/contrast=memory": "only loss=lmcl and loss=lmcl_imagenet have a choice of loss/contrast.",
    "loss.contrast=memory": "a choice is typed with a slash: loss/contrast=memory.",
    "loss.weights=imagenet": "a choice is typed with a slash: loss/weights=imagenet.",
    "optimizer/lr=0.1": "an option is typed with a dot: optimizer.lr=0.1.",
    "hydra/lancher=gpus": "Did you mean 'hydra/launcher'?",
    "optimizer=": "give optimizer=NAME, one of adamw, lamb, sgd.",
    "optimizer=null": "give optimizer=NAME, one of adamw, lamb, sgd.",
    "debug=true": "give debug=NAME, one of dry, overfit.",
    "tracking=none tracking.wandb.mode=online": "It belongs to tracking=wandb, which is not chosen here.",
    "loss.contrast.neg_k=10": "It belongs to loss/contrast=memory",
    "tracking=[wandb,mine]": "tracking=mine: there is no such choice. Known: mlflow, none, tensorboard, wandb.",
    "lmcl": "Write loss=lmcl.",
    "resnet20": "Write pair=resnet20",
    "quickstart": "a study is run with python sweep.py study=quickstart.",
    # values, lists and quotes
    "allow_modules=my_module": "expected a list. Write 'allow_modules=[my_module]'.",
    "seeds=three": "Write seed=0 for one run, or -m seed=0,1,2",
    "seeds=0,1": "a list is written in brackets: 'seeds=[0,1]'.",
    "seed=x": "seed=x: expected a whole number.",
    "resume=always": "resume=always: expected one of auto, never, force.",
    "trainer.precision=bf16": "Did you mean 'bfloat16'?",
    "optimizer.lr=-1": "Invalid learning rate: -1",
    "'optimizer.lr = 0.1'": "leave out the blanks around =: optimizer.lr=0.1.",
    "optimizer.lr = 0.1": "no blanks around =. Write optimizer.lr=0.1.",
    "trainer.epochs:10": "an option takes =, not a colon. Write trainer.epochs=10.",
    "optimizer.lr": "optimizer.lr has no value. Write optimizer.lr=VALUE.",
    "seeds=[0, 1]": "Quote it as one: 'seeds=[0, 1]'.",
    "trainer.foo=[1": "a bracket is missing.",
    "dataset=folder dataset.root=/my photos": "quote them as one: 'dataset.root=/my photos'.",
    "tracking.wandb.project=my project": "quote them as one: 'tracking.wandb.project=my project'.",
    "tracking.wandb.project=my new thesis seed=1": "quote them as one: 'tracking.wandb.project=my new thesis'.",
    "dataset=folder dataset.root=/tmp/a=b": """Write 'dataset.root="/tmp/a=b"'.""",
    "'dataset.root=/tmp/a(b)'": """Write 'dataset.root="/tmp/a(b)"'.""",
    "trainer.epochs=10,": "trainer.epochs=10,: expected a whole number. Write trainer.epochs=10.",
    "seed=1,": "seed=1,: expected a whole number. Write seed=1.",
    "optimizer.lr=0.1,": "optimizer.lr=0.1,: there is a comma at the end. Write optimizer.lr=0.1.",
    "schedule.milestones=5,9,": "expected a list (each a whole number). Write 'schedule.milestones=[5,9]'.",
    "'runs=~/runs'": "runs=~/runs: ~ is not expanded here. Write runs=/home/ada/runs.",
    "'dataset.root=~/my photos'": "Write 'dataset.root=/home/ada/my photos'.",
    "'dataset.root=~/a=b'": """Write 'dataset.root="/home/ada/a=b"'.""",
    "~trainer.foo": "there is no option trainer.foo to remove.",
    "help": "write --help.",
    "--cfg jobs": "argument --cfg/-c: invalid choice: 'jobs'",
    "--config-name foo": "there is no foo.yaml in",
    # multirun
    "seed=1,2": "seed=1,2: several values are several runs: add -m.\n",
    "pair=resnet8,resnet20": "add -m.\n",
    "tracking=wandb,none": "add -m. One list is written 'tracking=[wandb,none]'.",
    "trainer.class_weights=1,2": "add -m. One list is written 'trainer.class_weights=[1,2]'.",
    "trainer.export=onnx,torch": "give one value: expected one of torch, safetensors, onnx, torch-export or null.",
    "trainer.device=cpu,cuda": "trainer.device=cpu,cuda: give one value.",
    "resume=auto,never": "give one value: expected one of auto, never, force.",
    "hydra/launcher=gpus": "only a multirun has a launcher and a sweeper: add -m",
    "seed=1 -m loss=lmcl,mcll": "Did you mean 'mcl'?",
    "-m seed=1,2 hydra.launcher.devices=cpu": "It belongs to hydra/launcher=gpus, which is not chosen here.",
    "-m optimizer.lr=0.1,-1": "Invalid learning rate: -1",
    "-m loss.tau=0.1,-1": "loss.tau=-1: must be greater than 0.",
    "-m loss=independent,lmcl pair=single": "needs at least 2; the pair has 1",
    "-m hydra/launcher=nope": "there is no such choice. Known: basic, gpus,",
    # methods and what they need
    "loss=one pair=resnet8": "no stage is shared by all networks: give pair.shared_stages=2.",
    "loss=one pair=single": "needs at least 2; the pair has 1. Choose a pair of two (pair=resnet8)",
    "loss=one pair=resnet32-resnet110 pair.shared_stages=2": "have unlike stages and cannot share them.",
    "loss=okddip pair=resnet8": "needs at least 3; the pair has 2. Choose three or more (pair=resnet8_x4)",
    "loss=okddip loss.leader=4": "loss.leader=4: the networks have the indices 0 to 3; -1 is the last.",
    "loss=okddip +network@pair.third=wrn_16_2": "chosen already. Write network@pair.third=wrn_16_2, without +.",
    "pair=resnet8_x4 +network@pair.third=wrn_16_2": "chosen already. Write network@pair.third=wrn_16_2, without +.",
    "loss=okddip pair=resnet8 +network@pair.third=wrn_16_2 loss.leader=0": "their widths differ: [64, 128].",
    "loss=kd": "needs one frozen network, its teacher; 0 of 2 are frozen. Give pair.second.frozen=true",
    "loss=kd pair.second.frozen=true": "it would stay at random weights.",
    "loss=switokd loss.teachers=2": "loss.teachers=2: of 2 networks, 1 to 1 can be teachers.",
    "loss=switokd loss.reproduce_official_bug=true": "the bug is that of three networks, and the pair has 2.",
    "loss=kdcl loss.form=general": "there are none: give dataset.validation=0.1",
    "loss=kdcl loss.form=liner": "loss.form=liner: there is no such form. Did you mean 'linear'?",
    "loss=dml loss.form=authors loss.temperature=2": "loss.form=authors has no temperature. Leave it null.",
    "loss=dml loss.reproduce_official_bug=true": "loss.form=paper has no bug to reproduce.",
    "loss=dml loss.temperature=0": "loss.temperature=0: must be greater than 0.",
    "loss=mcl loss.head_weight_decay=-1": "loss.head_weight_decay=-1: must not be negative.",
    "loss.matching.dim=0": "loss.matching.dim=0: must be at least 1.",
    "loss.weights.vcl=abc": "loss.weights.vcl=abc: expected a number or null.",
    "loss=3": "loss=3: 3 is not a choice of loss: give loss=NAME, one of ",
    "network@pair.first=null": "null is not a choice of network: give network@pair.first=NAME, one of ",
    "tracking=[none,1]": "tracking=[none,1]: [none,1] is not a choice of tracking: give tracking=NAME, one of ",
    "loss.weights=[1]": "loss.weights=[1]: expected a mapping, not a list. Give loss.weights.NAME=VALUE",
    "loss=ffl loss.weight_decay=-1": "loss.weight_decay=-1: must not be negative.",
    "loss=DML": "Did you mean 'dml'?",
    "-m loss=dml,okddip pair=resnet8": "needs at least 3; the pair has 2.",
    # own networks and losses, tried with two images
    f"{NET} +pair.first.second=4": "stage 2 of Net cannot take what stage 1 gives, a tensor of shape (2, 8, 8, 8)",
    f"{NET} +pair.first.head=4": "the head of Net cannot take what stage 2 gives",
    f"{NET} +pair.first.stride=8": "which is a stride of about 2.",
    f"{NET} +pair.first.classes=7": "pair.first: net has 7 classes, and the dataset has 10.",
    f"{NET} +pair.first.inplace=true": "No stage may change its input in place, as nn.ReLU(inplace=True) does",
    f"{NET.replace('.Net', '.NoChannels')}": "does not take in_channels, which training gives it.",
    f"{MINE} +loss.kind=undeclared": "returns a term 'other' that it does not declare",
    f"{MINE} +loss.kind=vector": "term 'extra' of Mine is a tensor of shape (2,), not a tensor of shape ()",
    f"{MINE} +loss.kind=float": "term 'extra' of Mine is a float",
    f"{MINE} +loss.kind=float {VIT}": "term 'extra' of Mine is a float",  # its stages return tokens, no maps
    f"{MINE} +loss.kind=detached": "do not depend on the networks",
    f"{MINE} '+loss.kind=no dict'": "not a dict of named terms",
    f"{MINE} '+loss.kind=no term'": "loss: Mine returns no term",
    f"{MINE} +loss.kind=one": "aggregate() of Mine returns 1 logits for 2 networks",
    MINE.replace("Mine", "Forgetful"): "the constructor of Forgetful must call super().__init__(weights)",
    MINE.replace("Mine", "NoLoss"): "own_parts.NoLoss: not a subclass of mcl.losses.base.Loss",
    "loss=custom loss._target_=torch.nn.CrossEntropyLoss": "not a subclass of mcl.losses.base.Loss",
    f"{OWN_SCHEDULE} schedule._target_=own_parts.Downwards +schedule.returned=-1": "returns -1 for epoch 0 of 20",
    f"{OWN_SCHEDULE} schedule._target_=own_parts.Downwards": "returns None for epoch 0 of 20, not a factor",
    f"{OWN_SCHEDULE} schedule._target_=own_parts.OnlyEpoch": "It is called as schedule(epoch, epochs)",
    f"{OWN_SAMPLER} sampler._target_=own_parts.Downwards": "not a subclass of mcl.data.samplers.Sampler: see",
    "allow_modules=[own_parts] dataset=custom dataset._target_=own_parts.Downwards": "mcl.data.dataset.Dataset: see",
    # studies
    "sweep quickstart": "a study is run with study=quickstart.",
    "sweep plan=true study=quickstart": "Did you mean 'plan_only'?",
    "sweep --plan study=quickstart": "Write plan_only=true.",
    "sweep study=quickstart epochs=3": "Write trainer.epochs=3.",
    "sweep study=quickstart seeds=three": "expected a list of whole numbers, such as 'seeds=[0,1,2]'.",
    "sweep study=quickstart seeds=3": "seeds=3: expected a list. Write 'seeds=[3]'.",
    "sweep study=quickstart plan_only=maybe": "plan_only=maybe: expected true or false.",
    "sweep study=quickstart -m": "-m: a study is always several runs. Leave -m out.",
    "sweep --multirun study=quickstart": "--multirun: a study is always several runs. Leave --multirun out.",
    "sweep study=/no/folder": "study=/no/folder: there is no /no/folder/study.yaml. Studies: ",
    "sweep study=quickstar": "Did you mean 'quickstart'?",
    "sweep stdy=quickstart": "Did you mean 'study'?",
    "sweep study=quickstart out=file/x": "out=file/x: ",
    # other commands
    "mcl netwroks": "Did you mean 'networks'?",
    "mcl networks --clases 3": "Did you mean '--classes'?",
    "mcl export runs": "the following arguments are required: --format.",
    "mcl report empty": "empty holds no run.",
    "mcl report empty --out file/x": "--out file/x: ",
    "mcl bundle empty --out nowhere/x.zip": "--out nowhere/x.zip: there is no folder",
    "mcl bundle empty --out empty": "this is a folder. Give the name of a file",
    "mcl evaluate empty --out file": "is a file, not a folder.",
}
TYPED["'runs=${oc.env:NOWHERE_SET}/runs'"] = "Environment variable 'NOWHERE_SET' not found"
TYPED["'trainer.epochs=${own:3}'"] = "trainer.epochs: Unsupported interpolation type own"
TYPED["'trainer.epochs=${trainer.none}'"] = "trainer.epochs: Interpolation key 'trainer.none' not found"
TYPED["'hydra.run.dir=${rus}/here'"] = "hydra.run.dir: Interpolation key 'rus' not found"
TYPED["pair.first=resnet20"] = "a network is chosen with network@pair.first=resnet20."


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """``typed("lr=0.1")``: what is printed to standard error, if the command fails with status 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    Path("own_parts.py").write_text(OWN)
    Path("empty").mkdir()
    Path("file").touch()

    def type_in(line: str) -> str:
        program, *words = shlex.split(line)
        status: object
        try:
            if program == "sweep":
                status = sweep.main(inspect.unwrap(train.train), words)
            elif program == "mcl":
                status = commands.main(words)
            else:
                monkeypatch.setattr(sys, "argv", ["train.py", program, *words])
                train.train()
                status = 0
        except SystemExit as leaving:
            status = leaving.code
        assert status == 1
        return capfd.readouterr().err

    return type_in


@pytest.mark.parametrize("line", TYPED)
def test_a_wrong_command_gets_one_line_that_says_what_to_type(line: str, typed: Callable[[str], str]) -> None:
    (error,) = [each for each in typed(line).splitlines(keepends=True) if not each.endswith("...\n")]
    assert error.startswith("error: ")
    assert TYPED[line] in error
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"defaults:\n- override /loss: dml\n", "experiment=NAME: the first line of its file, without"),
        (b"seed: 3\n", "must be '# @package _global_'"),
        (b"\xef\xbb\xbf# @package _global_\nseed: 3\n", "must be '# @package _global_'"),
        (b"# @package _global_\n# gr\xf6\xdfe\nseed: 3\n", "conf/experiment/own.yaml: not UTF-8 from byte 24 on"),
    ],
)
def test_a_wrong_file_of_an_own_experiment_gets_one_line(
    content: bytes, message: str, typed: Callable[[str], str]
) -> None:
    Path("conf/experiment").mkdir(parents=True)
    Path("conf/experiment/own.yaml").write_bytes(content)
    (error,) = typed("experiment=own").splitlines()
    assert message in error
    assert "trainer.epochs" in typed("trainer.epoch=1")  # a file that is not chosen is no obstacle


def test_every_option_can_be_asked_for_its_type() -> None:
    types = {option: type_of(option) for option in options()}
    assert (types["trainer.epochs"], types["seed"], types["loss.contrast.neg_k"]) == (int, int, int)
    assert types["resume"] == Literal["auto", "never", "force"]


def test_the_nearest_name_ignores_case_and_folders() -> None:
    assert nearest("MCL", ["lmcl", "mcl"]) == ["mcl"]
    assert nearest("resnet18", ["resnet8", "imagenet/resnet18"]) == ["imagenet/resnet18"]
    assert nearest("x", ["lr"]) == []
