"""MagicPIG: sample tokens by hash collisions, weighted by their probability (Chen et al. 2024, arXiv:2410.16179).

    p = (1 - theta / pi)^K,  w = P(a token collides with the query in two of L tables or more)
      = 1 - (1 - p)^(L - 1) (1 - p + L p),  out = softmax(q . k / sqrt(d) - log w) over the retrieved tokens.

K sign bits a table; keys are centred by the prompt's mean (which moves all logits alike), queries are not, and theta is
the angle between the very vectors that were hashed. The tables are shared out to the query heads of the group, so that
one set serves all of them and w stays exact; with one head it is the paper's. Index: 1500 bits a token, of which a step
reads the planes it uses, the mean, and the seed of the planes (constants, like code).

The paper sets the number of retrieved tokens by K and L. Here it is given: a table uses the K <= 10 bits at which keys
at right angles would fill the budget. Of more tokens than that a uniform part is drawn, prob = w * part; if fewer were
retrieved, all of them are kept for sure and a uniform sample of the others fills up. Sinks and window (4 and 64 tokens
in the paper) shrink with the budget. The public code adds 1e-4 to w; the Sparse Attention Hub retrieves at one
collision, centres queries too, and keeps no layer dense, where the paper's code keeps every sixteenth.

A sampler by itself, so there is no vAttention over it.
"""

import math

import torch

PUBLISHED = "RULER-HARD-32K six-task mean, Llama-3.1-8B, dense 87.9 (Skylight experiments): 16.1 at .8 %, 36.2 at 9 %"
SINK_SHARE = 0.02
WINDOW_SHARE = 0.3
PLANES = 10
TABLES = 150
ROW = 3  # tables in one row of the index, a divisor of TABLES: fewer rows are asked for


def normals(seed, d, count, device):
    """Return the normals of the first `count` planes of all tables, the same for every head, [count, TABLES, d]."""
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(TABLES, d, generator=rng) for _ in range(count)]).to(device)


def build(keys, rng):
    """Return the bits of the centred keys, eight tokens in a byte, [PLANES * H * TABLES / ROW, ROW * bytes], their mean
    and facts: the seed of the planes and how many tokens are covered."""
    facts = torch.stack([torch.randint(2**62, (), generator=rng), torch.tensor(0)]).to(keys.device)
    mean = keys.mean(dim=1, keepdim=True)
    empty = torch.empty(PLANES * len(keys) * TABLES // ROW, 0, dtype=torch.uint8, device=keys.device)
    return append({"codes": empty, "mean": mean, "facts": facts}, keys)


def append(index, keys):
    """Hash generated keys too, centred by the prompt's mean."""
    seed, covered = index["facts"].tolist()
    bits = side(keys - index["mean"], normals(seed, keys.shape[2], PLANES, keys.device)).flatten(0, 2)
    codes = index["codes"].reshape(len(bits), -(-covered // 8))
    bits = torch.cat([unpack(codes[:, covered // 8 :])[:, : covered % 8], bits], dim=1)
    codes = torch.cat([codes[:, : covered // 8], pack(bits)], dim=1)
    facts = index["facts"] + torch.tensor([0, keys.shape[1]], device=keys.device)
    return {"codes": codes.view(len(codes) // ROW, -1), "mean": index["mean"], "facts": facts}


def side(x, planes):
    """Return on which side of each plane the vectors x [H, m, d] lie, bool [planes, H, TABLES, m]."""
    found = planes.flatten(0, 1) @ x.flatten(0, 1).T >= 0
    return found.view(*planes.shape[:2], *x.shape[:2]).transpose(1, 2)


def pack(bits):
    """Return bits [..., m] as bytes, uint8 [..., ceil(m / 8)].

    Eight bits, a byte each, are one number, whose product modulo 2^64 has them side by side in its highest byte.
    """
    eight = torch.nn.functional.pad(bits, (0, -bits.shape[-1] % 8)).contiguous().view(torch.int64)
    return (eight * 0x0102040810204080 >> 56).byte()


def unpack(packed):
    """Return bytes [..., b] as bits, uint8 [..., 8 b]."""
    return (packed[..., None] >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1).flatten(-2)


def retrieval(p):
    """Return the logarithm of the probability of colliding in two tables or more, [H, m], in float64.

    p float64 [H, G, m]: P(all bits of one table agree) with each query head; table t belongs to head t mod G. With
    one head it is 1 - (1 - p)^(L - 1) (1 - p + L p). The logarithm of what is left of 1 keeps small chances exact.
    """
    group = p.shape[1]
    tables = torch.tensor([[len(range(g, TABLES, group))] for g in range(group)], dtype=p.dtype, device=p.device)
    p = p.clamp(max=1 - 1e-9)
    none = (tables * torch.log1p(-p)).sum(dim=1)
    one = torch.log1p((tables * p / (1 - p)).sum(dim=1))
    return torch.log(-torch.expm1((none + one).clamp(max=-1e-300)))


def depth(share):
    """Return how many planes a table may use for keys at right angles to be retrieved at this rate at least."""
    chances = [0.5**count for count in range(1, PLANES + 1)]
    rates = [1 - (1 - p) ** (TABLES - 1) * (1 - p + TABLES * p) for p in chances]
    return max(sum(rate >= share for rate in rates), 1)


def hits(query, index, cache, mean, count):
    """Return which visible tokens collide in two tables or more of `count` planes, bool [H, n]."""
    seed, covered = index["facts"].tolist()
    packed = index.rows("codes", torch.arange(count * len(query) * TABLES // ROW, device=query.device))
    packed = packed.view(count, len(query), TABLES, -1)
    planes = normals(seed, query.shape[2], count, query.device)
    newest = cache.keys(torch.arange(covered, cache.n, device=query.device).expand(len(query), -1))
    own, fresh = side(torch.cat([query, newest - mean], dim=1), planes).tensor_split([query.shape[1]], dim=3)
    turn = (torch.arange(TABLES, device=query.device) % query.shape[1]).expand(*own.shape[:2], -1)
    apart = torch.cat([packed, pack(fresh)], dim=3).bitwise_xor_(255 * own.gather(3, turn[..., None]).byte())
    for plane in range(1, count):
        apart[0].bitwise_or_(apart[plane])
    found, generated = unpack(twice(~apart[0])).bool().tensor_split([8 * packed.shape[3]], dim=1)
    return torch.cat([found[:, :covered], generated[:, : newest.shape[1]]], dim=1)


def twice(once):
    """Return which bits are set in two rows or more of uint8 [H, rows, b], as bytes [H, b]. Merges halves, in place."""
    two, rows = torch.zeros_like(once), once.shape[1]
    while rows > 1:
        half = rows // 2
        first, second = once[:, :half], once[:, rows - half : rows]
        two[:, :half].bitwise_or_(two[:, rows - half : rows]).bitwise_or_(first & second)
        first.bitwise_or_(second)
        rows -= half
    return two[:, 0]


def chance(query, keys, count):
    """Return P(retrieved) of centred keys [H, m, d] with tables of `count` planes, [H, m]."""
    query, keys = query.double(), keys.double()
    lengths = query.norm(dim=2)[:, :, None] * keys.norm(dim=2)[:, None]
    cosine = (query @ keys.mT / lengths.clamp(min=1e-300)).clamp(-1, 1)
    return retrieval((1 - cosine.acos() / math.pi) ** count).exp()


def select(query, index, cache, budget, rng):
    """Return sinks and window (probability 1) and the sample (its inclusion probability): ids and prob [H, m]."""
    heads, n, tokens = len(query), cache.n, min(budget.tokens, cache.n)
    sinks = math.ceil(SINK_SHARE * tokens)
    start = n - min(math.ceil(WINDOW_SHARE * tokens), tokens - sinks)
    place = torch.arange(n, device=query.device)
    fixed = torch.cat([place[:sinks], place[start:]]).expand(heads, -1)
    left, drawn = start - sinks, tokens - fixed.shape[1]
    if drawn == 0:
        return fixed, torch.ones(fixed.shape, device=query.device)
    mean, count = index["mean"], depth(drawn / left)
    found = hits(query, index, cache, mean, count)[:, sinks:start]
    order = torch.rand(heads, n, generator=rng, device=query.device)[:, sinks:start] + found
    ids = order.topk(drawn, dim=1).indices  # retrieved tokens come first, in random order
    caught = found.sum(dim=1, keepdim=True)
    prob = chance(query, cache.keys(ids + sinks) - mean, count).float() * drawn / caught.clamp(min=drawn)
    spare = (drawn - caught).clamp(min=0) / (left - caught).clamp(min=1)
    prob = torch.where(caught >= drawn, prob, torch.where(found.gather(1, ids), 1.0, spare))
    ids, sure = torch.cat([fixed, ids + sinks], dim=1), torch.ones(fixed.shape, device=query.device)
    return ids, torch.cat([sure, prob], dim=1)
