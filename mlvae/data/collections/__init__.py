"""Preparation of collections of image files: listing, decoding, and the prepared cache."""
