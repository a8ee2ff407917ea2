"""Other tools doing the same work. The scripts here run in the tools' own environments."""
