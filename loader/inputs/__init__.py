"""Which bytes are read, and where the records in them begin and end."""
