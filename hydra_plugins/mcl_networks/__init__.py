"""``network@pair.first=timm/NAME`` and ``torchvision/NAME``: a choice for every model of these libraries."""
