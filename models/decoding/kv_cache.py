"""Keys and values of the tokens decoded so far, so that each is computed once."""

from torch import Tensor

_FIRST_CAPACITY = 16


class KeyValueCache:
    """Keys and values of one self attention layer, position by position; grows by doubling.

    Attributes:
        length: number of positions held.
    """

    def __init__(self) -> None:
        self.length = 0
        self._buffer: Tensor | None = None  # [keys and values, B, heads, capacity, d_head]

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        """Add k and v, each [B, heads, T, d_head], and return all keys and all values, [B, heads, length, d_head]."""
        start, self.length = self.length, self.length + k.size(2)
        if self._buffer is None or self._buffer.size(3) < self.length:
            capacity = max(_FIRST_CAPACITY, 2 * self.length)
            grown = k.new_empty(2, *k.shape[:2], capacity, k.size(3))
            if self._buffer is not None:
                grown[:, :, :, :start] = self._buffer[:, :, :, :start]
            self._buffer = grown
        self._buffer[0, :, :, start : self.length] = k
        self._buffer[1, :, :, start : self.length] = v
        return self._buffer[:, :, :, : self.length].unbind(0)

    def select(self, rows: Tensor) -> None:
        """Continue with these rows only, int64 [B'], in this order; a row may come several times."""
        if self._buffer is not None:
            self._buffer = self._buffer.index_select(1, rows)
