"""Sources of grouped data, one file each."""
