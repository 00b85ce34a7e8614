"""Readers, segment cutting and metrics against outputs of google/youtube-8m."""

import json

import numpy as np
import pytest

from segsearch.core import ranking
from segsearch.core.features import YOUTUBE8M, dequantise
from segsearch.core.segments import cut_windows, segment_starts
from segsearch.core.videos import FRAME_CAP, read_video_means, read_videos


@pytest.fixture
def metrics(golden):
    return json.loads((golden / "metrics.json").read_text()), np.load(golden / "metrics.npz")


def test_frame_level_records_read_as_the_reference_reads_them(golden):
    parsed = np.load(golden / "frame_level_parsed.npz")
    videos = list(read_videos([golden / "frame_level.tfrecord"], YOUTUBE8M, cap=FRAME_CAP))
    assert [video.id.encode() for video in videos] == parsed["video_ids"].tolist()
    assert [len(video.frames) for video in videos] == parsed["num_frames"].tolist()
    labels = {(row, label) for row, video in enumerate(videos) for label in video.labels}
    assert labels == set(map(tuple, parsed["labels_true"].tolist()))
    for row, video in enumerate(videos):
        np.testing.assert_allclose(dequantise(video.frames), parsed[f"video_matrix_{row}"], atol=1e-6, rtol=0)


def test_video_level_records_read_as_the_reference_reads_them(golden):
    parsed = np.load(golden / "video_level_parsed.npz")
    videos = list(read_video_means([golden / "video_level.tfrecord"], YOUTUBE8M))
    assert [video.id.encode() for video in videos] == parsed["video_ids"].tolist()
    np.testing.assert_array_equal([video.means for video in videos], parsed["video_matrix"])
    labels = {(row, label) for row, video in enumerate(videos) for label in video.labels}
    assert labels == set(map(tuple, parsed["labels_true"].tolist()))


def test_rated_segments_read_as_the_reference_reads_them(golden):
    parsed = np.load(golden / "segment_level_parsed.npz")
    for row, video in enumerate(read_videos([golden / "segment_level.tfrecord"], YOUTUBE8M)):
        starts = list(dict.fromkeys(video.ratings.starts.tolist()))  # the reference keeps first appearance
        pairs = list(zip(*(getattr(video.ratings, name) for name in ("starts", "labels", "scores")), strict=True))
        weights = {(starts.index(start), label) for start, label, _ in pairs}
        positives = {(starts.index(start), label) for start, label, score in pairs if score > 0}
        assert weights == set(map(tuple, parsed[f"label_weights_nonzero_{row}"].tolist()))
        assert positives == set(map(tuple, parsed[f"labels_nonzero_{row}"].tolist()))
        windows, counts = cut_windows(video.frames, np.array(starts))
        real = np.arange(5) < counts[:, None]
        floats = np.where(real[:, :, None], dequantise(windows), 0)
        np.testing.assert_allclose(floats, parsed[f"video_matrix_{row}"], atol=1e-6, rtol=0)


def test_videos_are_cut_into_the_segments_the_reference_cuts(golden):
    expected = np.load(golden / "get_segments.npz")
    rows, floats, counts = [], [], []
    for row, video in enumerate(read_videos([golden / "test_frames.tfrecord"], YOUTUBE8M)):
        starts = segment_starts(len(video.frames))
        windows, frame_counts = cut_windows(video.frames, starts)
        real = np.arange(5) < frame_counts[:, None]
        floats.append(np.where(real[:, :, None], dequantise(windows), 0))
        rows += [(row, start) for start in starts]
        counts.append(frame_counts)
    np.testing.assert_array_equal(rows, expected["video_segment_ids"])
    np.testing.assert_array_equal(np.concatenate(counts), expected["num_frames_batch"])
    np.testing.assert_allclose(np.concatenate(floats), expected["video_batch"], atol=1e-6, rtol=0)


def test_all_byte_codes_dequantise_as_in_the_reference(golden):
    table = np.load(golden / "small_ops.npz")["dequantize_table"]
    np.testing.assert_allclose(dequantise(np.arange(256, dtype=np.uint8)), table, atol=3e-7, rtol=0)


def test_average_precision_equals_the_reference_on_every_case(metrics):
    results, arrays = metrics
    for case in results["ap_cases"]:
        found = ranking.average_precision(
            arrays[f"ap/{case['name']}/pred"],
            arrays[f"ap/{case['name']}/actual"],
            case["n"],
            case["total_num_positives"],
        )
        assert found == pytest.approx(case["ap"], abs=1e-12), case["name"]


def test_map_over_classes_drops_those_without_positives_as_the_reference_does(metrics):
    results, arrays = metrics
    for case in results["map"]:
        if case["filter_empty_classes"] and not case["total_positives_given"]:
            found = ranking.mean_average_precision(arrays["map/pred"].T, arrays["map/actual"].T, case["top_n"])
            assert found == pytest.approx(case["mean"], abs=1e-12)


def test_video_level_metrics_equal_the_reference(metrics):
    # Distinct scores only: at ties the reference's figures follow the numpy release that made them.
    results, arrays = metrics
    scores, labels, expected = arrays["eval/pred_distinct"], arrays["eval/labels"], results["eval_util"]["distinct"]
    assert ranking.hit_at_one(scores, labels) == pytest.approx(expected["hit_at_one"], abs=1e-12)
    assert ranking.precision_at_equal_recall(scores, labels) == pytest.approx(expected["perr"], abs=1e-12)
    for k in (5, 20):
        found = ranking.global_average_precision(scores, labels, k)
        assert found == pytest.approx(expected[f"gap_at_{k}"], abs=1e-12), k


def test_segment_map_equals_the_reference_for_every_cut(golden):
    case = json.loads((golden / "segment_eval_inference.json").read_text())
    ratings = ranking.SegmentRatings(map(tuple, case["ground_truth"]))
    ranked = {int(label): ids for label, ids in case["submission"].items()}
    for name, expected in case["results"].items():
        if "as shipped" in name:
            continue  # the fault that loses each line's last id is not reproduced
        cut = int(name.removeprefix("top_n=").split(",")[0]) or ranking.MAP_CUT
        judged = [int(label) for label, count in expected["positives"].items() if count]
        found = ranking.segment_map(ratings, ranked, cut, judged)
        assert found.mean == pytest.approx(expected["map"], abs=1e-12), name
        assert list(found.classes.values()) == pytest.approx(expected["aps_nonempty_classes"], abs=1e-12), name
