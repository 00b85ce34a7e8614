"""The loops of selection, compiled by Numba when first called: filter, cut back, sort by counting, turn a block.

Where it stands: `kernel_selection` owns the arrays and calls these with the interpreter's lock released; `selection` is
the plain twin. Nothing is cached on disk: what runs was compiled by this process for this processor.

Everything is unsigned: Numba would test a signed index for being negative, and the filter must not branch.

C classes, S segments of a block, L postings that a class has room for, K kept a class.
"""

import numpy as np
from numba import njit, uint16, uint32, uint64

_CODES = 1 << 16
_GROUP, _BAND = uint64(128), uint64(1024)  # classes, and segments of them, turned together: half the second cache
_TILE = uint64(32)  # segments turned together: both sides stay in the first cache


@njit(nogil=True, cache=False)
def collect_by_class(codes, first, rows, lists, cuts):
    """Appends to each class's list what reaches its floor, of codes (C, S) whose first ordinal is `first`.

    rows: (begin, end) of the classes to work on. lists: ordinals (C, L), codes (C, L), filled (C,) and floors (C,).
    cuts: (K, longest piece); a list without room for a whole piece is cut back to K first.
    """
    counts, reaching = np.empty(_CODES, np.uint32), np.empty(cuts[1], np.uint16)
    for row in range(uint64(rows[0]), uint64(rows[1])):
        _collect(codes[row], uint64(first), row, lists, uint64(cuts[0]), counts, reaching)


@njit(nogil=True, cache=False)
def collect(codes, first, rows, lists, cuts):
    """The same of codes (S, C): a few classes of a band of segments are turned, and collected while they are hot."""
    counts, reaching = np.empty(_CODES, np.uint32), np.empty(cuts[1], np.uint16)
    band = np.empty((_GROUP, _BAND), np.uint16)
    for top in range(uint64(0), uint64(codes.shape[0]), _BAND):
        height = min(_BAND, uint64(codes.shape[0]) - top)
        for left in range(uint64(rows[0]), uint64(rows[1]), _GROUP):
            width = min(_GROUP, uint64(rows[1]) - left)
            _turn(codes, top, left, height, width, band)
            for row in range(width):
                hot = band[row, :height]
                _collect(hot, uint64(first) + top, left + row, lists, uint64(cuts[0]), counts, reaching)


@njit(nogil=True, cache=False)
def _turn(codes, top, left, height, width, band):
    """Writes a part of codes (S, C) to band (classes, segments), tile by tile."""
    for start in range(uint64(0), height, _TILE):
        for column in range(width):
            for row in range(start, min(height, start + _TILE)):
                band[column, row] = codes[top + row, left + column]


@njit(nogil=True, cache=False)
def _collect(codes, first, row, lists, keep, counts, reaching):
    """One class's part: codes (S,), ordinals from `first` on."""
    ordinals, kept, filled, floors = lists
    end, piece, room = uint64(codes.shape[0]), uint64(len(reaching)), uint64(kept.shape[1])
    for start in range(uint64(0), end, piece):
        size = min(piece, end - start)
        if uint64(filled[row]) + size > room:
            _cut_back(ordinals[row], kept[row], filled, floors, row, keep, counts, reaching)
        found = _reach(codes[start : start + size], uint32(floors[row]), reaching)
        n = uint64(filled[row])
        for at in range(found):
            place = start + uint64(reaching[at])
            ordinals[row, n + at] = uint32(first + place)
            kept[row, n + at] = codes[place]
        filled[row] = n + found


@njit(nogil=True, cache=False)
def _reach(codes, floor, reaching):
    """Places of the codes that reach the floor, written to the front of `reaching`; how many. Does not branch on them:
    every place is written, and kept by moving on."""
    found = uint64(0)
    for at in range(uint64(codes.shape[0])):
        reaching[found] = uint16(at)
        found += uint64(codes[at] >= floor)
    return found


@njit(nogil=True, cache=False)
def rank(rows, lists, keep, spare):
    """Puts the lists of classes `rows` in order, best first, at most K each.

    spare: ordinals (L,), codes (L,) that are overwritten.
    """
    ordinals, kept, filled, _ = lists
    counts = np.empty(_CODES, np.uint32)
    for row in range(uint64(rows[0]), uint64(rows[1])):
        filled[row] = _sort(ordinals[row], kept[row], uint64(filled[row]), uint64(keep), spare, counts)


@njit(nogil=True, cache=False)
def guess_floors(sample, rank, floors):
    """Writes each class's `rank`-th best code of sample (C, S) to floors (C,); rank at most S."""
    counts = np.empty(_CODES, np.uint32)
    for row in range(uint64(sample.shape[0])):
        floors[row], _ = _place(sample[row], uint64(sample.shape[1]), uint64(rank), counts)


@njit(nogil=True, cache=False)
def _extent(codes, n):
    """Lowest and highest of the first n codes, n at least 1."""
    low = high = codes[0]
    for at in range(n):
        low, high = min(low, codes[at]), max(high, codes[at])
    return uint64(low), uint64(high)


@njit(nogil=True, cache=False)
def _count(codes, n, counts):
    """How often each code occurs among the first n; counts outside their extent are not touched."""
    low, high = _extent(codes, n)
    for code in range(low, high + uint64(1)):
        counts[code] = uint32(0)
    for at in range(n):
        counts[uint64(codes[at])] += uint32(1)
    return low, high


@njit(nogil=True, cache=False)
def _place(codes, n, rank, counts):
    """The `rank`-th best of the first n codes, and how many are better; counts it and them."""
    _, code = _count(codes, n, counts)
    above = uint64(0)
    while above + counts[code] < rank:
        above += uint64(counts[code])
        code -= uint64(1)
    return code, above


@njit(nogil=True, cache=False)
def _cut_back(ordinals, codes, filled, floors, row, keep, counts, reaching):
    """Leaves a class its best K in ordinal order, and raises its floor to just above the K-th.

    A later segment with the K-th code has a larger ordinal, and so loses.
    """
    n = uint64(filled[row])
    if n <= keep:
        return
    code, above = _place(codes, n, keep, counts)
    ties, kept, size = keep - above, uint64(0), uint64(len(reaching))
    for start in range(uint64(0), n, size):
        found = _reach(codes[start : min(n, start + size)], uint32(code), reaching)
        if counts[code] == ties:  # as nearly always: all that have the K-th code stay
            for at in range(found):
                place = start + uint64(reaching[at])
                ordinals[kept + at], codes[kept + at] = ordinals[place], codes[place]
            kept += found
        else:
            for at in range(found):
                place = start + uint64(reaching[at])
                tied = codes[place] == code
                if not tied or ties:
                    ordinals[kept], codes[kept] = ordinals[place], codes[place]
                    kept += uint64(1)
                    ties -= uint64(tied)
    filled[row] = keep
    floors[row] = uint32(code + uint64(1))


@njit(nogil=True, cache=False)
def _sort(ordinals, codes, n, keep, spare, counts):
    """Sorts by falling code, equal codes as they stand, which is by ordinal; returns how many are left, at most K."""
    if n == 0:
        return n
    low, high = _count(codes, n, counts)
    place, code = uint32(0), high
    while True:
        place, counts[code] = place + counts[code], place
        if code == low:
            break
        code -= uint64(1)
    for at in range(n):
        spare[0][at], spare[1][at] = ordinals[at], codes[at]
    for at in range(n):
        place = counts[uint64(spare[1][at])]
        ordinals[uint64(place)], codes[uint64(place)] = spare[0][at], spare[1][at]
        counts[uint64(spare[1][at])] = uint32(place + uint32(1))
    return min(n, keep)
