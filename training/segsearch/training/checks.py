"""What a field of a config may hold; a check that fails names the field, its value and what was wanted."""

import math

from segsearch.core.errors import ConfigError


def at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(name, value, f"at least {least}")


def above_zero(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(name, value, "a finite number above 0")


def not_negative(name: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise ConfigError(name, value, "a finite number, 0 or more")


def share(name: str, value: float, top: bool = False) -> None:
    """From 0 to below 1, or to 1 itself with `top`."""
    if not (0 <= value < 1 or (top and value == 1)):
        raise ConfigError(name, value, "from 0 to 1" if top else "from 0 to below 1")


def one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(name, value, f"one of {', '.join(choices)}")
