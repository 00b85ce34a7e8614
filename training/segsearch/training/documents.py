"""Configs as JSON documents and back, exactly; and changes to one field from the command line.

Where it stands: `checkpoint` stores these documents, `cli` applies `--set stage1.epochs=3`. A config class with a
`kind` carries it in its document, so that a union of config classes can be told apart. A tuple is a list there, and its
number is the next step of a path: `network.mix.towers.0.head.l2`.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

from segsearch.core.errors import ConfigError

Config = TypeVar("Config")
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def document_of(config: Any) -> dict[str, Any]:
    """A config as plain JSON values; `config_of` is the inverse."""
    document = {"kind": type(config).kind} if hasattr(type(config), "kind") else {}
    for field in dataclasses.fields(config):
        document[field.name] = _plain(getattr(config, field.name))
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return document_of(value) if dataclasses.is_dataclass(value) else value


def config_of(wanted: type[Config], document: Any, where: str = "") -> Config:
    """The config a document describes; ConfigError names the field that is unknown or of the wrong type.

    Fields that are absent keep their defaults.
    """
    if not isinstance(document, dict):
        raise ConfigError(where or wanted.__name__, document, "an object of fields")
    hints = typing.get_type_hints(wanted)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(wanted)}  # type: ignore[arg-type]
    values = {}
    for name, value in document.items():
        path = f"{where}.{name}" if where else name
        if name == "kind" and getattr(wanted, "kind", None) == value:
            continue
        if name not in fields:
            raise ConfigError(path, value, f"one of the fields {', '.join(fields) or '(none)'}")
        values[name] = _value_of(fields[name], value, path)
    try:
        return wanted(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error.field}" if where else error.field, error.found, error.wanted) from None
    except TypeError as error:  # a field without default is missing
        raise ConfigError(where or wanted.__name__, sorted(values), str(error)) from None


def changed(config: Config, changes: Iterable[str]) -> Config:
    """The config with `path.to.field=value` changes; values are JSON, anything else is taken as text."""
    document = document_of(config)
    for change in changes:
        path, sign, text = change.partition("=")
        if not sign:
            raise ConfigError("--set", change, "field=value, as in stage1.epochs=3")
        place: Any = document
        *folders, name = path.strip().split(".")
        try:
            for folder in folders:
                place = place[_key(place, folder)]
            key = _key(place, name)
            place[key]
        except (LookupError, TypeError, ValueError):
            raise ConfigError("--set", path, "a field of the run, as in stage1.epochs") from None
        try:
            place[key] = json.loads(text)
        except json.JSONDecodeError:
            place[key] = text
    return config_of(type(config), document)


def _key(place: Any, name: str) -> Any:
    return int(name) if isinstance(place, list) else name


def _value_of(hint: Any, value: Any, path: str) -> Any:
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and types.NoneType in choices:
        return None
    choices = tuple(choice for choice in choices if choice is not types.NoneType)
    if all(dataclasses.is_dataclass(choice) for choice in choices):
        return config_of(_class_of(choices, value, path), value, path)
    (plain,) = choices
    if typing.get_origin(plain) is tuple:
        return _tuple_of(typing.get_args(plain)[0], value, path)
    if plain is float and type(value) is int:
        return float(value)
    if type(value) is not plain:
        raise ConfigError(path, value, _NAMES[plain])
    return value


def _tuple_of(hint: Any, value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(path, value, "a list")
    return tuple(_value_of(hint, item, f"{path}.{number}") for number, item in enumerate(value))


def _class_of(classes: tuple[Any, ...], value: Any, path: str) -> Any:
    if len(classes) == 1:
        return classes[0]
    kinds = {choice.kind: choice for choice in classes}
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in kinds:
        raise ConfigError(f"{path}.kind", kind, f"one of {', '.join(kinds)}")
    return kinds[kind]
