"""Fetching public shards: `youtube8m` knows the plan and the names, `transfer` brings one file whole."""
