"""Features one after another, each given those before it."""
