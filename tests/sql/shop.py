"""A shop of a few made-up days: rows for every table that agree with each other."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from clickstream_contract.contract import CATEGORIES, OTHER_CATEGORY

from tests.sql.experiments import STORIES

Row = dict[str, Any]

#: The first day lies before the dates that are asked for.
DAYS = [date(2026, 11, 14), *(date(2026, 11, 19) + timedelta(days=n) for n in range(3))]
SOURCES = [
    ("(direct)", "(none)", "(not set)", "Direct"),
    ("google", "organic", "(not set)", "Organic Search"),
    ("news", "email", "schöner Herbst", "Email"),
]
PAGES = ["/", "/sale", "/p/1", "/p/ü", "/cart"]
PRODUCTS = [f"p{n}" for n in range(5)]


class Shop:
    """The rows of every table, made of one list of sessions, so that they agree."""

    def __init__(self) -> None:
        dice = random.Random(7)
        self.rows: dict[str, list[Row]] = defaultdict(list)
        seen: set[str] = set()
        for day in DAYS:
            for number in range(40):
                self._session(dice, day, number, seen)
        self._experiments()
        self._dimensions()
        self._marts(dice)

    def _session(self, dice: random.Random, day: date, number: int, seen: set[str]) -> None:
        user = f"u{dice.randrange(25)}"
        start = datetime(day.year, day.month, day.day, dice.randrange(24), number)
        source, medium, campaign, channel = dice.choice(SOURCES)
        pages = [dice.choice(PAGES) for _ in range(dice.randrange(5))]
        step = dice.randrange(5)
        is_bot = number % 13 == 0
        foreign = int(step == 4 and number % 7 == 0)
        amount = Decimal(0) if foreign else Decimal(dice.randrange(1, 99_999)) / 100
        self.rows["fact_sessions"].append(
            {
                "session_id": f"{day:%d}-{number:03}",
                "user_key": user,
                "user_id": user,
                "started_at": start,
                "ended_at": start + timedelta(seconds=number),
                "duration_seconds": float(number),
                "event_count": len(pages) + 1,
                "view_count": len(pages),
                "click_count": 1,
                "entry_page": pages[0] if pages else None,
                "exit_page": pages[-1] if pages else None,
                "page_path": [page for page, _ in itertools.groupby(pages)],
                "source": source,
                "medium": medium,
                "campaign": campaign,
                "channel": channel,
                "source_key": f"s-{source}",
                "device_type": dice.choice(["mobile", "desktop", None]),
                "device_key": f"d-{is_bot}",
                "country": dice.choice(["DE", "FR", None]),
                "is_bot": is_bot,
                "is_new_user": user not in seen,
                "is_engaged": len(pages) > 1 or number > 10 or step == 4,
                "is_bounce": not pages,
                "is_converted": step == 4,
                "funnel_step": step,
                "order_count": int(step == 4),
                "foreign_order_count": foreign,
                "revenue": amount if step == 4 else Decimal(0),
                "year": day.year,
                "month": day.month,
                "day": day.day,
            }
        )
        seen.add(user)
        for offset in range(len(pages) + 1):
            at = start + timedelta(seconds=offset)
            late = timedelta(days=1) if number % 11 == 0 else timedelta(hours=number % 3)
            self._click(
                f"{day:%d}-{number:03}-{offset}",
                at,
                late=late,
                event_type="view" if offset else "click",
                user_id=user if number % 2 else None,
                anonymous_id=f"a-{user}",
                is_bot=is_bot,
                metadata=[("product_name", "Schuh")],
                payload_hash=offset,
                source_line=number,
            )

    def _click(
        self, event_id: str, at: datetime, late: timedelta = timedelta(0), **fields: Any
    ) -> None:
        self.rows["fact_clicks"].append(
            {
                "event_id": event_id,
                "is_event_id_derived": False,
                "event_category": CATEGORIES.get(fields["event_type"], OTHER_CATEGORY),
                "event_timestamp": at,
                "is_bot": False,
                "is_clock_skewed": False,
                "metadata": [],
                "payload_hash": 0,
                "arrived_at": at.replace(minute=0, second=0) + late,
                "source_object": f"raw/{at.date()}",
                "source_line": 0,
                "processed_timestamp": at,
                "year": at.year,
                "month": at.month,
                "day": at.day,
                "hour": at.hour,
                **fields,
            }
        )

    def _experiments(self) -> None:
        """Clicks alone: who was shown what, and bought. `experiments.STORIES` has who they are."""
        for visitor, story in STORIES.items():
            for number, (at, event_type, fields) in enumerate(story):
                self._click(
                    f"{visitor}-{number}",
                    datetime.fromisoformat(f"2026-11-{at}"),
                    **{"event_type": event_type, "anonymous_id": visitor, **fields},
                )

    def _dimensions(self) -> None:
        sessions = self.rows["fact_sessions"]
        for user, of_user in groups(sessions, lambda row: row["user_key"]):
            self.rows["dim_users"].append(
                {
                    "user_key": user,
                    # u1, u10, u11 and so on are one person.
                    "person_key": "u1" if user.startswith("u1") else user,
                    "is_anonymous": False,
                    "is_bot": False,
                    "first_seen_at": min(row["started_at"] for row in of_user),
                    "last_seen_at": max(row["ended_at"] for row in of_user),
                    "active_day_count": 1,
                    "event_count": total(of_user, "event_count"),
                    "session_count": len(of_user),
                    "order_count": total(of_user, "order_count"),
                    "revenue": total(of_user, "revenue"),
                }
            )
        for source, medium, campaign, channel in SOURCES:
            self.rows["dim_sources"].append(
                {
                    "source_key": f"s-{source}",
                    "source": source,
                    "medium": medium,
                    "campaign": campaign,
                    "channel": channel,
                }
            )
        names = ("device_type", "browser", "agent_browser", "agent_os", "agent_device")
        for is_bot in (False, True):
            unset = dict.fromkeys(names, "(not set)")
            self.rows["dim_devices"].append(
                {"device_key": f"d-{is_bot}", "is_bot": is_bot, **unset}
            )
        for number, product in enumerate(PRODUCTS):
            self.rows["dim_products"].append(
                {
                    "product_id": product,
                    "product_name": f"Name of {product}",
                    "category": ["shoes", "hats", None][number % 3],
                    "price": Decimal("9.9900"),
                    "first_seen_at": sessions[0]["started_at"],
                    "last_seen_at": sessions[-1]["started_at"],
                }
            )
        for page in PAGES:
            self.rows["dim_pages"].append(
                {
                    "page": page,
                    "first_seen_date": DAYS[0],
                    "last_seen_date": DAYS[-1],
                    "view_count": 3,
                    "entry_count": 2,
                    "exit_count": 1,
                }
            )
        day = DAYS[0]
        while day <= DAYS[-1]:
            self.rows["dim_dates"].append(
                {
                    "event_date": day,
                    "year": day.year,
                    "quarter": 4,
                    "month": day.month,
                    "day": day.day,
                    "iso_week": day.isocalendar().week,
                    "weekday": day.isoweekday() % 7,
                    "is_weekend": day.isoweekday() > 5,
                }
            )
            day += timedelta(days=1)

    def _marts(self, dice: random.Random) -> None:
        sessions = self.rows["fact_sessions"]
        counted = [row for row in sessions if not row["is_bot"]]
        for (user, day), rows in groups(
            sessions, lambda r: (r["user_key"], r["started_at"].date())
        ):
            humans = [row for row in rows if not row["is_bot"]]
            self.rows["users_daily"].append(
                {
                    "user_key": user,
                    "is_anonymous": user in ("u3", "u4"),
                    "event_count": total(rows, "event_count"),
                    "robot_event_count": total(rows, "event_count") - total(humans, "event_count"),
                    "session_count": len(humans),
                    "order_count": total(humans, "order_count"),
                    "revenue": total(humans, "revenue"),
                    "first_event_at": min(row["started_at"] for row in rows),
                    "last_event_at": max(row["ended_at"] for row in rows),
                    "day": str(day),
                }
            )
        for hour, rows in groups(counted, lambda row: row["started_at"].replace(minute=0)):
            self.rows["engagement_hourly"].append(
                {"hour_at": hour, "day": str(hour.date()), **self._engagement(rows)}
            )
        for day, rows in groups(counted, lambda row: row["started_at"].date()):
            users = len({row["user_key"] for row in rows})
            wider = {"weekly_user_count": users + 1, "monthly_user_count": users + 5}
            self.rows["engagement_daily"].append(
                {"day": str(day), **self._engagement(rows), **wider}
            )
        segment = ("device_type", "channel", "country")
        for (day, *names), rows in groups(
            counted,
            lambda r: (r["started_at"].date(), *(r[name] or "(not set)" for name in segment)),
        ):
            steps = ("viewed_count", "carted_count", "checkout_count", "purchased_count")
            self.rows["funnel_daily"].append(
                {
                    **dict(zip(segment, names, strict=True)),
                    "session_count": len(rows),
                    **{
                        name: sum(row["funnel_step"] >= step for row in rows)
                        for step, name in enumerate(steps, 1)
                    },
                    "day": str(day),
                }
            )
        transitions: Counter[tuple[str, str, str]] = Counter()
        for row in counted:
            if row["page_path"]:
                path = ["(entry)", *row["page_path"], "(exit)"]
                day = str(row["started_at"].date())
                transitions.update((day, a, b) for a, b in itertools.pairwise(path))
        self.rows["page_paths_daily"] = [
            {"day": day, "from_page": a, "to_page": b, "transition_count": count}
            for (day, a, b), count in transitions.items()
        ]
        for day in DAYS:
            for number, product in enumerate(PRODUCTS):
                bought = 0 if product == "p4" else dice.randrange(3)
                self.rows["product_performance_daily"].append(
                    {
                        "product_id": product,
                        "product_name": f"Name of {product}",
                        "category": None,
                        "price": Decimal("9.9900"),
                        "view_count": dice.randrange(4, 9),
                        "click_count": number,
                        "add_to_cart_count": dice.randrange(4),
                        "remove_from_cart_count": 0,
                        "purchase_count": bought,
                        "quantity": bought * 2,
                        "revenue": bought * Decimal("19.9800"),
                        "viewer_count": 3,
                        "buyer_count": min(bought, 1),
                        "first_event_at": datetime(day.year, day.month, day.day, 1),
                        "last_event_at": datetime(day.year, day.month, day.day, 2),
                        "day": str(day),
                    }
                )
            for model in ("first_touch", "last_non_direct", "linear", "position_based"):
                for source, medium, campaign, channel in SOURCES:
                    self.rows["attribution_daily"].append(
                        {
                            "model": model,
                            "channel": channel,
                            "source": source,
                            "medium": medium,
                            "campaign": campaign,
                            "order_credit": Decimal(dice.randrange(10**6)) / 10**6,
                            "revenue": Decimal(dice.randrange(10**8)) / 10**4,
                            "day": str(day),
                        }
                    )
            self.rows["identities_daily"].append(
                {
                    "anonymous_id": "a-u1",
                    "user_id": "u1",
                    "known_at": datetime(day.year, day.month, day.day),
                    "day": str(day),
                }
            )
            self.rows["quarantine"] += [
                {"reason": reason, "source_object": f"o{n}", "source_line": n, "day": str(day)}
                for n, reason in enumerate(["TIME", "TYPE", "TIME"])
            ]
        for week, weeks_since, users in (("16", 0, 7), ("16", 1, 3), ("09", 0, 4)):
            monday = date.fromisoformat(f"2026-11-{week}")
            size = 7 if week == "16" else 4
            self.rows["retention_cohorts"].append(
                {
                    "cohort_week": monday,
                    "weeks_since": weeks_since,
                    "user_count": users,
                    "cohort_size": size,
                    "retention_rate": users / size,
                }
            )
            if not weeks_since:
                counts = {"new_count": 7, "retained_count": 2, "returning_count": 1}
                self.rows["lifecycle_weekly"].append({"week": monday, "churned_count": 3, **counts})
        self.rows["model_runs"].append(
            {
                "run_id": "jr_1",
                "interval_start": datetime(2026, 11, 20),
                "touched_days": ["2026-11-20"],
                "rebuilt_days": [("fact_sessions", ["2026-11-20", "2026-11-21"])],
                "row_counts": [("fact_sessions", 80)],
                "day": "2026-11-20",
            }
        )
        self.rows["pipeline_runs"].append(
            {
                "run_id": "jr_0",
                "interval_start": datetime(2026, 11, 20),
                "ended_at": datetime(2026, 11, 21),
                "line_count": 3,
                "loaded_count": 1,
                "duplicate_count": 0,
                "blank_count": 0,
                "residual": 0,
                "quarantined_by_reason": [("TIME", 2)],
                "day": "2026-11-20",
            }
        )

    @staticmethod
    def _engagement(rows: list[Row]) -> Row:
        counts = {
            kind: sum(row[flag] for row in rows)
            for kind, flag in (
                ("engaged_session_count", "is_engaged"),
                ("bounce_count", "is_bounce"),
                ("converted_session_count", "is_converted"),
            )
        }
        engaged, bounced, converted = (count / len(rows) for count in counts.values())
        return {
            "event_count": total(rows, "event_count"),
            "view_count": total(rows, "view_count"),
            "user_count": len({row["user_key"] for row in rows}),
            "session_count": len(rows),
            **counts,
            "engaged_rate": engaged,
            "bounce_rate": bounced,
            "conversion_rate": converted,
            "order_count": total(rows, "order_count"),
            "revenue": total(rows, "revenue"),
        }


def groups(rows: Iterable[Row], key: Callable[[Row], Any]) -> Iterator[tuple[Any, list[Row]]]:
    """The rows by key, in the order of their first rows."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return iter(found.items())


def total(rows: Iterable[Row], name: str) -> Any:
    """The sum of a column."""
    return sum(row[name] for row in rows)
