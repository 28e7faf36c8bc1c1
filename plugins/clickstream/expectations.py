"""What must hold (fail) and what should hold (warn) of a run's rows, as Great Expectations suites.

A failed `critical` expectation stops the run before the warehouse; a failed `warning` is counted.
What one odd event can break is a warning: a client's bug must not stop everybody's numbers.
"""

from __future__ import annotations

import great_expectations as gx
from great_expectations import expectations as gxe
from great_expectations.expectations.metadata_types import FailureSeverity

from clickstream.interval import Interval
from clickstream.ledger import LedgerEntry

FAIL, WARN = FailureSeverity.CRITICAL, FailureSeverity.WARNING

EVENT_TYPES = [
    "view",
    "click",
    "search",
    "add_to_cart",
    "remove_from_cart",
    "checkout",
    "purchase",
    "login",
    "signup",
]
EVENT_CATEGORIES = ["browse", "engage", "cart", "conversion", "account", "other"]
REQUIRED_COLUMNS = ["event_id", "event_type", "event_timestamp", "user_key", "source_object"]
#: Least and most that is believable, per column.
RANGES = {"price": (0, 1_000_000), "quantity": (1, 10_000)}
#: Above this share of values whose size is unbelievable the column itself is broken, not an event;
#: below 0 is what somebody gave back.
MAX_ODD_SHARE = 0.01
MAX_CLOCK_SKEW_SHARE = 0.01
MAX_QUARANTINED_SHARE = 0.05


def fact_clicks_suite(interval: Interval, entry: LedgerEntry) -> gx.ExpectationSuite:
    """The suite for the rows of sql/athena/fact_clicks/quality.sql."""
    return gx.ExpectationSuite(
        name="fact_clicks",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(
                min_value=entry.loaded_count,
                severity=FAIL,
                description="The touched hours hold at least what this run loaded",
            ),
            gxe.ExpectCompoundColumnsToBeUnique(
                column_list=["event_id", "event_timestamp"],
                severity=FAIL,
                description="An event (id and time) stands once",
            ),
            *(
                gxe.ExpectColumnValuesToNotBeNull(
                    column=column, severity=FAIL, description=f"{column} is always there"
                )
                for column in REQUIRED_COLUMNS
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="event_category",
                value_set=EVENT_CATEGORIES,
                severity=FAIL,
                description="Every category is one of the contract",
            ),
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="partition_hour",
                column_B="event_hour",
                severity=FAIL,
                description="An event lies in the partition of its own hour",
            ),
            *(
                gxe.ExpectColumnValuesToBeBetween(
                    column=column,
                    min_value=least,
                    max_value=most,
                    mostly=mostly,
                    severity=severity,
                    description=f"{column} is from {least:,} to {most:,} {words}",
                )
                for column, (believable, most) in RANGES.items()
                for severity, least, mostly, words in (
                    (FAIL, -most, 1 - MAX_ODD_SHARE, f"in {1 - MAX_ODD_SHARE:.0%} of the rows"),
                    (WARN, believable, 1, "in every row"),
                )
            ),
            gxe.ExpectColumnValuesToBeInSet(
                column="event_type",
                value_set=EVENT_TYPES,
                severity=WARN,
                description="Every type is one of the contract",
            ),
            gxe.ExpectColumnValuesToBeUnique(
                column="event_id", severity=WARN, description="No id came back at another time"
            ),
            gxe.ExpectColumnMeanToBeBetween(
                column="clock_skew",
                max_value=MAX_CLOCK_SKEW_SHARE,
                severity=WARN,
                description=f"At most {MAX_CLOCK_SKEW_SHARE:.0%} of the clocks run ahead by a day",
            ),
            gxe.ExpectColumnMaxToBeBetween(
                column="event_timestamp",
                min_value=interval.start.replace(tzinfo=None),
                severity=WARN,
                description="The newest event is from the interval, not older",
            ),
        ],
    )


def quarantine_suite(entry: LedgerEntry) -> gx.ExpectationSuite:
    """The suite for the rows of sql/athena/quarantine/quality.sql."""
    return gx.ExpectationSuite(
        name="quarantine",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(
                min_value=entry.quarantined_count,
                severity=FAIL,
                description="The day holds at least what this run rejected",
            ),
            gxe.ExpectCompoundColumnsToBeUnique(
                column_list=["source_object", "source_line"],
                severity=FAIL,
                description="A line is rejected once",
            ),
            gxe.ExpectColumnValuesToNotBeNull(
                column="reason", severity=FAIL, description="reason is always there"
            ),
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="partition_day",
                column_B="row_day",
                severity=FAIL,
                description="A line lies in the partition of the day on which it arrived",
            ),
        ],
    )


def pipeline_runs_suite() -> gx.ExpectationSuite:
    """The suite for the row of sql/athena/pipeline_runs/quality.sql."""
    return gx.ExpectationSuite(
        name="pipeline_runs",
        expectations=[
            gxe.ExpectColumnValuesToBeInSet(
                column="residual",
                value_set=[0],
                severity=FAIL,
                description="Every raw line is accounted for",
            ),
            gxe.ExpectColumnMaxToBeBetween(
                column="quarantined_share",
                max_value=MAX_QUARANTINED_SHARE,
                severity=WARN,
                description=f"At most {MAX_QUARANTINED_SHARE:.0%} of the lines are rejected",
            ),
        ],
    )
