"""How much work certification may do."""

from dataclasses import dataclass
from typing import Annotated

from model.shell import Between, check_fields

Budget = Annotated[int, Between(20_000, 10**7)]
"""Cells that may be judged in a column; the coarsest alone are 20,000."""


@dataclass(frozen=True, kw_only=True)
class CertifyConfig:
    """How much work may be done.

    Raises:
        InputError: A budget below the number of coarsest cells, or above what memory holds.
    """

    budget: Budget = 100_000
    """Cells that may be judged in each of the answer columns 0 to 10."""
    eos_budget: Annotated[int, Between(2, 10**7)] = 20_000
    """Cells that may be judged for the end token."""

    def __post_init__(self) -> None:
        """Check the budgets."""
        check_fields(self)
