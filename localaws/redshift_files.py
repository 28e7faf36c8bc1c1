"""COPY from S3 and UNLOAD to S3."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.exceptions
import duckdb
import orjson

from localaws import redshift_dialect as dialect
from localaws.redshift_dialect import SqlError

if TYPE_CHECKING:
    from localaws.redshift_sql import Session

_COPY = re.compile(
    r"copy\s+(?P<table>[^\s(]+)\s*(?:\((?P<columns>[^)]*)\))?\s*from\s+'(?P<source>s3://[^']+)'"
    r"(?P<options>.*)",
    re.IGNORECASE | re.DOTALL,
)
_UNLOAD = re.compile(
    r"unload\s*\(\s*(?P<query>'(?:[^']|'')*'|\$\$.*?\$\$)\s*\)\s*to\s+'(?P<target>s3://[^']+)'"
    r"(?P<options>.*)",
    re.IGNORECASE | re.DOTALL,
)
#: An option with its value, as (name, pattern).
_OPTIONS = [
    ("iam_role", r"iam_role\s+(default|'[^']+')"),
    ("format", r"(?:format\s+(?:as\s+)?)?\b(parquet|csv|json)\b"),
    ("json", r"'(auto(?:\s+ignorecase)?|noshred|s3://[^']+)'"),
    ("partition", r"partition\s+by\s*\(([^)]+)\)(?:\s+(include))?"),
    ("compression", r"\b(gzip|zstd)\b"),
    ("delimiter", r"delimiter\s+(?:as\s+)?'((?:[^']|'')+)'"),
    ("quote", r"quote\s+(?:as\s+)?'(.)'"),
    ("null", r"null\s+(?:as\s+)?'([^']*)'"),
    ("ignoreheader", r"ignoreheader\s+(?:as\s+)?(\d+)"),
    ("header", r"\b(header)\b"),
    ("manifest", r"\b(manifest)\b"),
    ("allowoverwrite", r"\b(allowoverwrite)\b"),
    ("cleanpath", r"\b(cleanpath)\b"),
    ("emptyasnull", r"\b(emptyasnull)\b"),
    ("timeformat", r"timeformat\s+(?:as\s+)?'(auto|epochsecs|epochmillisecs)'"),
    # These change nothing here: where S3 is, how work is split, statistics and encodings.
    ("", r"region\s+(?:as\s+)?'[^']*'"),
    ("", r"parallel\s+(?:on|off|true|false)|maxfilesize\s+(?:as\s+)?[\d.]+\s*(?:mb|gb)?"),
    ("", r"(?:compupdate|statupdate)(?:\s+(?:on|off|true|false|preset))?"),
    ("", r"dateformat\s+(?:as\s+)?'auto'|acceptinvchars|maxerror\s+(?:as\s+)?0"),
]


def _options(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, pattern in _OPTIONS:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            if name:
                found[name] = match[1].lower() if name in ("format", "compression") else match[1]
                if name == "partition" and match[2]:
                    found["include"] = "true"
            text = text[: match.start()] + " " + text[match.end() :]
    if rest := text.replace(" as ", " ").split():
        raise SqlError(f'syntax error at or near "{rest[0]}" (no option of this engine)')
    return found


# ---------------------------------------------------------------- COPY


def copy(session: Session, sql: str) -> int:
    """COPY a table from Parquet, JSON 'auto', CSV or delimited text in S3; returns the rows."""
    match = _COPY.fullmatch(sql)
    if not match:
        raise SqlError("syntax error in COPY: this engine reads COPY table FROM 's3://...' options")
    options = _options(match["options"])
    role = _role(session, options)
    target = session.require(dialect.table(match["table"]), writable=True)
    types = session.columns(target)
    columns = [c.strip().strip('"').lower() for c in (match["columns"] or "").split(",") if c]
    for column in columns:
        if column not in types:
            raise SqlError(f'column "{column}" of relation "{target.name}" does not exist')
    columns = columns or list(types)
    with session.warehouse.assume(role):
        paths = _sources(session, match["source"], "manifest" in options)
        # An empty object holds no rows of any format.
        paths = [path for path in paths if path.stat().st_size]
        session.warehouse.lake.note_reads(paths)
    session.lock(str(target))
    names = ", ".join(f'"{column}"' for column in columns)
    if not paths:
        return 0
    try:
        select = _source(session, options, paths, {name: types[name] for name in columns})
        return session.count(f"INSERT INTO {target} ({names}) {select}")
    except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.IOException) as error:
        reason = str(dialect.redshift_error(error)).removeprefix("ERROR: ")
        raise SqlError(f"Load into table '{target.name}' failed.\n  Detail: {reason}") from None


def _sources(session: Session, source: str, is_manifest: bool) -> list[Path]:
    """The objects a COPY reads: those whose key starts with the prefix, or the manifest's."""
    lake = session.warehouse.lake
    if is_manifest:
        manifests = [path for path in _under(session, source) if lake.address(path) == source]
        if not manifests:
            raise SqlError(f"Manifest file is not found: {source}")
        lake.note_reads(manifests)
        found = []
        for entry in orjson.loads(manifests[0].read_bytes())["entries"]:
            match = [p for p in _under(session, entry["url"]) if lake.address(p) == entry["url"]]
            if not match and entry.get("mandatory"):
                raise SqlError(f"Mandatory url is not present in S3: {entry['url']}")
            found += match
        return found
    paths = [path for path in _under(session, source) if lake.address(path).startswith(source)]
    if not paths:
        raise SqlError(f"The specified S3 prefix '{urlsplit(source).path[1:]}' does not exist")
    return paths


def _under(session: Session, address: str) -> list[Path]:
    return list(session.warehouse.lake.files(address.rpartition("/")[0] + "/"))


def _source(
    session: Session, options: dict[str, str], paths: list[Path], types: dict[str, str]
) -> str:
    """The SELECT that reads the objects, with one column a target column, in order."""
    listed = "[" + ", ".join(_text(str(path)) for path in paths) + "]"
    kind = options.get("format", "text")
    if kind == "parquet":
        source = f"read_parquet({listed}, hive_partitioning = false)"
        have = session.cursor.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        if len(have) != len(types):
            raise SqlError(
                f"Spectrum Scan Error: the file has {len(have)} columns, the table {len(types)}; "
                "COPY from Parquet matches columns by position"
            )
        nested = (
            f'to_json("{name}")' if types[column] == "JSON" else f'"{name}"'
            for (name, *_), column in zip(have, types, strict=True)
        )
        return f"SELECT {', '.join(nested)} FROM {source}"
    compression = options.get("compression", "auto")
    if kind == "json":
        if options.get("json", "auto").lower() not in ("auto", "auto ignorecase"):
            raise SqlError("COPY ... JSON needs 'auto' here: JSONPaths files are not read")
        read = {name: "JSON" if kind == "JSON" else "VARCHAR" for name, kind in types.items()}
        columns = ", ".join(f'"{name}": {_text(kind)}' for name, kind in read.items())
        source = (
            f"read_json({listed}, columns = {{{columns}}}, compression = '{compression}', "
            "format = 'auto', records = true)"
        )
    else:
        columns = ", ".join(f'"{name}": {_text("VARCHAR")}' for name in types)
        delimiter = options.get("delimiter", "," if kind == "csv" else "|")
        quote = options.get("quote", '"') if kind == "csv" else ""
        source = (
            f"read_csv({listed}, columns = {{{columns}}}, auto_detect = false, header = false, "
            f"delim = {_text(_unescape(delimiter))}, quote = {_text(quote)}, "
            f"escape = {_text(quote)}, skip = {options.get('ignoreheader', 0)}, "
            f"nullstr = {_text(_unescape(options.get('null', chr(92) + 'N')))}, "
            f"compression = '{compression}')"
        )
    fields = (_field(name, type_, options, kind) for name, type_ in types.items())
    return f"SELECT {', '.join(fields)} FROM {source}"


def _field(name: str, type_: str, options: dict[str, str], kind: str) -> str:
    field = f'"{name}"'
    # An empty field of text with delimiters is NULL unless its column is text.
    if (type_ != "VARCHAR" and kind != "json") or "emptyasnull" in options:
        field = f"nullif({field}, '')"
    epoch = {"epochsecs": 1_000_000, "epochmillisecs": 1_000}.get(options.get("timeformat", ""))
    if type_ == "TIMESTAMP" and epoch:
        return f"make_timestamp(CAST({field} AS BIGINT) * {epoch})"
    return f"CAST({field} AS {type_})"


# ---------------------------------------------------------------- UNLOAD


def unload(session: Session, sql: str) -> int:
    """UNLOAD a query's rows as Parquet, CSV, JSON or delimited text; returns the rows."""
    match = _UNLOAD.fullmatch(sql)
    if not match:
        raise SqlError("syntax error in UNLOAD: this engine reads UNLOAD ('query') TO 's3://...'")
    options = _options(match["options"])
    role = _role(session, options)
    written = match["query"]
    query = written[2:-2] if written[0] == "$" else written[1:-1].replace("''", "'")
    select = session.select(query)
    with session.warehouse.assume(role):
        return _unload(session, select, match["target"], options)


def _unload(session: Session, select: str, place: str, options: dict[str, str]) -> int:
    address = urlsplit(place)
    bucket, prefix = address.netloc, address.path.lstrip("/")
    keys = [
        key.strip().strip('"').lower() for key in options.get("partition", "").split(",") if key
    ]
    _make_room(session, bucket, prefix, options)
    kind = options.get("format", "text")
    folder = Path(tempfile.mkdtemp(dir=session.warehouse.context.home / "redshift" / "tmp"))
    try:
        extension, format_options = _format(kind, options)
        if keys:
            format_options += f", partition_by ({', '.join(keys)})"
            if "include" in options:
                format_options += ", write_partition_columns true"
        target = folder / "data" if keys else folder / f"0000_part_00{extension}"
        rows = session.count(f"COPY ({select}) TO {_text(str(target))} ({format_options})")
        entries = []
        s3 = session.warehouse.context.client("s3")
        for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
            if keys:
                parent = path.relative_to(target).parent
                key = f"{prefix.rstrip('/')}/{parent}/{number:04}_part_00{extension}"
            else:
                key = prefix + path.name
            with path.open("rb") as body:
                s3.put_object(Bucket=bucket, Key=key, Body=body)
            entries.append({"url": f"s3://{bucket}/{key}"})
        if "manifest" in options:
            manifest = orjson.dumps({"entries": entries})
            s3.put_object(Bucket=bucket, Key=f"{prefix}manifest", Body=manifest)
        return rows
    except botocore.exceptions.ClientError as error:
        raise SqlError(f"S3ServiceException: {error} (s3://{bucket})") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_room(session: Session, bucket: str, prefix: str, options: dict[str, str]) -> None:
    """Refuse a destination that holds objects, or (CLEANPATH) empty it."""
    s3: Any = session.warehouse.context.client("s3")
    try:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
    except botocore.exceptions.ClientError as error:
        raise SqlError(f"S3ServiceException: {error} (s3://{bucket})") from None
    if "cleanpath" in options:
        for key in found:
            s3.delete_object(Bucket=bucket, Key=key)
    elif found and "allowoverwrite" not in options:
        raise SqlError(
            "Specified unload destination on S3 is not empty. Consider using a different bucket / "
            "prefix, manually removing the target files in S3, or using the ALLOWOVERWRITE option."
        )


def _format(kind: str, options: dict[str, str]) -> tuple[str, str]:
    """The files' extension and DuckDB's COPY options."""
    compression = options.get("compression")
    if kind == "parquet":
        return ".parquet", "format parquet, compression snappy"
    ending = {"gzip": ".gz", "zstd": ".zst"}.get(compression or "", "")
    packed = f", compression {compression or 'uncompressed'}"
    if kind == "json":
        return ending, f"format json{packed}"
    header = f", header {str('header' in options).lower()}"
    delimiter = _text(_unescape(options.get("delimiter", "," if kind == "csv" else "|")))
    return ending, f"format csv, delimiter {delimiter}{header}{packed}"


def _role(session: Session, options: dict[str, str]) -> str:
    if "iam_role" not in options:
        raise SqlError("credentials are wanted: name an IAM_ROLE (an ARN in quotes, or default)")
    role = options["iam_role"].strip("'")
    session.warehouse.require_role(role)
    return role


def _unescape(text: str) -> str:
    return {"\\t": "\t"}.get(text, text)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
