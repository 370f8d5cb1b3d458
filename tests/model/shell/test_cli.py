from typing import Literal

import pytest

from model.errors import InputError
from model.shell.cli import run_command


def greet(name: str, times: int = 1, tone: Literal["calm", "loud"] = "calm") -> int | None:
    """Greet somebody.

    Args:
        name: Whom to greet.
        times: How often.
        tone: How.
    """
    if name == "nobody":
        raise InputError("nobody is not there: name somebody")
    if name == "impatient":
        raise KeyboardInterrupt
    for _ in range(times):
        print(name.upper() if tone == "loud" else name)
    return 3 if name == "three" else None


def run(*arguments: str) -> int:
    return run_command(greet, arguments, prog="greet", example="greet --name you")


def test_success_and_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--name", "you", "--times", "2", "--tone", "loud") == 0
    assert capsys.readouterr().out == "YOU\nYOU\n"
    assert run("--name", "three") == 3


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    printed = capsys.readouterr().out
    assert "Example: greet --name you" in printed
    assert "How often" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "nobody"], "greet: nobody is not there: name somebody"),
        ([], "--name"),
        (["--name", "you", "--times", "often"], "often"),
        (["--name", "you", "--tone", "shrill"], "shrill"),
        (["--name", "you", "--volume", "11"], "--volume"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("greet: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_an_interrupt_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--name", "impatient") == 130
    assert capsys.readouterr().err == "greet: interrupted\n"
