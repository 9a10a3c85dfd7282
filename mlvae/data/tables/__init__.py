"""Tables as grouped data: columns of data frames, and annotated matrices."""
