import ast
import copy
import re

import pytest
import torch

from analyses.adderboard.__main__ import main
from analyses.adderboard.study import (
    EDGE_CASES,
    answer,
    check_submission,
    random_pairs,
    run_file,
)
from analyses.adderboard.submission import write_submission
from model.checkpoint import load, save
from model.config import PRESETS, ModelConfig
from model.handbuilt import handbuilt_adder
from model.task import MAX_OPERAND, N_INPUT
from tests.reference import ALLOWED
from tests.support import FULL_OR_RANKED, random_adder


def test_the_exported_262p_adds_all_10_010_cases(tmp_path, capsys) -> None:
    out = tmp_path / "submission.py"
    assert main(["262p", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "unique parameters   262" in shown
    assert "10 of 10 right" in shown
    assert "10,000 of 10,000 right" in shown
    submission = run_file(out)
    model, metadata = submission.build_model()
    assert set(metadata) == {"name", "author", "params", "architecture", "tricks"}
    assert sum(p.numel() for p in model.parameters()) == metadata["params"] == 262
    for name, value in load("262p").params.items():
        assert torch.equal(getattr(model, name), value), name
    assert submission.add(model, MAX_OPERAND, 1) == MAX_OPERAND + 1


def test_the_file_needs_torch_only_and_knows_no_addition(tmp_path) -> None:
    tree = ast.parse(write_submission(load("262p"), "262p", "somebody"))
    imports = [x for x in ast.walk(tree) if isinstance(x, ast.Import | ast.ImportFrom)]
    names = {(x.module if isinstance(x, ast.ImportFrom) else x.names[0].name) for x in imports}
    assert names == {"math", "torch"}
    functions = {x.name: x for x in ast.walk(tree) if isinstance(x, ast.FunctionDef)}
    loops = (ast.For, ast.While, ast.If, ast.IfExp, ast.comprehension)
    assert not [x for x in ast.walk(functions["forward"]) if isinstance(x, loops)]
    assert not re.search(r"carry|digit|column", ast.unparse(functions["forward"]))
    assert {"a", "b"}.isdisjoint(x.id for x in ast.walk(functions["generate"]) if hasattr(x, "id"))


@pytest.mark.parametrize(("tie", "rank"), FULL_OR_RANKED)
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_every_shape_is_the_checkpoint_to_the_bit_of_its_weights(tmp_path, tie, rank, norm) -> None:
    config = ModelConfig(
        tie_qkv=tie, qkv_rank=rank, norm=norm, pos_rank=rank, attn_out_rank=rank, ffn_rank=rank
    )
    reference = random_adder(config).float()
    exact = copy.deepcopy(reference).double()
    path = tmp_path / "s.py"
    path.write_text(write_submission(reference, "x", "y"))
    model, metadata = run_file(path).build_model()
    assert metadata["params"] == config.n_params
    tokens = torch.randint(0, 14, (3, N_INPUT), generator=torch.Generator().manual_seed(0))
    for name, value in reference.params.items():
        assert torch.equal(getattr(model, name), value), name
    rounding = (reference(tokens) - exact(tokens)).abs().max()
    assert (model(tokens) - exact(tokens)).abs().max() <= ALLOWED * rounding


def test_batches_and_add_agree_and_the_hand_built_adder_qualifies(tmp_path) -> None:
    path = tmp_path / "s.py"
    reference = handbuilt_adder()
    path.write_text(write_submission(reference, "hand-built", "y"))
    score = check_submission(path, reference, n_random=150)
    assert score.qualifies
    assert score.failures == []
    submission = run_file(path)
    model, _ = submission.build_model()
    pairs = random_pairs(20)
    one_by_one = [submission.add(model, a, b) for a, b in pairs]
    assert answer(submission, model, pairs) == one_by_one == [a + b for a, b in pairs]


def test_an_untrained_network_does_not_qualify(tmp_path, capsys) -> None:
    folder = str(save(tmp_path / "m", random_adder(PRESETS["262p"]).float(), {}))
    assert main([folder, "--out", str(tmp_path / "s.py")]) == 1
    assert "does not qualify" in capsys.readouterr().out


def test_cases_follow_the_protocol() -> None:
    assert len(EDGE_CASES) == len(set(EDGE_CASES)) == 10
    pairs = random_pairs()
    assert len(pairs) == 10_000
    assert pairs[:3] == random_pairs(3)
    assert all(0 <= x <= MAX_OPERAND for pair in pairs for x in pair)


def test_messages(tmp_path, capsys) -> None:
    assert main(["262p", "--out", str(tmp_path / "s.txt")]) == 2
    assert "must be a .py file" in capsys.readouterr().err
    assert main(["no such model", "--out", str(tmp_path / "s.py")]) == 2
    assert not (tmp_path / "s.py").exists()
