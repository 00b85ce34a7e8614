"""How do several processes answer as one? A parent without requests of its own, and the workers that it looks after."""
