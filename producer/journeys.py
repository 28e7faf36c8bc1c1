"""People walk through the shop: home, search, product, cart, checkout, purchase, and drop off.

A journey's number of events is drawn first and its steps second: it ends where its length ends,
which is the drop-off. So a given number of events is met exactly.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from producer.world import CURRENCY, SHOP, Device, Product, World, build_world, spread

ACCOUNT_SHARE = 0.55
LOGGED_IN_SHARE = 0.7
ROBOT_SHARE = 0.02

# Knots of (share of the draws, value), joined by straight lines: no logarithm or exponential, whose
# last digit differs between machines.
_LENGTHS = ((0.0, 1), (0.25, 2), (0.5, 6), (0.75, 13), (0.95, 32), (1.0, 70))
_GAPS_MS = ((0.0, 900), (0.25, 5_000), (0.5, 14_000), (0.75, 38_000), (0.97, 180_000),
            (0.995, 900_000), (1.0, 3_000_000))  # fmt: skip

_NEXT = {
    step: spread((weight, follower) for follower, weight in followers.items())
    for step, followers in {
        "home": {"category": 30, "search": 25, "product": 25, "click": 15, "login": 5},
        "category": {"product": 55, "click": 20, "category": 10, "search": 10, "home": 5},
        "search": {"product": 60, "search": 15, "click": 25},
        "product": {"click": 30, "product": 24, "add": 9, "category": 12, "search": 10, "home": 4},
        "click": {"product": 35, "add": 7, "click": 12, "category": 18, "search": 10, "home": 10},
        "add": {"cart": 60, "product": 25, "category": 15},
        "cart": {"checkout": 45, "remove": 14, "product": 22, "home": 13},
        "remove": {"cart": 50, "product": 30, "category": 20},
        "checkout": {"purchase": 60, "cart": 14, "click": 14, "product": 12},
        "purchase": {"home": 50, "click": 30, "category": 20},
        "login": {"home": 50, "category": 30, "product": 20},
        "signup": {"home": 50, "category": 30, "product": 20},
    }.items()
}
_EVENT_TYPES = {
    "home": "view", "category": "view", "product": "view", "cart": "view", "search": "search",
    "click": "click", "add": "add_to_cart", "remove": "remove_from_cart", "checkout": "checkout",
    "purchase": "purchase", "login": "login", "signup": "signup",
}  # fmt: skip
_PAGES = {  # a step that is not here happens on the page the visitor is on
    "home": ("home", "/"),
    "cart": ("cart", "/cart"),
    "remove": ("cart", "/cart"),
    "checkout": ("checkout", "/checkout"),
    "purchase": ("confirmation", "/confirmation"),
    "login": ("login", "/login"),
    "signup": ("signup", "/signup"),
}
_ELEMENTS = ("menu", "banner", "gallery", "reviews", "size_chart", "wishlist", "filter", "footer")
_PAYMENTS = ("card", "card", "wallet", "invoice")
_NEEDS_CART = frozenset({"cart", "remove", "checkout", "purchase"})


def _table(knots: tuple[tuple[float, int], ...], size: int = 1000) -> list[int]:
    """Equally likely values; one uniform draw of the index draws from the whole curve."""
    values = []
    for index in range(size):
        share = index / size
        (low, start), (high, stop) = next(pair for pair in pairwise(knots) if share < pair[1][0])
        values.append(int(start + (stop - start) * (share - low) / (high - low)))
    return values


_LENGTH_TABLE, _GAP_TABLE = _table(_LENGTHS), _table(_GAPS_MS)


class Event(NamedTuple):
    """One line of the stream; events sort by time."""

    #: Place in the stream, epoch milliseconds: when it happened, except for dirt.
    at: int
    #: user_id, else anonymous_id: the partition key.
    identity: str
    #: The line with its newline.
    line: bytes
    #: What was done to it: "" for a clean event, else a name of ``dirt.KINDS``.
    dirt: str = ""


class Person:
    """A visitor, the same one in every run with the same seed."""

    __slots__ = ("anonymous_id", "cart", "device", "free_at", "has_account", "ip_address",
                 "is_logged_in", "is_robot", "location", "user_id", "visits")  # fmt: skip

    def __init__(self, seed: int, number: int, world: World) -> None:
        draw = random.Random(f"{seed}/person/{number}")
        rnd = draw.random
        self.is_robot = rnd() < ROBOT_SHARE
        pool = world.robots if self.is_robot else world.devices
        self.device: Device = pool[int(rnd() * len(pool))]
        self.location = world.locations[int(rnd() * len(world.locations))]
        # 198.18.0.0/15 is reserved for tests: the address of nobody.
        self.ip_address = f"198.{18 + int(rnd() * 2)}.{int(rnd() * 256)}.{int(rnd() * 256)}"
        self.anonymous_id = f"a-{draw.getrandbits(64):016x}"
        self.user_id = f"u-{number:07d}"
        has_account = not self.is_robot and rnd() < ACCOUNT_SHARE
        self.has_account = has_account
        self.is_logged_in = has_account and rnd() < LOGGED_IN_SHARE
        self.visits = int(rnd() * 8) if has_account else 0
        self.cart: list[tuple[Product, int]] = []
        self.free_at = 0

    @property
    def identity(self) -> str:
        """What the visitor is known by now."""
        return self.user_id if self.is_logged_in else self.anonymous_id


class Crowd:
    """The visitors, with what each of them did so far."""

    def __init__(self, seed: int, run: str, users: int, end: int, old_clients: float) -> None:
        """Make a crowd that has done nothing yet.

        Args:
            seed: makes the shop and the people; the same ones in every run.
            run: makes what they do; so two runs never share an event_id.
            users: how many there are.
            end: epoch milliseconds before which every event happens.
            old_clients: share of the journeys whose client writes one of the field's small schemas.
        """
        self._seed, self._users, self._end, self._old_clients = seed, users, end, old_clients
        self._world = build_world(seed)
        self._random = random.Random(run)
        self._people: dict[int, Person] = {}

    def events(self, count: int, draw_start: Callable[[float], int]) -> list[Event]:
        """The next ``count`` events, of journeys that start at ``draw_start(uniform)``."""
        rnd = self._random.random
        lengths = []
        while count:
            lengths.append(min(count, _LENGTH_TABLE[int(rnd() * 1000)]))
            count -= lengths[-1]
        starts = sorted(draw_start(rnd()) for _ in lengths)
        events: list[Event] = []
        for start, length in zip(starts, lengths, strict=True):
            times = self._times(start, length)
            self._walk(self._visitor(start), times, events)
        events.sort()
        return events

    def _times(self, start: int, length: int) -> list[int]:
        gaps = [_GAP_TABLE[int(self._random.random() * 1000)] for _ in range(length - 1)]
        if start + sum(gaps) >= self._end:  # the window closes: the same steps, in a hurry
            start = min(start, self._end - length)
            needed, room = sum(gaps), self._end - length - start
            # At least 1 ms each, since an event without an id is known by its text alone.
            gaps = [1 + gap * room // needed for gap in gaps]
        return list(accumulate(gaps, initial=start))

    def _visitor(self, start: int) -> Person:
        """Some come far more often than others; one who is on the site already rarely."""
        for _ in range(4):
            number = int(self._random.random() ** 2 * self._users)
            if number not in self._people:
                self._people[number] = Person(self._seed, number, self._world)
            if self._people[number].free_at <= start:
                break
        return self._people[number]

    def _walk(self, person: Person, times: list[int], events: list[Event]) -> None:
        rnd, bits = self._random.random, self._random.getrandbits
        products, searches = self._world.products, self._world.searches
        source = self._world.sources[int(rnd() * len(self._world.sources))]
        referrer, query, campaign = source.referrer, source.query, source.metadata
        old = rnd() / self._old_clients if self._old_clients else 1.0
        schema = "bare" if old < 0.5 else "legacy" if old < 1.0 else "contract"
        client = Client(person, f"s-{bits(64):016x}", schema)
        person.visits += 1
        person.free_at = times[-1]

        product, page, path = products[0], "home", "/"
        step = ("home", "home", "product", "category")[bits(2)]
        for at in times:
            step = _possible(step, person, page == "product", rnd())
            followers = _NEXT[step]
            follower = followers[int(rnd() * len(followers))]
            item = details = ""
            if step in _PAGES:
                page, path = _PAGES[step]
            if step == "product":
                product = products[int(rnd() ** 2 * len(products))]
                page, path = "product", product.url
                details = f'"product_name":"{product.name}","category":"{product.category}",'
            elif step == "category":
                category = products[int(rnd() * len(products))].category
                page, path = "category", f"/category/{category}"
                details = f'"category":"{category}",'
            elif step == "search":
                term = searches[int(rnd() * len(searches))]
                page, path = "search", f"/search?q={term}"
                details = f'"query":"{term}","results":"{bits(6)}",'
            elif step == "click":
                details = f'"element":"{_ELEMENTS[bits(3)]}","x":"{bits(10)}","y":"{bits(10)}",'
            elif step == "add":
                quantity = 1 + (rnd() < 0.2) + (rnd() < 0.05)
                person.cart.append((product, quantity))
                item = _item(product, quantity)
            elif step == "remove":
                item = _item(*person.cart.pop())
            elif step == "purchase":
                item = _item(*person.cart.pop()) + f'"order_id":"o-{bits(48):012x}",'
                details = f'"payment":"{_PAYMENTS[bits(2)]}",'
            elif step in ("login", "signup"):
                person.has_account = person.is_logged_in = True
                if person.cart:
                    follower = "checkout"
            if page == "product" and not item:
                item = f'"product_id":"{product.product_id}",'

            url = f"{SHOP}{path}{query}"
            line = client.line(
                _EVENT_TYPES[step], at, bits(128), page, url, referrer, item, campaign + details
            )
            events.append(Event(at, person.identity, line))
            step, referrer, query, campaign = follower, url, "", ""


class Client:
    """The program on one visitor's device that writes the lines of one journey.

    Most write the contract. Old ones write one of the field's small schemas: a ``bare`` client
    knows no event_id, page_url, metadata or time zone and says ``timestamp``; a ``legacy`` client
    sends ``timestamp`` in epoch milliseconds, ``page_view`` and ``additional_data``.
    """

    __slots__ = ("_address", "_anonymous", "_device", "_known", "_person", "_schema")

    def __init__(self, person: Person, session_id: str, schema: str) -> None:
        device, self._person, self._schema = person.device, person, schema
        self._anonymous = f'"anonymous_id":"{person.anonymous_id}",'
        self._known = f'"user_id":"{person.user_id}",{self._anonymous}'
        self._device = (
            f'"session_id":"{session_id}","device_type":"{device.device_type}",'
            f'"browser":"{device.browser}","location":"{person.location}",'
            f'"user_type":"{"returning" if person.visits else "new"}"'
        )
        self._address = f'"user_agent":"{device.user_agent}","ip_address":"{person.ip_address}"'

    def line(
        self,
        event_type: str,
        at: int,
        event_id: int,
        page: str,
        url: str,
        referrer: str,
        item: str,
        details: str,
    ) -> bytes:
        """One event; ``item`` and ``details`` are JSON members, each with a comma after it."""
        who = self._known if self._person.is_logged_in else self._anonymous
        if self._schema == "bare":
            text = (
                f'{{{who}"event_type":"{event_type}","page":"{page}",{item}'
                f'"timestamp":"{_iso(at)}","referrer_url":"{referrer}",{self._device}}}\n'
            )
        elif self._schema == "legacy":
            event_type = "page_view" if event_type == "view" else event_type
            text = (
                f'{{"event_id":"{_uuid(event_id)}","event_type":"{event_type}","timestamp":{at},'
                f'{who}"page_url":"{url}","referrer_url":"{referrer}",{item}{self._device},'
                f'{self._address},"additional_data":{{{details}"app_version":"2.9.1"}}}}\n'
            )
        else:
            text = (
                f'{{"event_id":"{_uuid(event_id)}","event_type":"{event_type}",'
                f'"event_timestamp":"{_iso(at)}Z",{who}"page":"{page}","page_url":"{url}",'
                f'"referrer_url":"{referrer}",{item}{self._device},{self._address},'
                f'"metadata":{{{details}"app_version":"4.2.0"}}}}\n'
            )
        return text.encode()


def _possible(step: str, person: Person, has_product: bool, uniform: float) -> str:
    """The step, or the one that must come before it."""
    if person.is_robot:  # robots read; they neither click nor buy
        return "product" if uniform < 0.8 else "category"
    if (step in _NEEDS_CART and not person.cart) or (step == "add" and not has_product):
        return "product"
    if step == "login" and (person.is_logged_in or not person.has_account):
        return "category"
    if step == "checkout" and not person.is_logged_in and uniform < 0.6:
        return "login" if person.has_account else "signup"
    return step


def _item(product: Product, quantity: int) -> str:
    return (
        f'"product_id":"{product.product_id}","price":{product.price},"quantity":{quantity},'
        f'"currency":"{CURRENCY}",'
    )


def _uuid(number: int) -> str:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


@lru_cache(maxsize=4096)
def _minute(number: int) -> str:
    return datetime.fromtimestamp(number * 60, UTC).strftime("%Y-%m-%dT%H:%M:")


def _iso(at: int) -> str:
    minute, rest = divmod(at, 60_000)
    return f"{_minute(minute)}{rest // 1000:02d}.{rest % 1000:03d}"
