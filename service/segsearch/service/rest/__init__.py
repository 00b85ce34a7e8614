"""The library on HTTP: JSON in and out, RFC 9457 errors, OpenAPI."""
