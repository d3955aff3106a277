"""Components that several text methods share."""
