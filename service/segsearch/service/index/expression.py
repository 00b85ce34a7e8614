"""What a query asks for: tags joined by `and`, `or`, `not` and parentheses.

    dog and not (cat or "Drum and bass")

A text that names a tag as it stands is that tag, whatever words it holds; in a longer expression such a name goes into
double quotes. `not` binds closest, then `and`, then `or`.

Scores combine as Zadeh's fuzzy logic has it (Fuzzy sets, 1965): `and` takes the lowest, `or` the highest, `not` one
minus the probability. On codes, which are logits, `not` is the sign turned round.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Final

import numpy as np

from segsearch.core.errors import InvalidInput
from segsearch.core.score_codes import HIGHEST
from segsearch.core.vocabulary import ClassOrdinal, Vocabulary

TAGS_CAP: Final = 16
_REMEMBERED: Final = 4096  # texts: people ask for the same few thousand tags
_EVEN: Final = (HIGHEST + 1) // 2  # the code of probability 0.5
_TOKEN = re.compile(r'\s*(?:"([^"]*)"|([()])|([^\s()"]+))')
_JOINING = ("and", "or", "not")

Bounds = tuple[np.ndarray, np.ndarray]  # lowest and highest code that segments may have, (n,) int32 each


@dataclass(frozen=True, slots=True)
class Tag:
    """One class."""

    ordinal: ClassOrdinal


@dataclass(frozen=True, slots=True)
class Not:
    """Segments that do not show it."""

    part: "Expression"


@dataclass(frozen=True, slots=True)
class Both:
    """Segments that show both."""

    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Either:
    """Segments that show at least one."""

    left: "Expression"
    right: "Expression"


Expression = Tag | Not | Both | Either


@lru_cache(_REMEMBERED)
def parse(text: str, vocabulary: Vocabulary) -> Expression:
    """The expression that a text means. Raises UnknownTag for a name, InvalidInput where it is no expression."""
    if vocabulary.knows(text) or not _is_joined(text):
        return Tag(vocabulary.find(text))
    parsed = _Parser(text, vocabulary).parse()
    if len(tags_of(parsed)) > TAGS_CAP:
        raise InvalidInput("tag", f"{len(tags_of(parsed))} tags", f"at most {TAGS_CAP}")
    lowest, _ = combine(parsed, lambda _: (np.zeros(1, np.int32), np.zeros(1, np.int32)))
    if lowest[0] >= _EVEN:  # most of a library: no list has it
        raise InvalidInput("tag", f"{text[:80]!r} asks for segments that show nothing", "one tag that is not negated")
    return parsed


def tags_of(expression: Expression) -> list[ClassOrdinal]:
    """Its classes, each once."""
    if isinstance(expression, Tag):
        return [expression.ordinal]
    if isinstance(expression, Not):
        return tags_of(expression.part)
    return list(dict.fromkeys([*tags_of(expression.left), *tags_of(expression.right)]))


def combine(expression: Expression, codes_of: Callable[[ClassOrdinal], Bounds]) -> Bounds:
    """What the expression's own code may be, given what each class's may be."""
    if isinstance(expression, Tag):
        return codes_of(expression.ordinal)
    if isinstance(expression, Not):
        lowest, highest = combine(expression.part, codes_of)
        return _negated(highest), _negated(lowest)
    one, other = combine(expression.left, codes_of), combine(expression.right, codes_of)
    pick = np.minimum if isinstance(expression, Both) else np.maximum
    return pick(one[0], other[0]), pick(one[1], other[1])


def _negated(codes: np.ndarray) -> np.ndarray:
    turned: np.ndarray = np.minimum(HIGHEST + 1 - codes, HIGHEST)  # the lowest code has no counterpart
    return turned


def _is_joined(text: str) -> bool:
    return '"' in text or any(word in _JOINING for word in re.split(r"[\s()]+", text.casefold()))


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, vocabulary: Vocabulary):
        self.text, self.vocabulary = text, vocabulary
        self.tokens = self._tokens()
        self.depth = 0

    def parse(self) -> Expression:
        found = self._either()
        if self.tokens:
            raise self._unexpected("the end")
        return found

    def _tokens(self) -> list[tuple[str, str]]:
        """(kind, text) of each; words that follow each other are one name."""
        tokens: list[tuple[str, str]] = []
        place = 0
        text = self.text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise InvalidInput("tag", f"{self.text[:80]!r} has a quote that does not end", "quotes in pairs")
            place = found.end()
            quoted, bracket, word = found.groups()
            if quoted is not None:
                tokens.append(("name", quoted))
            elif bracket or word.casefold() in _JOINING:
                tokens.append(((bracket or word).casefold(), bracket or word))
            elif tokens and tokens[-1][0] == "word":
                tokens[-1] = ("word", f"{tokens[-1][1]} {word}")
            else:
                tokens.append(("word", word))
        return tokens

    def _either(self) -> Expression:
        return self._joined("or", Either, self._both)

    def _both(self) -> Expression:
        return self._joined("and", Both, self._one)

    def _joined(
        self, word: str, kind: Callable[[Expression, Expression], Expression], part: Callable[[], Expression]
    ) -> Expression:
        parts = [part()]
        while self._next() == word:
            self.tokens.pop(0)
            parts.append(part())
        return reduce(kind, parts)

    def _one(self) -> Expression:
        kind = self._next()
        if kind in ("word", "name"):
            return Tag(self.vocabulary.find(self.tokens.pop(0)[1]))
        if kind not in ("not", "("):
            raise self._unexpected("a tag")
        self.tokens.pop(0)
        self.depth += 1
        if self.depth > TAGS_CAP:
            raise InvalidInput("tag", f"{self.text[:80]!r} is nested deeper than {TAGS_CAP}", "less")
        found: Expression
        if kind == "not":
            found = Not(self._one())
        else:
            found = self._either()
            if self._next() != ")":
                raise self._unexpected("a closing parenthesis")
            self.tokens.pop(0)
        self.depth -= 1
        return found

    def _next(self) -> str | None:
        return self.tokens[0][0] if self.tokens else None

    def _unexpected(self, wanted: str) -> InvalidInput:
        found = f"{self.tokens[0][1][:80]!r}" if self.tokens else "its end"
        return InvalidInput("tag", f"{found} in {self.text[:80]!r}", wanted)
