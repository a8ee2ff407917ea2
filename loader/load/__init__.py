"""The load: what is read becomes batches, and batches are written."""
