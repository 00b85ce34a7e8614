"""The walk over protobuf bytes against protobuf, its plain twin: it sees what that reads, and counts all of it."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segsearch.core.errors import InputTooLarge, InvalidInput
from segsearch.core.example_pb2 import Feature, SequenceExample
from segsearch.service.uploads.wire import check_cost

UNBOUNDED = 1 << 40
values = st.one_of(
    st.lists(st.binary(max_size=6), max_size=4).map(lambda found: ("bytes_list", found)),
    st.lists(st.floats(width=32), max_size=4).map(lambda found: ("float_list", found)),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda found: ("int64_list", found)),
)
maps = st.dictionaries(st.text(max_size=5), values, max_size=3)


def fill(feature: Feature, value: tuple[str, list]) -> None:
    kind, found = value
    getattr(feature, kind).SetInParent()
    getattr(feature, kind).value.extend(found)


@st.composite
def messages(draw) -> SequenceExample:
    """A SequenceExample of any content."""
    message = SequenceExample()
    for key, value in draw(maps).items():
        fill(message.context.feature[key], value)
    for key, found in draw(st.dictionaries(st.text(max_size=5), st.lists(values, max_size=4), max_size=3)).items():
        for value in found:
            fill(message.feature_lists.feature_list[key].feature.add(), value)
    return message


def held(message: SequenceExample) -> int:
    """The objects and values that protobuf makes of a message, counted the plain way."""
    features = list(message.context.feature.values())
    features += [found for entry in message.feature_lists.feature_list.values() for found in entry.feature]
    lists = [getattr(feature, feature.WhichOneof("kind")) for feature in features if feature.WhichOneof("kind")]
    return len(features) + len(message.feature_lists.feature_list) + len(lists) + sum(len(each.value) for each in lists)


@settings(max_examples=150)
@given(messages())
def test_what_protobuf_holds_is_within_the_cost(message):
    body, count = message.SerializeToString(), held(message)
    check_cost(body, UNBOUNDED)
    if count:
        with pytest.raises(InputTooLarge):
            check_cost(body, count - 1)


@settings(max_examples=300)
@given(messages(), st.data())
def test_bytes_that_protobuf_reads_are_no_secret_to_the_walk(message, data):
    """Damaged bytes included; of what protobuf takes, only groups are refused."""
    body = bytearray(message.SerializeToString() + b"\x12\x02\x0a\x00")
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=3)):
        body[at] = data.draw(st.integers(0, 255))
    check_against_protobuf(bytes(body))


@settings(max_examples=300)
@given(st.binary(max_size=40))
@example(b"\x8a\x00\x00")  # field 1, its number spelt longer than need be
@example(b"\x8a\x80\x80\x80\x10\x02\x0a\x00")  # 2**32 more than field 1
@example(b"\x8a\x80\x80\x80\x80\x00\x02\x0a\x00")  # in six bytes
@example(b"\x0a\x82\x80\x80\x80\x00\x0a\x00")
def test_any_bytes_that_protobuf_reads_are_no_secret_to_the_walk(body):
    check_against_protobuf(body)


def check_against_protobuf(body: bytes) -> None:
    try:
        message = SequenceExample.FromString(body)
    except DecodeError:
        return
    try:
        check_cost(body, UNBOUNDED)
    except InvalidInput as error:
        assert "wire type 3" in error.found or "wire type 4" in error.found  # noqa: PT017 - only groups may fail
        return
    if count := held(message):
        with pytest.raises(InputTooLarge):
            check_cost(body, count - 1)
