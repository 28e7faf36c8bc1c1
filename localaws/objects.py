"""The objects of a bucket as files: for the engines that read bytes without copying them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_SIDECAR = ".meta.json"
_DELETE_MARKER = b'{"is_delete_marker"'
#: Keys that no path can hold, under encoded names; Spark and pyarrow could not name them either.
_ENCODED_KEYS = ".ministack-keys"


def current_objects(
    bucket: Path, prefix: str = "", hidden: bool = True
) -> Iterator[tuple[str, Path]]:
    """Each object's key and file, in no order; one that vanishes meanwhile is left out.

    A deleted object of a versioned bucket keeps its file, and only the sidecar says that the
    newest version is a delete marker.

    Args:
        bucket: the bucket's folder under `Context.s3_root`.
        prefix: which keys, as S3 has it: any text, not only whole folders.
        hidden: whether keys with a part that starts with ``_`` or ``.`` count (readers of
            tables leave them out: markers, temporary files).
    """
    folder = bucket / prefix[: prefix.rfind("/") + 1]
    for path in _files(folder):
        key = path[len(str(bucket)) + 1 :]
        if not key.startswith(prefix):
            continue
        if not hidden and any(part[0] in "_." for part in key.split("/")):
            continue
        try:
            with open(path + _SIDECAR, "rb") as sidecar:
                if sidecar.read(len(_DELETE_MARKER)) == _DELETE_MARKER:
                    continue
        except FileNotFoundError:  # half written, or just deleted
            continue
        yield key, Path(path)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of an ``s3://`` or ``s3a://`` address.

    Raises:
        ValueError: it is not one.
    """
    scheme, separator, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "s3a") or not separator or not bucket:
        raise ValueError(f"{uri!r} is not an S3 address such as s3://bucket/prefix/")
    return bucket, key


def _files(folder: str | Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != _ENCODED_KEYS:
                yield from _files(entry.path)
        elif not entry.name.endswith((_SIDECAR, ".tmp")):
            yield entry.path
