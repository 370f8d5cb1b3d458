"""Certify published adders and hold each count to a sample: benchmarks/certify_published.py FILES.

For each file one line: exact or bounded count of wrong pairs, undecided share, cells, seconds of
one core, and a sampled rate with its 99.9 % Clopper-Pearson interval, which has to meet the
certified one. Options: --budget CELLS (for each step of the answer), --pairs SAMPLE.
"""

import argparse
import time

import torch

from interp.certify_any import certify_network
from interp.certify_any.count import masses
from interp.certify_any.search import UNDECIDED
from model.anyone import read_network
from model.decode import count_errors
from model.intervals import clopper_pearson
from model.task import uniform_pairs

CHUNK = 200_000


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--budget", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    read = parser.parse_args()
    for file in read.files:
        adder = read_network(file)
        layout = adder.network.layout
        started = time.process_time()
        proof = certify_network(adder.network, budget=read.budget)
        seconds = time.process_time() - started
        found = proof.digits
        columns = range(layout.n_answer)
        undecided = sum(sum(masses(proof.pool, proof.column(c, UNDECIDED))) for c in columns)
        generator = torch.Generator().manual_seed(0)
        wrong = sum(
            count_errors(adder.network, *uniform_pairs(CHUNK, generator, layout))
            for _ in range(read.pairs // CHUNK)
        )
        drawn = read.pairs // CHUNK * CHUNK
        low, high = clopper_pearson(wrong, drawn, 0.999)
        least, most = found.error_rates
        cells = sum(len(x.codes) for x in proof.leaves)
        meets = "meets" if least <= high and most >= low else "MISSES"
        print(
            f"{adder.name}: wrong {found.total - found.upper} to {found.total - found.lower}",
            f"share {least:.6g} to {most:.6g} ({found.counting})",
            f"undecided {undecided / found.total:.3g}",
            f"{cells} cells, {seconds:.1f} s",
            f"sampled {wrong} of {drawn}, {low:.3g} to {high:.3g}: {meets}",
            sep="; ",
            flush=True,
        )


if __name__ == "__main__":
    main()
