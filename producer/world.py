"""The shop and what its visitors have in common: products, places, devices, campaigns."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import orjson

T = TypeVar("T")

SHOP = "https://shop.example"
CURRENCY = "USD"
PRODUCT_COUNT = 300

_CATEGORIES = {  # name: (nouns, lowest price, highest price)
    "shoes": (("Sneaker", "Boot", "Sandal", "Loafer"), 35, 180),
    "clothing": (("Jacket", "Shirt", "Dress", "Jeans", "Sweater"), 15, 220),
    "home": (("Lamp", "Chair", "Blanket", "Mug", "Mirror"), 8, 340),
    "electronics": (("Headphones", "Speaker", "Keyboard", "Charger"), 12, 900),
    "outdoor": (("Tent", "Backpack", "Bottle", "Stove"), 10, 450),
}
_COUNTRIES = {  # Faker locale: (country code, share of the visitors)
    "en_US": ("US", 38),
    "de_DE": ("DE", 16),
    "en_GB": ("GB", 12),
    "fr_FR": ("FR", 9),
    "en_IN": ("IN", 9),
    "pt_BR": ("BR", 7),
    "es_ES": ("ES", 5),
    "ja_JP": ("JP", 4),
}
_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_DEVICES = (  # share, device_type, browser, user agent
    (30, "mobile", "Chrome", f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {_WEBKIT} "
     "Chrome/131.0.0.0 Mobile Safari/537.36"),
    (22, "mobile", "Safari", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) "
     "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"),
    (20, "desktop", "Chrome", f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} "
     "Chrome/131.0.0.0 Safari/537.36"),
    (8, "desktop", "Safari", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) "
     "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15"),
    (7, "desktop", "Firefox", "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) "
     "Gecko/20100101 Firefox/132.0"),
    (6, "desktop", "Edge", f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} "
     "Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0"),
    (7, "tablet", "Safari", "Mozilla/5.0 (iPad; CPU OS 18_1 like Mac OS X) "
     "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"),
)  # fmt: skip
_ROBOTS = (
    (70, "desktop", "Googlebot", "Mozilla/5.0 (compatible; Googlebot/2.1; "
     "+http://www.google.com/bot.html)"),
    (30, "desktop", "bingbot", "Mozilla/5.0 (compatible; bingbot/2.0; "
     "+http://www.bing.com/bingbot.htm)"),
)  # fmt: skip
_SOURCES = (  # share, referrer_url, (utm_source, utm_medium) when a campaign brings the visitor
    (30, "", None),
    (28, "https://www.google.com/", None),
    (12, "https://www.google.com/", ("google", "cpc")),
    (9, "https://www.instagram.com/", ("instagram", "social")),
    (7, "https://www.facebook.com/", ("facebook", "social")),
    (6, "https://mail.example.net/", ("newsletter", "email")),
    (5, "https://www.bing.com/", None),
    (3, "https://reviews.example.org/best-picks", ("reviews", "affiliate")),
)


@dataclass(frozen=True, slots=True)
class Product:
    """One article; its price never changes."""

    product_id: str
    name: str
    category: str
    price: str
    url: str


@dataclass(frozen=True, slots=True)
class Device:
    """What a visitor browses with."""

    device_type: str
    browser: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a visit comes from; ``query`` and ``metadata`` carry the campaign, if there is one."""

    referrer: str
    query: str
    metadata: str


@dataclass(frozen=True, slots=True)
class World:
    """Weighted pools: ``pool[int(random() * len(pool))]`` draws with the right share.

    Text is JSON-escaped already, so that journeys can put it into a line as it is.
    """

    products: tuple[Product, ...]
    searches: tuple[str, ...]
    locations: tuple[str, ...]
    devices: tuple[Device, ...]
    robots: tuple[Device, ...]
    sources: tuple[Source, ...]


def build_world(seed: int) -> World:
    """The same shop for the same seed, whatever the window or the number of visitors."""
    from faker import Faker  # half a second to import, so not for --help

    rng = random.Random(f"{seed}/world")
    fakers = {locale: Faker(locale) for locale in _COUNTRIES}
    for faker in fakers.values():
        faker.seed_instance(rng.getrandbits(32))
    us = fakers["en_US"]

    products = []
    for number in range(1, PRODUCT_COUNT + 1):
        category = rng.choice(list(_CATEGORIES))
        nouns, lowest, highest = _CATEGORIES[category]
        name = f"{us.last_name()} {us.safe_color_name().title()} {rng.choice(nouns)}"
        price = lowest + (highest - lowest) * rng.random() ** 2
        product_id = f"P-{1000 + number}"
        products.append(
            Product(
                product_id, escape(name), category, f"{int(price)}.99", f"/product/{product_id}"
            )
        )
    campaigns = [escape("-".join(us.words(2))) for _ in range(6)]
    return World(
        products=tuple(products),
        searches=tuple(noun.lower() for nouns, *_ in _CATEGORIES.values() for noun in nouns),
        locations=spread(
            (share, escape(f"{fakers[locale].city()}, {country}"))
            for locale, (country, share) in _COUNTRIES.items()
            for _ in range(6)
        ),
        devices=spread((share, Device(*device)) for share, *device in _DEVICES),
        robots=spread((share, Device(*robot)) for share, *robot in _ROBOTS),
        sources=spread(
            (share, _source(referrer, utm, campaign))
            for share, referrer, utm in _SOURCES
            for campaign in campaigns
        ),
    )


def spread(weighted: Iterable[tuple[int, T]]) -> tuple[T, ...]:
    """Every item as often as its weight says, so that one uniform draw is a weighted one."""
    return tuple(item for weight, item in weighted for _ in range(weight))


def escape(text: str) -> str:
    """The inside of a JSON string."""
    return orjson.dumps(text).decode()[1:-1]


def _source(referrer: str, utm: tuple[str, str] | None, campaign: str) -> Source:
    if utm is None:
        return Source(referrer, "", "")
    source, medium = utm
    return Source(
        referrer,
        f"?utm_source={source}&utm_medium={medium}&utm_campaign={campaign}",
        f'"utm_source":"{source}","utm_medium":"{medium}","utm_campaign":"{campaign}",',
    )
