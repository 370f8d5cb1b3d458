import json
from pathlib import Path

import pytest
import torch

from model.anyone import read_network
from model.checkpoint import is_general, shipped, shipped_adders
from model.decode import count_errors
from model.errors import InputError
from model.intervals import clopper_pearson
from model.parts import OPTIONS as FIELDS
from model.stored import read_stored, save_network
from model.task import uniform_pairs
from tests.network_support import OPTIONS, random_network


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", OPTIONS)
def test_a_network_comes_back_bit_for_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    network = random_network(**OPTIONS[name]).to(dtype)
    folder = save_network(tmp_path / "net", network, {"n_params": 7, "note": "mine"})
    assert is_general(folder)
    found, card = read_stored(folder)
    assert (card["n_params"], card["note"]) == (7, "mine")
    assert found.layout == network.layout
    for field in FIELDS:
        assert getattr(found, field) == getattr(network, field)
    assert found.tensors().keys() == network.tensors().keys()
    for key, value in network.tensors().items():
        assert torch.equal(found.tensors()[key], value)
        assert found.tensors()[key].dtype == dtype


def test_the_card_can_be_read_by_a_person(tmp_path: Path) -> None:
    save_network(tmp_path, random_network(), {})
    card = json.loads((tmp_path / "model.json").read_text())
    assert card["layout"]["prompt"] == ["a", 10, "b", 11]
    assert card["shapes"]["W_Q"] == "1 x 5 x 4"
    assert card["options"]["norm"] == "rms"


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    network = random_network()
    broken = network.edit(W_U=network.W_U * torch.inf)
    with pytest.raises(InputError, match="W_U has NaN or infinite"):
        save_network(tmp_path / "x", broken, {})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.pop("options"), "has no options"),
        (lambda card: card["options"].pop("eps"), "lacks 'eps'"),
        (lambda card: card["options"].update(colour=1), "unknown key 'colour'"),
        (lambda card: card["options"].update(norm="batch"), "norm is 'batch'"),
        (lambda card: card["options"].update(eps=10**400), "eps is"),
        (lambda card: card["options"].update(attn_scale=True), "attn_scale is True"),
        (lambda card: card["options"].update(rotary=3), "option rotary"),
        (
            lambda card: card["options"].update(
                rotary={"theta": 3, "dim": "4", "interleaved": False}
            ),
            "rotary dim",
        ),
        (lambda card: card["layout"].update(width=11), "needs"),
        (lambda card: card["layout"].update(shade=1), "unknown layout key"),
        (lambda card: card.update(layout=[]), "has no layout"),
        (lambda card: card.update(sha256="0"), "sha256 differs"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(change, message: str, tmp_path: Path) -> None:
    save_network(tmp_path, random_network(), {})
    file = tmp_path / "model.json"
    card = json.loads(file.read_text())
    change(card)
    file.write_text(json.dumps(card))
    with pytest.raises(InputError, match=message):
        read_stored(tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    save_network(tmp_path, random_network(), {})
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match=r"model\.safetensors is truncated"):
        read_stored(tmp_path)
    (tmp_path / "model.json").write_text("{")
    assert not is_general(tmp_path)
    with pytest.raises(InputError, match="is not readable JSON"):
        read_stored(tmp_path)


def test_one_that_is_shipped_is_read_by_name_and_no_checkpoint_of_the_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model import anyone, checkpoint

    for module in (anyone, checkpoint):
        monkeypatch.setattr(module, "SHIPPED", tmp_path)
    network = random_network(**OPTIONS["pairs"])
    save_network(tmp_path / "9p", network, {"n_params": 9})
    found = anyone.read_network("9p")
    assert (found.name, found.n_params, found.network.layout) == ("9p", 9, network.layout)
    assert (checkpoint.shipped(), checkpoint.shipped_adders()) == ([], ["9p"])
    with pytest.raises(InputError, match="outside the write-ups' family"):
        checkpoint.load("9p")
    with pytest.raises(InputError, match="9p@5"):
        anyone.read_network("9p@5")


@pytest.mark.parametrize("name", sorted(set(shipped_adders()) - set(shipped())))
def test_what_is_shipped_errs_as_its_card_says(name: str) -> None:
    found = read_network(name)
    if "measured" not in found.card:
        pytest.skip(f"the card of {name} holds no sampled rate; its certificate counts")
    measured = found.card["measured"]["uniform"]
    pairs = uniform_pairs(4_000, torch.Generator().manual_seed(5), found.network.layout)
    low, high = clopper_pearson(count_errors(found.network, *pairs), 4_000, level=0.9999)
    assert low <= measured["errors"] / measured["pairs"] <= high
    assert found.card["lineage"][-1]["command"] == found.card["command"]
