"""What loss and jitter cost speech: no more than the same codecs without a gateway between."""
import pytest

import quality

WANTED = [row for row in quality.rows() if "PCMA" not in row.name]


@pytest.fixture(scope="module")
def table():
    return {row: figures for row, *figures in quality.measure(WANTED, 4)}


@pytest.mark.parametrize("row", WANTED, ids=lambda row: row.name)
def test_speech_is_as_good_as_the_codecs_allow(table, row):
    ours, offline, _ = table[row]
    assert ours - offline >= -row.limit, f"{ours:.2f}, {offline:.2f} without a gateway"
