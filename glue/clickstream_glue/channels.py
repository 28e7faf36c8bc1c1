"""Where a session came from: source, medium and campaign, and GA4's default channel group."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

NOT_SET: Final = "(not set)"
DIRECT: Final = ("(direct)", "(none)", NOT_SET)
CAMPAIGN_KEYS: Final = ("utm_source", "utm_medium", "utm_campaign")

# A site is named by a label of its host ("google" in news.google.de) or, where that says nothing,
# by the whole host.
SEARCH_ENGINES: Final = [
    *["google", "bing", "yahoo", "duckduckgo", "baidu", "yandex", "ecosia", "qwant", "startpage"],
    *["naver", "seznam", "sogou", "ask", "aol", "kagi", "brave"],
]
SOCIAL_SITES: Final = [
    *["facebook", "instagram", "twitter", "linkedin", "pinterest", "reddit", "tiktok", "snapchat"],
    *["tumblr", "threads", "whatsapp", "telegram", "weibo", "quora", "mastodon", "bsky", "discord"],
]
SOCIAL_HOSTS: Final = ["t.co", "x.com", "lnkd.in", "vk.com", "fb.com", "t.me"]
VIDEO_SITES: Final = ["youtube", "vimeo", "twitch", "dailymotion", "netflix"]
VIDEO_HOSTS: Final = ["youtu.be"]
SHOPPING_SITES: Final = [
    *["amazon", "ebay", "etsy", "walmart", "alibaba", "aliexpress", "mercadolibre", "shopify"],
    "idealo",
]
SHOPPING_HOSTS: Final = ["shop.app"]

PAID_MEDIUM: Final = r"^(.*cp.*|ppc|retargeting|paid.*)$"
SHOP_CAMPAIGN: Final = r"^(.*(([^a-df-z]|^)shop|shopping).*)$"
SOCIAL_MEDIA: Final = [
    *["social", "social-network", "social-media", "sm", "social network", "social media"]
]
DISPLAY_MEDIA: Final = ["display", "banner", "expandable", "interstitial", "cpm"]
EMAIL: Final = ["email", "e-mail", "e_mail", "e mail"]


def with_campaign(events: DataFrame) -> DataFrame:
    """Adds campaign: struct<utm_source, utm_medium, utm_campaign>, or null if an event has none.

    One step at a time: within one, Spark computes a value once for each place that names it.
    """
    url, metadata = F.col("page_url"), F.col("metadata")
    # Few addresses have a key, and to look for each in all of them is slow. `transform` adds
    # nothing to the step's Java method, which stays under the 8,000 bytes that Java compiles.
    in_url = F.when(
        url.contains("utm_"),
        F.transform(F.array(*(_query_value(url, key) for key in CAMPAIGN_KEYS)), _decoded),
    )
    return (
        events.withColumn("in_url", in_url)
        .withColumns(
            {
                key: F.coalesce(
                    without_blank(metadata[key]), without_blank(F.col("in_url")[number])
                )
                for number, key in enumerate(CAMPAIGN_KEYS)
            }
        )
        .withColumn(
            "campaign", F.when(F.coalesce(*CAMPAIGN_KEYS).isNotNull(), F.struct(*CAMPAIGN_KEYS))
        )
        .drop("in_url", *CAMPAIGN_KEYS)
    )


def with_referrer_host(events: DataFrame, site_hosts: Iterable[str]) -> DataFrame:
    """Adds referrer_host, in lower case: the host that sent the visitor, or null if it is ours."""
    pattern = r"^(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#@]*@)?([^/?#:]+)"
    host = F.col("referrer_host")
    return events.withColumn(
        "referrer_host",
        F.regexp_replace(F.regexp_extract(F.lower("referrer_url"), pattern, 1), r"^www\.", ""),
    ).withColumn("referrer_host", F.when((host != "") & ~_is_site(host, [], site_hosts), host))


def without_blank(text: Column) -> Column:
    """Null for text that is empty or only spaces."""
    return F.when(F.trim(text) != "", text)


def _query_value(url: Column, key: str) -> Column:
    return F.regexp_extract(url, rf"^[^?#]*\?(?:[^#]*?&)?{key}=([^&#]+)", 1)


def _decoded(text: Column) -> Column:
    # url_decode fails on a "%" that begins no escape.
    return F.when(text.rlike("%(?![0-9A-Fa-f]{2})"), text).otherwise(F.url_decode(text))


def source_of(campaign: Column, host: Column) -> Column:
    """struct<source, medium, campaign> of a session, from its first event."""

    def triple(*values: Column | str) -> Column:
        names = ("source", "medium", "campaign")
        return F.struct(
            *(
                (F.lit(value) if isinstance(value, str) else value).alias(name)
                for name, value in zip(names, values, strict=True)
            )
        )

    engine = F.regexp_extract(host, _label(SEARCH_ENGINES), 1)
    return (
        F.when(
            campaign.isNotNull(),
            triple(*(F.coalesce(campaign[key], F.lit(NOT_SET)) for key in CAMPAIGN_KEYS)),
        )
        .when(engine != "", triple(engine, "organic", NOT_SET))
        .when(host.isNotNull(), triple(host, "referral", NOT_SET))
        .otherwise(triple(*DIRECT))
    )


def channel_of(source: Column, medium: Column, campaign: Column) -> Column:
    """GA4's default channel group, the first rule that applies.

    Source: https://support.google.com/analytics/answer/9756891
    """
    source, medium, campaign = F.lower(source), F.lower(medium), F.lower(campaign)
    is_paid = medium.rlike(PAID_MEDIUM)
    is_search = _is_site(source, SEARCH_ENGINES, [])
    is_social = _is_site(source, SOCIAL_SITES, SOCIAL_HOSTS)
    is_video = _is_site(source, VIDEO_SITES, VIDEO_HOSTS)
    is_shopping = _is_site(source, SHOPPING_SITES, SHOPPING_HOSTS) | campaign.rlike(SHOP_CAMPAIGN)
    rules = {
        "Direct": (source == "(direct)") & medium.isin("(none)", NOT_SET),
        "Cross-network": campaign.contains("cross-network"),
        "Paid Shopping": is_paid & is_shopping,
        "Paid Search": is_paid & is_search,
        "Paid Social": is_paid & is_social,
        "Paid Video": is_paid & is_video,
        "Display": medium.isin(DISPLAY_MEDIA),
        "Paid Other": is_paid,
        "Organic Shopping": is_shopping,
        "Organic Social": is_social | medium.isin(SOCIAL_MEDIA),
        "Organic Video": is_video | medium.contains("video"),
        "Organic Search": is_search | (medium == "organic"),
        "Referral": medium.isin("referral", "app", "link"),
        "Email": source.isin(EMAIL) | medium.isin(EMAIL),
        "Affiliates": medium == "affiliate",
        "Audio": medium == "audio",
        "SMS": (source == "sms") | (medium == "sms"),
        "Mobile Push Notifications": medium.endswith("push")
        | medium.contains("mobile")
        | medium.contains("notification")
        | (source == "firebase"),
    }
    named = [F.when(is_met, F.lit(channel)) for channel, is_met in rules.items()]
    return F.coalesce(*named, F.lit("Unassigned"))


def _is_site(source: Column, labels: Iterable[str], hosts: Iterable[str]) -> Column:
    """True where the source is a site of these labels, or one of these hosts or below one."""
    whole = [rf"(?:^|\.){re.escape(host)}$" for host in hosts]
    return source.rlike("|".join([*([_label(labels)] if labels else []), *whole]))


def _label(labels: Iterable[str]) -> str:
    return rf"(?:^|\.)({'|'.join(labels)})(?:\.|$)"
