"""The task as tokens: how an adder reads two numbers and writes their sum.

A layout says which tokens stand where. From it follow the prompt, the true answer, the position of
every digit (a_i, b_i, s_i; column 0 is the units), the position whose logits predict each column,
and how an answer is read back. Networks of different authors differ in little else.

    prompt      tokens before the answer, the operands among them: ("a", 10, "b", 11)
    answer      width + 1 digits, then the end token if there is one
    steps       answer tokens in the order in which they are decoded: step s is predicted at
                position n_prompt - 1 + s; with the units first, step i is column i
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from model.columns import digits
from model.errors import InputError, printable
from model.sums import MAX_WIDTH

Order = Literal["units first", "units last"]

MAX_BASE, MAX_VOCAB, MAX_SEPARATORS = 1000, 4096, 16
MAX_CAPACITY = 10**18


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a sum is spelled in tokens.

    Raises:
        InputError: A field is outside its range or does not fit the others; the message names it.
    """

    name: str
    """What the layout is called."""
    prompt: tuple[int | str, ...]
    """Tokens of the prompt in order; "a" and "b" stand for the digits of the operands."""
    vocab_size: int
    """Number of tokens."""
    end: int | None
    """Token that follows the last digit of the answer; None where the answer just stops."""
    width: int = 10
    """Digits of an operand, leading zeros included, 1 to 12."""
    base: int = 10
    """Base of the digits; a token is one digit."""
    first_digit: int = 0
    """Token of digit 0; the others follow it."""
    operands: Order = "units first"
    """Order of the operands' digits."""
    answer: Order = "units first"
    """Order of the answer's digits."""
    token_names: tuple[str, ...] = ()
    """How tokens are printed, one name a token; by default digits, and t12 for token 12."""

    def __post_init__(self) -> None:
        """Check every field, and fill in the tokens' names."""
        _check(vars(self))
        if not self.token_names:
            object.__setattr__(self, "token_names", _default_names(self))

    @property
    def capacity(self) -> int:
        """How many values an operand can take."""
        return self.base**self.width

    @property
    def max_operand(self) -> int:
        """The largest operand."""
        return self.capacity - 1

    @property
    def n_answer(self) -> int:
        """Digits of the answer."""
        return self.width + 1

    @property
    def n_target(self) -> int:
        """Tokens that are predicted: the answer, and the end token where there is one."""
        return self.n_answer + (self.end is not None)

    @cached_property
    def n_prompt(self) -> int:
        """Tokens of the prompt."""
        return len(self.prompt) + 2 * (self.width - 1)

    @property
    def n_input(self) -> int:
        """Positions that the network reads: all but the last target."""
        return self.n_prompt + self.n_target - 1

    @cached_property
    def separators(self) -> dict[int, int]:
        """Token at each position of the prompt that is no digit."""
        found: dict[int, int] = {}
        at = 0
        for item in self.prompt:
            if isinstance(item, str):
                at += self.width
            else:
                found[at] = item
                at += 1
        return found

    def a_position(self, column: int) -> int:
        """Position of digit a_i of column i."""
        return self._operand("a", column)

    def b_position(self, column: int) -> int:
        """Position of digit b_i of column i."""
        return self._operand("b", column)

    def sum_position(self, column: int) -> int:
        """Position of digit s_i of column i."""
        return self.n_prompt + self.step(column)

    def query_position(self, column: int) -> int:
        """Position whose logits predict column i; column width + 1 is the end token."""
        return self.n_prompt - 1 + self.step(column)

    def step(self, column: int) -> int:
        """When column i is decoded, counted from 0; its own inverse."""
        if self.answer == "units first" or column >= self.n_answer:
            return column
        return self.n_answer - 1 - column

    def roles(self) -> tuple[str, ...]:
        """Name what stands at each input position: "a3", "b0", "s10", or the separator's token."""
        names = {at: self.token_names[token] for at, token in self.separators.items()}
        for column in range(self.width):
            names[self.a_position(column)] = f"a{column}"
            names[self.b_position(column)] = f"b{column}"
        for column in range(self.n_answer):
            names[self.sum_position(column)] = f"s{column}"
        return tuple(names[position] for position in range(self.n_input))

    def check_operands(self, a: int, b: int) -> None:
        """Check that both operands fit.

        Raises:
            InputError: An operand is negative or too large.
        """
        for value in (a, b):
            if not 0 <= value <= self.max_operand:
                raise InputError(f"operand {value} is outside 0 to {self.max_operand}")

    def encode(
        self, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch length"]:
        """Write prompts and true targets as tokens; the network reads the first `n_input`.

        Raises:
            InputError: An operand is negative or too large.
        """
        for x in (a, b):
            if x.numel():
                self.check_operands(int(x.min()), int(x.max()))
        return self.lay_out(a, b)

    def lay_out(
        self, a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
    ) -> Int[Tensor, "batch length"]:
        """Write tokens as `encode` does, of operands that are known to be in range."""
        operands = {"a": a, "b": b}
        parts = [
            self._spell(operands[item], self.width, self.operands)
            if isinstance(item, str)
            else self._repeat(item, a)
            for item in self.prompt
        ]
        parts.append(self._spell(a + b, self.n_answer, self.answer))
        if self.end is not None:
            parts.append(self._repeat(self.end, a))
        return torch.cat(parts, dim=1)

    def decode(self, answer: Int[Tensor, "batch steps"]) -> Int[Tensor, " batch"]:
        """Read answer tokens as numbers, an end token ignored; -1 where one is no digit."""
        places = answer[:, : self.n_answer] - self.first_digit
        if self.answer == "units last":
            places = places.flip(1)
        powers = self.base ** torch.arange(self.n_answer, dtype=torch.int64, device=answer.device)
        is_number = ((places >= 0) & (places < self.base)).all(dim=1)
        return torch.where(is_number, (places * powers).sum(dim=1), -1)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON."""
        return {**dataclasses.asdict(self), "prompt": list(self.prompt)}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Layout":
        """Build a layout from JSON, refusing keys that it does not know.

        Raises:
            InputError: A key is unknown or missing, or a value out of range.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - set(known))
        if unknown:
            found = printable(repr(unknown[0]))
            raise InputError(f"unknown layout key {found}: known are {', '.join(known)}")
        for name in ("name", "prompt", "vocab_size", "end"):
            if name not in fields:
                raise InputError(f"the layout lacks {name!r}")
        lists = {name: fields[name] for name in ("prompt", "token_names") if name in fields}
        for name, value in lists.items():
            if not isinstance(value, list | tuple):
                found = printable(repr(value))
                raise InputError(f"layout {name} is {found}: it must be a list")
        given = {**fields, **{name: tuple(value) for name, value in lists.items()}}
        _check({name: field.default for name, field in known.items()} | given)
        return cls(**given)

    def _operand(self, name: str, column: int) -> int:
        before = self.prompt[: self.prompt.index(name)]
        start = sum(self.width if isinstance(item, str) else 1 for item in before)
        return start + (column if self.operands == "units first" else self.width - 1 - column)

    def _spell(self, x: Int[Tensor, " batch"], n: int, order: Order) -> Int[Tensor, "batch _"]:
        tokens = digits(x, n, self.base) + self.first_digit
        return tokens if order == "units first" else tokens.flip(1)

    def _repeat(self, token: int, like: Int[Tensor, " batch"]) -> Int[Tensor, "batch 1"]:
        return torch.full((like.shape[0], 1), token, dtype=torch.int64, device=like.device)


def _default_names(layout: Layout) -> tuple[str, ...]:
    names = [f"t{token}" for token in range(layout.vocab_size)]
    for digit in range(layout.base):
        names[layout.first_digit + digit] = str(digit)
    return tuple(names)


def _check(fields: Mapping[str, Any]) -> None:
    bounds = {"width": (1, MAX_WIDTH), "base": (2, MAX_BASE), "vocab_size": (2, MAX_VOCAB)}
    for name, (low, high) in {**bounds, "first_digit": (0, MAX_VOCAB)}.items():
        if not _is_whole(fields[name]) or not low <= fields[name] <= high:
            found = printable(repr(fields[name]))
            raise InputError(f"layout {name} is {found}: it must be {low} to {high}")
    if not _is_text(fields["name"], 80):
        raise InputError("layout name must be a text of 1 to 80 characters that print")
    if fields["base"] ** fields["width"] > MAX_CAPACITY:
        raise InputError(f"layout base ** width is over {MAX_CAPACITY}: give fewer digits")
    vocab_size = fields["vocab_size"]
    if fields["first_digit"] + fields["base"] > vocab_size:
        raise InputError("layout vocab_size leaves no room for the digits: raise it")
    for name in ("operands", "answer"):
        if fields[name] not in get_args(Order):
            choices = " or ".join(map(repr, get_args(Order)))
            found = printable(repr(fields[name]))
            raise InputError(f"layout {name} is {found}: it must be {choices}")
    prompt = fields["prompt"]
    if sorted(item for item in prompt if isinstance(item, str)) != ["a", "b"]:
        raise InputError('layout prompt must name "a" and "b" once each, beside whole numbers')
    if len(prompt) > MAX_SEPARATORS + 2:
        raise InputError(f"layout prompt has over {MAX_SEPARATORS} separators")
    separators = [item for item in prompt if not isinstance(item, str)]
    for token in [*separators, *([] if fields["end"] is None else [fields["end"]])]:
        if not _is_whole(token) or not 0 <= token < vocab_size:
            found = printable(repr(token))
            raise InputError(f"layout token {found} is not one of 0 to {vocab_size - 1}")
    names = fields["token_names"]
    if names and (len(names) != vocab_size or not all(_is_text(name, 12) for name in names)):
        raise InputError(f"layout token_names must be {vocab_size} texts of 1 to 12 characters")


def _is_text(value: Any, longest: int) -> bool:
    right = isinstance(value, str) and 0 < len(value) <= longest
    return right and value.isascii() and value.isprintable()


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_DIGITS = tuple("0123456789")

WRITE_UPS = Layout(
    name="write-ups",
    prompt=("a", 10, "b", 11),
    vocab_size=14,
    end=13,
    operands="units last",
    token_names=(*_DIGITS, "+", "=", "<PAD>", "<EOS>"),
)
"""The write-ups' family: operands most significant first."""

MICRO_14 = Layout(
    name="micro-14",
    prompt=("a", 10, "b", 11),
    vocab_size=14,
    end=12,
    token_names=(*_DIGITS, "+", "=", "<EOS>", "<PAD>"),
)
"""MicroAdder's and JackCai's with 14 tokens: operands units first."""

MICRO_10 = Layout(name="micro-10", prompt=("a", 0, "b", 0), vocab_size=10, end=0)
"""MicroAdder's with digits alone: token 0 also stands for +, = and the end."""

QWEN3 = Layout(name="qwen3", prompt=(0, "a", 0, 0, "b", 0), vocab_size=10, end=None)
"""The Qwen3 adders': digits alone, zeros between and around the operands, no end token."""

PAIRS = Layout(
    name="pairs",
    prompt=("a", 100, "b", 101),
    vocab_size=103,
    end=102,
    width=5,
    base=100,
    operands="units last",
    token_names=(*(f"{pair:02d}" for pair in range(100)), "+", "=", "<EOS>"),
)
"""Two decimal digits a token, as the write-ups' 1,644-parameter ancestor reads them."""

LAYOUTS = {layout.name: layout for layout in (WRITE_UPS, MICRO_14, MICRO_10, QWEN3, PAIRS)}
"""Layouts by name."""
