"""Live sessions: what a visitor is doing now, and the key events that come of it.

A live session is a first look, by visitor and order of arrival; the lake's fact_sessions is what
counts. All functions are pure; `table` keeps what they return.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lambdas.stream.clicks import Click

SESSION_TIMEOUT: Final = timedelta(minutes=30)
MILLISECOND: Final = timedelta(milliseconds=1)
#: The cart is a hint for a reminder, not a record: the oldest of more products are forgotten.
MOST_PRODUCTS: Final = 20
#: A reaction reports these: they are no sign that somebody is there.
NOT_THE_VISITORS: Final = frozenset({"exposure"})


@dataclass(frozen=True)
class Limits:
    """When something is worth a reaction.

    Attributes:
        cart_abandoned_after: silence after which a filled cart counts as abandoned.
        long_session_after: length from which a session counts as long.
    """

    cart_abandoned_after: timedelta
    long_session_after: timedelta


@dataclass(frozen=True)
class KeyEvent:
    """Something to react to.

    Attributes:
        kind: purchase, long_session, cart_abandoned or traffic_changed.
        key: the same however often it is found: who reacts does so once for each key.
        detail: what is told about it.
    """

    kind: str
    key: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class Session:
    """A visitor's current session.

    Attributes:
        visitor: the partition key its events come with.
        started_at: its first event's time, milliseconds since 1970.
        last_at: its latest event's time, milliseconds since 1970.
        event_count: number of events.
        last_page: the page of the latest event that has one.
        cart: quantity by product_id, the product added last at the end.
        is_long_told: whether its length was told.
        sequence: the last record that is counted in.
        seen_at: when that record came, seconds since 1970.
        user_id, anonymous_id: the latest ids that were sent.
    """

    visitor: str
    started_at: int
    last_at: int
    event_count: int = 0
    last_page: str | None = None
    cart: dict[str, int] = field(default_factory=dict)
    is_long_told: bool = False
    sequence: str = ""
    seen_at: float = 0.0
    user_id: str | None = None
    anonymous_id: str | None = None

    @property
    def id(self) -> str:
        """Its name among the live sessions."""
        return f"{self.visitor}/{self.started_at}"

    @property
    def length(self) -> timedelta:
        """The time from its first to its latest event."""
        return (self.last_at - self.started_at) * MILLISECOND

    def tell(self) -> dict[str, Any]:
        """What a key event says about it."""
        return {
            "session": self.id,
            "user_id": self.user_id,
            "anonymous_id": self.anonymous_id,
            "started_at": _iso(self.started_at),
            "last_at": _iso(self.last_at),
            "seconds": round(self.length.total_seconds()),
            "event_count": self.event_count,
            "last_page": self.last_page,
            "cart": self.cart,
        }


def advance(
    session: Session | None, clicks: Iterable[Click], limits: Limits
) -> tuple[Session | None, list[KeyEvent]]:
    """One visitor's session after further events, and what is worth a reaction.

    Records that the session has counted in already are skipped: what they were worth was told
    before the session was kept.

    Args:
        session: as it was before; None for somebody new.
        clicks: the visitor's events in the order of the stream.
        limits: when something is worth a reaction.
    """
    found: list[KeyEvent] = []
    for click in clicks:
        if click.type in NOT_THE_VISITORS or (session and click.sequence <= session.sequence):
            continue
        session = _count(_current(session, click), click)
        if click.type == "purchase":
            found.append(_purchase(click))
        if session.length >= limits.long_session_after and not session.is_long_told:
            session = replace(session, is_long_told=True)
            found.append(_long(session))
    return session, found


def abandoned(session: Session) -> KeyEvent:
    """That nobody came back to the session's cart."""
    detail = session.tell()
    return KeyEvent("cart_abandoned", f"cart_abandoned/{session.id}/{session.sequence}", detail)


def _current(session: Session | None, click: Click) -> Session:
    at = _time(click)
    if session and (at - session.last_at) * MILLISECOND < SESSION_TIMEOUT:
        return session
    return Session(
        visitor=click.visitor,
        started_at=at,
        last_at=at,
        cart=session.cart if session else {},  # a cart outlives the visit it was filled in
    )


def _count(session: Session, click: Click) -> Session:
    event = click.event
    return replace(
        session,
        last_at=max(session.last_at, _time(click)),
        event_count=session.event_count + 1,
        last_page=event["page"] or event["page_url"] or session.last_page,
        cart=_cart(session.cart, click),
        sequence=click.sequence,
        seen_at=click.arrived_at,
        user_id=event["user_id"] or session.user_id,
        anonymous_id=event["anonymous_id"] or session.anonymous_id,
    )


def _time(click: Click) -> int:
    """When it happened; a visitor's clock that runs ahead would hold the session open."""
    return min(click.at, round(click.arrived_at * 1000))


def _cart(cart: dict[str, int], click: Click) -> dict[str, int]:
    product, quantity = click.event["product_id"], click.event["quantity"]
    quantity = 1 if quantity is None else quantity
    if not product:
        return {} if click.type == "purchase" else cart
    if click.type == "purchase":
        left = 0  # an event that was sent twice counts twice here: who has bought is not reminded
    elif click.type == "remove_from_cart":
        left = cart.get(product, 0) - quantity
    elif click.type == "add_to_cart":
        left = cart.get(product, 0) + quantity
    else:
        return cart
    others = {id: number for id, number in cart.items() if id != product}
    kept = others | {product: left} if left > 0 else others
    return dict(list(kept.items())[-MOST_PRODUCTS:])


def _purchase(click: Click) -> KeyEvent:
    event = click.event
    names = (
        "event_id",
        "user_id",
        "anonymous_id",
        "order_id",
        "product_id",
        "currency",
        "page_url",
    )
    detail = {name: event[name] for name in names}
    detail |= {
        "at": _iso(click.at),
        "quantity": event["quantity"],
        "revenue": format(click.revenue.normalize(), "f"),
    }
    return KeyEvent("purchase", f"purchase/{event['event_id']}/{click.at}", detail)


def _long(session: Session) -> KeyEvent:
    return KeyEvent("long_session", f"long_session/{session.id}", session.tell())


def _iso(at: int) -> str:
    text = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
