"""One payload convention a file: bytes → items, or the reason why not."""
