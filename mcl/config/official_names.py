"""Translate names of networks and pairs in the L-MCL authors' code."""

_TWO_ARCHITECTURES = {
    "res32_res110_cifar": "resnet32-resnet110",
    "res56_res110_cifar": "resnet56-resnet110",
    "wrn_16_2_wrn_40_2_cifar": "wrn_16_2-wrn_40_2",
    "wrn_40_2_wrn_28_4_cifar": "wrn_40_2-wrn_28_4",
    "res56_wrn_40_2_cifar": "resnet56-wrn_40_2",
    "res110_wrn_28_4_cifar": "resnet110-wrn_28_4",
    "shufflev2_res110_cifar": "shufflenetv2_1x-resnet110",
    "shufflev2_wrn_40_2_cifar": "shufflenetv2_1x-wrn_40_2",
    "res18_shufflenetv2_1x_imagenet": "imagenet/resnet18-shufflenetv2_1x",
    "res50_shufflenetv2_1x_imagenet": "imagenet/shufflenetv2_1x-resnet50",  # same order as in the official code
    "res18_res50_imagenet": "imagenet/resnet18-resnet50",
}
_PAIR = "lmcl_"


def our_name(official: str) -> str | None:
    """Return our name of an official network or pair, or None if it is not an official name. Case is ignored.

    >>> our_name("ShuffleNetV2_05x_cifar")
    'shufflenetv2_05x'
    >>> our_name("lmcl_res32_res110_cifar")
    'resnet32-resnet110'
    >>> our_name("resnet18_imagenet")
    'imagenet/resnet18'
    """
    name = official.lower().removeprefix(_PAIR)
    if name in _TWO_ARCHITECTURES:
        return _TWO_ARCHITECTURES[name]
    network, _, size = name.rpartition("_")
    folder = {"cifar": "", "imagenet": "imagenet/"}.get(size)
    return None if folder is None or not network else folder + network


def in_our_words(official: str, group: str) -> str | None:
    """Return what to type instead of an official name after ``pair=`` or ``network@pair.first=``; else None."""
    name = our_name(official)
    if name is None:
        return None
    if group == "network":
        return f"an official name; here this network is {name}."
    if official.lower().startswith(_PAIR):
        return f"an official name; here this pair is pair={name}."
    return (
        f"the official name of one network; here that is pair=single network@pair.first={name} loss=independent"
        f" sampler=shuffle, and two of them are pair={name}."
    )
