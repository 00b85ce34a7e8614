"""Frames that somebody sends, as arrays: one module a format, each a pure function from bytes to an upload.

Where it stands: `rest` reads bodies by it, and both edges keep its rules; it knows neither.
"""
