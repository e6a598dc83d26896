"""N-gram models without any tuning: what counting alone predicts, and the losses it reaches.

Witten-Bell interpolation: an order trusts a context the more, the more often it was seen, and the
less, the more different tokens followed it (Witten and Bell 1991, "The zero-frequency problem";
Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling").
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

ORDERS = 5  # counted on 1M characters of English the sixth is worse, on fewer the fifth is

DENSE = 2**24  # codes that are looked up in a table; more are sorted and searched

Ids = NDArray[np.int64]


def losses(
    train: Ids,
    val: Ids,
    vocab_size: int,
    *,
    orders: int = ORDERS,
    boundary: int | None = None,
    target_mask: NDArray[np.bool_] | None = None,
) -> list[float]:
    """Mean negative log-likelihood of `val` by n-grams of order 1, 2, ..., in nats per token.

    See `probabilities`. The targets are those of the exact evaluation: all tokens of `val` [tokens]
    but the first; without any, the list is empty. `target_mask` [tokens] says which of `val` are
    targets, where it is not all.
    """
    if target_mask is None:
        target_mask = np.arange(len(val)) > 0
    if not target_mask.any():
        return []
    by_order = probabilities(train, val, vocab_size, orders=orders, boundary=boundary)
    return [float(np.log(1 / p[target_mask]).mean()) for p in by_order]


def probabilities(
    train: Ids, val: Ids, vocab_size: int, *, orders: int = ORDERS, boundary: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """The probability of each token of `val` [tokens] by n-grams of order 1, 2, ...

    Of token w after the context h of n - 1 tokens, and h' the same without its oldest token,

        P_n(w|h) = (c(hw) + u(h) P_{n-1}(w|h')) / (c(h) + u(h)),

    where c counts in `train` [tokens], u(h) is how many different tokens follow h there, and
    P_0 = 1 / vocab_size; an h that was never seen leaves P_{n-1} as it is. Before the beginning of
    an array stands a token of its own, which is never a target.

    `boundary` is a token between documents that no context reaches over: what is older than it
    counts as the boundary too, so that a document begins alike wherever it stands.
    """
    size = vocab_size + 1  # with the token before the beginning
    # The context before each token, as a number; and of it the oldest token.
    contexts, val_contexts = np.zeros(len(train), np.int64), np.zeros(len(val), np.int64)
    oldest, val_oldest = train, val
    p = np.full(len(val), 1 / vocab_size)
    for order in range(1, orders + 1):
        if order > 1:
            oldest = _one_older(train, oldest, order - 1, vocab_size, boundary)
            val_oldest = _one_older(val, val_oldest, order - 1, vocab_size, boundary)
            # A longer context is the number of the shorter one and a token, so codes stay small.
            different = int(contexts.max(initial=0)) + 1
            codes = _Codes(contexts * size + oldest, different * size)
            contexts, val_contexts = codes.numbers, codes.find(val_contexts * size + val_oldest)
        p = _interpolated(p, train, val, contexts, val_contexts, size)
        yield p


def _interpolated(
    p: NDArray[np.float64], train: Ids, val: Ids, contexts: Ids, val_contexts: Ids, size: int
) -> NDArray[np.float64]:
    """P_n of each token of `val` [tokens], from P_{n-1} and the number of the context before it."""
    seen = np.bincount(contexts, minlength=1)  # c(h)
    pairs = _Codes(contexts * size + train, len(seen) * size)
    followers = np.bincount(pairs.known // size, minlength=len(seen))  # u(h)
    times = np.append(np.bincount(pairs.numbers), 0)  # c(hw), and last that of what is not known
    together = times[pairs.find(val_contexts * size + val)]
    c, u = seen[val_contexts], followers[val_contexts]
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing was counted
        return np.where((val_contexts >= 0) & (c > 0), (together + u * p) / (c + u), p)


def _one_older(ids: Ids, older: Ids, distance: int, nothing: int, boundary: int | None) -> Ids:
    """The token that far before each of `ids`, given those one nearer in `older`; all [tokens]."""
    shifted = np.full(len(ids), nothing)
    shifted[distance:] = ids[: max(len(ids) - distance, 0)]
    if boundary is None or distance == 1:  # the nearest is the boundary itself
        return shifted
    return np.where(older == boundary, boundary, shifted)


class _Codes:
    """Different codes below `space`, numbered in ascending order."""

    known: Ids  # [different codes]
    numbers: Ids  # of the codes given, [codes]

    def __init__(self, codes: Ids, space: int) -> None:
        self._table: NDArray[np.int32] | None = None
        if space <= DENSE:
            self._table = np.full(space, -1, np.int32)  # half of what int64 takes
            self._table[codes] = 0
            self.known = np.flatnonzero(self._table == 0)
            self._table[self.known] = np.arange(len(self.known))
            self.numbers = self._table[codes].astype(np.int64)  # whose products codes are
        else:
            self.known, self.numbers = np.unique(codes, return_inverse=True)

    def find(self, codes: Ids) -> Ids:
        """The number of each code, -1 for one that is not known; both [codes]."""
        if self._table is not None:
            # Below 0 is what was not known before.
            return np.where(codes >= 0, self._table[codes], np.int64(-1))
        if not len(self.known):
            return np.full(len(codes), -1)
        places = np.searchsorted(self.known, codes).clip(max=len(self.known) - 1)
        return np.where(self.known[places] == codes, places, -1)
