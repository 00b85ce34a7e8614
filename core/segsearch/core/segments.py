"""Segments: five consecutive frames of one video, and the window of context around each.

Segment s of a video with n frames starts at frame 5s, for s = 0 .. ceil(n / 5) - 1; the last may hold 1 to 4 frames
(google/youtube-8m inference.py, get_segments).

T frames of a video, F codes a frame, S segments, W = 5 + 2n frames of a window with n context frames each side.
"""

import numpy as np

from segsearch.core.errors import InvalidInput

SEGMENT_FRAMES = 5


def segment_count(frame_count: int) -> int:
    """Segments of a video, the last one possibly shorter than five frames."""
    return -(-frame_count // SEGMENT_FRAMES)


def segment_starts(frame_count: int) -> np.ndarray:
    """(S,) int64: the first frame of each segment."""
    return np.arange(segment_count(frame_count), dtype=np.int64) * SEGMENT_FRAMES


def segment_id(video_id: str, start: int) -> str:
    """The public name of a segment: `<video id>:<start frame>`."""
    return f"{video_id}:{start}"


def parse_segment_id(text: str) -> tuple[str, int]:
    """Video id and start frame of a segment id; raises InvalidInput."""
    video_id, _, start = text.rpartition(":")
    # The length is looked at first: int() refuses thousands of digits with an error of its own.
    if not video_id or not start.isdecimal() or len(start) > 18 or int(start) % SEGMENT_FRAMES:
        raise InvalidInput("segment id", repr(text[:80]), f"<video id>:<start>, start a multiple of {SEGMENT_FRAMES}")
    return video_id, int(start)


def window_bounds(starts: np.ndarray, frame_count: int, context: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one frame of each segment's window: the segment, and the context frames that exist.

    starts: (S,) int64. Returns two (S,) int64. Frames before the video's beginning or behind its end are left out
    (the paper we implement leaves this open). A segment that lies behind the last frame keeps only the context it has.
    """
    first = np.clip(starts - context, 0, frame_count)
    return first, np.clip(starts + SEGMENT_FRAMES + context, first, frame_count)


def shift_starts(starts: np.ndarray, frame_count: int, shift: int) -> np.ndarray:
    """Starts (S,) int64 moved by `shift` frames, later or earlier, as far as whole segments of the video go.

    Nothing wraps around; a last segment of less than five frames moves only towards the beginning.
    """
    shifted: np.ndarray = np.clip(starts + shift, 0, np.maximum(starts, frame_count - SEGMENT_FRAMES))
    return shifted


def cut_windows(frames: np.ndarray, starts: np.ndarray, context: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Each segment's window, real frames first and in order, the rest of the row zero codes.

    frames: (T, F) uint8; starts: (S,) int64. Returns windows (S, W, F) uint8 and frame counts (S,) int32.
    Padding must be masked by count: a zero code is a real value (-1.99), not silence.
    """
    first, end = window_bounds(starts, len(frames), context)
    counts = end - first
    rows = first[:, None] + np.arange(SEGMENT_FRAMES + 2 * context)  # (S, W)
    real = rows < end[:, None]
    windows = np.where(real[:, :, None], frames[np.minimum(rows, len(frames) - 1)], np.uint8(0))
    return windows, counts.astype(np.int32)
