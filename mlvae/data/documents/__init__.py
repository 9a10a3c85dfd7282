"""Documents as counts of words: files of counts, texts, and their vocabulary."""
