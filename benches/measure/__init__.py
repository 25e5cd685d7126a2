"""Maru's speed: what `benches/run` calls."""
