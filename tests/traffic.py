"""Searches and uploads over REST and gRPC, from threads of their own, that look at every answer and keep what is wrong.

What a library must answer is known beforehand: `Truth` has each generation's segments with their scores for one tag,
and what each bundle says of each video that may be uploaded. Every answer must be of one generation and one bundle,
those that it names, and know every upload that was acknowledged before it was asked for.

S segments of an upload, V videos that may be uploaded.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import grpc
import httpx
import numpy as np

from segsearch.core.videos import Video
from segsearch.service.scoring.onnx_scorer import OnnxScorer
from segsearch.v1 import search_pb2 as pb
from segsearch.v1.search_pb2_grpc import SegmentSearchStub
from tests.hostile_bodies import NPY, npy_of
from tests.tiny_model import NAMES, SPEC

TAG: Final = "Rain"
SEARCHERS: Final = ("rest", "rest", "rest", "rpc")
UPLOADERS: Final = ("rest", "rpc")
SEARCH_PAUSE_S, UPLOAD_PAUSE_S = 0.018, 0.09  # somewhat more than 200 searches and 20 uploads a second, all together
IDS, VIDEOS, FRAMES = 10, 37, 12  # ids take videos in turn, so that nearly every upload changes something
TOLERANCE: Final = 5e-4  # of a probability: what codes round off, and other batch mates change
TIMEOUT_S: Final = 60.0


def frames_of(number: int) -> np.ndarray:
    """(FRAMES, F) uint8 of one of the videos that may be uploaded."""
    return np.random.default_rng(number).integers(0, 256, (FRAMES, SPEC.size), np.uint8)


def scores_of(scorer: OnnxScorer, frames: np.ndarray) -> np.ndarray:
    """(S,) the tag's probabilities."""
    return scorer.score(frames).probabilities[:, NAMES.index(TAG)]


def segments_of(scorer: OnnxScorer, videos: Iterable[Video]) -> dict[str, float]:
    """The tag's probability of each segment of some videos, by its id."""
    return {
        f"{video.id}:{5 * row}": float(score)
        for video in videos
        for row, score in enumerate(scores_of(scorer, video.frames))
    }


class Found(NamedTuple):
    """A search's answer."""

    generation: int
    bundle: str  # digest
    sequence: int
    hits: list[tuple[str, int, float]]  # video, first second, score


class Scored(NamedTuple):
    """An upload's answer."""

    bundle: str  # digest
    sequence: int
    scores: list[float]  # the tag's, by time


class Rest:
    """Asks over HTTP, on one connection."""

    def __init__(self, url: str):
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S)
        self.close = self._client.close

    def search(self, k: int = 1_000) -> Found:
        page = self._client.get("/search", params={"tag": TAG, "k": k}).raise_for_status().json()
        hits = [(hit["video"], hit["start_s"], hit["score"]) for hit in page["segments"]]
        return Found(page["generation"]["number"], page["generation"]["bundle"]["digest"], page["sequence"], hits)

    def upload(self, video_id: str, frames: np.ndarray) -> Scored:
        asked, headers = {"video_id": video_id, "index": True}, {"content-type": NPY}
        answer = self._client.post("/score", params=asked, content=npy_of(frames), headers=headers)
        told = answer.raise_for_status().json()
        scores = [tag["score"] for each in told["segments"] for tag in each["tags"] if tag["tag"] == TAG]
        return Scored(told["bundle"]["digest"], told["stored"]["sequence"], scores)


class Rpc:
    """The same over gRPC."""

    def __init__(self, address: str):
        # A connection of its own: channels to one address share one otherwise.
        self._channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._stub, self.close = SegmentSearchStub(self._channel), self._channel.close

    def search(self, k: int = 1_000) -> Found:
        page = self._stub.Search(pb.SearchRequest(tag=TAG, k=k), timeout=TIMEOUT_S)
        hits = [(hit.video, hit.start_s, hit.score) for hit in page.segments]
        return Found(page.generation.number, page.generation.bundle.digest, page.sequence, hits)

    def upload(self, video_id: str, frames: np.ndarray) -> Scored:
        request = pb.ScoreRequest(video=video_id, frames=frames.tobytes(), index=True)
        told = self._stub.Score(request, timeout=TIMEOUT_S)
        scores = [tag.score for each in told.segments for tag in each.tags if tag.tag == TAG]
        return Scored(told.bundle.digest, told.stored.sequence, scores)


Edge = Rest | Rpc


@dataclass(frozen=True)
class Truth:
    """What must be answered."""

    generations: Mapping[int, tuple[str, dict[str, float]]]  # digest of the bundle that scored it, and its segments
    uploads: Mapping[str, np.ndarray]  # (V, S) what the bundle of a digest says

    def faults_of_page(self, page: Found, known: Iterable[str]) -> Iterator[str]:
        """known: ids of uploads that were acknowledged before."""
        bundle, wanted = self.generations[page.generation]
        base = {f"{video}:{start}": score for video, start, score in page.hits if not is_upload(video)}
        if page.bundle != bundle:
            yield f"generation {page.generation} says that bundle {page.bundle[:8]} scored it, not {bundle[:8]}"
        if base.keys() != wanted.keys() or any(abs(wanted[name] - score) > TOLERANCE for name, score in base.items()):
            yield f"generation {page.generation} came with other segments or scores than it has"
        uploads: dict[str, dict[int, float]] = {video: {} for video in known}
        for video, start, score in page.hits:
            if is_upload(video):
                uploads.setdefault(video, {})[start] = score
        for video, scores in uploads.items():
            if not self.is_whole([score for _, score in sorted(scores.items())]):
                yield f"upload {video} came as {scores}, which is no whole video of one bundle"

    def is_whole(self, scores: list[float]) -> bool:
        """Whether these are all segments of one video by one bundle."""
        every = np.concatenate(list(self.uploads.values()))
        return len(scores) == every.shape[1] and bool((np.abs(every - scores) <= TOLERANCE).all(axis=1).any())

    def faults_of_scores(self, video: int, told: Scored) -> Iterator[str]:
        wanted = self.uploads[told.bundle][video]
        if len(told.scores) != len(wanted) or np.abs(wanted - told.scores).max() > TOLERANCE:
            yield f"bundle {told.bundle[:8]} says {told.scores} of video {video}, not {wanted}"


def is_upload(video: str) -> bool:
    """Videos of the shards have other names."""
    return video.startswith("u")


def what_bundles_say(scorers: Iterable[OnnxScorer]) -> dict[str, np.ndarray]:
    """(V, S) by digest: of the videos that may be uploaded."""
    videos = [frames_of(number) for number in range(VIDEOS)]
    return {scorer.bundle.digest: np.stack([scores_of(scorer, frames) for frames in videos]) for scorer in scorers}


@dataclass
class Traffic:
    """Goes on while its block lasts."""

    url: str
    rpc: str
    truth: Truth
    wrong: list[str] = field(default_factory=list)
    answered: Counter[int] = field(default_factory=Counter)  # searches, by generation
    scored: Counter[str] = field(default_factory=Counter)  # uploads, by the bundle that scored them
    uploaded: dict[str, int] = field(default_factory=dict)  # sequence of the last upload that was answered
    latest: dict[int, int] = field(default_factory=dict)  # generation that each searcher saw last

    def __enter__(self) -> "Traffic":
        self._stop, self._begun_s = threading.Event(), time.monotonic()
        jobs = [(self._search, edge, SEARCH_PAUSE_S) for edge in SEARCHERS]
        jobs += [(self._upload, edge, UPLOAD_PAUSE_S) for edge in UPLOADERS]
        self._threads = [
            threading.Thread(target=self._again_and_again, args=(job[0], who, *job[1:])) for who, job in enumerate(jobs)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._begun_s

    def seen_by_all(self, generation: int) -> bool:
        """Whether the last answer of every searcher was of this generation."""
        return len(self.latest) == len(SEARCHERS) and set(self.latest.values()) == {generation}

    def told(self) -> str:
        """How much there was."""
        counts = {"searches": self.answered.total(), "uploads": self.scored.total()}
        rates = [f"{count} {what}, {count / self.seconds:.0f} a second" for what, count in counts.items()]
        return f"{'; '.join(rates)}; {self.seconds:.0f} s"

    def _again_and_again(self, job: Callable[[Edge, int, int], None], who: int, kind: str, pause_s: float) -> None:
        with closing(Rest(self.url) if kind == "rest" else Rpc(self.rpc)) as edge:
            for number in range(1_000_000):
                started = time.monotonic()
                try:
                    job(edge, who, number)
                except Exception as error:  # whatever it is, a request has failed
                    self.wrong.append(repr(error))
                if self._stop.wait(max(0.0, started + pause_s - time.monotonic())):
                    return

    def _search(self, edge: Edge, who: int, _: int) -> None:
        known = dict(self.uploaded)
        page = edge.search()
        self.wrong.extend(self.truth.faults_of_page(page, known))
        if page.sequence < max(known.values(), default=0):
            self.wrong.append(f"sequence {page.sequence} after {max(known.values())}")
        self.answered[page.generation] += 1
        self.latest[who] = page.generation

    def _upload(self, edge: Edge, who: int, number: int) -> None:
        video, video_id = (number * 5 + who) % VIDEOS, f"u{number % IDS}-{who}"
        told = edge.upload(video_id, frames_of(video))
        self.wrong.extend(self.truth.faults_of_scores(video, told))
        self.scored[told.bundle] += 1
        self.uploaded[video_id] = told.sequence
