"""What is this component for? The one screen of a portrait."""

import numpy as np

from interp.component_portrait.portrait import Result, writes_tokens
from model.shell import Row, Summary, percent


def summarise(result: Result, name: str) -> Summary:
    """Say in one screen what a component reads, writes and is needed for."""
    first, second, *_ = sorted(result.shares.items(), key=lambda item: -item[1])
    rows = [
        Row("singular value", f"{result.weight:.3g}", "", ""),
        Row("reading varies with", first[0], f"{first[1]:.2f}", f"{second[1]:.2f} {second[0]}"),
    ]
    sentences = [
        f"Its reading varies most with {first[0]} ({first[1]:.2f}), then {second[0]} "
        f"({second[1]:.2f}).",
    ]
    if len(result.writes):
        order = result.writes.argsort(descending=True).tolist()
        top, low = order[0], order[-1]
        what = "token" if writes_tokens(result) else "unit"
        best, least = f"{what} {result.written[top]}", f"{what} {result.written[low]}"
        high, deep = f"{result.writes[top]:+.2f}", f"{result.writes[low]:+.2f}"
        rows.append(Row("writes most for", best, high, f"{deep} {least}"))
        sentences.append(f"It raises {best} most and lowers {least} most.")
    if result.roles:
        roles = sorted(result.roles.items(), key=lambda item: -item[1])
        (role, value), (last, least_value) = roles[0], roles[-1]
        rows.append(Row("largest for", role, f"{value:+.3g}", f"{least_value:+.3g} {last}"))
        sentences.append(f"Among digit roles it is largest for {role} and smallest for {last}.")
    worst = result.by_column.sort_values("value").iloc[0]
    lost, intact = percent(worst["value"]), percent(worst["value_intact"])
    place = f"column {worst['stratum']}"
    rows.append(Row("column that suffers most", place, f"{lost} right", f"{intact} with it"))
    sentences.append(f"Without it {lost} of digits in {place} are right, with it {intact}.")
    rates = result.by_class.numpy()
    if np.nanmax(rates) > 0:
        total, carry = np.unravel_index(np.nanargmax(rates), rates.shape)
        kind = f"digit sum {total} with{'' if carry else 'out'} a carry"
        wrong, usual = percent(float(rates[total, carry])), percent(float(np.nanmedian(rates)))
        rows.append(Row("class that breaks most", kind, f"{wrong} wrong", f"{usual} median class"))
        sentences.append(
            f"Columns of {kind} break most: {wrong} are wrong, {usual} in the median class."
        )
    return Summary(f"{name}, {result.name}: what is it for?", tuple(rows), tuple(sentences))
