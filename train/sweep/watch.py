"""A sweep as it fills: the table so far, the share done and the time left."""

from collections.abc import Callable
from types import TracebackType

import pandas as pd
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from model.shell import progress_console


class SweepView:
    """Context manager that redraws the table whenever a run ends."""

    def __init__(self, name: str, n_runs: int, draw: Callable[[pd.DataFrame, str], Table]) -> None:
        """Prepare the view of `n_runs` runs; `draw` lays out the table."""
        self.name, self.draw = name, draw
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.bar = Progress(*columns, TimeRemainingColumn(), console=progress_console)
        self.task = self.bar.add_task(name, total=n_runs)
        self.live = Live(self.bar, console=progress_console, refresh_per_second=2, transient=True)

    def __enter__(self) -> "SweepView":
        """Start drawing."""
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        self.live.stop()

    def update(self, table: pd.DataFrame) -> None:
        """Show the table so far."""
        self.bar.update(self.task, completed=len(table))
        self.live.update(Group(self.draw(table, self.name), self.bar))

    def advance(self, runs: float) -> None:
        """Show how many runs' worth of steps have been taken, where all go on together."""
        self.bar.update(self.task, completed=runs)
