"""How much a run of the carry probe looks at."""

from dataclasses import dataclass

from interp.anatomy import HOOKS
from interp.carry_probe.data import FEATURES
from model.errors import InputError
from model.shell import Seed, Workers, check_fields
from model.task import N_ANSWER

MAIN_SITES = (
    *("resid_pre", "pattern", "attn_out", "resid_mid"),
    *("in_low", "post", "mlp_out", "resid_post", "logits"),
)
"""Sites of a default run, those of them that the network has."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much to look at; the class methods give the three sizes of the command."""

    columns: tuple[int, ...] = tuple(range(N_ANSWER))
    """Answer columns, 0 (units) to 10."""
    sites: tuple[str, ...] = MAIN_SITES
    """Sites for probes and interchanges, by their names in interp.anatomy.HOOKS."""
    features: tuple[str, ...] = ("carry_in",)
    """What the probes are asked for."""
    n_attention: int = 2_000
    """Inputs for attention, of each kind."""
    n_probe: int = 3_000
    """Inputs for probes; about half of them are held out."""
    n_pairs: int = 600
    """Pairs that differ only in carry_in, for each column; half of them are held out."""
    n_edges: int = 200
    """Inputs for cutting edges."""
    n_prefix: int = 600
    """Inputs that are each given all ten previous digits."""
    random_inits: int = 1
    """Random-init models beside the trained one."""
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
        for column in self.columns:
            if not 0 <= column < N_ANSWER:
                raise InputError(f"column {column} is no answer column: give 0 to {N_ANSWER - 1}")
        for site in self.sites:
            if site not in HOOKS:
                raise InputError(f"unknown site {site!r}: known are {', '.join(HOOKS)}")
        check_fields(self)
        if not self.columns or not self.sites:
            raise InputError("give at least one column and one site")

    @classmethod
    def quick(cls) -> "Config":
        """Three columns and few inputs."""
        return cls(
            columns=(1, 5, 10),
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
