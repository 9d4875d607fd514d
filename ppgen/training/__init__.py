"""One loop for every pair and objective."""
