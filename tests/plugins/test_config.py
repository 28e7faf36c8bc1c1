import dataclasses
import json
import re
from pathlib import Path

import pytest
from clickstream.config import NAMES_FILE, Config, ConfigError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = dict(
    line.split("=", 1)
    for line in (ROOT / ".env.example").read_text().splitlines()
    if line and not line.startswith("#")
)


def test_every_name_of_names_json_reaches_config_with_prefix_and_account_filled_in() -> None:
    config = dataclasses.asdict(
        Config.from_environment(
            {"CLICKSTREAM_NAME_PREFIX": "shop-prod", "CLICKSTREAM_ACCOUNT_ID": "123456789012"}
        )
    )
    names = json.loads(
        NAMES_FILE.read_text()
        .replace("${name_prefix}", "shop-prod")
        .replace("${account_id}", "123456789012")
    )
    assert names.keys() >= {"buckets", "glue", "redshift"}
    assert {key: config[key] for key in names} == names
    assert "$" not in str(config)


def test_env_example_lists_exactly_the_variables_that_config_reads() -> None:
    source = (ROOT / "plugins" / "clickstream" / "config.py").read_text()
    read = set(re.findall(r'"((?:CLICKSTREAM|AWS)_[A-Z_]+)"', source)) - {"AWS_DEFAULT_REGION"}
    assert read == set(EXAMPLE)


def test_the_values_of_env_example_are_the_defaults() -> None:
    assert Config.from_environment(EXAMPLE) == Config.from_environment({})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CLICKSTREAM_SCHEDULE", "weekly", "it must be daily or hourly"),
        ("CLICKSTREAM_ACCOUNT_ID", "12", "it must be the 12 digits of an AWS account"),
        ("CLICKSTREAM_NAME_PREFIX", "Shop_1", "lower-case letters"),
        ("CLICKSTREAM_POLL_SECONDS", "0", "from 1 to 604800"),
        ("CLICKSTREAM_POLL_SECONDS", "often", "a whole number of seconds"),
        ("CLICKSTREAM_RAW_TIMEOUT_SECONDS", "604801", "from 1 to 604800"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_the_variables_name(
    name: str, value: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        Config.from_environment({name: value})
    assert str(caught.value).startswith(f"{name} is '{value}'")
    assert "\n" not in str(caught.value)


def test_the_region_of_either_variable_is_taken() -> None:
    assert Config.from_environment({"AWS_DEFAULT_REGION": "eu-west-1"}).region == "eu-west-1"
    both = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-north-1"}
    assert Config.from_environment(both).region == "eu-north-1"
