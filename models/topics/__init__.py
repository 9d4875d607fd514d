"""Words that topics give."""
