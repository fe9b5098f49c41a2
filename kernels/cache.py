"""The cache of keys and values that the kernels read, in pages or in one piece, and what is checked before a launch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vevolve.errors import BadInput

WIDTHS = (64, 96, 128, 256)
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
ALIGNMENT = 16
"""Bytes; a row of keys is fetched in pieces of this size."""


@dataclass(frozen=True)
class Cache:
    """Keys and values of one layer.

    Attributes:
        keys: [pages, page, H, d]; the last dimension is contiguous, the others have any strides.
        values: like keys, of the same type.
        lengths: int32 [B], visible tokens of each sequence. May differ from sequence to sequence.
        table: int32 [B, pages of a sequence], the page that holds tokens `page * i` to `page * (i + 1) - 1`. None where
            sequence b is page b, so that nothing has to be looked up.
    """

    keys: torch.Tensor
    values: torch.Tensor
    lengths: torch.Tensor
    table: torch.Tensor | None = None

    @property
    def page(self) -> int:
        """Tokens of a page."""
        return self.keys.shape[1]

    @property
    def heads(self) -> int:
        """KV heads."""
        return self.keys.shape[2]

    @property
    def width(self) -> int:
        """d."""
        return self.keys.shape[3]

    @property
    def batch(self) -> int:
        """Sequences."""
        return self.lengths.shape[0]

    @property
    def capacity(self) -> int:
        """Tokens for which a sequence has room."""
        return self.page * (1 if self.table is None else self.table.shape[1])

    @property
    def looked_up(self) -> torch.Tensor:
        """What a kernel is handed as the page table: any other tensor where there is none, and it looks nothing up."""
        return self.lengths if self.table is None else self.table

    @property
    def strides(self) -> tuple[int, ...]:
        """What a kernel is told of strides: those of page, token and head in keys, then in values, and the table's."""
        found = tuple(tensor.stride(axis) for tensor in (self.keys, self.values) for axis in range(3))
        return *found, 0 if self.table is None else self.table.stride(0)

    def check(self) -> None:
        """Shapes, types, strides and alignment; costs no work on the device.

        Raises:
            BadInput: the one thing that is wrong first.
        """
        keys, values = self.keys, self.values
        if keys.dim() != 4 or values.shape != keys.shape:
            words = f"keys {list(keys.shape)} and values {list(values.shape)}"
            raise BadInput(f"Expected keys and values of one shape [pages, page, H, d], got {words}.")
        if keys.dtype not in DTYPES or values.dtype != keys.dtype:
            raise BadInput(
                "Expected keys and values of one type out of bfloat16, float16 and float32, got "
                f"{_name(keys)} and {_name(values)}; convert them first."
            )
        if self.width not in WIDTHS:
            raise BadInput(f"Expected d in {WIDTHS}, got {self.width}.")
        for name, tensor in (("keys", keys), ("values", values)):
            _rows(name, tensor)
        whole("lengths", self.lengths, torch.int32, (self.batch,))
        if self.table is not None:
            if self.page & (self.page - 1):
                raise BadInput(f"Expected pages of a power of two of tokens, got {self.page}.")
            whole("table", self.table, torch.int32, (self.batch, None))
        elif keys.shape[0] != self.batch:
            raise BadInput(
                f"Expected one page for each of {self.batch} sequences, got {keys.shape[0]}; pass a page table."
            )
        one_device(keys, values, self.lengths, self.table)

    def check_content(self) -> None:
        """Lengths and page table against the pages that there are. Reads from the device, so it waits for it.

        Raises:
            BadInput: a length below 1, or a page that is out of range.
        """
        within(self.lengths, self.capacity)
        if self.table is not None:
            used = torch.arange(self.table.shape[1], device=self.table.device) * self.page < self.lengths[:, None]
            pages = self.table[used]
            if int(pages.min()) < 0 or int(pages.max()) >= self.keys.shape[0]:
                words = f"{int(pages.min())} to {int(pages.max())}"
                raise BadInput(f"Expected pages of 0 to {self.keys.shape[0] - 1} in the table, got {words}.")

    def rows(self, tensor: torch.Tensor, sequence: int) -> torch.Tensor:
        """The tokens of one sequence, [H, n, d], as a copy: for twins and tests."""
        n = int(self.lengths[sequence])
        if self.table is None:
            return tensor[sequence, :n].transpose(0, 1)
        pages = self.table[sequence, : -(-n // self.page)].long()
        return tensor[pages].flatten(0, 1)[:n].transpose(0, 1)


def whole(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: tuple[int | None, ...]) -> None:
    """Raise BadInput unless a tensor has this type and shape (None: any size) and is contiguous."""
    if tensor.dtype != dtype:
        raise BadInput(f"Expected {name} of type {str(dtype).removeprefix('torch.')}, got {_name(tensor)}.")
    fits = tensor.dim() == len(shape) and all(
        want is None or want == size for want, size in zip(shape, tensor.shape, strict=False)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise BadInput(f"Expected {name} of shape [{wanted}], got {list(tensor.shape)}.")
    if not tensor.is_contiguous():
        raise BadInput(f"Expected {name} to be contiguous, got strides {tensor.stride()}; call .contiguous() first.")
    if tensor.data_ptr() % ALIGNMENT:
        raise BadInput(
            f"Expected {name} to start at a multiple of {ALIGNMENT} bytes, got {tensor.data_ptr() % ALIGNMENT} beyond "
            "one; copy it first."
        )


def one_device(*tensors: torch.Tensor | None) -> None:
    """Raise BadInput unless all tensors that are given lie on one device."""
    places = sorted({str(tensor.device) for tensor in tensors if tensor is not None})
    if len(places) > 1:
        raise BadInput(f"Expected all tensors on one device, got {' and '.join(places)}.")


def whole_query(query: torch.Tensor, dtype: torch.dtype, shape: tuple[int, int, int], beside: torch.Tensor) -> None:
    """Raise BadInput unless queries [B, H, G, d] have this type, these B, H and d, and lie where `beside` does."""
    batch, heads, width = shape
    whole("query", query, dtype, (batch, heads, None, width))
    if not query.shape[2]:
        raise BadInput("Expected at least one query head for each KV head, got none.")
    one_device(query, beside)


def within(lengths: torch.Tensor, most: int) -> None:
    """Raise BadInput unless all lengths are 1 to so many tokens. Reads from the device, so it waits for it."""
    least, longest = int(lengths.min()), int(lengths.max())
    if least < 1 or longest > most:
        raise BadInput(f"Expected lengths of 1 to {most} tokens, got {least} to {longest}.")


def _rows(name: str, tensor: torch.Tensor) -> None:
    strides = [stride * tensor.itemsize for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]
    if tensor.stride(-1) != 1:
        raise BadInput(f"Expected {name} with a contiguous last dimension, got strides {tensor.stride()}.")
    if any(stride % ALIGNMENT for stride in strides[:-1]) or tensor.data_ptr() % ALIGNMENT:
        raise BadInput(
            f"Expected rows of {name} at multiples of {ALIGNMENT} bytes; copy them into a tensor of their own."
        )


def _name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
