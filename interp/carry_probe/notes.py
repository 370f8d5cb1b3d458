"""What could not be asked of a network, and how its controls were made, a line each."""

from jaxtyping import Float
from torch import Tensor

from interp.carry_probe.attention import token_effect
from interp.carry_probe.criteria import FIXED
from interp.carry_probe.prefix import MOST_FED
from model.adder import Adder
from model.layouts import WRITE_UPS
from model.network import Network


def notes_on(
    model: Adder | Network, scores: Float[Tensor, "head column query pos token"]
) -> list[str]:
    """List what the reader of a run must know about this kind of network."""
    notes = []
    if isinstance(model, Network):
        notes.append(
            'Networks called "random init" have the shape and ties of this one and weights of its '
            "scales: normal numbers with the root mean square of the weight that they replace."
        )
        if model.act == "none":
            notes.append("There is no feed-forward layer, so the paths are not split.")
        if model.norm == "none":
            notes.append("There are no norms, so none is frozen.")
    layout = model.layout if isinstance(model, Network) else WRITE_UPS
    if layout.answer == "units last":
        notes.append(
            "The answer is written units last: no s_(i-1) is fed, so there are no wrong prefixes."
        )
    if layout.base > MOST_FED:
        notes.append(f"Of {layout.base} digits, {MOST_FED} are fed as s_(i-1).")
    effect = token_effect(scores, layout)
    if effect < FIXED:
        notes.append(
            "Attention depends on position alone: no token changes a weight by more than "
            f"{effect:.1e}, so keys cannot bring a carry."
        )
    return notes
