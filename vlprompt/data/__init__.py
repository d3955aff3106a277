"""Data: tasks, the readers that find them on disk, batches, and stored features."""
