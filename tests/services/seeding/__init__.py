"""Test data, the same on every machine: `data` makes the rows, the other modules carry them into one service each."""
