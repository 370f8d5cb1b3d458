"""How much a run of the carry probe looks at."""

import dataclasses
from dataclasses import dataclass

from interp.anatomy import HOOKS
from interp.carry_probe.data import FEATURES
from model.errors import InputError
from model.layouts import Layout
from model.shell import Seed, Workers, check_fields
from model.sums import MAX_WIDTH

MAIN_SITES = (
    *("resid_pre", "pattern", "attn_out", "resid_mid"),
    *("in_low", "post", "mlp_out", "resid_post", "logits"),
)
"""Sites of a default run, those of them that the network has."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much to look at; the class methods give the three sizes of the command."""

    columns: tuple[int, ...] | None = None
    """Answer columns, 0 (units) up; all that the network answers if not given."""
    sites: tuple[str, ...] = MAIN_SITES
    """Sites for probes and interchanges, by their names in interp.anatomy.HOOKS."""
    features: tuple[str, ...] = ("carry_in",)
    """What the probes are asked for."""
    n_attention: int = 2_000
    """Inputs for attention, of each kind."""
    n_probe: int = 3_000
    """Inputs for probes; about half of them are held out. More in a base above 10 (`fit_to`)."""
    n_pairs: int = 600
    """Pairs that differ only in carry_in, for each column; half of them are held out."""
    n_edges: int = 200
    """Inputs for cutting edges."""
    n_prefix: int = 600
    """Inputs that are each given every previous digit. More in a base above 10."""
    random_inits: int = 1
    """Random models beside the trained one."""
    das_ranks: tuple[int, ...] = ()
    """Ranks of searched directions."""
    random_draws: int = 5
    """Norm-matched random directions."""
    n_wrapper: int = 0
    """Inputs on which every hook is compared with the TransformerLens wrapper (slow to import)."""
    seed: Seed = 0
    """Seed of all inputs, splits, shuffles and random directions."""
    jobs: Workers = 1
    """Processes for the probes and the figures; the numbers do not depend on them."""

    def __post_init__(self) -> None:
        """Check columns, sites and seed."""
        for column in self.columns or ():
            if not 0 <= column <= MAX_WIDTH:
                raise InputError(f"column {column} is no answer column: give 0 to {MAX_WIDTH}")
        for site in self.sites:
            if site not in HOOKS:
                raise InputError(f"unknown site {site!r}: known are {', '.join(HOOKS)}")
        check_fields(self)
        if self.columns == () or not self.sites:
            raise InputError("give at least one column and one site")

    def fit_to(self, layout: Layout) -> "Config":
        """Name the columns of a task, and ask in proportion to a base above 10.

        Conditional probes and accounts are fitted for each digit sum, of which a large base has
        more.

        Raises:
            InputError: A column is none of the task's.
        """
        columns = tuple(range(layout.n_answer)) if self.columns is None else self.columns
        for column in columns:
            if column > layout.width:
                raise InputError(f"column {column} is no answer column: give 0 to {layout.width}")
        more = max(1.0, layout.base / 10)
        return dataclasses.replace(
            self,
            columns=columns,
            n_probe=round(self.n_probe * more),
            n_prefix=round(self.n_prefix * more),
        )

    @classmethod
    def quick(cls, layout: Layout) -> "Config":
        """Few inputs, and three columns: the first with a carry, one halfway, the last."""
        return cls(
            columns=tuple(sorted({1, max(1, layout.width // 2), layout.width})),
            n_pairs=300,
            n_prefix=400,
        )

    @classmethod
    def full(cls) -> "Config":
        """Every site, column and feature, random inits, searched directions, and the wrapper."""
        return cls(
            sites=tuple(site for site in HOOKS if site != "mlp_in"),
            features=tuple(FEATURES),
            random_inits=5,
            das_ranks=(1, 2, 3),
            n_edges=1_000,
            n_prefix=1_500,
            n_attention=20_000,
            n_probe=4_000,
            n_wrapper=50,
        )
