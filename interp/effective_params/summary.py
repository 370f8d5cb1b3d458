"""How many parameters are there really? The one screen of the ranks."""

from collections.abc import Mapping
from typing import Any

from model.shell import Row, Summary


def summarise(ranks: Mapping[str, Any], name: str, n_params: int | None = None) -> Summary:
    """Say in one screen how the ranks stand beside the count.

    Args:
        ranks: The fields of the instrument's result by name.
        name: The checkpoint's name.
        n_params: Trained parameters, where they are known.
    """
    if ranks["gauge"] is None:
        return _of_effective_weights(ranks, name, n_params)
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
        _clear(ranks),
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


def _of_effective_weights(ranks: Mapping[str, Any], name: str, n_params: int | None) -> Summary:
    """Say how many directions the effective weights move in, where the trained ones are unknown."""
    nominal, logits = ranks["nominal"], ranks["logits"]
    trained = "" if n_params is None else f"{n_params} were trained"
    rows = (
        Row("effective weights", "each moved alone", str(nominal), trained),
        Row("directions of logits", _short(logits, nominal), str(logits), f"at most {nominal}"),
        Row(
            "directions of log-probabilities",
            _short(ranks["log_probabilities"], nominal),
            str(ranks["log_probabilities"]),
            f"at most {nominal}",
        ),
        _clear(ranks),
    )
    sentences = [
        "Its trained factors are not known, so each number of the effective weights moves alone.",
        f"The logits move in {logits} directions for {nominal} effective weights.",
        "Weights that training tied count several times here.",
    ]
    return Summary(f"{name}: how many parameters are there really?", rows, tuple(sentences))


def _clear(ranks: Mapping[str, Any]) -> Row:
    clear, gap = ranks["logits"] < ranks["nominal"], ranks["gap"]
    verdict, control = ("yes", "ratio to the next value") if clear else ("all counted", "")
    return Row("is the rank clear?", verdict, f"{gap:.1e}" if clear else "", control)


def _short(rank: int, free: int) -> str:
    return "all of them" if rank == free else f"{free - rank} fewer"
