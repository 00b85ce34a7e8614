"""Who may ask what, and how often. Knows nothing of HTTP: every edge asks the same guard."""
