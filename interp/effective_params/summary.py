"""How many parameters are there really? The one screen of the ranks."""

from collections.abc import Mapping
from typing import Any

from model.shell import Row, Summary


def summarise(ranks: Mapping[str, Any], name: str) -> Summary:
    """Say in one screen how the ranks stand beside the count.

    Args:
        ranks: The fields of the instrument's result by name.
        name: The checkpoint's name.
    """
    nominal, gauge, logits, gap = (ranks[key] for key in ("nominal", "gauge", "logits", "gap"))
    free = nominal - gauge
    clear = logits < nominal
    most = f"at most {free}"
    titles = {
        "directions of effective weights": "weights",
        "directions of logits": "logits",
        "directions of log-probabilities": "log_probabilities",
    }
    rows = [
        Row("stored parameters", "", str(nominal), ""),
        Row("changes of coordinates", "alter nothing", str(gauge), ""),
        *(
            Row(title, _short(ranks[key], free), str(ranks[key]), most)
            for title, key in titles.items()
        ),
        Row(
            "is the rank clear?",
            "yes" if clear else "all counted",
            f"{gap:.1e}" if clear else "",
            "ratio to the next value" if clear else "",
        ),
    ]
    sentences = [
        f"Of {nominal} stored parameters {gauge} are a choice of coordinates.",
        f"The logits move in {logits} directions, where at most {free} are possible.",
    ]
    if clear:
        sentences.append(
            f"The next singular value is {gap:.1e} times smaller than the last one counted."
        )
    return Summary(f"{name}: how many parameters are there really?", tuple(rows), tuple(sentences))


def _short(rank: int, free: int) -> str:
    return "all of them" if rank == free else f"{free - rank} fewer"
