"""The classes of the sample: families of three that are easily taken for one another.

In each family the first two look alike and sound different; the last two sound alike and look different.
"""

from segsearch.core.vocabulary import Entry, Vocabulary

FAMILIES = (
    ("Acoustic guitar", "Electric guitar", "Bass guitar"),
    ("Cat", "Dog", "Wolf"),
    ("Surfing", "Kitesurfing", "Sailing"),
    ("Fireworks", "Lightning", "Bonfire"),
    ("Drum kit", "Hand drum", "Marimba"),
    ("Motorcycle", "Scooter", "Lawn mower"),
    ("Piano", "Synthesizer", "Accordion"),
    ("Snowboarding", "Skiing", "Ice skating"),
    ("Violin", "Cello", "Double bass"),
    ("Train", "Tram", "Bus"),
    ("Cooking", "Barbecue", "Popcorn"),
    ("Basketball", "Volleyball", "Tennis"),
    ("Horse", "Donkey", "Goat"),
    ("Helicopter", "Airplane", "Jet engine"),
    ("Choir", "Orchestra", "Marching band"),
    ("Waterfall", "River", "Rain"),
)
FAMILY_SIZE = 3
MOST_CLASSES = FAMILY_SIZE * len(FAMILIES)
_FIRST_INDEX, _INDEX_STEP = 3, 7  # label indices with gaps, so that nobody takes one for a class ordinal


def sample_vocabulary(class_count: int) -> Vocabulary:
    """The first `class_count` classes, family after family. Their knowledge-graph ids are made up and say so."""
    names = [name for family in FAMILIES for name in family][:class_count]
    return Vocabulary(
        Entry(_FIRST_INDEX + _INDEX_STEP * ordinal, name, f"/sample/{name.lower().replace(' ', '_')}")
        for ordinal, name in enumerate(names)
    )


def segment_classes(class_count: int) -> list[int]:
    """Ordinals of the classes that people rate: all but every eighth, as YouTube-8M has a subset rated."""
    return [ordinal for ordinal in range(class_count) if ordinal % 8 != 7]


def alike(ordinal: int, class_count: int) -> list[int]:
    """Ordinals of the class's family, itself included, as far as the vocabulary reaches."""
    first = ordinal // FAMILY_SIZE * FAMILY_SIZE
    return list(range(first, min(first + FAMILY_SIZE, class_count)))
