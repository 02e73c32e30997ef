"""PCL: peer collaborative learning from an ensemble classifier and averaged peers (AAAI 2021, arXiv 2006.04147)."""


def ema_decay(step: int) -> float:
    """Return the decay of the averaged networks after step ``step``, from 0: min(1 - 1 / (step + 1), 0.999)."""
    return min(1 - 1 / (step + 1), 0.999)
