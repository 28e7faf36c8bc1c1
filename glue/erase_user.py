"""Glue job: erase one person from every version of every object, or prove that he is gone.

It is told a digest and never an id, since Glue keeps the arguments of its runs. It prints what it
wrote down as one JSON line.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence

from clickstream_glue.arguments import Parser
from clickstream_glue.erase import REPLICA, EraseJob, Place, erase, prove
from pyspark.sql import SparkSession

STEPS = {"erase": erase, "prove": prove}


def sha256(text: str) -> str:
    """Reads a digest."""
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise argparse.ArgumentTypeError("a digest of 64 hexadecimal digits is needed, never an id")
    return text


def buckets(text: str) -> dict[str, str]:
    """Reads buckets by their part in the lake: raw=name,processed=name,…."""
    found = dict(pair.partition("=")[::2] for pair in text.split(","))
    for part in ("raw", "artifacts", "results"):
        if not found.get(part):
            raise argparse.ArgumentTypeError(f"{text!r} lacks {part}=<bucket>")
    return found


def read_arguments(arguments: Sequence[str]) -> tuple[str, EraseJob]:
    """The step and the job; Glue adds arguments of its own, which are left alone."""
    parser = Parser("erase_user", __doc__)
    parser.add_argument("--step", choices=STEPS, required=True)
    parser.add_argument("--user", type=sha256, required=True, help="the user id's digest")
    parser.add_argument("--with-anonymous", choices=("true", "false"), default="false")
    parser.add_argument("--buckets", type=buckets, required=True, help="part=name,part=name")
    parser.add_argument("--region", required=True)
    parser.add_argument("--replica-region", default="")
    parser.add_argument("--raw-prefix", required=True)
    parser.add_argument("--delivery-errors-prefix", required=True)
    parser.add_argument("--tombstones-prefix", required=True)
    parser.add_argument("--erasures-prefix", required=True)
    given = parser.read(arguments)
    names, region, replica = (given.pop(k) for k in ("buckets", "region", "replica_region"))
    places = [Place(part, name, region) for part, name in names.items()]
    if replica:
        places += [Place(p.part + REPLICA, p.bucket + REPLICA, replica) for p in tuple(places)]
    is_with_anonymous = given.pop("with_anonymous") == "true"
    step = given.pop("step")
    return step, EraseJob(places=tuple(places), is_with_anonymous=is_with_anonymous, **given)


def main() -> None:
    """Runs the job."""
    step, job = read_arguments(sys.argv[1:])
    spark = SparkSession.builder.appName(f"erase_user: {step}").getOrCreate()
    print(json.dumps(STEPS[step](spark, job)))


if __name__ == "__main__":
    main()
