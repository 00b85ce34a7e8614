"""The loops of selection, compiled by Numba when first called: filter, cut back, sort by counting.

Where it stands: `kernel_selection` owns the arrays and calls these with the interpreter's lock released; `selection` is
the plain twin. Nothing is cached on disk: what runs was compiled by this process for this processor.

Everything is unsigned: Numba would test a signed index for being negative, and the filter must not branch.

C classes, S segments of a block, L postings that a class has room for, K kept a class.
"""

import numpy as np
from numba import njit, uint8, uint16, uint32, uint64

_CODES = 1 << 16
_GATHER = uint64(0x0102040810204080)
_BIT_SPREAD = uint64(0x03F79D71B4CB0A89)  # a de Bruijn sequence: times each power of two, its upper six bits differ
_BIT_PLACES = np.empty(64, np.uint64)
_BIT_PLACES[[(int(_BIT_SPREAD) << bit & (1 << 64) - 1) >> 58 for bit in range(64)]] = range(64)


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
    """The same of codes (S, C), segment by segment."""
    ordinals, kept, filled, floors = lists
    counts, reaching = np.empty(_CODES, np.uint32), np.empty(cuts[1], np.uint16)
    begin, end, room = uint64(rows[0]), uint64(rows[1]), uint64(kept.shape[1])
    near = np.minimum(floors[begin:end], uint32(_CODES - 1)).astype(np.uint16)  # as codes are: so more fit a register
    marks = np.zeros((len(near) // 64 + 1) * 64, np.uint8)
    words, columns = marks.view(np.uint64), np.empty(len(marks), np.uint32)
    for segment in range(uint64(codes.shape[0])):
        line = codes[segment, begin:end]
        for column in range(len(near)):
            marks[column] = uint8(line[column] >= near[column])
        for at in range(_marked(words, columns)):
            row, code = begin + uint64(columns[at]), line[columns[at]]
            n = uint64(filled[row])
            if n == room:
                _cut_back(ordinals[row], kept[row], filled, floors, row, uint64(cuts[0]), counts, reaching)
                near[columns[at]] = uint16(min(floors[row], uint32(_CODES - 1)))
                n = uint64(filled[row])
            if code >= floors[row]:
                ordinals[row, n], kept[row, n] = uint32(uint64(first) + segment), code
                filled[row] = n + uint64(1)


@njit(nogil=True, cache=False)
def _marked(words, columns):
    """Places of the bytes that are 1, of bytes that are 0 or 1 and 64 at a time, written to the front of `columns`; how
    many. As few are, it looks at them as bits, and goes from one to the next."""
    found = uint64(0)
    for first in range(uint64(0), uint64(len(words)), uint64(8)):
        bits = uint64(0)
        for eighth in range(uint64(8)):
            # The product has the eight shifted bytes in its highest one, bit by bit.
            bits |= ((words[first + eighth] * _GATHER) >> uint64(56)) << (eighth * uint64(8))
        while bits:
            lowest = bits & (~bits + uint64(1))
            columns[found] = uint32(first * uint64(8) + _BIT_PLACES[(lowest * _BIT_SPREAD) >> uint64(58)])
            found += uint64(1)
            bits ^= lowest
    return found


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
