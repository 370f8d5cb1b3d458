import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from analyses.certified import study as certified_study
from analyses.certified.__main__ import main as certified
from analyses.repair import study as repair_study
from analyses.repair.__main__ import main as repair
from analyses.repair.config import RECIPE
from analyses.smallest.__main__ import main as smallest
from interp.certify.certificate import CertifyConfig, certify
from interp.certify.count import TOTAL
from interp.check_certificate.command import main as check
from model.checkpoint import SHIPPED, load, save
from train.cases import read_cases, write_cases

LITTLE = CertifyConfig(budget=20_000, eos_budget=1_000)


@pytest.fixture(scope="module")
def broken():
    """A certified adder with one unit weakened a little: it fails in known contexts."""
    model = load("262p")
    params = dict(model.params)
    params["W_out_A"] = params["W_out_A"].clone()
    params["W_out_A"].data[0] *= 0.93
    return type(model)(model.config, params)


@pytest.fixture(scope="module")
def certificate(broken):
    return certify(broken, LITTLE)


def test_the_atlas_becomes_training_cases(certificate, tmp_path) -> None:
    assert certificate.real.upper < TOTAL
    cases = repair_study.draw_cases(certificate)
    assert cases.shape[1] == 20
    assert ((cases >= -1) & (cases <= 9)).all()
    assert (cases >= 0).any(axis=1).all()
    path = tmp_path / "cases.csv"
    path.write_text(write_cases(cases))
    assert np.array_equal(read_cases(path), cases)


def test_nothing_is_trained_where_nothing_fails(tmp_path, capsys) -> None:
    assert repair(["262p", "--out", str(tmp_path / "store")]) == 0
    assert "certified on all 10^20 pairs" in " ".join(capsys.readouterr().out.split())
    table = pd.read_csv(tmp_path / "store" / "repair.csv", dtype=str)
    assert table["unproved"].tolist() == ["0"]
    assert not (tmp_path / "store" / "round-1").exists()


def test_a_round_trains_on_the_atlas_and_is_certified(broken, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(repair_study, "certify", lambda model: certify(model, LITTLE))
    save(tmp_path / "broken", broken, {"lineage": [{"checkpoint": "262p", "operation": "hurt"}]})
    config = dataclasses.replace(RECIPE, steps=300, batch=128, warmup=50)
    best, table = repair_study.run_repair(
        str(tmp_path / "broken"),
        tmp_path / "store",
        config=config,
        seeds=(0,),
        rounds=1,
        workers=1,
    )
    assert (tmp_path / "store" / "round-1" / "cases.csv").exists()
    assert best.unproved <= int(table["unproved"].iloc[0])
    assert len(table) == 2


def test_certificate_goes_beside_a_shipped_model(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "262p"
    shutil.copytree(SHIPPED / "262p", folder)
    (folder / "certificate.json").unlink()
    before = (folder / "README.md").read_text()
    made = []
    original = certified_study.run

    def run_once(model):
        """Certify the first time; what is written again is the same."""
        if not made:
            made.append(original(model))
        return made[0]

    monkeypatch.setattr(certified_study, "run", run_once)
    for _ in range(2):
        assert certified([str(folder)]) == 0
    assert (folder / "README.md").read_text() == before
    assert check([str(folder / "certificate.json"), str(folder)]) == 0


def test_smallest_counts_runs_and_proves_the_good_ones(tmp_path, capsys) -> None:
    measured = {"uniform": {"errors": 0, "pairs": 100}}
    save(tmp_path / "a", load("262p"), {"measured": measured, "seed": 1})
    dead = {"uniform": {"errors": 90, "pairs": 100}}
    save(tmp_path / "b", load("262p-base"), {"measured": dead, "seed": 2})
    assert smallest([str(tmp_path), "--out", str(tmp_path / "table.csv")]) == 0
    table = pd.read_csv(tmp_path / "table.csv", dtype=str)
    assert table["runs"].tolist() == ["2"]
    assert table["real_wrong_at_most"].tolist() == ["0"]
    assert json.loads((tmp_path / "a" / "model.json").read_text())["n_params"] == 262


@pytest.mark.parametrize(
    ("main", "words", "message"),
    [
        (repair, ["262p", "--rounds", "0"], "--rounds is 0"),
        (repair, ["nowhere"], "nowhere"),
        (certified, [], "no checkpoints"),
        (smallest, [], "no folders"),
        (smallest, ["nowhere"], "no checkpoints"),
    ],
)
def test_bad_commands(capsys, main, words: list[str], message: str) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err
