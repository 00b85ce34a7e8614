"""Long work over whole libraries: scoring every segment into a new generation."""
