"""Generations on disk: what is written is read, and every kind of damage is refused by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from segsearch.core.errors import GenerationCorrupt, IndexBusy, NoGeneration
from segsearch.core.score_codes import encode_probabilities
from segsearch.core.segments import segment_starts
from segsearch.service.index.format import ARRAYS, CURRENT, FILES, FORMAT_VERSION, MANIFEST
from segsearch.service.index.index_directory import IndexDirectory
from segsearch.service.index.manifest import BundleName, Skipped
from segsearch.service.index.writer import GenerationWriter, Origin
from tests.tiny_model import vocabulary_of

VOCABULARY = vocabulary_of(["Speech", "Dog bark"])
ORIGIN = Origin(BundleName("tiny", 1, "d" * 64), "youtube8m/rgb8/-2..2", VOCABULARY)
VIDEOS = {"ab": 12, "jälv": 3, "x" * 256: 6}  # frame counts


def publish(index: IndexDirectory, code: int = 9) -> int:
    """A generation of three videos (six segments); the second class ranks them backwards."""
    with index.building() as building:
        with GenerationWriter(building.directory, ORIGIN, limit=10) as writer:
            for video_id, frame_count in VIDEOS.items():
                writer.add_video(video_id, segment_starts(frame_count))
            writer.add_postings(np.array([4, 1]), np.array([code, 7]))
            writer.add_postings(np.arange(6)[::-1], np.arange(6)[::-1])
            writer.seal(building.number, Skipped())
        index.publish(building)
    return building.number


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An index directory with one published generation."""
    publish(IndexDirectory(tmp_path / "index"))
    return tmp_path / "index"


def reseal(directory: Path, **changes: object) -> None:
    """Rewrites the manifest with `changes`, its checksum made right again."""
    from segsearch.service.index.manifest import _checksum

    document = {**json.loads((directory / MANIFEST).read_text()), **changes}
    document.pop("checksum")
    (directory / MANIFEST).write_text(json.dumps({**document, "checksum": _checksum(document)}))


def test_postings_come_best_first_and_no_more_than_asked(root):
    ordinals, codes = IndexDirectory(root).open_current().postings(VOCABULARY.find("dog bark"), 4)
    assert (ordinals.tolist(), codes.tolist()) == ([5, 4, 3, 2], [5, 4, 3, 2])


def test_a_class_never_runs_into_the_next(root):
    assert IndexDirectory(root).open_current().postings(VOCABULARY.find("speech"), 100)[0].tolist() == [4, 1]


def test_segment_ordinals_name_videos_and_starts(root):
    ids, starts = IndexDirectory(root).open_current().segments(np.array([5, 0, 3, 3]))
    assert list(zip(ids, starts.tolist(), strict=True)) == [("x" * 256, 5), ("ab", 0), ("jälv", 0), ("jälv", 0)]


def test_video_ids_come_as_asked_be_they_read_before_or_not(root):
    generation = IndexDirectory(root).open_current()
    assert generation.video_ids(np.array([1])) == ["jälv"]
    assert generation.video_ids(np.array([2, 1, 0, 2], np.uint32)) == ["x" * 256, "jälv", "ab", "x" * 256]
    assert generation.video_ids(np.empty(0, np.uint32)) == []


def test_segments_are_found_by_video_and_start(root):
    generation = IndexDirectory(root).open_current()
    assert generation.ordinals_of("ab", np.array([10, 0, 15, -5])).tolist() == [2, 0, -1, -1]
    assert generation.ordinals_of("nobody", np.array([0])).tolist() == [-1]


def test_a_published_generation_verifies(root):
    IndexDirectory(root).open_current().verify()


def test_an_open_generation_outlives_its_directory(root):
    generation = IndexDirectory(root).open_current()
    shutil.rmtree(root)
    assert generation.segments(generation.postings(VOCABULARY.find("speech"), 1)[0])[0] == ["x" * 256]


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_named(root, name):
    (root / "1" / name).unlink()
    with pytest.raises(GenerationCorrupt, match=name):
        IndexDirectory(root).open_current()


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(root, name, kept):
    file = root / "1" / name
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(GenerationCorrupt, match=name):
        IndexDirectory(root).open_current()


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_found_before_serving(root, name):
    file = root / "1" / name
    content = file.read_bytes()
    for at in np.random.default_rng(0).choice(len(content), min(25, len(content)), replace=False):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1 << (at % 8)]) + content[at + 1 :])
        with pytest.raises(GenerationCorrupt, match=name):
            IndexDirectory(root).open_current().verify()


def test_a_flipped_bit_in_the_manifest_is_found_at_open(root):
    file = root / "1" / MANIFEST
    file.write_text(file.read_text().replace('"limit": 10', '"limit": 11'))
    with pytest.raises(GenerationCorrupt, match=r"manifest\.json does not match its own checksum"):
        IndexDirectory(root).open_current()


@pytest.mark.parametrize("name", ["codes.npy", "ordinals.npy"])
def test_files_of_two_generations_cannot_be_swapped(root, name):
    publish(IndexDirectory(root), code=11)
    shutil.copy(root / "1" / name, root / "2" / name) if name == "codes.npy" else shutil.copy(
        root / "2" / "codes.npy", root / "2" / name
    )
    with pytest.raises(GenerationCorrupt, match=name):
        IndexDirectory(root).open_current().verify()


def test_a_renumbered_generation_is_refused(root):
    shutil.copytree(root / "1", root / "2")
    (root / CURRENT).write_text("2\n")
    with pytest.raises(GenerationCorrupt, match="its manifest is of generation 1"):
        IndexDirectory(root).open_current()


@pytest.mark.parametrize("text", ["[]", "{", "null", "\udcff", "[" * 100_000])
def test_a_manifest_that_is_no_object_is_named(root, text):
    (root / "1" / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(GenerationCorrupt, match=r"manifest\.json"):
        IndexDirectory(root).open_current()


def test_an_unknown_newer_format_is_refused_and_left_alone(root):
    before = (root / "1" / MANIFEST).read_text()
    reseal(root / "1", format_version=FORMAT_VERSION + 1)
    with pytest.raises(GenerationCorrupt, match="format version 2; this release reads 1"):
        IndexDirectory(root).open_current()
    assert (root / "1" / MANIFEST).read_text() != before


@pytest.mark.parametrize("field", ["segment_count", "posting_count", "video_count", "class_count", "id_bytes"])
def test_a_count_that_the_arrays_do_not_bear_out_is_refused(root, field):
    reseal(root / "1", **{field: 1})
    with pytest.raises(GenerationCorrupt):
        IndexDirectory(root).open_current()


def test_references_out_of_range_are_found_even_with_right_checksums(root):
    index = IndexDirectory(root)
    with index.building() as building:
        with GenerationWriter(building.directory, ORIGIN, limit=10) as writer:
            writer.add_video("ab", segment_starts(5))
            for _ in range(2):
                writer.add_postings(np.array([1]), np.array([5]))  # there is only segment 0
            writer.seal(building.number, Skipped())
        index.publish(building)
    with pytest.raises(GenerationCorrupt, match=r"ordinals\.npy refers to row 1"):
        index.open_current().verify()


@pytest.mark.parametrize("text", ["", "seven", "-1", "../1", "1 2", "¹"])
def test_a_current_that_is_no_number_is_refused(root, text):
    (root / CURRENT).write_text(text)
    with pytest.raises(GenerationCorrupt, match="CURRENT holds"):
        IndexDirectory(root).open_current()


def test_a_current_that_points_nowhere_is_refused(root):
    (root / CURRENT).write_text("7")
    with pytest.raises(GenerationCorrupt, match="CURRENT names it"):
        IndexDirectory(root).open_current()


def test_an_index_without_a_generation_says_what_to_do(tmp_path):
    with pytest.raises(NoGeneration, match="run `segsearch reindex` first"):
        IndexDirectory(tmp_path / "nothing").open_current()


def test_a_second_writer_is_refused_while_the_first_works(root):
    with IndexDirectory(root).building(), pytest.raises(IndexBusy), IndexDirectory(root).building():
        pass


def test_a_failed_build_leaves_the_old_generation_and_nothing_else(root):
    before = sorted(entry.name for entry in root.iterdir())
    with pytest.raises(FileExistsError), IndexDirectory(root).building() as building:
        building.directory.mkdir()
    assert sorted(entry.name for entry in root.iterdir()) == before
    assert IndexDirectory(root).current() == 1


def test_what_a_crash_left_is_removed_by_the_next_build(root):
    (root / ".building-2").mkdir()
    (root / ".building-2" / "half").write_text("x")
    assert publish(IndexDirectory(root)) == 2
    assert sorted(entry.name for entry in root.iterdir()) == [".lock", "1", "2", CURRENT]


def test_a_number_is_not_used_twice_even_if_its_directory_was_lost(root):
    shutil.rmtree(root / "1")
    assert publish(IndexDirectory(root)) == 2


def test_the_arrays_are_plain_npy_files(root):
    for name, dtype in ARRAYS.items():
        array = np.load(root / "1" / name, allow_pickle=False)
        assert (array.dtype, array.ndim) == (dtype, 1)


def test_score_codes_keep_the_order_of_probabilities():
    assert (np.diff(encode_probabilities(np.linspace(0, 1, 1001)).astype(int)) >= 0).all()
