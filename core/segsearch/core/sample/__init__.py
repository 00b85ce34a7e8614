"""Made-up videos in YouTube-8M's wire format, to try the whole line where the real shards are not at hand.

Read in this order: `names` has the classes, `world` what each looks and sounds like, `scenes` what happens in a video
and how people rate it, `rendering` its frames, `folder` the shards on disk, `cli` the command.
"""
