"""Value files by themselves: what is appended is read again, room is given back, and no error is missed."""

import errno
import os

import pytest

from segsearch.service.index.live.record import RecordDamaged
from segsearch.service.index.live.value_files import ValueFiles

KILO = 1 << 10


@pytest.fixture
def values(tmp_path):
    return ValueFiles(tmp_path / "values")


def content_of(number, size_bytes=20 * KILO):
    return memoryview(bytes([number]) * size_bytes)


def disk_bytes(values):
    return sum(path.stat().st_blocks * 512 for path in values.folder.iterdir())


def test_what_is_appended_is_read_again_also_by_another_process_files(values):
    contents = [content_of(1), content_of(2, 1), content_of(3, 5 * KILO)]
    places = values.append(contents) + values.append([content_of(4)])
    assert len({place.file for place in places}) == 1
    for reader in (values, ValueFiles(values.folder)):
        assert [bytes(reader.read(place)) for place in places] == [*map(bytes, contents), bytes(content_of(4))]


def test_more_pieces_than_one_call_takes_are_written(values):
    contents = [content_of(number % 251, 100) for number in range(1_200)]
    places = values.append(contents)
    assert [bytes(values.read(place)) for place in places] == list(map(bytes, contents))


def test_emptied_places_are_given_back_and_their_neighbours_stay(values):
    places = values.append([content_of(number, 400 * KILO) for number in (1, 2, 3)])
    before = disk_bytes(values)
    values.empty(places[:1])
    values.empty(places[:1])
    if disk_bytes(values) == before:
        pytest.skip("this file system keeps the blocks")
    assert before - disk_bytes(values) >= 400 * KILO
    assert [bytes(values.read(place))[0] for place in places[1:]] == [2, 3]
    with pytest.raises(RecordDamaged, match="xxh3"):
        values.read(places[0])


def test_a_file_is_removed_by_nobody_while_somebody_may_refer_to_it(values):
    (place,) = values.append([content_of(1)])
    values.close()  # the file is no longer appended to
    other = ValueFiles(values.folder)
    other.remove(place.file)
    assert other.numbers() == [place.file], "the place is held"
    number = place.file
    del place
    other.remove(number)
    assert other.numbers() == []


def test_two_that_append_have_files_of_their_own(values):
    other = ValueFiles(values.folder)
    (one,), (two,) = values.append([content_of(1)]), other.append([content_of(2)])
    assert one.file != two.file
    values.remove(two.file)
    other.remove(one.file)
    assert sorted(values.numbers()) == sorted([one.file, two.file])


def test_a_full_file_is_followed_by_another(values, monkeypatch):
    monkeypatch.setattr("segsearch.service.index.live.value_files.VALUE_FILE_BYTES", 100 * KILO)
    places = [values.append([content_of(number, 40 * KILO)])[0] for number in range(3)]
    assert (places[0].file == places[1].file, places[1].file == places[2].file) == (True, False)
    huge = values.append([content_of(9, 500 * KILO)])[0]
    assert bytes(values.read(huge)) == bytes(content_of(9, 500 * KILO))


@pytest.mark.parametrize("content", ["cut", "removed", "flipped"])
def test_what_is_not_as_it_was_written_is_damaged(values, content):
    (place,) = values.append([content_of(1)])
    (path,) = values.folder.iterdir()
    if content == "removed":
        path.unlink()
    elif content == "cut":
        os.truncate(path, 10 * KILO)
    else:
        with path.open("r+b") as file:
            file.seek(777)
            file.write(b"\x03")
    words = {"cut": "ends before", "removed": "is missing", "flipped": "xxh3"}
    with pytest.raises(RecordDamaged, match=words[content]):
        ValueFiles(values.folder).read(place)


def test_a_failed_sync_is_everybodys_and_the_next_file_is_another(values, monkeypatch):
    (kept,) = values.append([content_of(7)])
    values.sync([kept])
    told, late = (values.append([content_of(number)])[0] for number in (1, 2))

    def failing(_descriptor):  # the kernel says it once
        monkeypatch.undo()
        raise OSError(errno.EIO, "the disk failed")

    monkeypatch.setattr(os, "fdatasync", failing)
    for place in (told, late):
        with pytest.raises(OSError, match="the disk failed"):
            values.sync([place])
    (after,) = values.append([content_of(8)])
    values.sync([after])
    assert after.file != kept.file == told.file == late.file
    assert [bytes(values.read(place))[0] for place in (kept, after)] == [7, 8]


def refuse(values, monkeypatch, number):
    """An append whose write the disk refuses with this error."""

    def pwritev(*_):
        raise OSError(number, "the disk says no")

    with monkeypatch.context() as context:
        context.setattr(os, "pwritev", pwritev)
        with pytest.raises(OSError, match="the disk says no"):
            values.append([content_of(2)])


def test_an_error_of_one_who_writes_fails_what_is_not_synced_yet(values, monkeypatch):
    (before,) = values.append([content_of(7)])
    refuse(values, monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="the disk says no"):
        values.sync([before])
    assert values.append([content_of(8)])[0].file != before.file


def test_what_the_disk_cannot_read_is_damaged(values, monkeypatch):
    (place,) = values.append([content_of(1)])

    def preadv(*_):
        raise OSError(errno.EIO, "unreadable")

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(RecordDamaged, match=f"value file {place.file:016x} cannot be read: .*unreadable"):
        values.read(place)


def test_want_of_room_is_no_reason_for_a_new_file(values, monkeypatch):
    (before,) = values.append([content_of(1)])
    refuse(values, monkeypatch, errno.ENOSPC)
    assert values.append([content_of(3)])[0].file == before.file
