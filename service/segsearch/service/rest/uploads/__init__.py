"""Bodies of `POST /score`: one module a format, each a pure function from bytes to an upload."""
