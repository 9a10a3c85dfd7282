"""Parts of data for training, validation and test, and groups that training never sees."""
