"""Where events come from: files, the bytes in them, and the records in those."""
