"""Runs the tour in a fresh kernel and stores it with its outputs: python notebooks/execute.py.

The kernel is that of the Python which runs this, whatever kernels are installed elsewhere. What is
stored depends on the computation alone: no times, versions or paths of the machine.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets import default
from traitlets.config import Config
from tyro.conf import Positional

from model.shell import run_command, write_atomic

TOUR = Path(__file__).resolve().parent / "tour.ipynb"
TIMEOUT = 600
"""Seconds that one cell may take: importing TransformerLens is slow on a busy machine."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class ThisPython(AsyncKernelManager):
    """Knows one kernel only: the Python that is running."""

    @default("kernel_spec_manager")
    def _look_nowhere_else(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True)


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run every cell from nothing.

    Args:
        notebook: Filled with its outputs.

    Returns:
        The same notebook, with metadata that are the same everywhere.

    Raises:
        CellExecutionError: A cell failed, an assertion of the notebook included.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Sockets as files need no free port, and no encryption; their names must be short.
        connection = {"transport": "ipc", "connection_file": str(Path(folder) / "kernel.json")}
        client = NotebookClient(
            notebook,
            config=Config(ThisPython=connection),
            kernel_name="python3",
            kernel_manager_class=ThisPython,
            timeout=TIMEOUT,
            record_timing=False,
            coalesce_streams=True,  # or it shows which lines happened to arrive together
            resources={"metadata": {"path": str(TOUR.parent)}},
        )
        # One thread: sums in another order would end in other last digits.
        done = client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})
    done.metadata = nbformat.from_dict(METADATA)
    return done


def store(out: Positional[Path | None] = None) -> int:
    """Run the tour in a fresh kernel and store it with its outputs.

    Args:
        out: File to write; the tour itself if not given.
    """
    try:
        done = execute(nbformat.read(TOUR, as_version=4))
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    write_atomic(out or TOUR, nbformat.writes(done) + "\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        store,
        argv,
        prog="python notebooks/execute.py",
        example="python notebooks/execute.py executed.ipynb",
    )


if __name__ == "__main__":
    sys.exit(main())
