"""Certification as a whole: against brute force, samples, hand-built and bad models."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from interp.certify.__main__ import main
from interp.certify.atlas import build_atlas, describe, sample_pairs
from interp.certify.certificate import ARITHMETICS, Certificate, CertifyConfig, Count, certify
from interp.certify.count import TOTAL, build_automaton, count_avoiding
from interp.certify.figures import plot_atlas, plot_trajectory, tabulate_contexts
from interp.certify.instrument import tabulate_columns
from interp.certify.summary import summarise
from interp.certify.verdicts import UNDECIDED, WRONG
from interp.certify_trajectory.__main__ import main as trajectory_main
from interp.certify_trajectory.instrument import Config as TrajectoryConfig
from interp.certify_trajectory.instrument import choose_steps
from model.adder import Adder
from model.checkpoint import load, save
from model.config import PRESETS
from model.decode import count_errors, decode_exactly
from model.errors import InputError
from model.factored import init_params
from model.handbuilt import Carry, handbuilt_adder
from model.intervals import clopper_pearson
from model.task import HARD_CASES, uniform_pairs

SMALL = CertifyConfig(budget=20_000, eos_budget=2)


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest) -> tuple[Adder, Certificate]:
    path = Path(__file__).resolve().parents[3].parent / "shared/published/best_311p_s34.pt"
    if not path.exists():
        pytest.skip("the published checkpoint is not on this machine")
    model = load(path)
    return model, certify(model, CertifyConfig(eos_budget=2))


def noisy(model: Adder, size: float, seed: int) -> Adder:
    generator = torch.Generator().manual_seed(seed)
    params = {
        name: p.detach() * (1 + size * torch.randn(p.shape, generator=generator))
        for name, p in model.params.items()
    }
    return Adder(model.config, params)


def domain(fixed: np.ndarray, free: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fix all digit pairs but some; return the pairs and what `count_avoiding` may read."""
    allowed = np.zeros((10, 100), dtype=bool)
    allowed[np.arange(10), fixed] = True
    allowed[free] = True
    grid = np.stack(np.meshgrid(*[np.arange(100)] * len(free)), axis=-1).reshape(-1, len(free))
    pairs = np.tile(fixed, (len(grid), 1))
    pairs[:, free] = grid
    powers = 10 ** np.arange(10)
    return (pairs // 10 * powers).sum(1), (pairs % 10 * powers).sum(1), allowed


def count_in(certificate: Certificate, allowed: np.ndarray) -> tuple[int, int]:
    lower, upper = (
        count_avoiding(
            [build_automaton(x) for x in certificate.cells("real", verdicts, range(11))], allowed
        )
        for verdicts in ((WRONG, UNDECIDED), (WRONG,))
    )
    return lower, upper


def test_published_checkpoint_has_an_exact_count(published: tuple[Adder, Certificate]):
    model, certificate = published
    assert certificate.real.lower == certificate.real.upper == 99_996_142_150_190_900_700
    assert certificate.float32.lower <= certificate.real.lower <= certificate.float32.upper
    assert certificate.float32.gap < TOTAL // 10**4
    atlas = build_atlas(certificate, model)
    wrong = atlas[atlas["real"] == "wrong"]
    assert (wrong["margin"] < 0).all()
    assert (wrong["answer"] != wrong["true"]).all()
    decided = wrong[wrong["float32"] == "wrong"]
    assert (decided["answer_float32"] != decided["true"]).all()
    a, b = HARD_CASES["published failing case"]
    hits = [
        row
        for row in decided.to_dict("records")
        if all(
            x in (y, "?")
            for x, y in zip(row["a_digits"] + row["b_digits"], f"{a:010}{b:010}", strict=True)
        )
    ]
    assert {row["column"] for row in hits} == {8}
    columns = tabulate_columns(certificate)
    parts = columns[["right", "wrong", "undecided"]].sum(axis=1)
    assert (parts == TOTAL).all()


@pytest.mark.parametrize("free", [[4, 3], [5, 4], [8, 9], [7, 8]])
def test_brute_force_agrees_on_restricted_domains(
    published: tuple[Adder, Certificate], free: list[int]
):
    model, certificate = published
    rng = np.random.default_rng(sum(free))
    cells = np.concatenate(certificate.cells("real", (WRONG,), range(11)))
    x, y = sample_pairs(cells[rng.choice(len(cells), 1)], rng)
    powers = 10 ** np.arange(10)
    failing = 10 * (x[0] // powers % 10) + y[0] // powers % 10
    for fixed in (rng.integers(0, 100, 10), failing):  # anywhere, and around a failing pair
        a, b, allowed = domain(fixed, free)
        exact = decode_exactly(model, torch.from_numpy(a), torch.from_numpy(b)).exact
        assert count_in(certificate, allowed) == (int(exact.sum()),) * 2


def test_sampled_rate_lies_around_the_certified_one(published: tuple[Adder, Certificate]):
    model, certificate = published
    a, b = uniform_pairs(300_000, torch.Generator().manual_seed(5))
    low, high = clopper_pearson(count_errors(model, a, b), len(a), level=0.999)
    smallest, largest = certificate.float32.error_rates
    assert low <= largest
    assert smallest <= high


def test_noisy_and_random_models_are_certified_as_bad_as_they_are(
    published: tuple[Adder, Certificate],
):
    good, _ = published
    random = Adder(PRESETS["777p"], init_params(PRESETS["777p"], seed=1))
    models = [noisy(good, 0.003, 0), random]
    a, b = uniform_pairs(4_000, torch.Generator().manual_seed(6))
    for model in models:
        certificate = certify(model, SMALL)
        errors = int((~decode_exactly(model, a, b).exact).sum())
        assert errors > 0
        low, high = clopper_pearson(errors, len(a), level=0.999)
        for name in ARITHMETICS:
            count = getattr(certificate, name)
            assert count.lower <= count.upper
            assert count.error_rates[0] <= high
            assert count.error_rates[1] >= low
        assert certificate.real.lower < TOTAL


def test_command_writes_everything(
    published: tuple[Adder, Certificate], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    model, _ = published
    save(tmp_path / "model", model, {})
    arguments = [str(tmp_path / "model"), "--eos-budget", "2", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    screen = capsys.readouterr().out
    printed = " ".join(screen.split())
    assert "exactly 3,857,849,809,099,300 pairs of 10^20 are wrong" in printed
    assert "is undecided in real arithmetic" in printed
    assert screen.count("\n") <= 36
    assert "exactly 99,996,142,150,190,900,700" in (tmp_path / "out/details.txt").read_text()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"certificate.json", "summary.json", "columns.csv", "atlas.csv", "contexts.csv"} <= names
    assert {"atlas.png", "atlas.svg", "atlas.pdf", "timing.json"} <= names
    # Times stand apart, so that the same weights give the same bytes.
    for name in ("certificate.json", "summary.json"):
        assert "seconds" not in (tmp_path / "out" / name).read_text()
    again = plot_atlas(pd.read_csv(tmp_path / "out" / "contexts.csv", dtype={"pairs": float}))
    assert len(again.axes) == 11


@pytest.fixture(scope="module")
def handbuilt() -> Certificate:
    return certify(handbuilt_adder(carry="discrete"), SMALL)


def test_the_screen_of_the_handbuilt_adder_claims_every_pair(handbuilt: Certificate):
    none = pd.DataFrame(columns=["real"])
    said = summarise(handbuilt, tabulate_columns(handbuilt), none, "hand")
    assert said.rows[0].verdict == "all pairs"
    assert "In real arithmetic all 10^20 pairs are right." in said.sentences
    float32 = handbuilt.float32.gap / TOTAL
    assert f"A share of 0 is undecided in real arithmetic, {float32:.3g} in float32." in (
        said.sentences
    )
    assert "a wrong sum" not in [row.question for row in said.rows]


@pytest.mark.parametrize(
    ("real", "words"),
    [
        (Count(0, 0), "exactly 100,000,000,000,000,000,000 pairs of 10^20 are wrong, a share of 1"),
        (Count(0, TOTAL // 2), "between 0.5 and 1 of all pairs are wrong"),
        (Count(0, TOTAL), "nothing is decided"),
        (Count(TOTAL - 1, TOTAL - 1), "exactly 1 pair of 10^20 is wrong"),
    ],
)
def test_the_screen_of_a_network_that_fails_says_how_much(
    handbuilt: Certificate, real: Count, words: str
):
    certificate = dataclasses.replace(handbuilt, real=real, real_with_end=Count(0, real.upper))
    columns = pd.DataFrame({"column": [2, 3], "wrong": [0, TOTAL // 4]}, dtype=object)
    columns["arithmetic"] = "real"
    witness = {"real": "wrong", "a": 150, "b": 70, "true": 220, "answer": 120}
    said = summarise(certificate, columns, pd.DataFrame([witness]), "failed")
    assert words in said.sentences[0]
    assert f"A share of {real.gap / TOTAL:.3g} is undecided in real" in said.sentences[3]
    rows = {row.question: (row.verdict, row.number, row.control) for row in said.rows}
    assert rows["a wrong sum"] == ("150 + 70", "answers 120", "true 220")
    assert rows["worst column"][:2] == ("column 3", "2.50e-01 of pairs")


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["no-such-model"]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    with pytest.raises(InputError, match="--budget"):
        CertifyConfig(budget=100)
    with pytest.raises(InputError, match="--eos-budget"):
        CertifyConfig(eos_budget=1)
    assert main(["262p", "--budget", "5"]) == 2


def test_figures_and_words(published: tuple[Adder, Certificate]):
    _, certificate = published
    contexts = tabulate_contexts(certificate)
    per_column = contexts.groupby("column")["pairs"].sum()
    assert all(int(x) == TOTAL for x in per_column)
    table = pd.DataFrame(
        {
            "step": [0, 100, 200],
            "real_lower": [0.9, 0.1, 0.0],
            "real_upper": [1.0, 0.2, 0.0],
            "sampled": [0.95, 0.15, 0.0],
            "sampled_low": [0.94, 0.14, 0.0],
            "sampled_high": [0.96, 0.16, 1e-5],
        }
    )
    assert plot_trajectory(table).axes
    cell = certificate.cells("real", (WRONG,), [8])[0][0]
    assert "column 7: 0+9, carry in 0" in describe(cell)


def test_trajectory_chooses_snapshots_and_refuses_what_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = TrajectoryConfig(snapshots=3)
    assert choose_steps(range(0, 101, 10), config) == [30, 70, 100]
    assert choose_steps([0, 5], config) == [0, 5]
    save(tmp_path / "model", Adder(PRESETS["262p"]), {})
    assert trajectory_main([str(tmp_path / "model")]) == 2
    assert "no trajectory" in capsys.readouterr().err


@pytest.mark.parametrize(("carry", "right"), [("discrete", TOTAL), ("ignored", 55**10)])
def test_handbuilt_adders_have_the_count_that_arithmetic_gives(
    handbuilt: Certificate, carry: Carry, right: int
):
    # Without carries, a sum is right when no column carries: 55 digit pairs in each of 10 columns.
    one = carry == "discrete"
    certificate = handbuilt if one else certify(handbuilt_adder(carry=carry), SMALL)
    assert certificate.real.lower == certificate.real.upper == right
    assert certificate.float32.lower <= right <= certificate.float32.upper
