# mypy: disable-error-code="untyped-decorator"
"""Fields of words as floats: where a field goes in a mantissa, what that adds to it, and the instructions for it."""

from __future__ import annotations

import triton  # type: ignore[import-untyped]


@triton.constexpr_function
def slot(place: int, mantissa: int, field: int) -> int:
    """The bit of a mantissa to which the field at a place of a word goes: as far as it fits, the one it has."""
    return place % (mantissa // field * field)


@triton.constexpr_function
def middle(bits: int, mantissa: int) -> int:
    """Of all codes; 0 where they are converted instead of set into a mantissa."""
    return 1 << (bits - 1) if mantissa else 0


@triton.constexpr_function
def centre(bits: int, mantissa: int, field: int) -> int:
    """What centred digits of `field` bits lack to the code; 0 where they are converted instead."""
    return sum(1 << (field * digit + field - 1) for digit in range(bits // field)) if mantissa else 0


@triton.constexpr_function
def lift(part: int, bits: int, mantissa: int, field: int) -> float:
    """What the powers of two add to the part-th codes of words, whose digits have `field` bits each, and the middle
    of all codes: what is rounded is then multiplied by numbers around 0."""
    places = [(digit, slot(bits * part + field * digit, mantissa, field)) for digit in range(bits // field)]
    return float(middle(bits, mantissa) + sum(1 << (field * digit + mantissa - at) for digit, at in places))


@triton.constexpr_function
def mask(at: int, field: int) -> int:
    """The bits of a field."""
    return ((1 << field) - 1) << at


@triton.constexpr_function
def power(at: int, mantissa: int, bias: int) -> int:
    """The bits of the power of two whose mantissa counts ones from bit `at` on."""
    return (bias + mantissa - at) << mantissa


@triton.constexpr_function
def shifting(shift: int) -> str:
    """Instruction: both halves of a register, shifted right; what comes from the other half is beyond any field."""
    return f"shr.b32 $0, $1, {shift};"


@triton.constexpr_function
def setting(at: int, mantissa: int, bias: int, field: int) -> str:
    """Instruction, of one step: in both halves of a register (it & mask) | power."""
    return f"lop3.b32 $0, $1, {mask(at, field) * 0x10001:#x}, {power(at, mantissa, bias) * 0x10001:#x}, 0xEA;"


@triton.constexpr_function
def surplus(at: int, mantissa: int, field: int) -> float:
    """What a field that was set into a mantissa at a bit is above the number around 0 that it stands for."""
    return float((1 << (mantissa - at)) + (1 << (field - 1)))


@triton.constexpr_function
def centring(at: int, mantissa: int, bias: int, field: int) -> str:
    """Instruction: the surplus taken off both halves of a register, exactly."""
    kind = "bf16" if mantissa == 7 else "f16"
    half = 0x8000 | power(at, mantissa, bias) | 1 << (at + field - 1)
    return f"{{ .reg .b32 less; mov.b32 less, {half * 0x10001:#x}; add.rn.{kind}x2 $0, $1, less; }}"
