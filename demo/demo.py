"""`make demo`: the whole line on one machine, timed step by step.

Sample data (or yours) → both training stages → bundle → generation → a real server, asked over HTTP. Every step is the
command a user would type; training and export run in this interpreter's environment, indexing and serving in the
serving one, which has no TensorFlow.

    python demo/demo.py --serve-bin .venv-serve/bin [--data FOLDER [--features STREAMS]] [--run RUN] [--videos N]
"""

import argparse
import base64
import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from segsearch.core.features import FeatureSpec
from segsearch.core.videos import Video, read_videos, streams_of

ROOT = Path(__file__).resolve().parents[1]
SERVER_START_LIMIT_S = 60.0
console = Console(highlight=False)


@dataclass(slots=True)
class Line:
    """The commands of both environments, and the seconds each step took."""

    train_bin: Path
    serve_bin: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, step: str, program: Path, *words: object) -> dict[str, Any]:
        """Runs one segsearch command, its talk on the terminal; returns the last JSON line of its answer."""
        command = [str(program / "segsearch"), *map(str, words)]
        console.print(f"[bold]{step}[/]  segsearch {' '.join(map(str, words))}", soft_wrap=True)
        with self.timed(step):
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{step} failed (exit code {done.returncode})")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - started


def main() -> None:
    options = parse_options()
    line = Line(Path(sys.executable).parent, options.serve_bin.absolute())
    build = options.build
    build.mkdir(parents=True, exist_ok=True)
    data = options.data or make_sample(line, build / "data", options.videos)
    index, bundle, summary = make_index(line, data, build, options)
    with serving(line, index, bundle) as url:
        score_an_upload(line, url, data, options.features)
        search(line, url)
    tell(line, summary)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve-bin", type=Path, required=True, help="bin folder of the serving environment")
    parser.add_argument("--data", type=Path, help="your shards; sample data are made without")
    parser.add_argument("--features", default="", help="your shards' streams, as audio=audio_embedding:128")
    parser.add_argument("--run", default="dbof_sample", help="training run, a module of segsearch.training.runs")
    parser.add_argument("--videos", type=int, default=400, help="size of the sample data")
    parser.add_argument("--build", type=Path, default=ROOT / "build/demo", help="where everything is written")
    return parser.parse_args()


def make_sample(line: Line, folder: Path, videos: int) -> Path:
    line.run("sample", line.train_bin, "sample", folder, "--videos", videos, "--seed", 1)
    return folder


def make_index(line: Line, data: Path, build: Path, options: argparse.Namespace) -> tuple[Path, Path, dict[str, Any]]:
    """Training, export, reindexing and judging; returns index, bundle and the figures to tell."""
    for old in ("run", "bundles", "index"):  # a demo starts afresh; the commands themselves would go on where they were
        shutil.rmtree(build / old, ignore_errors=True)
    streams = ["--features", options.features] if options.features else []
    trained = line.run(
        "train", line.train_bin, "train", options.run, "--data", data, "--out", build / "run", "--fold", 0, *streams
    )
    bundle = build / "bundles/demo"
    line.run(
        "export", line.train_bin, "export", build / "run/fold0", "--out", bundle.parent, "--name", bundle.name,
        "--data", data / "validate*.tfrecord",
    )  # fmt: skip
    index = build / "index"
    built = line.run(
        "reindex", line.serve_bin, "reindex", "--bundle", bundle, "--data", data / "test*.tfrecord", "--index", index,
        *streams,
    )  # fmt: skip
    summary = {"trained": trained, "reindexed": built}
    if list(data.glob("truth*.tfrecord")):
        truth = data / "truth*.tfrecord"
        summary["judged"] = line.run("evaluate", line.serve_bin, "evaluate", "--index", index, "--data", truth)
    return index, bundle, summary


@contextmanager
def serving(line: Line, index: Path, bundle: Path) -> Iterator[str]:
    """A server on a free port of this machine, ended by its own process when the demo is done."""
    command = [line.serve_bin / "segsearch", "serve", "--index", index, "--bundle", bundle, "--port", "0"]
    console.print(f"[bold]serve[/]  segsearch serve --index {index} --bundle {bundle}", soft_wrap=True)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        with line.timed("serve: until ready"):
            assert server.stdout is not None
            first = server.stdout.readline()
            if not first:
                raise SystemExit(f"the server ended with exit code {server.wait(SERVER_START_LIMIT_S)}")
            url: str = json.loads(first)["url"]
        yield url
    finally:
        server.terminate()
        server.wait(SERVER_START_LIMIT_S)


def score_an_upload(line: Line, url: str, data: Path, features: str) -> None:
    """Scores the first test video as a client would, and prints the best tags of its best segments."""
    shard = sorted(data.glob("test*.tfrecord"))[0]
    spec = FeatureSpec.parse(features) if features else streams_of(shard)
    video = next(iter(read_videos([shard], spec)))
    body = json.dumps({"video_id": video.id, "frames": streams_as_base64(video, spec)}).encode()
    request = urllib.request.Request(f"{url}/score?top=3", body, {"content-type": "application/json"})
    with line.timed("score one upload"):
        answer = fetch(request)
    best = sorted(answer["segments"], key=lambda segment: -segment["tags"][0]["score"])[:5]
    rows = [(s["segment"], ", ".join(f"{tag['tag']} {tag['score']:.3f}" for tag in s["tags"])) for s in best]
    print_table(f"POST /score: {len(video.frames)} seconds of {video.id}, its five surest segments",
                ("segment", "tags"), rows)  # fmt: skip


def streams_as_base64(video: Video, spec: FeatureSpec) -> dict[str, str]:
    columns, streams = 0, {}
    for stream in spec.streams:
        codes = video.frames[:, columns : columns + stream.size]
        streams[stream.name] = base64.b64encode(codes.tobytes()).decode()
        columns += stream.size
    return streams


def search(line: Line, url: str) -> None:
    """Three searches, for the three tags whose best segment is surest."""
    tags = fetch(f"{url}/tags?prefix=&limit=1000")["tags"]
    with line.timed(f"search {len(tags)} tags"):
        answers = [fetch(f"{url}/search?{urllib.parse.urlencode({'tag': tag['tag'], 'k': 5})}") for tag in tags]
    surest = sorted(answers, key=lambda answer: -answer["segments"][0]["score"] if answer["segments"] else 0)[:3]
    for answer in surest:
        rows = [(hit["segment"], f"{hit['start_s']} to {hit['end_s']} s", f"{hit['score']:.3f}")
                for hit in answer["segments"]]  # fmt: skip
        print_table(f"GET /search?tag={answer['tags'][0]['tag']}&k=5", ("segment", "when", "score"), rows)


def fetch(request: str | urllib.request.Request) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            document: dict[str, Any] = json.load(answer)
            return document
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{error.code} from {error.url}: {error.read().decode()}") from None


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def tell(line: Line, summary: dict[str, Any]) -> None:
    """The closing table: what was reached, and what each step took."""
    rows = [(step, f"{seconds:.1f} s") for step, seconds in line.seconds.items()]
    print_table("Steps", ("step", "time"), [*rows, ("all", f"{sum(line.seconds.values()):.1f} s")])
    figures = [("segments indexed", f"{summary['reindexed']['segments']:,}")]
    if "judged" in summary:
        figures.append(("MAP@100k, test segments", f"{summary['judged']['map']:.4f}"))
    held_out = {metric["name"]: metric["value"] for metric in summary["trained"]["metrics"]}
    figures.append(("MAP@100k, rated segments of the held-out fold", f"{held_out['rated_map_at_100k']:.4f}"))
    print_table("Quality", ("measure", "value"), figures)


if __name__ == "__main__":
    main()
