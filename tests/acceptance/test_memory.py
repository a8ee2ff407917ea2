"""What every command keeps to, whatever stands in its input or its ledger: 300 MB."""

import json
import lzma
import re
import sys
import zlib
from pathlib import Path

import pytest
import zstandard
from acceptance.harness import Database, Run, ndjson, track
from acceptance.large import MOST_MEMORY, Measured, events, numbers, rows

from samples import generate

COUNT = 400
INTO_A_FILE = ("sh", "-c", 'exec "$0" "$@" > out', sys.executable, "-m", "loader")


@pytest.fixture
def large_rejects(run: Run, db: Database, tmp_path: Path) -> None:
    """Rejects of a megabyte each, which can be replayed."""
    (tmp_path / "a").write_bytes(b"{}\n")
    run("load", tmp_path / "a")
    db.execute(
        "DELETE FROM _rejects; "
        "INSERT INTO _rejects (id, load_id, file, position, reason, detail, raw) "
        "SELECT md5(n::text), 1, 'a', 'line ' || n, 'record_too_large', 'long', "
        """'{"type": "track", "event": "Email Opened", "messageId": "' || n || """
        """'", "properties": {"x": "' || repeat('y', 1000000) || '"}}' """
        "FROM generate_series(1, %s) AS n",
        COUNT,
    )


@pytest.mark.parametrize("form", ["--json", "--raw", "table"])
def test_many_large_rejects_are_listed_one_after_the_other(
    form: str, large_rejects: None, run_measured: Measured, tmp_path: Path
) -> None:
    options = [form] if form != "table" else ["--limit", str(COUNT)]
    result, _, peak = run_measured("rejects", "list", *options, program=INTO_A_FILE)
    assert result.code == 0, result.err
    assert peak < MOST_MEMORY
    with (tmp_path / "out").open() as out:
        if form == "--json":
            positions = {one["position"] for one in json.load(out)}
        elif form == "--raw":
            positions = {f"line {json.loads(line)['messageId']}" for line in out}
        else:
            positions = set(re.findall(r"\bline \d+", out.read()))
    assert positions == {f"line {n}" for n in range(1, COUNT + 1)}


def test_loads_of_many_batches_keep_to_it_too(
    run_measured: Measured, db: Database, tmp_path: Path
) -> None:
    """First ones, of new events while ids are asked for, and of known ones. Took 329 MB."""
    for shape in ("segment", "mixed"):
        path = tmp_path / f"{shape}.ndjson"
        path.write_bytes(b"".join(generate(100_000, seed=1, shape=shape)))
        for name in ("first", "again"):
            result, _, peak = run_measured("load", path.rename(tmp_path / name), "--json")
            path = tmp_path / name
            assert result.code in (0, 3), result.err
            assert peak < MOST_MEMORY, f"{shape}, {name}: {peak / 1e6:.0f} MB"


@pytest.mark.parametrize(("count", "keys"), [(40_000, 40), (6_000, 300)])
def test_records_with_keys_of_their_own_keep_to_it_too(
    count: int, keys: int, run_measured: Measured, tmp_path: Path
) -> None:
    """Each brings names for columns, all of which a batch held. Took 500 MB."""
    path = tmp_path / "carts.ndjson"
    with path.open("w") as lines:
        for n in range(count):
            cart = {f"sku-{n:05}-{at}": at for at in range(keys)}
            lines.write(json.dumps(track("Cart Viewed", cart=cart)) + "\n")
    result, _, peak = run_measured("load", path, "--json")
    assert result.code == 0, result.err
    assert result.json["rows_loaded"] == count
    assert peak < MOST_MEMORY, f"{peak / 1e6:.0f} MB"


def test_no_rejects_are_an_empty_list(run: Run) -> None:
    assert run("rejects", "list", "--json").json == []
    assert run("rejects", "list").out == "no rejects\n"
    assert run("rejects", "list", "--raw").out == ""


def test_many_large_rejects_are_replayed_a_few_at_a_time(
    large_rejects: None, run_measured: Measured, db: Database
) -> None:
    result, _, peak = run_measured("rejects", "replay", "--json")
    assert result.code == 0, result.err
    assert peak < MOST_MEMORY
    assert (numbers(result), rows(db)) == ((COUNT, 0, 0), COUNT)
    assert db.rows("SELECT DISTINCT outcome FROM _rejects") == [("loaded",)]


MANY = 4 << 20
MADE_TO_SWELL = {
    "escapes in an array": b'[{"x":"' + b'\\"' * 2 * MANY + b'"}]',
    "escaped keys": b'{"x" :"' + b'\\":' * (2 * MANY // 3) + b'"}',
    "lists": b'{"x":[' + b"[]," * MANY + b"[]]}",
    "lists that are never closed": b'{"x":[' + b"[]," * MANY,
    "lists in several lines": b'{"x":\n[' + b"[]," * MANY + b"[]]\n}",
    "lists in an array": b'[{"x":[' + b"[]," * MANY + b"[]]}]",
    "calls that are none": b'{"batch":[' + b"[]," * MANY + b"[]]}",
    "bytes that are no text": b'{"x":"' + b"\xff" * (3 * MANY) + b'"}',
}


@pytest.mark.parametrize("form", MADE_TO_SWELL)
def test_a_record_that_takes_many_times_its_size_is_refused_in_time(
    form: str, run_measured: Measured, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    path.write_bytes(ndjson(*events(10), MADE_TO_SWELL[form], *events(10, 10)))
    result, _, peak = run_measured("load", path, "--json")
    assert result.code == 0, result.err
    assert peak < MOST_MEMORY
    assert (numbers(result), rows(db)) == ((20, 0, 1), 20)
    [(reason, size)] = db.rows("SELECT reason, length(raw) FROM _rejects")
    assert reason == (
        "invalid_json" if form == "lists that are never closed" else "record_too_large"
    )
    assert size <= 16 << 20


def test_a_reject_that_can_be_replayed_is_kept_as_it_is(
    run: Run, db: Database, tmp_path: Path
) -> None:
    size = (16 << 20) - 100
    event = events(1, noise="")[0]
    event["properties"]["noise"] = "y" * (size - len(json.dumps(event)))
    (tmp_path / "a").write_bytes(ndjson(event))
    run("load", tmp_path / "a")
    assert db.value("SELECT length(raw) FROM _rejects") == size
    large = {"LOADER_MAX_RECORD_BYTES": str(16 << 20)}
    assert numbers(run("rejects", "replay", "--json", env=large)) == (1, 0, 0)


# packed files that ask for much memory


def with_dictionary(packed: bytes, size: int) -> bytes:
    """An .xz file that asks for a larger dictionary than it needs; its format, section 5.3.1."""
    end = 12 + (packed[12] + 1) * 4
    header = bytearray(packed[12 : end - 4])
    at = header.index(b"\x21\x01") + 2
    header[at] = size
    return packed[:12] + header + zlib.crc32(header).to_bytes(4, "little") + packed[end:]


def test_an_xz_file_that_asks_for_a_huge_dictionary_is_unreadable(
    run: Run, db: Database, tmp_path: Path
) -> None:
    packed = lzma.compress(ndjson(*events(10)))
    path = tmp_path / "a"
    for size in (31, 32, 39):  # 192 MB, 256 MB, 3 GB
        path.write_bytes(with_dictionary(packed, size))
        result = run("load", path)
        assert result.code == 1
        assert "takes more than 128 MB of memory: pack it again with a smaller window" in result.err
    path.write_bytes(with_dictionary(packed, 30))
    assert run("load", path).code == 0
    assert rows(db) == 10


def test_a_zstd_file_with_a_huge_window_is_unreadable(
    run: Run, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    for window_log, code in ((31, 1), (28, 1), (27, 0)):
        options = zstandard.ZstdCompressionParameters(window_log=window_log)
        packer = zstandard.ZstdCompressor(compression_params=options).compressobj()
        path.write_bytes(packer.compress(ndjson(*events(10))) + packer.flush())
        result = run("load", path)
        assert result.code == code, result.err
        assert ("pack it again with a smaller window" in result.err) == bool(code)
    assert rows(db) == 10


def test_a_zstd_file_of_which_each_byte_becomes_many_is_read_in_small_blocks(
    run_measured: Measured, db: Database, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    data = ndjson(*events(10)) + b"\n" * (256 << 20)
    path.write_bytes(zstandard.compress(data, 19) + zstandard.compress(ndjson(*events(10, 10))))
    result, _, peak = run_measured("load", path, "--json")
    assert result.code == 0, result.err
    assert (numbers(result), result.json["bytes_read"] > len(data)) == ((20, 0, 0), True)
    assert peak < MOST_MEMORY
