"""Pages by bounds on their keys: Quest's selection (Tang et al. 2024, arXiv:2406.10774) in two launches.

A page's score is the largest value that a query of the group could have with a key between the page's corners, the
elementwise least and greatest of its keys. What is chosen goes to `attend` with `grain` = the page.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vevolve.errors import BadInput
from vevolve.kernels.cache import DTYPES, WIDTHS, one_device, whole, whole_query, within
from vevolve.kernels.launch import launch, options, overlaps, power_of_two
from vevolve.kernels.select.pages_kernel import bound, choose

BLOCK = 64
MOST_PAGES = 16384
"""What one program holds in its registers."""


@dataclass(frozen=True)
class Pages:
    """The selection of one layer, with the room that it needs; captured in a graph, it may be replayed.

    Attributes:
        ids: int32 [B, H, wanted], the chosen pages of the last call.
        counts: int32 [B, H], how many of them are meant: all, or every page of a shorter sequence.
        scores: float32 [B, H, pages] of the last call.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    lengths: torch.Tensor
    page: int
    first: int
    newest: int
    ids: torch.Tensor
    counts: torch.Tensor
    scores: torch.Tensor

    @staticmethod
    def of(
        lower: torch.Tensor,
        upper: torch.Tensor,
        lengths: torch.Tensor,
        wanted: int,
        page: int = 16,
        first: int = 1,
        newest: int = 1,
    ) -> Pages:
        """Prepare the selection of `wanted` pages of each KV head.

        Args:
            lower: [B, H, pages, d], the least of a page's keys in each dimension.
            upper: like lower, the greatest.
            lengths: int32 [B], visible tokens.
            wanted: pages to choose, the first and the newest included.
            page: tokens of a page.
            first: pages at the beginning that are always chosen.
            newest: pages at the end that are always chosen.

        Raises:
            BadInput: shapes, types, strides, too many pages, or more forced pages than wanted.
        """
        if lower.dim() != 4 or lower.dtype not in DTYPES or lower.shape[-1] not in WIDTHS:
            raise BadInput(f"Expected bounds [B, H, pages, d in {WIDTHS}], got {list(lower.shape)} of {lower.dtype}.")
        batch, heads, pages, width = lower.shape
        whole("lower", lower, lower.dtype, (batch, heads, pages, width))
        whole("upper", upper, lower.dtype, (batch, heads, pages, width))
        whole("lengths", lengths, torch.int32, (batch,))
        one_device(lower, upper, lengths)
        if pages > MOST_PAGES:
            raise BadInput(f"Expected at most {MOST_PAGES} pages, got {pages}; take larger ones.")
        if not 1 <= wanted <= pages or min(first, newest) < 0 or first + newest > wanted:
            raise BadInput(
                f"Expected 1 to {pages} pages, the first and the newest among them, got {wanted} with {first} and "
                f"{newest}."
            )
        if page < 1:
            raise BadInput(f"Expected pages of at least one token, got {page}.")
        place = lower.device
        return Pages(
            lower,
            upper,
            lengths,
            page,
            first,
            newest,
            ids=torch.empty(batch, heads, wanted, dtype=torch.int32, device=place),
            counts=torch.empty(batch, heads, dtype=torch.int32, device=place),
            scores=torch.empty(batch, heads, pages, device=place),
        )

    def __call__(self, query: torch.Tensor, checked: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose for queries [B, H, G, d]; returns `ids` and `counts`, which the next call overwrites.

        Args:
            query: contiguous, of the type of the bounds.
            checked: also look at the lengths, which waits for the device.

        Raises:
            BadInput: the query's shape or type, or it is not contiguous; with `checked` also lengths.
        """
        batch, heads, pages, width = self.lower.shape
        whole_query(query, self.lower.dtype, (batch, heads, width), self.lower)
        if checked:
            within(self.lengths, pages * self.page)
        group, overlap = query.shape[2], overlaps(query.device)
        launch(
            bound,
            (-(-pages // BLOCK), batch * heads),
            query,
            self.lower,
            self.upper,
            self.scores,
            pages,
            UNITS=heads,
            GROUP=group,
            GROUP_PADDED=max(16, power_of_two(group)),
            WIDTH=width,
            WIDTH_PADDED=power_of_two(width),
            BLOCK=BLOCK,
            OVERLAP=overlap,
            num_warps=4,
            **options(query.device),
        )
        launch(
            choose,
            (batch * heads,),
            self.scores,
            self.lengths,
            self.ids,
            self.counts,
            pages,
            self.ids.shape[2],
            self.first,
            self.newest,
            UNITS=heads,
            PAGE=self.page,
            PAGES_PADDED=max(64, power_of_two(pages)),
            OVERLAP=overlap,
            num_warps=16 if pages > 2048 else 4,
            **options(query.device),
        )
        return self.ids, self.counts


def corners(keys: torch.Tensor, page: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """The bounds of pages of keys [B, H, n, d], n a multiple of the page: lower and upper, [B, H, n / page, d]."""
    paged = keys.reshape(*keys.shape[:2], -1, page, keys.shape[3])
    return paged.amin(dim=3), paged.amax(dim=3)
