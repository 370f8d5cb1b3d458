"""Kills commands at random moments and says what was lost.

Baseline: each command once to its end, undisturbed. Then the same command is killed again and again
in one folder: SIGKILL, SIGTERM, or a disk that is full (a limit on the size of files, so that a
write fails half-way). After each blow the folder must be what it was before, the finished result,
or say that it is unfinished. After some blows the command is left alone; it must end with every
byte of the baseline and nothing else in the folder. In every second round the folder holds the
result of another command line at the start (another checkpoint, another seed).

    python -m benchmarks.torture --kills 200
    python -m benchmarks.torture --kills 60 --only train sweep certify
"""

import argparse
import contextlib
import hashlib
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import train.run
from model.errors import InputError
from model.shell import MANIFEST, TIMING, UNFINISHED, find_problems

BLOWS = ("SIGKILL", "SIGTERM", "full disk")
TRAIN = ["--steps", "400", "--batch", "64", "--warmup", "20"]
LOGGED = ["--phase-1", "10", "--phase-2", "40", "--every", "50"]
BUDGET = ["--budget", "20000"]
PROBE = ["--quick", "--sites", "resid_mid", "--columns", "1"]
FIGURE = ["attention_by_role", "parameter_journey", "--format", "png", "svg", "--checkpoint"]


@dataclass(frozen=True)
class Victim:
    """A command that is killed.

    Attributes:
        package: Where it is.
        argv: Its arguments.
        other: Arguments whose result lies in the folder at the start of every second round.
        share: Its share of the blows.
        warm: Whether it is run here first, so that children have everything compiled; not where
            it starts processes, which children cannot inherit.
    """

    package: str
    argv: list[str]
    other: list[str] | None
    share: int
    warm: bool = True


VICTIMS = {
    "train": Victim("train", ["--seed", "1", *TRAIN, *LOGGED], None, 25),
    "sweep": Victim("train.sweep", ["--seeds", "0-2", "--workers", "1", *TRAIN, *LOGGED], None, 20),
    "sweep, two workers": Victim(
        "train.sweep", ["--seeds", "0-3", "--workers", "2", *TRAIN, *LOGGED], None, 5, warm=False
    ),
    "finetune": Victim(
        "train.finetune", ["262p", "--seeds", "0-1", "--workers", "1", *TRAIN], None, 15
    ),
    "certify": Victim("interp.certify", ["262p", *BUDGET], ["274p", *BUDGET], 10),
    "carry_probe": Victim("interp.carry_probe", ["262p", *PROBE], ["274p", *PROBE], 5, warm=False),
    "figures": Victim("analyses.figures", [*FIGURE, "262p"], [*FIGURE, "274p"], 20),
}

ROUND = 5
"""Blows before a command is left alone."""


@dataclass
class Tally:
    """What the blows did to one command."""

    blows: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    lost: list[str] = field(default_factory=list)


def run(package: str, argv: Sequence[str], folder: Path) -> int:
    """Run a command here; give its exit code."""
    return importlib.import_module(f"{package}.__main__").main([*argv, "--out", str(folder)])


def start(package: str, argv: Sequence[str], folder: Path, limit: int | None = None) -> int:
    """Run a command in a child that has everything imported; give its process id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os.setsid()
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = run(package, argv, folder)
    except BaseException as error:
        code = 71 if not isinstance(error, SystemExit) else 72
    finally:
        os._exit(code)


def finish(child: int) -> int:
    """Wait for a child; give its exit code, minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digest(folder: Path) -> dict[str, str]:
    """Hash all that a folder holds, hidden files too."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != TIMING
    }


def strike(package: str, argv: Sequence[str], folder: Path, blow: str, seconds: float) -> int:
    """Start a command and hit it at a random moment of its time; give its exit code."""
    if blow == "full disk":
        return finish(start(package, argv, folder, limit=int(2 ** random.uniform(0, 18))))
    child = start(package, argv, folder)
    time.sleep(random.uniform(0, seconds))
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL if blow == "SIGKILL" else signal.SIGTERM)
    return finish(child)


def judge(folder: Path, wholes: Sequence[dict[str, str]]) -> tuple[str, str | None]:
    """Say in which state a blow left a folder, and what is wrong with that."""
    if not folder.exists() or not digest(folder):
        return "empty", None
    if not (folder / MANIFEST).exists():
        marked = (folder / UNFINISHED).exists()
        problem = None if marked or set(digest(folder)) == {".lock"} else "files, and no word of it"
        return "unfinished", problem
    try:
        problems = find_problems(folder)
    except InputError as error:
        problems = [str(error)]
    if problems:
        return "whole", f"it says that it is whole, but {problems[0]}"
    found = {name: x for name, x in digest(folder).items() if not Path(name).name.startswith(".")}
    return "whole", None if found in wholes else "a mixture of two results"


def torment(name: str, kills: int, store: Path) -> Tally:
    """Hit one command so many times, in rounds."""
    victim = VICTIMS[name]
    package, argv, other = victim.package, victim.argv, victim.other
    base = store / name
    if victim.warm:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            run(package, argv, base / "warm")
    began = time.monotonic()
    if finish(start(package, argv, base / "baseline")):
        raise SystemExit(f"{name} does not run: python -m {package} {' '.join(argv)}")
    seconds, tally = time.monotonic() - began, Tally()
    wholes = [digest(base / "baseline")]
    if other:
        assert finish(start(package, other, base / "other")) == 0
        wholes.append(digest(base / "other"))
    while sum(tally.blows.values()) < kills:
        folder = base / f"round-{tally.rounds}"
        if other and tally.rounds % 2:
            shutil.copytree(base / "other", folder)
        for _ in range(min(ROUND, kills - sum(tally.blows.values()))):
            blow = random.choice(BLOWS)
            tally.blows[blow] += 1
            code = strike(package, argv, folder, blow, seconds)
            state, problem = judge(folder, wholes)
            tally.states[state] += 1
            if code not in (0, 2, -signal.SIGKILL, -signal.SIGTERM):
                problem = f"exit code {code}"
            if problem:
                tally.lost.append(f"{name}, {blow}: {problem}")
        code = finish(start(package, argv, folder))
        found = digest(folder)
        if code:
            tally.lost.append(f"{name}: exit code {code} when left alone")
        for file in sorted(wholes[0].keys() | found.keys()):
            if wholes[0].get(file) != found.get(file):
                what = "missing" if file not in found else "other" if file in wholes[0] else "extra"
                tally.lost.append(f"{name}: {file} is {what}")
        tally.rounds += 1
        shutil.rmtree(folder)
        print(f"{name}: {sum(tally.blows.values())} of {kills}", file=sys.stderr, flush=True)
    return tally


def show(tallies: dict[str, Tally]) -> None:
    """Print the table, and everything that was lost."""
    states = ("empty", "unfinished", "whole")
    print(f"| command | {' | '.join(BLOWS)} | left {' | left '.join(states)} | rounds | lost |")
    print("|---" * (len(BLOWS) + len(states) + 3) + "|")
    for name, tally in tallies.items():
        cells = [tally.blows[blow] for blow in BLOWS] + [tally.states[state] for state in states]
        lost = len(tally.lost) or "nothing"
        print(f"| {name} | {' | '.join(map(str, cells))} | {tally.rounds} | {lost} |")
    for tally in tallies.values():
        for line in tally.lost:
            print(line)


def main() -> int:
    """Torment every command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="blows in all")
    parser.add_argument("--only", nargs="*", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments and kinds of the blows")
    asked = parser.parse_args()
    random.seed(asked.seed)
    train.run.SAVE_SECONDS = 0.0  # so that runs of a second are saved on their way, and resumed
    whole = sum(VICTIMS[name].share for name in asked.only)
    tallies = {}
    with tempfile.TemporaryDirectory() as store:
        for name in asked.only:
            kills = round(asked.kills * VICTIMS[name].share / whole)
            tallies[name] = torment(name, kills, Path(store))
    show(tallies)
    return int(any(tally.lost for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
