"""The addresses of a RabbitMQ cluster in one variable."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from services.chassis.settings import BrokerUrls, split_addresses

ONE = "amqp://payflow:kW3vQ9sZ1xT7pL5m@one:5672/"
TWO = "amqps://payflow:kW3vQ9sZ1xT7pL5m@two:5671/"


class Settings(BaseModel):
    urls: BrokerUrls


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        (ONE, [ONE]),
        (f"{ONE},{TWO}", [ONE, TWO]),
        (f" {ONE} , {TWO}\n", [ONE, TWO]),
        ("amqp://payflow:kW3vQ9s,Z1xT7pL5m@one/", ["amqp://payflow:kW3vQ9s,Z1xT7pL5m@one/"]),
    ],
    ids=["one", "two", "spaces", "comma in a password"],
)
def test_several_addresses_are_separated_by_commas(text: str, addresses: list[str]) -> None:
    """Each node has its own URL; a comma inside a password is not a separator."""
    assert addresses == split_addresses(text)
    assert text == Settings(urls=text).urls.get_secret_value()


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{ONE},",
        f"{ONE},two:5672",
        f"{ONE},http://payflow:kW3vQ9sZ1xT7pL5m@two/",
        f"{ONE},amqp://payflow:guest@two/",
        f"{ONE},amqp://payflow:change-me-change-me@two/",
        f"{ONE},amqp://two/",
        "redis://:kW3vQ9sZ1xT7pL5m@one/",
    ],
)
def test_one_invalid_address_invalidates_the_list(text: str) -> None:
    """Guarantee 55: every address must be an AMQP URL with a password that is not a default."""
    with pytest.raises(ValidationError):
        Settings(urls=text)
