"""Value files by themselves: what is appended is read again, room is given back, and no error is missed."""

import errno
import os
import threading

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


def test_an_error_fails_what_is_under_way_in_the_file_and_a_new_one_is_begun(values, monkeypatch):
    really, meeting, outcomes = os.pwritev, threading.Barrier(2), {}

    def pwritev(descriptor, pieces, offset):
        first = bytes(pieces[0][:1])
        if first == b"\x01":  # the disk fails while the other is written
            meeting.wait()
            raise OSError(errno.EIO, "the disk failed")
        if first == b"\x02":
            meeting.wait()
            failed.wait()
        return really(descriptor, pieces, offset)

    def append(number):
        try:
            outcomes[number] = values.append([content_of(number)])[0].file
        except OSError as error:
            outcomes[number] = error.errno
        failed.set()

    (before,) = values.append([content_of(7)])
    failed = threading.Event()
    monkeypatch.setattr(os, "pwritev", pwritev)
    threads = [threading.Thread(target=append, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {1: errno.EIO, 2: errno.EIO}
    (after,) = values.append([content_of(8)])
    assert after.file != before.file
    assert [bytes(values.read(place))[0] for place in (before, after)] == [7, 8]


def test_want_of_room_is_no_reason_for_a_new_file(values, monkeypatch):
    (before,) = values.append([content_of(1)])

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as context:
        context.setattr(os, "pwritev", full)
        with pytest.raises(OSError, match="full"):
            values.append([content_of(2)])
    assert values.append([content_of(3)])[0].file == before.file
