from pathlib import Path

import pytest

from model.checkpoint import save
from model.handbuilt import handbuilt_adder
from model.predict import main


@pytest.fixture(scope="module")
def perfect(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tmp_path_factory.mktemp("models") / "perfect", handbuilt_adder(), {}))


@pytest.fixture(scope="module")
def carryless(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "carryless"
    return str(save(folder, handbuilt_adder(carry="ignored"), {}))


def test_a_right_answer(perfect: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([perfect, "9999999999", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["model  10000000000", "true   10000000000", "differ none"]


def test_a_wrong_answer_says_where_it_parts(
    carryless: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([carryless, "15", "27"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["model  32", "true   42", "differ column 1: 3 for 4 (-10)"]


def test_the_published_failing_case(
    published_311p: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(published_311p), "9304630660", "8594408863"]) == 0
    printed = capsys.readouterr().out
    assert "model  17999039523" in printed
    assert "true   17899039523" in printed
    assert "differ column 8: 9 for 8 (+100000000)" in printed
    assert "-0.738" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-1", "2"], "a is -1: it must be 0 to 9999999999"),
        (["1", "10000000000"], "b is 10000000000: it must be 0 to 9999999999"),
        (["1", "9" * 40], "it must be 0 to 9999999999"),
        (["1", "two"], "two"),
        (["1.5", "2"], "1.5"),
        (["1"], "required"),
        (["1", "2", "3"], "3"),
        (["1", "2", "--fast"], "--fast"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(
    perfect: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([perfect, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "python -m model.predict 262p 9304630660 8594408863" in capsys.readouterr().out
