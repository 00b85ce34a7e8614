"""Answers counted by us and by Prometheus' own metrics."""

import threading

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram

from segsearch.service.answer_counts import AnswerCounts

BOUNDS_S = (0.001, 0.25, 1.0)
ANSWERS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["OK", "NOT_FOUND"]), st.sampled_from([0.0, 0.001, 0.2, 1.0, 7.0]))
)


def ours() -> AnswerCounts:
    return AnswerCounts("thing", ("asked", "ended"), BOUNDS_S, meaning="Things.", time="How long.")


def told(registry: CollectorRegistry) -> list[object]:
    families = sorted(registry.collect(), key=lambda family: family.name)
    return [
        (family.name, family.documentation, family.type, sorted((s.name, sorted(s.labels.items()), s.value)
         for s in family.samples if not s.name.endswith("_created")))
        for family in families
    ]  # fmt: skip


@given(ANSWERS)
def test_they_are_counted_as_prometheus_counts_them(answers):
    plain, fast = CollectorRegistry(), CollectorRegistry()
    counter = Counter("segsearch_things", "Things.", ("asked", "ended"), registry=plain)
    histogram = Histogram("segsearch_thing_duration_seconds", "How long.", ("asked",), buckets=BOUNDS_S, registry=plain)
    counts = ours()
    fast.register(counts)
    for asked, ended, seconds in answers:
        counter.labels(asked, ended).inc()
        histogram.labels(asked).observe(seconds)
        counts.count(asked, ended, seconds)
    assert told(fast) == told(plain)


def test_threads_that_count_together_lose_none():
    counts = ours()

    def count() -> None:
        for _ in range(5_000):
            counts.count("a", "OK", 0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted, _ = counts.collect()
    assert [sample.value for sample in counted.samples] == [20_000]
