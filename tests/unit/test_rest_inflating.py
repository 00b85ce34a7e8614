"""Compressed bodies: how much of one is ever in memory, and what a client is told of a broken one."""

import gzip
import io
import tracemalloc

import pytest
from backports import zstd

from segsearch.core.errors import InputTooLarge, InvalidInput
from segsearch.service.rest.body_room import BodyRoom
from segsearch.service.rest.inflating import CHUNK_BYTES, INFLATERS
from segsearch.service.rest.request_body import inflate_into

LIMIT_BYTES = 4 << 20
BOMB_BYTES = 64 << 20
PIECE_BYTES = 64 << 10  # as uvicorn hands them over


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """Zeros that shrink a thousand times, and thirty thousand times."""
    out = io.BytesIO()
    with gzip.open(out, "wb", 9) as file:
        for _ in range(BOMB_BYTES >> 20):
            file.write(bytes(1 << 20))
    return {"gzip": out.getvalue(), "zstd": zstd.compress(bytes(BOMB_BYTES), 19)}


def inflate_pieces(coding: str, bomb: bytes) -> None:
    """As the edge does, piece by piece."""
    inflater, body = INFLATERS[coding](), BodyRoom(BOMB_BYTES).body("anna", LIMIT_BYTES)
    for at in range(0, len(bomb), PIECE_BYTES):
        inflate_into(body, inflater, bomb[at : at + PIECE_BYTES])


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_bomb_is_cut_at_the_limit_and_no_more_than_two_chunks_beyond_it_are_ever_in_memory(bombs, coding):
    tracemalloc.start()
    try:
        with pytest.raises(InputTooLarge, match=f"at most {LIMIT_BYTES}"):
            inflate_pieces(coding, bombs[coding])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"{coding}: {len(bombs[coding])} bytes of {BOMB_BYTES}, peak {peak_bytes}")
    # A chunk while it is put together lies there twice.
    assert peak_bytes < LIMIT_BYTES + 2 * CHUNK_BYTES


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_no_chunk_is_longer_than_promised(bombs, coding):
    chunks = INFLATERS[coding]().feed(bombs[coding][:PIECE_BYTES])
    assert max(len(chunk) for chunk, _ in zip(chunks, range(5), strict=False)) <= CHUNK_BYTES


def test_a_zstd_window_that_asks_for_too_much_memory_is_refused():
    wide = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    body = wide.compress(bytes(range(256)) * 1000, wide.FLUSH_BLOCK)
    with pytest.raises(InvalidInput, match="too much memory"):
        list(INFLATERS["zstd"]().feed(body))


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_data_that_end_too_soon_are_no_body(coding):
    whole = {"gzip": gzip.compress, "zstd": zstd.compress}[coding](b"frames" * 100)
    inflater = INFLATERS[coding]()
    list(inflater.feed(whole[:-1]))
    with pytest.raises(InvalidInput, match="ends too soon"):
        inflater.finish()
