import itertools
import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from matplotlib.figure import Figure

from analyses.dynamics import measures as dynamics_measures
from analyses.dynamics import store as dynamics_store
from analyses.dynamics import study as dynamics
from analyses.dynamics.__main__ import main
from analyses.dynamics.measures import Config, carry_blind, data_floors, measure
from analyses.dynamics.runs import choose_steps, read_runs
from analyses.dynamics.store import Measurements
from analyses.dynamics.study import conclude
from interp.gauge.changes import random_gauge
from interp.output import save_figure
from model.adder import Adder
from model.checkpoint import TRAJECTORY, save
from model.config import PRESETS
from model.factored import init_params
from model.handbuilt import handbuilt_adder
from model.task import N_ANSWER
from train.config import TrainConfig
from train.progress import LOG

SMALL = Config(pairs=200, inputs=600, random_inits=1, no_certify=True)
OPTIONS = ["--pairs", "200", "--inputs", "600", "--random-inits", "1", "--no-certify"]
STEPS = (0, 1_000, 3_000, 9_000)


def write_run(folder: Path, exact: float, *, handbuilt: bool, **train: int) -> str:
    """A run of a hand-built adder that appears at the third of four snapshots, or never does."""
    model = handbuilt_adder()
    start = init_params(model.config, seed=1)
    later = model.params if handbuilt else init_params(model.config, seed=2)
    params = [start, start, later, later]
    stacked = {name: torch.stack([p[name].detach() for p in params]) for name in start}
    recipe = TrainConfig(steps=STEPS[-1], **train).to_dict()
    save(folder, Adder(model.config, later), {"train": recipe, "seed": 5, "lineage": [{}]})
    stacked["step"] = torch.tensor(STEPS)
    (folder / TRAJECTORY).write_bytes(safetensors.torch.save(stacked))
    pd.DataFrame({"step": STEPS[1:], "exact": [0.0, exact, exact]}).to_csv(folder / LOG)
    return str(folder)


@pytest.fixture
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes in two columns and figures in one format, which is a fifth of the work."""
    monkeypatch.setattr(dynamics_measures, "INNER", range(4, 6))
    monkeypatch.setattr(dynamics, "save_figure", partial(save_figure, formats=("svg",)))


def pooled(table: pd.DataFrame) -> dict[str, float]:
    return table[table["part"] == "all"].set_index("measure")["value"].to_dict()


def test_measures_find_the_carry_in_a_hand_built_adder() -> None:
    table = measure(handbuilt_adder(), SMALL)
    found, floor = pooled(table), pooled(data_floors(SMALL))
    assert found["exact"] == found["exact_hard"] == 1.0
    assert found["digit_accuracy"] == 1.0
    assert found["loss"] < 1e-3 < floor["loss"]
    assert found["attention_local"] == pytest.approx(1.0, abs=1e-6)
    assert found["attention_ratio"] == pytest.approx(1.0, abs=1e-6)  # a quarter on each of four
    assert found["probe"] > 0.95
    assert found["probe"] > floor["probe"] + 0.15
    assert abs(found["probe_shuffled"] - 0.5) < 0.1
    assert (table["low"] <= table["value"] + 1e-12).all()
    assert (table["value"] <= table["high"] + 1e-12).all()


def test_measures_find_no_carry_in_random_networks() -> None:
    config = PRESETS["262p"]
    table = measure(Adder(config, init_params(config, seed=0)), SMALL)
    found, floor = pooled(table), pooled(data_floors(SMALL))
    assert found["exact"] == 0.0
    assert found["digit_accuracy"] < 0.3 < floor["digit_accuracy"]
    assert found["attention_ratio"] == pytest.approx(1.0, abs=0.1)
    assert found["attention_local"] < 0.3
    assert found["probe"] < floor["probe"] + 0.03


@pytest.mark.usefixtures("little_work")
def test_spectra_do_not_depend_on_the_gauge_or_on_the_scale_of_the_stream() -> None:
    config = PRESETS["262p"]
    params = {name: value.double() for name, value in init_params(config, seed=3).items()}
    params |= {name: value * 30 for name, value in params.items() if name[:3] in ("W_E", "W_p")}
    other = random_gauge(params, config, torch.Generator().manual_seed(0))
    for name in ("W_E", "W_pos_A", "W_O_B", "W_out_B"):
        other[name] = other[name] * 2.5
    tables = [measure(Adder(config, p), SMALL) for p in (params, other)]
    chosen = [t[t["measure"].str.startswith(("norm", "spectrum"))]["value"] for t in tables]
    assert len(chosen[0]) == 25
    assert chosen[0].to_numpy() == pytest.approx(chosen[1].to_numpy(), rel=1e-6, abs=1e-9)


def test_what_is_possible_without_the_carry_is_exact() -> None:
    entropy, accuracy = carry_blind()
    assert len(entropy) == len(accuracy) == N_ANSWER
    assert entropy[0] == 0.0
    assert accuracy[0] == 1.0
    # Column 0 carries nothing in: sums s and s + 10 have s + 1 and 9 - s pairs.
    wins = sum(max(s + 1, 9 - s) for s in range(10))
    assert accuracy[1] == pytest.approx(wins / 100)
    assert accuracy[5] == pytest.approx(0.75)


def test_snapshots_are_spread_early_and_late() -> None:
    steps = [0, 1, 2, 5, *range(1_000, 200_001, 1_000)]
    chosen = choose_steps(steps, 20)
    assert len(chosen) == 20
    assert chosen == sorted(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, 200_000)
    assert sum(step <= 8_000 for step in chosen) >= 4
    assert max(b - a for a, b in itertools.pairwise(chosen)) <= 40_000
    assert choose_steps(steps, 1_000) == steps


def test_runs_are_classed_by_their_own_records(tmp_path: Path) -> None:
    names = [
        write_run(tmp_path / "good", 0.95, handbuilt=True, phase_1=2_000, phase_2=7_000),
        write_run(tmp_path / "bad", 0.10, handbuilt=False, phase_1=0, phase_2=0),
        "262p",
    ]
    good, bad, tuned = read_runs(names)
    assert good.group == "grokked, length curriculum"
    assert good.marks == {"lr peak": 1_350, "6 digits": 2_000, "10 digits": 7_000}
    assert bad.group == "failed, no length curriculum"
    assert bad.marks == {"lr peak": 1_350}
    assert tuned.group == "grokked, fine-tuned"
    other = tmp_path / "sweep" / "good"
    write_run(other, 0.95, handbuilt=True)
    assert [r.name for r in read_runs([names[0], str(other)])] == [
        f"{tmp_path.name}-good",
        "sweep-good",
    ]


@pytest.mark.usefixtures("little_work")
def test_the_command_compares_classes_resumes_and_redraws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        write_run(tmp_path / "good", 0.95, handbuilt=True, phase_1=2_000, phase_2=7_000),
        write_run(tmp_path / "bad", 0.10, handbuilt=False, phase_1=0, phase_2=0),
    ]
    out = tmp_path / "out"
    original_plot = dynamics.plot

    def draw_two(result: dynamics.Result) -> dict[str, Figure]:
        """Draw two of four figures; the next test draws all."""
        return dict(itertools.islice(original_plot(result).items(), 2, None))

    monkeypatch.setattr(dynamics, "plot", draw_two)
    assert main([*runs, *OPTIONS, "--out", str(out)]) == 0
    screen = capsys.readouterr().out
    text = " ".join(screen.split())
    assert "2 runs, grokked, length curriculum (control: failed, no length curriculum)" in text
    assert "Of 2 runs 1 passed 90 % of exact match." in text
    assert "step 1,000 to 3,000" in text
    assert "never if failed" in text
    assert screen.count("\n") <= 36
    details = (out / "details.txt").read_text()
    assert "grokked, length curriculum" in details
    assert "failed, no length curriculum" in details
    onsets = pd.read_csv(out / "onsets.csv").set_index(["run", "measure", "rule"])
    for name in ("exact", "probe", "attention_local", "digit_accuracy"):
        assert onsets.loc[("good", name, "half"), "onset"] == 3_000
        assert onsets.loc[("good", name, "half"), "after"] == 1_000
        assert "6 digits" in onsets.loc[("good", name, "half"), "boundary"]
        assert pd.isna(onsets.loc[("bad", name, "half"), "onset"])
        assert pd.isna(onsets.loc[("bad", name, "level"), "onset"])

    files = ("spectra.svg", "onsets.svg", "onsets.csv", "order.csv")
    before = {name: (out / name).read_bytes() for name in files}
    for name in files:
        (out / name).unlink()
    assert main(["--redraw", str(out)]) == 0
    assert {name: (out / name).read_bytes() for name in files} == before

    # A lost snapshot is measured again, the others are kept.
    monkeypatch.setattr(dynamics, "plot", lambda result: {})
    kept = out / "snapshots" / "good.csv"
    table = pd.read_csv(kept)
    table[table["step"] != 3_000].to_csv(kept, index=False)
    done = []
    original = dynamics_store.do_task
    monkeypatch.setattr(
        dynamics_store, "do_task", lambda task, config: done.append(task) or original(task, config)
    )
    assert main([*runs, *OPTIONS, "--out", str(out)]) == 0
    assert [(task.record.name, task.step) for task in done] == [("good", 3_000)]
    assert (out / "onsets.csv").read_bytes() == before["onsets.csv"]

    capsys.readouterr()
    assert main([*runs, *OPTIONS, "--seed", "1", "--out", str(out)]) == 2
    assert "choose another --out" in capsys.readouterr().err


@pytest.mark.usefixtures("little_work")
def test_the_screen_of_one_failed_run_claims_no_transition(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamics, "plot", lambda result: {})
    bad = write_run(tmp_path / "bad", 0.10, handbuilt=False, phase_1=0, phase_2=0)
    assert main([bad, *OPTIONS, "--out", str(tmp_path / "out")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "1 run, failed, no length curriculum: what moves first?" in text
    assert "The run never passed 90 % of exact match." in text
    assert "None of these measures has an onset." in text


@pytest.mark.usefixtures("little_work")
def test_certified_counts_keep_their_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judged(task: dynamics_store.Task, config: Config) -> pd.DataFrame:
        if task.kind != "certify":
            return original(task, config)
        counts = (str(3 * 10**19 + 1), str(10**20)) if task.step else ("0", str(10**19))
        row = [task.step, config.certify, *counts]
        return pd.DataFrame([row], columns=dynamics_store.CERTIFIED)

    original = dynamics_store.do_task
    monkeypatch.setattr(dynamics_store, "do_task", judged)
    name = write_run(tmp_path / "good", 0.95, handbuilt=True)
    options = [*OPTIONS[:-1], "--certified-snapshots", "2", "--snapshots", "3"]
    assert main([name, *options, "--out", str(tmp_path / "out")]) == 0
    figures = {path.stem for path in (tmp_path / "out").glob("*.svg")}
    assert figures == {"dynamics", "columns", "spectra", "onsets"}
    found = Measurements.read(tmp_path / "out")
    assert found.certified["lower"].tolist() == ["0", "30000000000000000001"]
    rows = found.table[found.table["measure"] == "certified"]
    assert rows["value"].tolist() == rows["low"].tolist() == pytest.approx([0.0, 0.3])
    assert rows["high"].tolist() == pytest.approx([0.1, 1.0])
    onsets = conclude(found).onsets.set_index(["measure", "rule"])["onset"]
    assert onsets[("certified", "half")] == 9_000
    assert pd.isna(onsets[("certified", "level")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run given"),
        (["no-such-run"], "no checkpoint 'no-such-run'"),
        (["262p", "262p"], "given twice"),
        (["262p@100"], "one snapshot: give the run, 262p"),
        (["262p", "--snapshots", "2"], "--snapshots is 2: it must be 3 to"),
        (["262p", "--inputs", "10"], "--inputs is 10"),
        (["262p", "--certify", "5"], "--certify is 5"),
        (["262p", "--workers", "0"], "--workers is 0"),
        (["--redraw", "nowhere"], "runs.json is missing"),
        (["262p", "--redraw", "nowhere"], "--redraw takes no runs"),
        (["262p", "--frobnicate"], "--help"),
    ],
)
def test_messages(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*arguments, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_unusable_runs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def complaint(folder: Path) -> str:
        assert main([str(folder), "--out", str(tmp_path / "out")]) == 2
        return capsys.readouterr().err

    training = tmp_path / "training"
    training.mkdir()
    (training / LOG).write_text("step,exact\n1000,0.0\n")
    assert "has not ended yet" in complaint(training)
    folder = tmp_path / "run"
    write_run(folder, 0.5, handbuilt=True)
    (folder / LOG).write_text("step\n1\n")
    assert "is no log of a run" in complaint(folder)
    (folder / LOG).unlink()
    assert "is missing: a run is classed by its log" in complaint(folder)
    data = (folder / TRAJECTORY).read_bytes()
    (folder / TRAJECTORY).write_bytes(data[:100])
    assert "truncated" in complaint(folder)
    (folder / TRAJECTORY).unlink()
    assert "keeps no snapshots" in complaint(folder)
    card = json.loads((folder / "model.json").read_text())
    (folder / TRAJECTORY).write_bytes(data)
    (folder / "model.json").write_text(json.dumps({**card, "train": None}))
    assert "does not say how it was trained" in complaint(folder)
