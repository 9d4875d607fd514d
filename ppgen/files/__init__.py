"""Files: documents that are read with care and written whole."""
