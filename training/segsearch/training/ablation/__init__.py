"""The paper's two tables and three curves, trained on AudioSet-Segments by one command: `make ablation`.

`rows` says what is trained, `queue` trains it as `segsearch train` commands, several at once, `results` reads what they
left, `plots` draws it, `report` writes it down.
"""
