"""One crawl: what lies under the targets becomes tables and partitions of the catalog."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import orjson
import pyarrow as pa
from botocore.exceptions import ClientError

from localaws import hive_types
from localaws.glue_schema import STRING, Columns, read, union
from localaws.hive_types import HiveType
from localaws.objects import current_objects, split_uri
from localaws.service import Context, now

#: Glue's limit of partitions in one call.
_PARTITIONS_A_CALL = 100
#: Folders whose columns agree to this share are partitions of one table, as Glue has it.
_SIMILARITY = 0.7
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_FORMATS: dict[str, dict[str, Any]] = {
    "parquet": {
        "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        "SerdeInfo": {
            "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            "Parameters": {"serialization.format": "1"},
        },
    },
    "json": {
        "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
        "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        "SerdeInfo": {"SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe"},
    },
}


class CrawlError(Exception):
    """Why a crawl failed; the text becomes LastCrawl's ErrorMessage."""


class Cancelled(Exception):
    """StopCrawler came."""


@dataclass
class Leaf:
    """A folder that holds files.

    Attributes:
        folder: its key, ending in ``/`` (or empty).
        format: parquet or json.
        compression: of JSON files: gzip or none.
        columns: the merged columns of its files, in the order they were met.
    """

    folder: str
    format: str
    compression: str
    columns: Columns


@dataclass
class Found:
    """A table as it lies in S3: one folder, and the partitions below it."""

    bucket: str
    root: str
    leaves: list[Leaf]

    @property
    def location(self) -> str:
        """The table's ``s3://`` location."""
        return f"s3://{self.bucket}/{self.root}"

    @property
    def name(self) -> str:
        """The name Glue gives it: its folder's."""
        last = self.root.rstrip("/").rpartition("/")[2] or self.bucket
        return re.sub(r"\W", "_", unquote(last).lower())

    def keys(self) -> tuple[str, ...]:
        """Names of the partition keys; ``partition_0`` and so on where folders name none.

        Raises:
            CrawlError: the folders do not agree.
        """
        found = {tuple(name for name, _ in self.parts(leaf)) for leaf in self.leaves}
        if len(found) > 1:
            kinds = " and ".join(sorted("/".join(keys) or "no partition" for keys in found))
            raise CrawlError(
                f"the folders of {self.location} have different partition keys ({kinds}); "
                "move them or exclude them"
            )
        return found.pop()

    def parts(self, leaf: Leaf) -> list[tuple[str, str]]:
        """A folder's partition keys and values."""
        parts = []
        for index, part in enumerate(filter(None, leaf.folder[len(self.root) :].split("/"))):
            name, equals, value = part.partition("=")
            parts.append(
                (name.lower(), unquote(value)) if equals else (f"partition_{index}", unquote(part))
            )
        return parts


@dataclass
class Changes:
    """What a crawl did, by kind (TABLE, PARTITION) and verb."""

    VERBS: ClassVar = ("ADD", "UPDATE", "DELETE")
    names: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def count(self, kind: str, verb: str) -> int:
        """How many."""
        return len(self.names[kind, verb])

    def summary(self) -> str:
        """ListCrawls' Summary: JSON in JSON, as Glue writes it."""
        verbs: dict[str, dict[str, Any]] = defaultdict(dict)
        for (kind, verb), names in self.names.items():
            if names:
                details = orjson.dumps({"names": names}).decode() if kind == "TABLE" else ""
                verbs[kind][verb] = {"Count": len(names), "Details": details}
        texts = {kind: orjson.dumps(found).decode() for kind, found in verbs.items()}
        return orjson.dumps(texts).decode()


class Crawl:
    """One run of a crawler.

    Args:
        context: the embedded AWS.
        crawler: the crawler as it is now.
        note: takes a line for the crawl's log.
        cancelled: whether StopCrawler came.
    """

    def __init__(
        self,
        context: Context,
        crawler: dict[str, Any],
        note: Callable[[str], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self._context, self._crawler, self._note = context, crawler, note
        self._cancelled = cancelled
        self._glue = context.client("glue")
        self._database = crawler.get("DatabaseName", "")
        configuration = orjson.loads(crawler.get("Configuration") or b"{}")
        output = configuration.get("CrawlerOutput", {})
        self._level = configuration.get("Grouping", {}).get("TableLevelConfiguration")
        self._inherit = (
            output.get("Partitions", {}).get("AddOrUpdateBehavior") == "InheritFromTable"
        )
        self._merge = output.get("Tables", {}).get("AddOrUpdateBehavior") == "MergeNewColumns"
        policy = crawler["SchemaChangePolicy"]
        self._updates = policy["UpdateBehavior"] == "UPDATE_IN_DATABASE"
        self._deletes = policy["DeleteBehavior"]
        self.changes = Changes()

    def run(self) -> None:
        """Crawl every target.

        Raises:
            CrawlError: what stopped it; tables before that stay.
            Cancelled: the same.
        """
        targets = self._crawler["Targets"]
        seen = []
        for target in targets.get("S3Targets", []):
            self._require_database(self._database)
            bucket, prefix = _folder(target["Path"])
            leaves = self._leaves(bucket, prefix, target.get("Exclusions", []))
            for found in self._tables(bucket, prefix, leaves):
                seen.append(self._save(found))
        for target in targets.get("CatalogTargets", []):
            for name in target["Tables"]:
                self._crawl_table(target["DatabaseName"], name)
        self._remove_lost(targets.get("S3Targets", []), seen)

    # --- what lies in S3

    def _leaves(self, bucket: str, prefix: str, exclusions: list[str]) -> list[Leaf]:
        root = self._context.s3_root / bucket
        if not root.is_dir():
            raise CrawlError(f"The bucket of s3://{bucket}/{prefix} does not exist; create it")
        excluded = [_glob(pattern) for pattern in exclusions]
        self._context.trail.listing(bucket)
        folders: dict[str, list[Path]] = defaultdict(list)
        for key, path in current_objects(root, prefix, hidden=False):
            if not any(pattern.fullmatch(key[len(prefix) :]) for pattern in excluded):
                folders[key[: key.rfind("/") + 1]].append(path)
        found = []
        for folder, paths in sorted(folders.items()):
            if self._cancelled():
                raise Cancelled
            self._context.trail.objects("s3:GetObject", bucket, [folder])
            if leaf := _leaf(bucket, folder, sorted(paths)):
                found.append(leaf)
        if not found:
            self._note(f"WARN : nothing lies under s3://{bucket}/{prefix}")
        return found

    def _tables(self, bucket: str, prefix: str, leaves: list[Leaf]) -> Iterator[Found]:
        if self._level:
            # Glue counts the bucket as level 1.
            def at_level(leaf: Leaf) -> str:
                return "".join(f"{part}/" for part in leaf.folder.split("/")[: self._level - 1])

            for root, group in itertools.groupby(leaves, at_level):
                yield Found(bucket, root, list(group))
        else:
            yield from _group(bucket, prefix, leaves)

    # --- what the catalog says

    def _require_database(self, name: str) -> None:
        try:
            self._glue.get_database(Name=name)
        except ClientError:
            raise CrawlError(f"Database {name or '(none)'} does not exist; create it") from None

    def _save(self, found: Found) -> str:
        """Create or update a table and its partitions; returns its name."""
        name = self._crawler.get("TablePrefix", "") + found.name
        table = self._table(self._database, name)
        if table and not _same_place(table, found.location):
            # Glue's way out when another table has the name.
            name += "_" + hashlib.md5(found.location.encode()).hexdigest()
            table = self._table(self._database, name)
        if table is None:
            self._glue.create_table(
                DatabaseName=self._database, TableInput=self._new_table(name, found)
            )
            self._changed("TABLE", "ADD", name)
            table = self._table(self._database, name)
        else:
            table = self._update_table(table, found)
        if table:
            self._save_partitions(table, found)
        return name

    def _crawl_table(self, database: str, name: str) -> None:
        self._require_database(database)
        table = self._table(database, name)
        if table is None:
            raise CrawlError(f"Table {database}.{name} does not exist; create it")
        bucket, root = _folder(table["StorageDescriptor"]["Location"])
        if leaves := self._leaves(bucket, root, []):
            found = Found(bucket, root, leaves)
            self._save_partitions(self._update_table(table, found), found)

    def _table(self, database: str, name: str) -> dict[str, Any] | None:
        try:
            return self._glue.get_table(DatabaseName=database, Name=name)["Table"]
        except self._glue.exceptions.EntityNotFoundException:
            return None

    def _new_table(self, name: str, found: Found) -> dict[str, Any]:
        keys = found.keys()
        values = list(zip(*(_values(found.parts(leaf)) for leaf in found.leaves), strict=True))
        columns = _catalog_columns(_merged(found.leaves), keys)
        leaf = found.leaves[0]
        descriptor = _FORMATS[leaf.format] | {
            "Columns": columns,
            "Location": found.location,
            "Compressed": leaf.compression != "none",
            "NumberOfBuckets": -1,
            "StoredAsSubDirectories": False,
        }
        if leaf.format == "json":
            paths = ",".join(column["Name"] for column in columns)
            descriptor["SerdeInfo"] = descriptor["SerdeInfo"] | {"Parameters": {"paths": paths}}
        return {
            "Name": name,
            "Owner": "owner",
            "TableType": "EXTERNAL_TABLE",
            "StorageDescriptor": descriptor,
            "PartitionKeys": [
                {"Name": key, "Type": _key_type(texts)}
                for key, texts in zip(keys, values, strict=True)
            ],
            "Parameters": {
                "classification": leaf.format,
                "compressionType": leaf.compression,
                "typeOfData": "file",
                "CrawlerSchemaSerializerVersion": "1.0",
                "CrawlerSchemaDeserializerVersion": "1.0",
                "UPDATED_BY_CRAWLER": self._crawler["Name"],
            },
        }

    def _update_table(self, table: dict[str, Any], found: Found) -> dict[str, Any]:
        keys = tuple(key["Name"].lower() for key in table.get("PartitionKeys", []))
        if keys != found.keys():
            raise CrawlError(
                f"Table {table['Name']} is partitioned by {'/'.join(keys) or 'nothing'}, but the "
                f"folders of {found.location} by {'/'.join(found.keys()) or 'nothing'}; drop it"
            )
        have = table["StorageDescriptor"]["Columns"]
        columns = _combine(have, _catalog_columns(_merged(found.leaves), keys), self._merge)
        if _signature(columns) == _signature(have):
            return table
        if not self._updates:
            self._note(f"INFO : the columns of {table['Name']} changed; the policy is to log it")
            return table
        stamp = {"UPDATED_BY_CRAWLER": self._crawler["Name"]}
        table = table | {
            "StorageDescriptor": table["StorageDescriptor"] | {"Columns": columns},
            "Parameters": table.get("Parameters", {}) | stamp,
        }
        self._update(table)
        return table

    def _save_partitions(self, table: dict[str, Any], found: Found) -> None:
        if not table.get("PartitionKeys"):
            return
        have = {tuple(item["Values"]): item for item in self._partitions(table)}
        add, update = [], []
        for leaf in found.leaves:
            partition = self._partition(table, found, leaf)
            existing = have.pop(tuple(partition["Values"]), None)
            if existing is None:
                add.append(partition)
            elif self._updates and not _same_partition(existing, partition):
                update.append(partition)
        target = {"DatabaseName": table["DatabaseName"], "TableName": table["Name"]}
        for batch in _batches(add):
            answer = self._glue.batch_create_partition(**target, PartitionInputList=batch)
            _require_done(answer["Errors"], {"AlreadyExistsException"})  # MSCK was faster
        for batch in _batches(update):
            entries = [{"PartitionValueList": p["Values"], "PartitionInput": p} for p in batch]
            answer = self._glue.batch_update_partition(**target, Entries=entries)
            _require_done(answer["Errors"], set())
        self._changed("PARTITION", "ADD", *("/".join(p["Values"]) for p in add))
        self._changed("PARTITION", "UPDATE", *("/".join(p["Values"]) for p in update))
        self._remove_partitions(target, list(have.values()))

    def _partitions(self, table: dict[str, Any]) -> Iterator[dict[str, Any]]:
        pages = self._glue.get_paginator("get_partitions").paginate(
            DatabaseName=table["DatabaseName"], TableName=table["Name"]
        )
        for answer in pages:
            yield from answer["Partitions"]

    def _partition(self, table: dict[str, Any], found: Found, leaf: Leaf) -> dict[str, Any]:
        """As Glue makes it: the table's descriptor with this folder's location and columns."""
        descriptor = table["StorageDescriptor"] | {"Location": f"s3://{found.bucket}/{leaf.folder}"}
        if not self._inherit:
            own = _signature(_catalog_columns(leaf.columns, found.keys()))
            descriptor["Columns"] = [
                column | {"Type": own[column["Name"].lower()]}
                for column in descriptor["Columns"]
                if column["Name"].lower() in own
            ]
        return {
            "Values": _values(found.parts(leaf)),
            "StorageDescriptor": descriptor,
            "Parameters": {
                "classification": leaf.format,
                "compressionType": leaf.compression,
                "typeOfData": "file",
            },
        }

    # --- what is gone

    def _remove_partitions(self, target: dict[str, str], lost: list[dict[str, Any]]) -> None:
        names = ["/".join(item["Values"]) for item in lost]
        if not lost:
            return
        if self._deletes == "DELETE_FROM_DATABASE":
            for item in lost:
                self._glue.delete_partition(**target, PartitionValues=item["Values"])
            self._changed("PARTITION", "DELETE", *names)
        else:
            # DEPRECATE_IN_DATABASE marks tables only; a partition without files reads as empty.
            self._note(f"INFO : {len(lost)} partitions of {target['TableName']} have no files")

    def _remove_lost(self, targets: list[dict[str, Any]], seen: list[str]) -> None:
        """Apply the policy to tables of this crawler that no files are left of."""
        if self._deletes == "LOG" or not targets:
            return
        folders = [target["Path"].rstrip("/") + "/" for target in targets]
        pages = self._glue.get_paginator("get_tables").paginate(DatabaseName=self._database)
        for table in [item for answer in pages for item in answer["TableList"]]:
            parameters = table.get("Parameters", {})
            place = table.get("StorageDescriptor", {}).get("Location", "").rstrip("/") + "/"
            if (
                table["Name"] in seen
                or parameters.get("UPDATED_BY_CRAWLER") != self._crawler["Name"]
                or not place.startswith(tuple(folders))
            ):
                continue
            if self._deletes == "DELETE_FROM_DATABASE":
                self._glue.delete_table(DatabaseName=self._database, Name=table["Name"])
                self._changed("TABLE", "DELETE", table["Name"])
            elif "DEPRECATED_BY_CRAWLER" not in parameters:
                stamp = {"DEPRECATED_BY_CRAWLER": str(int(now().timestamp() * 1000))}
                self._update(table | {"Parameters": parameters | stamp})

    def _update(self, table: dict[str, Any]) -> None:
        members = self._glue.meta.service_model.shape_for("TableInput").members
        definition = {key: table[key] for key in members if table.get(key) not in (None, "")}
        self._glue.update_table(DatabaseName=table["DatabaseName"], TableInput=definition)
        self._changed("TABLE", "UPDATE", table["Name"])

    def _changed(self, kind: str, verb: str, *names: str) -> None:
        self.changes.names[kind, verb] += names
        if names:
            self._note(f"INFO : {verb} {kind} {', '.join(names)}")


# --- folders


def _folder(uri: str) -> tuple[str, str]:
    try:
        bucket, prefix = split_uri(uri)
    except ValueError as error:
        raise CrawlError(str(error)) from None
    return bucket, prefix.rstrip("/") + "/" if prefix.strip("/") else ""


def _group(bucket: str, folder: str, leaves: list[Leaf]) -> Iterator[Found]:
    """Tables below a folder: itself, if it holds files or ``key=value`` folders; else its folders.

    Folders with similar columns are the partitions of one table.
    """
    children: dict[str, list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        children[leaf.folder[len(folder) :].partition("/")[0]].append(leaf)
    own = [leaf for name, group in children.items() if not name or "=" in name for leaf in group]
    others = {name: group for name, group in children.items() if name and "=" not in name}
    if own or (len(others) > 1 and _similar([_merged(group) for group in others.values()])):
        own = own or leaves
        yield Found(bucket, folder, own)
    if own is not leaves:
        for name, group in others.items():
            yield from _group(bucket, f"{folder}{name}/", group)


def _similar(schemas: list[Columns]) -> bool:
    names = [set(schema) for schema in schemas]
    shared, every = set.intersection(*names), set.union(*names)
    return len(shared) >= _SIMILARITY * len(every) and all(
        len({_base(schema[name]) for schema in schemas} - {""}) <= 1 for name in shared
    )


def _base(column: HiveType | None) -> str:
    return column.name if column else ""


def _glob(pattern: str) -> re.Pattern[str]:
    """An exclusion: ``*`` stays in a folder, ``**`` does not, ``{a,b}`` means either."""
    return re.compile(
        "|".join(
            "".join(
                {"**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part)
                or (part if part.startswith("[") else re.escape(part))
                for part in re.split(r"(\*\*|\*|\?|\[[^\]]*\])", alternative)
            )
            for alternative in _alternatives(pattern)
        )
    )


def _alternatives(pattern: str) -> list[str]:
    if match := re.search(r"\{([^{}]*)\}", pattern):
        before, after = pattern[: match.start()], pattern[match.end() :]
        return [
            text
            for choice in match[1].split(",")
            for text in _alternatives(before + choice + after)
        ]
    return [pattern]


def _values(parts: Iterable[tuple[str, str]]) -> list[str]:
    return [value for _, value in parts]


def _key_type(values: Iterable[str]) -> str:
    known = [value for value in values if value != _NULL_PARTITION]
    return "int" if known and all(re.fullmatch(r"-?\d{1,9}", v) for v in known) else "string"


# --- files


def _leaf(bucket: str, folder: str, paths: list[Path]) -> Leaf | None:
    """What a folder's files are; None when all are empty."""
    columns: Columns = {}
    kinds = set()
    for path in paths:
        try:
            kind, found = read(path)
        except FileNotFoundError:  # deleted since it was listed
            continue
        except (pa.ArrowException, EOFError, gzip.BadGzipFile, ValueError) as error:
            raise CrawlError(
                f"s3://{bucket}/{folder}{path.name} cannot be read ({error}); mend it or exclude it"
            ) from None
        if kind:
            kinds.add(kind)
            columns = union(columns, found)
    if not kinds:
        return None
    if len({name for name, _ in kinds}) > 1:
        raise CrawlError(f"s3://{bucket}/{folder} holds both Parquet and JSON; exclude one")
    compressions = {compression for _, compression in kinds}
    return Leaf(folder, kinds.pop()[0], max(compressions - {"none"}, default="none"), columns)


# --- columns


def _merged(leaves: Sequence[Leaf]) -> Columns:
    columns: Columns = {}
    for leaf in leaves:
        columns = union(columns, leaf.columns)
    return columns


def _catalog_columns(columns: Columns, keys: Sequence[str]) -> list[dict[str, str]]:
    """As the catalog has them; a column that repeats a partition key is left out."""
    return [
        {"Name": name, "Type": str(kind or STRING)}
        for name, kind in columns.items()
        if name not in keys
    ]


def _combine(
    have: list[dict[str, str]], found: list[dict[str, str]], merge: bool
) -> list[dict[str, str]]:
    """The table's columns after a crawl: the order it has, new ones last.

    Args:
        have: what the table has.
        found: what the files have.
        merge: only add; else types follow the files, and columns they lack go.
    """
    types = {column["Name"]: column["Type"] for column in found}
    known = {column["Name"].lower() for column in have}
    kept = have
    if not merge:
        same = _signature(have)
        kept = [
            column if same[name] == types[name] else column | {"Type": types[name]}
            for column in have
            if (name := column["Name"].lower()) in types
        ]
    return kept + [column for column in found if column["Name"] not in known]


def _signature(columns: Iterable[dict[str, str]]) -> dict[str, str]:
    """Names and types in one spelling, so that ``integer`` and ``int`` are no change."""
    return {c["Name"].lower(): str(hive_types.parse(c.get("Type", "string"))) for c in columns}


def _same_place(table: dict[str, Any], location: str) -> bool:
    have = table.get("StorageDescriptor", {}).get("Location", "")
    return have.rstrip("/") == location.rstrip("/")


def _same_partition(have: dict[str, Any], want: dict[str, Any]) -> bool:
    columns = [item["StorageDescriptor"].get("Columns", []) for item in (have, want)]
    return _same_place(have, want["StorageDescriptor"]["Location"]) and _signature(
        columns[0]
    ) == _signature(columns[1])


def _batches(items: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(items), _PARTITIONS_A_CALL):
        yield items[start : start + _PARTITIONS_A_CALL]


def _require_done(errors: list[dict[str, Any]], ignored: set[str]) -> None:
    for error in errors:
        if error["ErrorDetail"]["ErrorCode"] not in ignored:
            raise CrawlError(f"a partition could not be saved: {error}")
