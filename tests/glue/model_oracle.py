"""What the model job must produce, in plain Python, from the definitions in docs/data-model.md.

It shares no code with glue/. It reads all of fact_clicks at once and builds every table anew, with
lists, dictionaries and sorts: the definitions first, then one function per table, in its order.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal, localcontext
from itertools import pairwise
from operator import attrgetter
from typing import Any
from urllib.parse import unquote_plus

Row = dict[str, Any]

NOT_SET = "(not set)"
SMALLEST = Decimal("0.0001")
MILLION = 1_000_000
EPOCH = datetime(1970, 1, 1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
STEPS = {"view": 1, "add_to_cart": 2, "checkout": 3, "purchase": 4}
UTM = ("utm_source", "utm_medium", "utm_campaign")
DEVICE = ("device_type", "browser", "agent_browser", "agent_os", "agent_device")
MODELS = ("first_touch", "last_non_direct", "linear", "position_based")

# Labels of a host, and whole hosts.
SITES = {
    "search": "google bing yahoo duckduckgo baidu yandex ecosia qwant startpage naver seznam sogou"
    " ask aol kagi brave",
    "social": "facebook instagram twitter linkedin pinterest reddit tiktok snapchat tumblr threads"
    " whatsapp telegram weibo quora mastodon bsky discord t.co x.com lnkd.in vk.com fb.com t.me",
    "video": "youtube vimeo twitch dailymotion netflix youtu.be",
    "shopping": "amazon ebay etsy walmart alibaba aliexpress mercadolibre shopify idealo shop.app",
}
SEARCH, SOCIAL, VIDEO, SHOPPING = (names.split() for names in SITES.values())


class Event:
    """A row of fact_clicks, and what the definitions read out of it."""

    def __init__(self, row: Row, currency: str) -> None:
        self.row = row
        self.id: str = row["event_id"]
        self.type: str = row["event_type"]
        self.time = naive(row["event_timestamp"])
        self.day = self.time.date()
        self.hour = hour_of(self.time)
        self.user_id, self.anonymous_id = row.get("user_id"), row.get("anonymous_id")
        # Not known before all events are read: the user_key, whether it is a user_id (the event's
        # own or the one it is known as), and whether the event is in a robot's session.
        self.user_key, self.has_user_id, self.is_of_robot = "", False, False
        self.metadata: dict[str, str | None] = dict(row.get("metadata") or ())
        self.page = page(row)
        self.campaign = campaign(self.metadata, row.get("page_url"))
        sent_currency = filled(row.get("currency")) or currency
        self.is_purchase = self.type == "purchase"
        self.is_foreign = self.is_purchase and sent_currency.lower() != currency.lower()
        self.quantity = 1 if row.get("quantity") is None else row["quantity"]
        self.amount = Decimal(0)
        if self.is_purchase and not self.is_foreign:
            self.amount = (row.get("price") or Decimal(0)) * self.quantity


class Session:
    """A row of fact_sessions, and the pages of all its events."""

    def __init__(self, row: Row, pages: list[str]) -> None:
        self.row, self.pages = row, pages
        self.user_key: str = row["user_key"]
        self.is_bot: bool = row["is_bot"]
        self.started_at: datetime = row["started_at"]
        self.day, self.hour = self.started_at.date(), hour_of(self.started_at)
        self.order = (self.started_at, row["session_id"])


def expected(
    facts: list[Row],
    *,
    session_timeout: timedelta = timedelta(minutes=30),
    currency: str = "USD",
    site_hosts: Collection[str] = ("shop.example",),
    attribution_days: int = 30,
) -> dict[str, list[Row]]:
    """The rows of every table of the model but model_runs, in any order."""
    with localcontext(prec=80):
        events = sorted((Event(row, currency) for row in facts), key=attrgetter("time", "id"))
        identities = identities_daily(events)
        give_user_keys(events, identities)
        sessions = fact_sessions(events, session_timeout, site_hosts)
        human = [session for session in sessions if not session.is_bot]
        persons = persons_of(events, identities)

        users = users_daily(events, human)
        products = product_performance_daily(events)
        paths = page_paths_daily(sessions)
        return {
            "fact_sessions": [session.row for session in sessions],
            "identities_daily": [row | {"day": row["day"].isoformat()} for row in identities],
            "users_daily": users,
            "engagement_hourly": engagement_hourly(events, human),
            "engagement_daily": engagement_daily(events, human, users),
            "funnel_daily": funnel_daily(human),
            "product_performance_daily": products,
            "page_paths_daily": paths,
            "attribution_daily": attribution_daily(human, identities, attribution_days),
            "dim_users": dim_users(users, persons),
            "dim_products": dim_products(products),
            "dim_pages": dim_pages(paths),
            "dim_devices": dim_devices(sessions),
            "dim_sources": dim_sources(sessions),
            "dim_dates": dim_dates(events),
            "retention_cohorts": retention_cohorts(users, persons),
            "lifecycle_weekly": lifecycle_weekly(users, persons),
        }


# Definitions


def naive(moment: datetime) -> datetime:
    """UTC without saying so."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def hour_of(moment: datetime) -> datetime:
    """Its beginning."""
    return moment.replace(minute=0, second=0, microsecond=0)


def filled(text: str | None) -> str | None:
    """Null for a blank."""
    return text if text and text.strip(" ") else None


def first(texts: Iterable[str | None]) -> str | None:
    """The first that is not blank."""
    return next((text for text in texts if filled(text)), None)


def group(items: Iterable[Any], key: Callable[[Any], Hashable]) -> dict[Any, list[Any]]:
    """The items of each key, in the order in which they come."""
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def digest(*values: Any) -> str:
    """A key: SHA-256 over the values joined by a line feed; one within a value is escaped."""
    escaped = (str(value).replace("\\", "\\\\").replace("\n", "\\n") for value in values)
    return hashlib.sha256("\n".join(escaped).encode()).hexdigest()[:32]


def monday(day: date) -> date:
    """The first day of its week."""
    return day - timedelta(days=day.weekday())


def page(row: Row) -> str | None:
    """`page`, else the path of page_url; the words for both ends of a session are no page."""
    found = row.get("page")
    if not filled(found):
        if not filled(row.get("page_url")):
            return None
        found = filled(re.split("[?#]", split_url(row["page_url"])[1], maxsplit=1)[0] or "/")
    return None if found in ("(entry)", "(exit)") else found


def split_url(url: str) -> tuple[str, str]:
    """Scheme and host are one part, what follows them the other."""
    start = re.match("(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*", url)
    return (start[0], url[start.end() :]) if start else ("", url)


def campaign(metadata: dict[str, str | None], page_url: str | None) -> tuple[Any, ...] | None:
    """utm_source, utm_medium and utm_campaign, null for a blank; null if all are."""
    values = [filled(metadata.get(name)) for name in UTM]
    if page_url and "?" in page_url and not all(values):
        query = page_url.partition("#")[0].partition("?")[2]
        pairs = [pair.partition("=") for pair in query.split("&")]
        sent = [(decoded(name), decoded(value)) for name, _, value in pairs]
        in_query = [first(text for key, text in sent if key == name) for name in UTM]
        values = [own or other for own, other in zip(values, in_query, strict=True)]
    return tuple(values) if any(values) else None


def decoded(text: str) -> str:
    """`+` and `%XX`; text with another `%` is taken as it is."""
    return text if re.search("%(?![0-9A-Fa-f]{2})", text) else unquote_plus(text)


def country(location: str | None) -> str | None:
    """What follows the last comma."""
    return filled(location.rpartition(",")[2].strip(" ")) if location else None


def source_of(event: Event, site_hosts: Collection[str]) -> tuple[str, str, str]:
    """Source, medium and campaign of the session that this event begins."""
    if event.campaign:
        source, medium, name = (value or NOT_SET for value in event.campaign)
        return source, medium, name
    host = split_url(event.row.get("referrer_url") or "")[0].partition("//")[2].lower()
    host = re.sub(":[0-9]*$", "", host.rpartition("@")[2]).removeprefix("www.")
    if not filled(host) or is_at(host, [site.lower() for site in site_hosts]):
        return "(direct)", "(none)", NOT_SET
    engine = next((label for label in host.split(".") if label in SEARCH), None)
    return (engine, "organic", NOT_SET) if engine else (host, "referral", NOT_SET)


def is_at(host: str, hosts: Iterable[str]) -> bool:
    """One of the hosts, or below it."""
    return any(host == other or host.endswith("." + other) for other in hosts)


def is_named(source: str, sites: list[str]) -> bool:
    """The source is a site of a list: by a label, or by its host."""
    return not set(sites).isdisjoint(source.split(".")) or is_at(
        source, [site for site in sites if "." in site]
    )


def channel_of(source: str, medium: str, name: str) -> str:
    """GA4's default channel group: the first rule that applies."""
    source, medium, name = source.lower(), medium.lower(), name.lower()
    search, social, video, shopping = (
        is_named(source, sites) for sites in (SEARCH, SOCIAL, VIDEO, SHOPPING)
    )
    shopping = shopping or bool(re.search("^(.*(([^a-df-z]|^)shop|shopping).*)$", name))
    paid = bool(re.search("^(.*cp.*|ppc|retargeting|paid.*)$", medium))
    emails = ("email", "e-mail", "e_mail", "e mail")
    socials = ("social", "social-network", "social-media", "sm", "social network", "social media")
    push = medium.endswith("push") or "mobile" in medium or "notification" in medium
    rules = (
        ("Direct", source == "(direct)" and medium in ("(none)", NOT_SET)),
        ("Cross-network", "cross-network" in name),
        ("Paid Shopping", paid and shopping),
        ("Paid Search", paid and search),
        ("Paid Social", paid and social),
        ("Paid Video", paid and video),
        ("Display", medium in ("display", "banner", "expandable", "interstitial", "cpm")),
        ("Paid Other", paid),
        ("Organic Shopping", shopping),
        ("Organic Social", social or medium in socials),
        ("Organic Video", video or "video" in medium),
        ("Organic Search", search or medium == "organic"),
        ("Referral", medium in ("referral", "app", "link")),
        ("Email", source in emails or medium in emails),
        ("Affiliates", medium == "affiliate"),
        ("Audio", medium == "audio"),
        ("SMS", "sms" in (source, medium)),
        ("Mobile Push Notifications", push or source == "firebase"),
    )
    return next((channel for channel, applies in rules if applies), "Unassigned")


def orders(events: Iterable[Event]) -> dict[Any, bool]:
    """Each order, and whether a purchase of it is in another currency."""
    found: dict[Any, bool] = {}
    for event in events:
        if event.is_purchase:
            order = filled(event.row.get("order_id")) or event
            found[order] = found.get(order, False) or event.is_foreign
    return found


def revenue(events: Iterable[Event]) -> Decimal:
    """The sum of the purchases' amounts."""
    return sum((event.amount for event in events), Decimal(0)).quantize(SMALLEST)


def funnel_step(events: list[Event]) -> int:
    """The last step reached."""
    reached = 0
    steps = ((event.time, STEPS[event.type]) for event in events if event.type in STEPS)
    for _, step in sorted(steps):
        reached += step == reached + 1
    return reached


def give_user_keys(events: list[Event], identities: list[Row]) -> None:
    """The user_key of every event, by what is known on its day."""
    known_as = {(row["anonymous_id"], row["day"]): row["user_id"] for row in identities}
    for event in events:
        user_id = event.user_id or known_as.get((event.anonymous_id, event.day))
        event.user_key = user_id or event.anonymous_id or ""
        event.has_user_id = user_id is not None


def persons_of(events: list[Event], identities: list[Row]) -> dict[str, str]:
    """The person of every user_key."""
    user_ids = {event.user_id for event in events}
    known_as: dict[str, str] = {}
    for row in sorted(identities, key=lambda row: row["day"]):
        known_as.setdefault(row["anonymous_id"], row["user_id"])
    keys = {event.user_key for event in events}
    return {key: key if key in user_ids else known_as.get(key, key) for key in keys}


def cut(events: list[Event], timeout: timedelta) -> list[list[Event]]:
    """The events of a user_key as chains, and these as sessions."""
    sessions: list[list[Event]] = []
    began = events[0].time
    last_campaign, previous = None, None
    for event in events:
        midnight = datetime.combine(event.day, time.min)
        if previous is None or event.time - previous.time >= timeout:
            began, last_campaign = event.time, None
            sessions.append([])
        elif previous.time < midnight and began < midnight - DAY:
            last_campaign = None
            sessions.append([])
        elif event.campaign and event.campaign != last_campaign:
            sessions.append([])
        sessions[-1].append(event)
        last_campaign = event.campaign or last_campaign
        previous = event
    return sessions


# Tables


def fact_sessions(
    events: list[Event], timeout: timedelta, site_hosts: Collection[str]
) -> list[Session]:
    """One session; its events learn whether it is a robot's."""
    sessions = []
    for of_user in group(events, attrgetter("user_key")).values():
        own = [session_of(part, site_hosts) for part in cut(of_user, timeout)]
        min(own, key=attrgetter("order")).row["is_new_user"] = True
        sessions += own
    return sessions


def session_of(events: list[Event], site_hosts: Collection[str]) -> Session:
    """The session that these events are, not yet known to be a user's first."""
    start, end = events[0], events[-1]
    sent = [event.page for event in events if event.page]
    pages = [name for at, name in enumerate(sent) if at == 0 or name != sent[at - 1]]
    source, medium, name = source_of(start, site_hosts)
    is_bot = any(event.row["is_bot"] for event in events)
    device = {key: first(event.row.get(key) for event in events) for key in DEVICE}
    device_values = [NOT_SET if value is None else value for value in device.values()]
    location = first(event.row.get("location") for event in events)
    types = Counter(event.type for event in events)
    order_of = orders(events)
    duration = (end.time - start.time).total_seconds()
    microseconds = (start.time - EPOCH) // timedelta(microseconds=1)
    for event in events:
        event.is_of_robot = is_bot
    row = {
        "session_id": digest(start.user_key, microseconds, start.id),
        "client_session_id": first(event.row.get("session_id") for event in events),
        "user_key": start.user_key,
        "user_id": start.user_key if any(event.has_user_id for event in events) else None,
        "anonymous_id": first(event.anonymous_id for event in events),
        "started_at": start.time,
        "ended_at": end.time,
        "duration_seconds": duration,
        "event_count": len(events),
        "view_count": types["view"],
        "click_count": types["click"],
        "entry_page": pages[0] if pages else None,
        "exit_page": pages[-1] if pages else None,
        "page_path": pages[:100],
        "source": source,
        "medium": medium,
        "campaign": name,
        "channel": channel_of(source, medium, name),
        "source_key": digest(source, medium, name),
        **device,
        "device_key": digest(*device_values, "true" if is_bot else "false"),
        "location": location,
        "country": country(location),
        "is_bot": is_bot,
        "is_new_user": False,
        "is_engaged": types["view"] >= 2 or duration >= 10 or types["purchase"] > 0,
        "is_bounce": len(events) == 1,
        "is_converted": types["purchase"] > 0,
        "funnel_step": funnel_step(events),
        "order_count": len(order_of),
        "foreign_order_count": sum(order_of.values()),
        "revenue": revenue(events),
        "year": start.day.year,
        "month": start.day.month,
        "day": start.day.day,
    }
    return Session(row, pages)


def identities_daily(events: list[Event]) -> list[Row]:
    """One anonymous_id on one day on which it is known (day: a date)."""
    both = [event for event in events if event.user_id and event.anonymous_id]
    return [
        {"anonymous_id": key, "user_id": of[0].user_id, "known_at": of[0].time, "day": day}
        for (key, day), of in group(both, attrgetter("anonymous_id", "day")).items()
    ]


def users_daily(events: list[Event], human: list[Session]) -> list[Row]:
    """One user_key on one day on which it has an event."""
    started = Counter((session.user_key, session.day) for session in human)
    rows = []
    for (user_key, day), of_day in group(events, attrgetter("user_key", "day")).items():
        counted = [event for event in of_day if not event.is_of_robot]
        rows.append(
            {
                "user_key": user_key,
                "is_anonymous": not any(event.has_user_id for event in of_day),
                "event_count": len(of_day),
                "robot_event_count": len(of_day) - len(counted),
                "session_count": started[user_key, day],
                "order_count": len(orders(counted)),
                "revenue": revenue(counted),
                "first_event_at": of_day[0].time,
                "last_event_at": of_day[-1].time,
                "day": day.isoformat(),
            }
        )
    return rows


def is_active(row: Row) -> bool:
    """A user on a day, by its row of users_daily."""
    return row["event_count"] > row["robot_event_count"]


def engagement(events: list[Event], human: list[Session], period: str) -> dict[Any, Row]:
    """The numbers of each hour or day; of its events and of the sessions that start in it."""
    started = group(human, attrgetter(period))
    counted = [event for event in events if not event.is_of_robot]
    rows = {}
    for begin, inside in group(counted, attrgetter(period)).items():
        sessions = [session.row for session in started.get(begin, [])]
        engaged, bounce, converted = (
            sum(row[name] for row in sessions)
            for name in ("is_engaged", "is_bounce", "is_converted")
        )
        rows[begin] = {
            "event_count": len(inside),
            "view_count": sum(event.type == "view" for event in inside),
            "user_count": len({event.user_key for event in inside}),
            "session_count": len(sessions),
            "engaged_session_count": engaged,
            "bounce_count": bounce,
            "converted_session_count": converted,
            "engaged_rate": engaged / len(sessions) if sessions else None,
            "bounce_rate": bounce / len(sessions) if sessions else None,
            "conversion_rate": converted / len(sessions) if sessions else None,
            "order_count": len(orders(inside)),
            "revenue": revenue(inside),
        }
    return rows


def engagement_hourly(events: list[Event], human: list[Session]) -> list[Row]:
    """One hour with an event."""
    return [
        {"hour_at": hour, "day": hour.date().isoformat()} | row
        for hour, row in engagement(events, human, "hour").items()
    ]


def engagement_daily(events: list[Event], human: list[Session], users: list[Row]) -> list[Row]:
    """One day with an event."""
    active: dict[str, set[str]] = defaultdict(set)
    for row in filter(is_active, users):
        active[row["day"]].add(row["user_key"])
    rows = []
    for day, row in engagement(events, human, "day").items():
        back = [active.get((day - DAY * days).isoformat(), set()) for days in range(30)]
        week, month = set().union(*back[:7]), set().union(*back)
        row |= {"weekly_user_count": len(week), "monthly_user_count": len(month)}
        rows.append(row | {"day": day.isoformat()})
    return rows


def funnel_daily(human: list[Session]) -> list[Row]:
    """Sessions of one day by device_type, channel and country."""

    def key(session: Session) -> tuple[str, ...]:
        values = [session.row[name] or NOT_SET for name in ("device_type", "channel", "country")]
        return *values, session.day.isoformat()

    columns = ("device_type", "channel", "country", "day")
    counts = ("session_count", "viewed_count", "carted_count", "checkout_count", "purchased_count")
    rows = []
    for values, sessions in group(human, key).items():
        reached = [sum(s.row["funnel_step"] >= step for s in sessions) for step in range(5)]
        rows.append(dict(zip(columns + counts, (*values, *reached), strict=True)))
    return rows


def product_performance_daily(events: list[Event]) -> list[Row]:
    """One product on one day on which an event names it."""
    naming = [event for event in events if filled(event.row.get("product_id"))]
    types = ("view", "click", "add_to_cart", "remove_from_cart", "purchase")
    rows = []
    for (product, day), of_day in group(naming, lambda e: (e.row["product_id"], e.day)).items():
        counted = [event for event in of_day if not event.is_of_robot]
        count = Counter(event.type for event in counted)
        prices = [e.row["price"] for e in of_day if e.row.get("price") is not None]
        rows.append(
            {
                "product_id": product,
                "product_name": first(e.metadata.get("product_name") for e in reversed(of_day)),
                "category": first(e.metadata.get("category") for e in reversed(of_day)),
                "price": prices[-1] if prices else None,
                **{f"{name}_count": count[name] for name in types},
                "quantity": sum(event.quantity for event in counted if event.is_purchase),
                "revenue": revenue(counted),
                "viewer_count": len({e.user_key for e in counted if e.type == "view"}),
                "buyer_count": len({e.user_key for e in counted if e.is_purchase}),
                "first_event_at": of_day[0].time,
                "last_event_at": of_day[-1].time,
                "day": day.isoformat(),
            }
        )
    return rows


def page_paths_daily(sessions: list[Session]) -> list[Row]:
    """One step between pages; a robot's stands there, but does not count."""
    steps: Counter[tuple[str, str, str]] = Counter()
    for session in sessions:
        stations = ["(entry)", *session.pages, "(exit)"] if session.pages else []
        for step in pairwise(stations):
            steps[*step, session.day.isoformat()] += not session.is_bot
    return [
        {"from_page": start, "to_page": end, "transition_count": count, "day": day}
        for (start, end, day), count in steps.items()
    ]


def attribution_daily(human: list[Session], identities: list[Row], days: int) -> list[Row]:
    """Orders and revenue of one day by model and source."""
    window = timedelta(days=days)
    sessions_of = group(sorted(human, key=attrgetter("order")), attrgetter("user_key"))
    known = group(sorted(identities, key=lambda row: row["day"]), lambda row: row["anonymous_id"])
    keys_of: dict[str, set[str]] = defaultdict(set)
    for row in identities:
        keys_of[row["user_id"]].add(row["anonymous_id"])

    def person(session: Session, day: date) -> str:
        rows = known.get(session.user_key, []) if session.row["user_id"] is None else []
        at = bisect_left(rows, day - window, key=lambda row: row["day"])
        return rows[at]["user_id"] if rows[at:] and rows[at]["day"] <= day else session.user_key

    def touches_of(converted: Session) -> list[Session]:
        owner = person(converted, converted.day)
        touches = []
        for user_key in keys_of.get(owner, set()) | {owner}:
            own = sessions_of.get(user_key, [])
            start = bisect_left(own, converted.started_at - window, key=attrgetter("started_at"))
            end = bisect_right(own, converted.order, key=attrgetter("order"))
            touches += [touch for touch in own[start:end] if person(touch, converted.day) == owner]
        return sorted(touches, key=attrgetter("order"))

    credit: dict[tuple[str, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for converted in human:
        if not converted.row["is_converted"]:
            continue
        touches = touches_of(converted)
        for model in MODELS:
            parts = shares(model, touches)
            amounts = [converted.row["revenue"] * part / MILLION for part in parts]
            amounts = [amount.quantize(SMALLEST, ROUND_FLOOR) for amount in amounts]
            amounts[-1] += converted.row["revenue"] - sum(amounts)
            for touch, part, amount in zip(touches, parts, amounts, strict=True):
                if part > 0:
                    names = [touch.row[c] for c in ("channel", "source", "medium", "campaign")]
                    sums = credit[model, *names, converted.day.isoformat()]
                    sums[0] += Decimal(converted.row["order_count"] * part) / MILLION
                    sums[1] += amount
    columns = ("model", "channel", "source", "medium", "campaign", "day", "order_credit", "revenue")
    return [dict(zip(columns, (*key, *sums), strict=True)) for key, sums in credit.items()]


def shares(model: str, touches: list[Session]) -> list[int]:
    """What each touch gets, in millionths."""
    count = len(touches)
    parts = [0] * count
    if model == "first_touch":
        parts[0] = MILLION
    elif model == "last_non_direct":
        others = [at for at in range(count) if touches[at].row["channel"] != "Direct"]
        parts[others[-1] if others else -1] = MILLION
    elif model == "linear" or count < 3:
        parts = [MILLION // count] * count
    else:
        parts = [400_000, *[200_000 // (count - 2)] * (count - 2), 400_000]
    parts[-1] += MILLION - sum(parts)
    return parts


def dim_users(users: list[Row], persons: dict[str, str]) -> list[Row]:
    """One user_key: sums over users_daily."""
    return [
        {
            "user_key": user_key,
            "person_key": persons[user_key],
            "is_anonymous": all(day["is_anonymous"] for day in days),
            "is_bot": not any(map(is_active, days)),
            "first_seen_at": min(day["first_event_at"] for day in days),
            "last_seen_at": max(day["last_event_at"] for day in days),
            "active_day_count": sum(map(is_active, days)),
            "event_count": sum(day["event_count"] for day in days),
            "session_count": sum(day["session_count"] for day in days),
            "order_count": sum(day["order_count"] for day in days),
            "revenue": sum(day["revenue"] for day in days),
        }
        for user_key, days in group(users, lambda row: row["user_key"]).items()
    ]


def dim_products(products: list[Row]) -> list[Row]:
    """One product_id: each value of the last day that has one."""
    in_order = sorted(products, key=lambda row: row["day"])
    rows = []
    for product, days in group(in_order, lambda row: row["product_id"]).items():
        row = {"product_id": product}
        for name in ("product_name", "category", "price"):
            row[name] = next((day[name] for day in reversed(days) if day[name] is not None), None)
        row["first_seen_at"] = min(day["first_event_at"] for day in days)
        row["last_seen_at"] = max(day["last_event_at"] for day in days)
        rows.append(row)
    return rows


def dim_pages(paths: list[Row]) -> list[Row]:
    """One page of a step."""
    steps_to = group(paths, lambda row: row["to_page"])
    steps_from = group(paths, lambda row: row["from_page"])

    def total(steps: list[Row], **wanted: str) -> int:
        counted = [step for step in steps if wanted.items() <= step.items()]
        return sum(step["transition_count"] for step in counted)

    return [
        {
            "page": name,
            "first_seen_date": date.fromisoformat(min(step["day"] for step in steps)),
            "last_seen_date": date.fromisoformat(max(step["day"] for step in steps)),
            "view_count": total(steps),
            "entry_count": total(steps, from_page="(entry)"),
            "exit_count": total(steps_from[name], to_page="(exit)"),
        }
        for name, steps in steps_to.items()
        if name != "(exit)"
    ]


def dim_devices(sessions: list[Session]) -> list[Row]:
    """One combination."""
    rows = {}
    for row in (session.row for session in sessions):
        device = {name: NOT_SET if row[name] is None else row[name] for name in DEVICE}
        key = row["device_key"]
        rows[key] = {"device_key": key, **device, "is_bot": row["is_bot"]}
    return list(rows.values())


def dim_sources(sessions: list[Session]) -> list[Row]:
    """One combination."""
    columns = ("source_key", "source", "medium", "campaign", "channel")
    rows = {s.row["source_key"]: {name: s.row[name] for name in columns} for s in sessions}
    return list(rows.values())


def dim_dates(events: list[Event]) -> list[Row]:
    """One day from the first to the last that has an event."""
    length = (events[-1].day - events[0].day).days + 1 if events else 0
    return [
        {
            "event_date": day,
            "year": day.year,
            "quarter": (day.month + 2) // 3,
            "month": day.month,
            "day": day.day,
            "iso_week": day.isocalendar().week,
            "weekday": day.isoweekday() % 7,
            "is_weekend": day.isoweekday() > 5,
        }
        for day in (events[0].day + DAY * number for number in range(length))
    ]


def active_weeks(users: list[Row], persons: dict[str, str]) -> dict[str, set[date]]:
    """The weeks in which each person was active."""
    weeks: dict[str, set[date]] = defaultdict(set)
    for row in filter(is_active, users):
        weeks[persons[row["user_key"]]].add(monday(date.fromisoformat(row["day"])))
    return weeks


def retention_cohorts(users: list[Row], persons: dict[str, str]) -> list[Row]:
    """Persons by the week they were first active in."""
    cohorts: dict[date, Counter[int]] = defaultdict(Counter)
    for weeks in active_weeks(users, persons).values():
        cohorts[min(weeks)].update((week - min(weeks)) // WEEK for week in weeks)
    return [
        {
            "cohort_week": cohort,
            "weeks_since": since,
            "user_count": count,
            "cohort_size": counts[0],
            "retention_rate": count / counts[0],
        }
        for cohort, counts in cohorts.items()
        for since, count in counts.items()
    ]


def lifecycle_weekly(users: list[Row], persons: dict[str, str]) -> list[Row]:
    """Persons by what they did, one week from the first to the last with activity."""
    active: dict[date, set[str]] = defaultdict(set)
    new: dict[date, set[str]] = defaultdict(set)
    for person, weeks in active_weeks(users, persons).items():
        new[min(weeks)].add(person)
        for week in weeks:
            active[week].add(person)
    rows = []
    length = (max(active) - min(active)) // WEEK + 1 if active else 0
    for week in [min(active) + WEEK * number for number in range(length)]:
        now, before = active[week], active[week - WEEK]
        counts = (new[week], now & before, now - before - new[week], before - now)
        names = ("new_count", "retained_count", "returning_count", "churned_count")
        rows.append({"week": week} | dict(zip(names, map(len, counts), strict=True)))
    return rows
