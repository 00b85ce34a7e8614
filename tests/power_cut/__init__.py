"""Power cuts and disk errors: `shim.c` notes what a process does to its files, or lets a call of it fail; `recording`
runs it; `disk` says what a power cut may leave of all that; `cuts` rebuilds it and looks whether everything that was
promised is there. `publisher` and `persistent` are processes to be recorded, as `tests.live_writer` is.
"""
