"""The page: whole, small, alone; and in a browser it says what PyTorch says."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analyses.explorer import build_page
from analyses.explorer.__main__ import main
from analyses.explorer.describe import describe
from analyses.explorer.page import PARTS
from model.anyone import read_network
from model.decode import decode_exactly
from model.tables import column_logits, tabulate
from model.task import carry_stratified_pairs, uniform_pairs

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
N_PAIRS, NAMES = 1_000, ("262p", "262p-failed")
LARGEST = 10**6

PROBE = """
<script id="pairs" type="application/json">{pairs}</script>
<script type="module">
const out = {{}};
const pack = (numbers) => {{
  const bytes = new Uint8Array(Float32Array.from(numbers).buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 1) text += String.fromCharCode(bytes[i]);
  return btoa(text);
}};
const {{ readNetwork, prepare, decode, digitsOf }} = globalThis.carrylens;
const pairs = JSON.parse(document.getElementById("pairs").textContent);
for (const description of JSON.parse(document.getElementById("carrylens-networks").textContent)) {{
  const prepared = prepare(readNetwork(description));
  const spell = (value) => digitsOf(BigInt(value), 10, 10);
  const runs = pairs.map((pair) => decode(prepared, ...pair.map(spell)));
  out[description.name] = {{
    tokens: pack(runs.flatMap((run) => run.tokens)),
    logits: pack(runs.flatMap((run) => run.columns.flatMap((column) => column.logits))),
  }};
}}
const status = () => document.querySelector("[role=status]").textContent;
const wait = () => new Promise((resolve) => setTimeout(resolve, 100));
out.first = status();
const digit = document.querySelector('[data-cell="a0"]');
digit.dispatchEvent(new KeyboardEvent("keydown", {{ key: "7", bubbles: true, cancelable: true }}));
await wait();
out.typed = status();
out.before = document.querySelectorAll("tr.before").length;
document.querySelector("li.part input[type=checkbox]").click();
await wait();
out.switched = document.querySelectorAll("tr.before").length;
out.address = location.hash;
out.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
out.unnamed = [...document.querySelectorAll("input, button, select, svg[role]")].filter(
  (e) => !(e.ariaLabel || e.textContent.trim() || e.closest("label") || e.labels?.length),
).length;
const result = document.createElement("pre");
result.id = "result";
result.textContent = JSON.stringify(out);
document.body.append(result);
</script>
"""


@pytest.fixture(scope="module")
def page() -> str:
    return build_page([describe(read_network(name), pairs=0) for name in (*NAMES, "491p")])


def test_the_page_is_one_small_file_that_needs_nothing(page: str) -> None:
    assert len(page.encode()) < LARGEST
    assert "{{ " not in page.partition("<script")[0]
    assert not re.search(r"""(?:src|href)\s*=\s*["']|url\(|@import""", page.partition("<script")[0])
    assert "default-src 'none'" in page
    assert "fetch(" not in page
    assert "XMLHttpRequest" not in page


def test_names_cannot_break_out_of_the_page() -> None:
    described = describe(read_network("262p"), pairs=0) | {"name": "</script><b>{{ style }}"}
    page = build_page([described])
    assert "</script><b>" not in page
    assert page.count("<main") == 1
    assert page.count("carrylens-explorer *,") <= 1


def test_the_bundle_is_that_of_the_sources() -> None:
    """`make explorer-bundle` writes both; the licences of what it takes in lie beside."""
    lines = (PARTS / "bundle/SOURCES.txt").read_text(encoding="utf-8").splitlines()
    stored = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = {path.name: path.read_bytes() for path in (PARTS / "src").iterdir()}
    assert stored == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    licences = (PARTS / "bundle/LICENSES.txt").read_text(encoding="utf-8")
    packages = json.loads((PARTS / "package.json").read_text(encoding="utf-8"))
    for name, version in packages["dependencies"].items():
        assert f"{name} {version}\n" in licences


def test_examples_of_an_imperfect_network_are_pairs_that_it_gets_wrong() -> None:
    adder = read_network("311p-base")
    wrong = [e for e in describe(adder, pairs=20_000)["examples"] if e["label"].startswith("wrong")]
    a, b = (torch.tensor([int(e[name]) for e in wrong]) for name in "ab")
    assert wrong
    assert not decode_exactly(adder.network, a, b).exact.any()
    named = describe(read_network("262p"), pairs=2_000)["examples"]
    assert [e["label"] for e in named][-1] == "smallest margin"


def test_the_command_writes_one_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert main(["262p", "--out", str(out), "--pairs", "0"]) == 0
    assert capsys.readouterr().out.strip() == f"files: {out}"
    assert "How 262p adds" in out.read_text(encoding="utf-8")


@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed: no browser to run the page")
def test_a_browser_finds_the_logits_and_answers_of_pytorch(page: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    halves = uniform_pairs(N_PAIRS, generator), carry_stratified_pairs(N_PAIRS, generator)
    a, b = (torch.cat(side) for side in zip(*halves, strict=True))
    texts = json.dumps([[str(x), str(y)] for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", PROBE.format(pairs=texts) + "</body>"))
    found = browse(file, tmp_path / "profile")
    for name in NAMES:
        network = read_network(name).network
        layout, tables = network.layout, tabulate(network)
        answer = decode_exactly(network, a, b).tokens
        fed = layout.encode(a, b)
        fed[:, layout.n_prompt :] = answer
        steps = [column_logits(tables, fed, step) for step in range(layout.n_target)]
        expected = torch.stack(steps, dim=1).numpy()
        assert (unpack(found[name]["tokens"]).reshape(answer.shape) == answer.numpy()).all()
        logits = unpack(found[name]["logits"]).reshape(expected.shape)
        assert np.abs(logits - expected).max() < 1e-4
    assert "262p: 17899039523, right" in found["first"]
    assert "262p: 17899039530, right" in found["typed"]
    assert (found["before"], found["switched"]) == (0, 1)
    assert "left.w." in found["address"]
    assert found["wide"] <= 0
    assert found["unnamed"] == 0


def browse(file: Path, profile: Path) -> dict[str, Any]:
    """Open a file in a browser without a screen, and read what its script found."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    argv = [str(BROWSER), *options, f"--user-data-dir={profile}", "--dump-dom", file.as_uri()]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300)
    match = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    return json.loads(match[1])


def unpack(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4")
