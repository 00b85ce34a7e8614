"""The live store: uploads and deletions since the last compaction, on disk and as arrays that are searched.

`store` is the door: `format` and `record` say what is on disk, `data_file` looks at a file before it is trusted,
`environment` is LMDB, `value_files` hold what is long, `snapshot` reads, `operations` write into an `edit`,
`group_commit` makes many writes one fsync, `delta` holds the scores in memory.
"""
