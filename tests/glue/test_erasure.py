"""What an erasure takes out of an object and what it leaves, byte for byte and row by row."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickstream.erasure import digest as digest_in_airflow
from clickstream_glue import erasure, tombstones
from clickstream_glue.events import ERASED, to_columns
from clickstream_glue.raw_lines import inflate, split_lines
from clickstream_glue.tombstones import ANONYMOUS, ERASED_LINE, USER, Tombstones, digest

ROOT = Path(__file__).resolve().parents[2]
SALT = "5a17"
KEY = "clickstream/year=2026/month=11/day=20/hour=22/part"
ARRIVED = datetime(2026, 11, 20, 22, tzinfo=UTC)
MICROS = int(ARRIVED.timestamp()) * 10**6


def tombs(*, user: str = "ann", browser: str = "b-1", salt: str = SALT) -> Tombstones:
    return Tombstones(
        salt,
        [digest(salt, USER, user.encode())],
        [digest(salt, ANONYMOUS, browser.encode())],
    )


ERASED_PERSON = tombs()


def line(**fields: Any) -> bytes:
    event = {"event_type": "view", "timestamp": "2026-11-20T21:00:00Z"}
    return json.dumps(event | fields).encode()


HIS = {
    "his event": line(user_id="ann"),
    "his event with a browser": line(user_id="ann", anonymous_id="b-1"),
    "his browser alone": line(anonymous_id="b-1"),
    "his browser alone, another named in it": line(anonymous_id="b-1", metadata={"user_id": "bob"}),
    "a blank user id is none": line(anonymous_id="b-1", user_id=" "),
    "an escaped id": line(user_id="ann").replace(b'"ann"', rb'"a\u006en"'),
    "an escaped field": line(user_id="ann").replace(b"user_id", rb"user\u005fid"),
    "no time": line(user_id="ann", timestamp="soon"),
    "torn": line(user_id="ann")[:-1],
    "torn in the id's last quote": line(user_id="ann")[:-2],
    "torn at its head": b'r_id":"ann","page":"/"}',
    "a stray quote before": b'{"page":"a"b","user_id":"ann"}',
    "JSON in broken JSON": rb'{"metadata":"{\"user\":\"ann\"}"',
    "not UTF-8": b"\xff" + line(user_id="ann"),
    "twice the key": b'{"user_id":"bob","user_id":"ann","event_type":"view"}',
    "torn, with an escaped id": line(user_id="ann")[:-1].replace(b'"ann"', rb'"a\u006en"'),
    "an array": b'["ann"]',
    "torn, his browser alone": line(anonymous_id="b-1")[:-1],
    "torn, his browser and no user": line(user_id=None, anonymous_id="b-1")[:-1],
    "torn, his browser and a blank user": line(user_id=" ", anonymous_id="b-1")[:-1],
    "with a byte order mark": b"\xef\xbb\xbf" + line(user_id="ann") + b"\r",
}
NOT_HIS = {
    "another's event": line(user_id="bob"),
    "another's, on his browser": line(user_id="bob", anonymous_id="b-1"),
    "another's, on his browser, torn": line(user_id="bob", anonymous_id="b-1")[:-1],
    "another's number, on his browser, torn": line(user_id=7, anonymous_id="b-1")[:-1],
    "another's, on his browser, no time": line(user_id="bob", anonymous_id="b-1", timestamp="no"),
    "an id that begins alike": line(user_id="ann2"),
    "an anonymous id like his user id": line(anonymous_id="ann"),
    "a user id like his anonymous id": line(user_id="b-1"),
    "a page of that name, after a byte order mark": b"\xef\xbb\xbf"
    + line(user_id="bob", page="ann")
    + b"\r",
    "a product of that name": line(user_id="bob", product_id="ann"),
    "torn before the id ends": line(user_id="annabel")[:-5],
    "blank": b"",
    "a replaced line": ERASED_LINE,
}


@pytest.mark.parametrize("name", HIS)
def test_a_line_of_the_person_is_found_by_job_and_erasure_alike(name: str) -> None:
    stripped = HIS[name].removeprefix(b"\xef\xbb\xbf").removesuffix(b"\r")
    *_, reason, detail, raw_bytes = to_columns(stripped, None, None, MICROS, erased=ERASED_PERSON)
    assert (reason, detail, raw_bytes) == (ERASED, None, None)
    assert erasure.erased_lines(KEY, HIS[name], ERASED_PERSON) == [1]


@pytest.mark.parametrize("name", NOT_HIS)
def test_a_line_of_somebody_else_is_not(name: str) -> None:
    stripped = NOT_HIS[name].removeprefix(b"\xef\xbb\xbf").removesuffix(b"\r")
    if stripped != ERASED_LINE:
        row = to_columns(stripped, None, None, MICROS, erased=ERASED_PERSON)
        assert row == to_columns(stripped, None, None, MICROS)
    assert erasure.erased_lines(KEY, NOT_HIS[name], ERASED_PERSON) == []


def test_a_number_is_an_id_too() -> None:
    seventeen = tombs(user="17")
    assert erasure.erased_lines(KEY, line(user_id=17), seventeen) == [1]
    assert erasure.erased_lines(KEY, line(user_id=17)[:-1], seventeen) == [1]
    hidden = line(user_id=17).replace(b"user_id", rb"user\u005fid")
    assert erasure.erased_lines(KEY, hidden, seventeen) == [1]
    assert erasure.erased_lines(KEY, line(user_id=18, quantity=17), seventeen) == []
    assert erasure.find_in_lines(KEY, line(user_id=18, product_id="17"), seventeen).values == 0
    assert erasure.find_in_lines(KEY, line(user_id=18, session_id="17"), seventeen).values == 1


def test_where_nobody_was_erased_only_the_marker_is() -> None:
    assert to_columns(ERASED_LINE, None, None, MICROS)[erasure.REASON] == ERASED
    assert to_columns(HIS["his event"], None, None, MICROS)[erasure.REASON] is None


def test_a_digest_needs_the_salt_and_the_kind_and_is_the_same_in_airflow() -> None:
    assert digest(SALT, USER, b"ann") != digest("", USER, b"ann") != digest("", ANONYMOUS, b"ann")
    assert digest(SALT, USER, "änn".encode()) == digest_in_airflow(SALT, "user", "änn")
    assert Tombstones("other", ERASED_PERSON.users).is_user("ann") is False


def test_tombstones_reach_an_executor_and_do_not_grow_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tombstones, "MOST_IDS", 10)
    copy = pickle.loads(pickle.dumps(ERASED_PERSON))
    for number in range(100):
        assert copy.is_user(f"u{number}") is False
    assert copy.is_user("ann")
    assert len(copy._known) <= 10


OTHERS = [line(user_id=f"u{n}") for n in range(50)]
MIXED = [*OTHERS[:3], HIS["his event"], b"", b"\xef\xbb\xbf" + OTHERS[3] + b"\r", HIS["torn"], b"x"]
WITHOUT = [*OTHERS[:3], ERASED_LINE, b"", b"\xef\xbb\xbf" + OTHERS[3] + b"\r", ERASED_LINE, b"x"]


def erased_body(name: str, content: bytes) -> bytes:
    numbers = erasure.erased_lines(KEY + name, content, ERASED_PERSON)
    assert numbers
    body = erasure.replace_lines(KEY + name, content, numbers)
    assert erasure.erased_lines(KEY + name, body, ERASED_PERSON) == []
    return body


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_all_other_lines_stay_byte_for_byte_under_their_numbers(end: bytes) -> None:
    content, wanted = b"\n".join(MIXED) + end, b"\n".join(WITHOUT) + end
    assert erased_body("", content) == wanted
    members = gzip.compress(content[:100]) + gzip.compress(content[100:])
    assert gzip.decompress(erased_body(".gz", members)) == wanted


def test_a_torn_object_stays_torn_and_keeps_its_good_lines() -> None:
    torn = gzip.compress(b"\n".join([HIS["his event"], *OTHERS]))[:-20]
    before = split_lines(".gz", torn)
    after = split_lines(".gz", erased_body(".gz", torn))
    assert [row[:3] for row in after[1:]] == [row[:3] for row in before[1:]]
    assert after[-1][2] == "GZIP_TRUNCATED"
    assert after[0][0] == ERASED_LINE


def test_a_torn_line_of_the_person_goes_and_with_it_the_tear() -> None:
    content = gzip.compress(b"\n".join([*OTHERS, HIS["his event"]]))[:-8]
    lines = split_lines(".gz", erased_body(".gz", content))
    assert [row[0] for row in lines] == [*OTHERS, ERASED_LINE]
    assert {row[2] for row in lines} == {None}


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_unsound_bytes_stay_unless_the_person_is_in_them(end: bytes) -> None:
    sound = gzip.compress(b"\n".join([HIS["his event"], OTHERS[0]]) + end)
    strangers = gzip.compress(OTHERS[1])[:-5] + b"xxxxx"
    body = erased_body(".gz", sound + strangers)
    assert inflate(body)[1:] == ("GZIP_CORRUPT", *inflate(body)[2:3], strangers)
    assert [row[0] for row in split_lines(".gz", body)] == [ERASED_LINE, OTHERS[0], strangers]
    his = gzip.compress(HIS["his event"])[:-5] + b"xxxxx"
    lines = split_lines(".gz", erased_body(".gz", sound + his))
    assert [row[0] for row in lines] == [ERASED_LINE, OTHERS[0], ERASED_LINE]
    assert len(lines) == len(split_lines(".gz", sound + his))


def test_what_firehose_could_not_deliver_is_read_through_its_base64() -> None:
    records = [
        json.dumps({"attemptsMade": 4, "rawData": base64.b64encode(data).decode()}).encode()
        for data in (HIS["his event"], OTHERS[0])
    ]
    content = b"\n".join(records)
    assert erasure.find_in_delivery_errors(content, ERASED_PERSON).count == 1
    left = erasure.replace_delivery_errors(content, ERASED_PERSON)
    assert left == b"\n".join([ERASED_LINE, records[1]])


def parquet(rows: list[dict[str, Any]], schema: pa.Schema) -> bytes:
    out = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out, row_group_size=2)
    return out.getvalue()


FACTS = pa.schema(
    [
        *((n, pa.string()) for n in ("user_id", "anonymous_id", "product_id", "page")),
        ("metadata", pa.map_(pa.string(), pa.string())),
        ("arrived_at", pa.timestamp("us", "UTC")),
    ]
)


def fact(user: str | None, browser: str | None = None, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "anonymous_id": browser, "arrived_at": ARRIVED, **more}


def test_rows_of_the_person_leave_a_table_and_the_others_stay_as_they_are() -> None:
    others = [
        fact("bob", "b-1", metadata=[("a", "1"), ("b", None)]),
        fact(None, "b-2"),
        fact("ann2", product_id="ann"),
    ]
    content = parquet([fact("ann"), *others, fact(None, "b-1"), fact("ann", "b-1")], FACTS)
    found = erasure.find_in_parquet(content, ERASED_PERSON)
    assert (found.count, found.values, found.days) == (3, 2, {"2026-11-20"})
    left = pq.read_table(BytesIO(erasure.drop_rows(content, ERASED_PERSON)))
    assert left.schema == FACTS
    assert left.equals(pa.Table.from_pylist(others, schema=FACTS))


def test_a_table_of_the_person_alone_becomes_an_empty_one() -> None:
    left = erasure.drop_rows(parquet([fact("ann"), fact("ann")], FACTS), ERASED_PERSON)
    assert pq.read_table(BytesIO(left)).num_rows == 0
    assert erasure.find_in_parquet(left, ERASED_PERSON).count == 0


def test_a_value_anywhere_is_told_but_takes_no_row_of_somebody_else() -> None:
    rows = [
        fact("bob", page="ann"),
        fact("bob", metadata=[("friend", "ann")]),
        fact("bob", metadata=[("text", '{"friend":"ann"}')]),
        fact("bob", product_id="ann"),
    ]
    found = erasure.find_in_parquet(parquet(rows, FACTS), ERASED_PERSON)
    assert (found.count, found.values) == (0, 3)


@pytest.mark.parametrize(
    ("row", "is_his"),
    [
        ({"user_key": "ann", "person_key": "ann"}, True),
        ({"user_key": "b-1", "person_key": "b-1"}, True),
        ({"user_key": "b-9", "person_key": "ann"}, True),
        ({"user_key": "bob", "person_key": "bob"}, False),
    ],
)
def test_keys_of_the_model_are_either_kind_of_id(row: dict[str, str], is_his: bool) -> None:
    schema = pa.schema([("user_key", pa.string()), ("person_key", pa.string())])
    found = erasure.find_in_parquet(parquet([row], schema), ERASED_PERSON)
    assert found.count == int(is_his)


def test_quarantine_is_judged_by_its_raw_bytes() -> None:
    schema = pa.schema(
        [
            ("reason", pa.string()),
            ("raw_bytes", pa.binary()),
            ("arrived_at", pa.timestamp("us", "UTC")),
        ]
    )
    unsound = gzip.compress(HIS["his event"])[:-5] + b"xxxxx"
    kept = [("ID_COLLISION", NOT_HIS["another's, on his browser"]), ("JSON_SYNTAX", b"{")]
    gone = [
        ("JSON_SYNTAX", HIS["torn"]),
        ("ID_COLLISION", HIS["his event"]),
        ("GZIP_CORRUPT", unsound),
    ]
    rows = [{"reason": r, "raw_bytes": b, "arrived_at": ARRIVED} for r, b in kept + gone]
    content = parquet(rows, schema)
    assert erasure.find_in_parquet(content, ERASED_PERSON).count == 3
    left = pq.read_table(BytesIO(erasure.drop_rows(content, ERASED_PERSON))).to_pylist()
    assert [(row["reason"], row["raw_bytes"]) for row in left] == kept


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (b'"user_id","page"\n"ann","/"\n"bob","/ann"\n', 2),
        (b"<td>for example ann, bob</td>", 1),
        (b'{"samples": ["ann"]}', 1),
        (gzip.compress(b'{"samples": ["ann"]}'), 1),
        (b"anna ann-a bann", 0),
    ],
)
def test_a_result_or_a_report_is_read_word_by_word(content: bytes, count: int) -> None:
    assert erasure.find_in_text(content, ERASED_PERSON).count == count


def test_the_browsers_of_a_person_are_those_seen_beside_the_user_id() -> None:
    lines = [
        line(user_id="ann", anonymous_id="b-7"),
        line(user_id="ann", anonymous_id="b-8", timestamp="soon"),
        line(user_id="bob", anonymous_id="b-9"),
        line(anonymous_id="b-1"),
    ]
    assert erasure.anonymous_ids(KEY, b"\n".join(lines), ERASED_PERSON) == {b"b-7", b"b-8"}
    rows = parquet([fact("ann", "b-5"), fact("bob", "b-6"), fact("ann")], FACTS)
    assert erasure.anonymous_ids("x.parquet", rows, ERASED_PERSON) == {b"b-5"}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"--user": "ann"}, "a digest of 64 hexadecimal digits is needed, never an id"),
        ({"--step": "forget"}, "invalid choice: 'forget'"),
        ({"--buckets": "raw=a,results=b"}, "lacks artifacts=<bucket>"),
        ({"--region": None}, "required: --region"),
    ],
)
def test_a_bad_argument_gets_one_sentence(changed: dict[str, str | None], sentence: str) -> None:
    good = {
        "--step": "erase",
        "--user": "0" * 64,
        "--buckets": "raw=a,artifacts=b,results=c",
        "--region": "us-east-1",
        **{f"--{name}-prefix": "x/" for name in ("raw", "tombstones", "erasures")},
        "--delivery-errors-prefix": "x/",
    }
    arguments = [f"{name}={value}" for name, value in (good | changed).items() if value]
    done = subprocess.run(
        [sys.executable, ROOT / "glue" / "erase_user.py", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
