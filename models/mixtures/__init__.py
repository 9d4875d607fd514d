"""Components, one to each datum."""
