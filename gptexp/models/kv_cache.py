"""Keys and values of the tokens that a model has read, so that the next ones are read alone."""

import torch
from torch import Tensor


class KVCache:
    """What the attention layers keep of up to `capacity` tokens, for generation without gradients.

    `length` is how many tokens it has. A layer's arrays are [batch, kv_head, capacity, width], made
    at its first `extend`, in the type of what it is given.
    """

    def __init__(self, layers: int, capacity: int) -> None:
        self.length = 0
        self.capacity = capacity
        self.documents: Tensor | None = None  # of each token, [batch, length]; None of one alone
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def advance(self, new: int) -> int:
        """Make room for `new` tokens, which every layer then extends; returns how many are before.

        Raises IndexError beyond `capacity`.
        """
        start, self.length = self.length, self.length + new
        if self.length > self.capacity:
            raise IndexError(f"{self.length} tokens in a cache for {self.capacity}")
        return start

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values [batch, kv_head, new, width] of a layer; returns those of all tokens.

        Those of the tokens that the cache was last advanced by.
        """
        kept = self._layers[layer]
        if kept is None:
            shape = (*k.shape[:2], self.capacity, k.shape[3])
            kept = self._layers[layer] = k.new_empty(shape), v.new_empty(shape)
        for whole, new in zip(kept, (k, v), strict=True):
            whole[:, :, self.length - new.shape[2] : self.length] = new
        return kept[0][:, :, : self.length], kept[1][:, :, : self.length]

    def number(self, documents: Tensor) -> Tensor:
        """Count on, over new tokens that are numbered from 0 [batch, new]; returns those of all."""
        if self.documents is None:
            self.documents = documents
        else:
            documents = self.documents[:, -1:] + documents
            self.documents = torch.cat((self.documents, documents), dim=1)
        return self.documents

    def keep_rows(self, rows: Tensor) -> None:
        """Go on with those of the batch, given by their indices, alone."""
        if self.documents is not None:
            self.documents = self.documents[rows]
        self._layers = [
            None if kept is None else tuple(torch.index_select(x, 0, rows) for x in kept)  # type: ignore[misc]
            for kept in self._layers
        ]
