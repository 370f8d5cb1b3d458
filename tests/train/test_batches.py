import numpy as np
import pytest

from model.errors import InputError
from train.batches import draw_batch, philox
from train.cases import read_cases, write_cases
from train.config import TrainConfig
from train.schedule import EXTRA, HEAVY, LR, MAX_DIGITS, SHARE_UNIT, SHIFT, schedule


def test_philox_known_answers() -> None:
    # The published test vectors of Philox-4x32 with 10 and 7 rounds (Random123, kat_vectors).
    zero = (np.zeros(1, np.uint64),) * 4
    ones = (np.full(1, 0xFFFFFFFF, np.uint64),) * 4
    ten = [int(x[0]) for x in philox(zero, (0, 0), 10)]
    assert ten == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    filled = [int(x[0]) for x in philox(ones, (0xFFFFFFFF, 0xFFFFFFFF), 10)]
    assert filled == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    seven = [int(x[0]) for x in philox(zero, (0, 0), 7)]
    assert seven == [0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48]


def row(digits: int = 10, heavy: float = 0.0, extra: float = 0.0) -> np.ndarray:
    values = np.zeros(8, np.float32)
    values[MAX_DIGITS] = digits
    values[HEAVY], values[EXTRA] = heavy * SHARE_UNIT, extra * SHARE_UNIT
    return values


def test_digits_are_uniform_below_the_length() -> None:
    a, b = draw_batch(3, 17, 65_536, row(), 0.75)
    length = np.maximum((a > 0) * np.arange(1, 11), (b > 0) * np.arange(1, 11)).max(axis=1)
    # The top digit pair of a drawn length is 00 in one of a hundred.
    share = np.bincount(length, minlength=11)[2:] / len(a)
    assert np.abs(share - 0.1).max() < 0.006
    units = np.bincount(a[:, 0], minlength=10) / len(a)
    assert np.abs(units - 0.1).max() < 0.006
    assert abs(np.corrcoef(a[:, 0], b[:, 0])[0, 1]) < 0.02


def test_curriculum_bounds_the_length() -> None:
    a, b = draw_batch(3, 17, 4_096, row(3), 0.75)
    assert a[:, :3].any(axis=0).all()
    assert not a[:, 3:].any()
    assert not b[:, 3:].any()


def test_shifted_operands_cover_all_columns_evenly() -> None:
    values = row(3)
    values[SHIFT] = 1
    a, b = draw_batch(3, 17, 65_536, values, 0.75)
    used = (a > 0) | (b > 0)
    span = 10 - used[:, ::-1].argmax(axis=1) - used.argmax(axis=1)
    assert span[used.any(axis=1)].max() == 3
    single = used.sum(axis=1) == 1
    columns = np.bincount(used[single].argmax(axis=1), minlength=10) / single.sum()
    assert np.abs(columns - 0.1).max() < 0.02


def test_carry_heavy_columns_propagate() -> None:
    a, b = draw_batch(0, 5, 65_536, row(heavy=1.0), 0.75)
    # In the units column, which every length has: 0.75 turned, and a tenth of the others by chance.
    assert abs((a[:, 0] + b[:, 0] == 9).mean() - (0.75 + 0.25 * 0.1)) < 0.01
    a, b = draw_batch(0, 5, 65_536, row(heavy=0.5), 0.75)
    assert abs((a[:, 0] + b[:, 0] == 9).mean() - (0.5 * 0.775 + 0.5 * 0.1)) < 0.01


def test_extra_cases_fix_their_digits_and_free_the_others() -> None:
    cases = np.full((2, 20), -1, np.int32)
    cases[0, 4], cases[1, 15] = 7, 3
    a, b = draw_batch(0, 5, 8_192, row(extra=1.0), 0.75, cases)
    first = a[:, 4] == 7
    assert ((b[:, 5] == 3) | first).all()
    assert 0.4 < first.mean() < 0.7
    assert np.bincount(a[:, 9], minlength=10).min() > 600


def test_stream_depends_on_seed_and_step_only() -> None:
    one = draw_batch(1, 2, 64, row(), 0.75)[0]
    assert np.array_equal(one, draw_batch(1, 2, 128, row(), 0.75)[0][:64])
    assert not np.array_equal(one, draw_batch(1, 3, 64, row(), 0.75)[0])
    assert not np.array_equal(one, draw_batch(2, 2, 64, row(), 0.75)[0])


def test_schedule_is_the_published_one() -> None:
    config = TrainConfig(carry_heavy=0.8, fade_start=1_000, fade_stop=3_000)
    table = schedule(config, 0, config.steps)
    assert table[0, LR] == pytest.approx(0.02 / 1_350)
    assert table[1_349, LR] == pytest.approx(0.02)
    assert table[-1, LR] == pytest.approx(0.002, rel=1e-4)
    assert table[1_350:, LR].argmax() == 0
    assert list(table[[0, 1_999, 2_000, 6_999, 7_000], MAX_DIGITS]) == [3, 3, 6, 6, 10]
    assert table[[0, 2_000, 3_000], HEAVY] / SHARE_UNIT == pytest.approx([0.8, 0.4, 0.0], abs=1e-6)
    assert np.array_equal(schedule(config, 500, 10), table[500:510])


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch", 100), ("lr", 0.0), ("carry_heavy", 1.5), ("phase_2", 10), ("fade_stop", 3)],
)
def test_bad_configuration_is_named(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field.replace("_", ".")):
        TrainConfig(**{field: value})


def test_unknown_key_is_refused() -> None:
    with pytest.raises(InputError, match="leraning_rate"):
        TrainConfig.from_dict({"leraning_rate": 1})


def test_cases_survive_a_round_trip(tmp_path) -> None:
    cases = np.random.default_rng(0).integers(-1, 10, (50, 20)).astype(np.int32)
    path = tmp_path / "cases.csv"
    path.write_text(write_cases(cases))
    assert np.array_equal(read_cases(path), cases)
    path.write_text("a,b\n9304630660,8594408863\n")
    assert read_cases(path)[0, :3].tolist() == [0, 6, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,2\n", "no CSV with columns"),
        ("a,b\n", "no cases"),
        ("a,b\n12345678901,2\n", "12345678901"),
        ("a,b\n12x,2\n", "12x"),
    ],
)
def test_bad_cases_are_named(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_cases(path)
