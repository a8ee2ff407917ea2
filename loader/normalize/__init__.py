"""Rules that turn events into rows: pure, without files, clock or database."""
