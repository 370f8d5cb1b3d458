"""A checkpoint as a submission to the public AdderBoard, checked by the board's protocol.

Question: does the network add under rules that are not ours, outside our code?

Method: the network is written as one file that needs PyTorch only (analyses.adderboard.submission).
The file is then run: its logits against the checkpoint's, its parameter count against the
configuration's, and 10,010 sums: ten edge cases (boundaries and longest carry chains, our choice,
as the rules only describe theirs) and 10,000 pairs drawn a, b, a, b, ... with
random.Random(2025).randint. The board asks for 99 %. Edge cases and the first 100 random pairs go
through the file's add(), the others through its own greedy decoding in batches (--one-by-one: all
through add()).

    python -m analyses.adderboard 262p --out submission.py
"""

import importlib.util
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch

from model.adder import Adder
from model.intervals import clopper_pearson
from model.shell import console
from model.task import MAX_OPERAND, N_INPUT

EDGE_CASES = (
    (0, 0),
    (0, 1),
    (MAX_OPERAND, 0),
    (0, MAX_OPERAND),
    (MAX_OPERAND, 1),
    (1, MAX_OPERAND),
    (MAX_OPERAND, MAX_OPERAND),
    (5_000_000_000, 5_000_000_000),
    (1_111_111_111, 8_888_888_889),
    (1_234_567_890, 9_876_543_210),
)
SEED, N_RANDOM, THRESHOLD = 2025, 10_000, 0.99
_SINGLE = 100
_BATCH = 2_000


@dataclass(frozen=True)
class Score:
    """What the checked file answered.

    Attributes:
        params: Unique parameters that the file's model registers.
        edge_wrong: Wrong answers among the edge cases.
        random_wrong: Wrong answers among the random pairs.
        n_random: Number of random pairs.
        failures: Wrong cases as (a, b, answer), edge cases first.
        logit_difference: Largest difference from the checkpoint's float32 logits.
        seconds: Time the sums took.
    """

    params: int
    edge_wrong: int
    random_wrong: int
    n_random: int
    failures: list[tuple[int, int, int]]
    logit_difference: float
    seconds: float

    @property
    def qualifies(self) -> bool:
        """Whether at least 99 % of all cases are right, as the board counts."""
        total = self.n_random + len(EDGE_CASES)
        return self.edge_wrong + self.random_wrong <= (1 - THRESHOLD) * total


def random_pairs(n: int = N_RANDOM, seed: int = SEED) -> list[tuple[int, int]]:
    """Draw the board's pairs, a before b."""
    rng = random.Random(seed)
    return [(rng.randint(0, MAX_OPERAND), rng.randint(0, MAX_OPERAND)) for _ in range(n)]


def run_file(path: Path) -> ModuleType:
    """Run a submission as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"submission_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(
    submission: ModuleType, model: torch.nn.Module, pairs: Sequence[tuple[int, int]]
) -> list[int]:
    """Decode many sums by the submission's own generate(), in batches."""
    end = submission.VOCABULARY.index("<EOS>")
    answers: list[int] = []
    for start in range(0, len(pairs), _BATCH):
        prompts = torch.tensor([submission.encode(a, b) for a, b in pairs[start : start + _BATCH]])
        tokens = submission.generate(model, prompts, submission.MAX_NEW_TOKENS, end)
        answers += [submission.decode(row) for row in tokens[:, prompts.shape[1] :].tolist()]
    return answers


def check_submission(
    path: Path, reference: Adder, *, n_random: int = N_RANDOM, one_by_one: bool = False
) -> Score:
    """Run a submission on the board's cases and compare it with the checkpoint it came from.

    Args:
        path: A file that `write_submission` wrote.
        reference: The checkpoint.
        n_random: How many random pairs.
        one_by_one: Send every pair through add().

    Returns:
        The score.
    """
    submission = run_file(path)
    model, metadata = submission.build_model()
    tokens = torch.randint(0, 14, (64, N_INPUT), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = float((model(tokens) - reference.float()(tokens)).abs().max())
    pairs = random_pairs(n_random)
    started = time.perf_counter()
    single = len(pairs) if one_by_one else _SINGLE
    cases = [*EDGE_CASES, *pairs]
    split = len(EDGE_CASES) + single
    answers = [submission.add(model, a, b) for a, b in cases[:split]]
    answers += answer(submission, model, cases[split:])
    seconds = time.perf_counter() - started
    wrong = [int(got != a + b) for (a, b), got in zip(cases, answers, strict=True)]
    return Score(
        params=metadata["params"],
        edge_wrong=sum(wrong[: len(EDGE_CASES)]),
        random_wrong=sum(wrong[len(EDGE_CASES) :]),
        n_random=len(pairs),
        failures=[(a, b, got) for (a, b), got in zip(cases, answers, strict=True) if got != a + b],
        logit_difference=difference,
        seconds=seconds,
    )


def print_score(score: Score) -> None:
    """Print the score and up to ten failures."""
    n = score.n_random
    low, high = clopper_pearson(n - score.random_wrong, n)
    lines = [
        f"unique parameters   {score.params}",
        f"edge cases          {len(EDGE_CASES) - score.edge_wrong} of {len(EDGE_CASES)} right",
        f"random pairs        {n - score.random_wrong:,} of {n:,} right "
        f"(95 % interval {low:.5f} to {high:.5f})",
        f"logits              within {score.logit_difference:.1e} of the checkpoint's",
        f"time                {score.seconds:.1f} s",
        f"status              {'qualifies' if score.qualifies else 'does not qualify'} "
        f"(threshold {THRESHOLD:.0%})",
    ]
    lines += [f"wrong: {a} + {b} = {a + b}, model {got}" for a, b, got in score.failures[:10]]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
