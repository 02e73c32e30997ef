"""Find pictures that are the same or nearly so, without comparing all pairs."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mcl.inspection.picture_facts import THUMBNAIL, PictureFacts

BITS = 64
DISTANCE = 4  # bits in which the hashes of nearly equal pictures may differ
MAX_DISTANCE = 12
CORRELATION = 0.95  # of their thumbnails, at least
_KEPT = 2**21  # pairs that are kept before they are reduced to groups

Pairs = NDArray[np.int64]  # (P, 2)


class Groups(NamedTuple):
    """Pictures by their positions in the list that was compared."""

    linked: list[list[int]]  # two or more pictures that are equal or similar, directly or through others
    pixels: list[int]  # one number for each picture; the same one for equal pixels


def find_groups(pictures: Sequence[PictureFacts], distance: int = DISTANCE) -> Groups:
    """Group N pictures by equal pixels, and by similarity.

    Similar are two whose hashes differ in at most ``distance`` bits and whose thumbnails correlate. Flat pictures are
    similar to none, as there is nothing to compare. A negative ``distance`` finds equal pixels alone.
    """
    digests = np.array([picture.digest.hex() for picture in pictures])  # bytes would lose zeros at their end
    _, first, same = np.unique(digests, return_index=True, return_inverse=True)
    hashed = [i for i in first.tolist() if pictures[i].similarity_hash is not None]
    hashes = np.array([pictures[i].similarity_hash for i in hashed], np.uint64)
    thumbnails = np.frombuffer(b"".join(pictures[i].thumbnail for i in hashed), np.uint8).reshape(-1, THUMBNAIL**2)
    near = np.array(hashed, np.int64)[similar_pairs(hashes, thumbnails, distance)]
    equal = np.stack([np.arange(len(same)), first[same]], 1)
    linked = _components(np.concatenate([equal, near]), len(pictures))
    groups = [group.tolist() for group in _runs(linked, np.argsort(linked, kind="stable")) if len(group) > 1]
    return Groups(sorted(groups), same.tolist())


def similar_pairs(hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], distance: int) -> Pairs:
    """Return pairs that link the similar ones of N pictures, directly or through others.

    Two hashes that differ in at most d bits are equal in at least one of d + 1 bands of their bits. So only the hashes
    that share a band are compared, once those that are equal are reduced to one.
    """
    if distance < 0 or not len(hashes):
        return np.empty((0, 2), np.int64)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    equal = np.stack([np.arange(len(hashes)), first[inverse]], 1)
    kept = [_correlated(equal[equal[:, 0] != equal[:, 1]], thumbnails)]
    count = len(kept[0])
    for candidates in _candidates(hashes[first], distance):
        kept.append(_correlated(first[candidates], thumbnails))
        count += len(kept[-1])
        if count > _KEPT:  # at most one pair for each picture says the same
            positions, roots = np.arange(len(hashes)), _first_of_component(np.concatenate(kept), len(hashes))
            kept = [np.stack([positions, roots], 1)[roots != positions]]
            count = 0
    return np.concatenate(kept)


def _candidates(hashes: NDArray[np.uint64], distance: int) -> Iterator[Pairs]:
    """Yield pairs of N different hashes that differ in at most ``distance`` bits; a pair may come repeatedly."""
    edges = np.linspace(0, BITS, distance + 2).round().astype(int).tolist()
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(band, kind="stable")
        ends = np.searchsorted(band[order], band[order], side="right")  # of the run of equal bands
        active = np.arange(len(order))
        for step in range(1, len(order)):  # each hash with the one that follows it by so many, in the same run
            active = active[active + step < ends[active]]
            if not len(active):
                break
            one, other = order[active], order[active + step]
            near = _ones(hashes[one] ^ hashes[other]) <= distance
            if near.any():
                yield np.stack([one[near], other[near]], 1)


def _ones(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the number of bits that are 1 in each word. (numpy before 2 has no function for it.)"""
    one, two, four, eight = (
        np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101)
    )
    words = words - ((words >> np.uint64(1)) & one)
    words = (words & two) + ((words >> np.uint64(2)) & two)
    words = (words + (words >> np.uint64(4))) & four
    return (words * eight) >> np.uint64(56)


def _correlated(pairs: Pairs, thumbnails: NDArray[np.uint8]) -> Pairs:
    """Return the pairs whose thumbnails (N, pixels) correlate."""
    parts = [pairs[start : start + 2**15] for start in range(0, len(pairs), 2**15)]
    kept = [part[_correlation(*(thumbnails[part[:, side]] for side in (0, 1))) >= CORRELATION] for part in parts]
    return np.concatenate([np.empty((0, 2), np.int64), *kept])


def _correlation(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    a, b = (each.astype(np.float32) - each.mean(1, dtype=np.float32, keepdims=True) for each in (one, other))
    norms = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.asarray((a * b).sum(1) / np.maximum(norms, 1e-9))


def _components(pairs: Pairs, count: int) -> NDArray[np.int32]:
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])


def _first_of_component(pairs: Pairs, count: int) -> NDArray[np.int64]:
    _, first, inverse = np.unique(_components(pairs, count), return_index=True, return_inverse=True)
    return np.asarray(first[inverse])


def _runs(values: NDArray[Any], order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split ``order``, which sorts the values, where they change."""
    ordered = values[order]
    return np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1) if len(order) else []
