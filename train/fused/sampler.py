"""The training stream inside the fused step: `train.batches.draw_batch`, 16 examples at a time."""

from llvmlite import ir

from model.lanes import I1, I64, INTS, LANES, Code, Lane, Memory
from model.task import EQUALS, N_ANSWER, N_DIGITS, N_PROMPT, PLUS, a_position, b_position
from train.batches import MULTIPLIERS, ROUNDS, WEYL

_LONGS = ir.VectorType(I64, LANES)
N_CASE = 2 * N_DIGITS


def multiply_wide(code: Code, x: Lane, factor: ir.Value) -> tuple[Lane, Lane]:
    """Multiply 32-bit integers to 64 bits; gives the high and the low word."""
    build = code.build
    wide = build.mul(build.zext(x.value, _LONGS), factor)
    shift = ir.Constant(_LONGS, [32] * LANES)
    high = build.trunc(build.lshr(wide, shift), INTS)
    return Lane(code, high), Lane(code, build.trunc(wide, INTS))


def philox(code: Code, counter: list[Lane], key: list[Lane]) -> list[Lane]:
    """Write Philox-4x32-7 on 16 counters; see `train.batches.philox`."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    factors = [ir.Constant(_LONGS, [m] * LANES) for m in MULTIPLIERS]
    for _ in range(ROUNDS):
        high_0, low_0 = multiply_wide(code, c0, factors[0])
        high_1, low_1 = multiply_wide(code, c2, factors[1])
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = k0 + WEYL[0], k1 + WEYL[1]
    return [c0, c1, c2, c3]


def write_sampler(
    code: Code,
    tokens: Memory,
    *,
    example: Lane,
    step: Lane,
    key: list[Lane],
    max_digits: Lane,
    heavy: Lane,
    extra: Lane,
    shift: Lane,
    propagate: Lane,
    cases: Memory,
    n_cases: ir.Value,
) -> None:
    """Draw 16 pairs and write their 33 input tokens, position by position.

    Args:
        code: The kernel.
        tokens: Where the tokens go: 33 rows of 16 integers.
        example: Index of each lane's example in the batch.
        step: The step, counted from 0.
        key: The seed's two words.
        max_digits: Largest number of digits of this step.
        heavy: Share of carry-heavy examples in units of 2^-24.
        extra: Share of extra cases, likewise.
        shift: 1 where short operands start at a uniform column, else 0.
        propagate: Probability of turning a column, likewise.
        cases: Extra cases, rows of 20 digits, -1 where free.
        n_cases: Their number, 64 bits; 0 if there are none.
    """
    zero = code.ints(0)
    blocks = [philox(code, [example, code.ints(i), step, zero], key) for i in range(6)]
    kind, length_word, case_word, start_word = blocks[0]
    words = [word for block in blocks[1:] for word in block]
    unit = kind >> 8
    is_heavy = unit.compare("<", heavy)
    has_cases = code.build.icmp_signed(">", n_cases, ir.Constant(I64, 0))
    is_extra = unit.compare(">=", heavy) & unit.compare("<", heavy + extra)
    some = Lane(code, code.build.select(has_cases, is_extra.value, _no_lane()))
    length = ((length_word >> 8) * max_digits >> 24) + 1
    length = some.select(code.ints(N_DIGITS), length)

    digits: list[Lane] = []
    for i, word in enumerate(words):
        scaled = (word >> 8) * 10
        digit = scaled >> 24
        if i >= N_DIGITS:
            turned = is_heavy & (scaled & code.ints(0xFFFFFF)).compare("<", propagate)
            digit = turned.select(9 - digits[i - N_DIGITS], digit)
        digits.append(digit)
    start = (start_word >> 8) * (shift * (N_DIGITS + 1 - length)) >> 24
    stop = start + length
    for i, digit in enumerate(digits):
        inside = start.compare("<=", i % N_DIGITS) & stop.compare(">", i % N_DIGITS)
        digits[i] = inside.select(digit, zero)
    slots = [code.variable(x) for x in digits]
    with code.build.if_then(has_cases):
        count = code.splat(code.build.trunc(n_cases, INTS.element))
        chosen = _case_index(code, case_word, count) * N_CASE
        for i, slot in enumerate(slots):
            given = code.gather(cases.at(i), chosen, INTS.element)
            fixed = some & given.compare("<", N_DIGITS)
            slot.set(fixed.select(given, slot.get()))

    a = [slot.get() for slot in slots[:N_DIGITS]]
    b = [slot.get() for slot in slots[N_DIGITS:]]
    tokens.store(code.ints(PLUS), N_DIGITS * LANES)
    tokens.store(code.ints(EQUALS), (N_PROMPT - 1) * LANES)
    carry = zero
    for i in range(N_ANSWER):
        if i < N_DIGITS:
            tokens.store(a[i], a_position(i) * LANES)
            tokens.store(b[i], b_position(i) * LANES)
            total = a[i] + b[i] + carry
            over = total.compare(">=", 10)
            total, carry = over.select(total - 10, total), over.select(code.ints(1), zero)
        else:
            total = carry
        tokens.store(total, (N_PROMPT + i) * LANES)


def _case_index(code: Code, word: Lane, count: Lane) -> Lane:
    wide = code.build.zext(count.value, _LONGS)
    return multiply_wide(code, word, wide)[0]


def _no_lane() -> ir.Constant:
    return ir.Constant(ir.VectorType(I1, LANES), [0] * LANES)
