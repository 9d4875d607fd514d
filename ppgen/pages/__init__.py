"""What pages are made of: charts, pictures, elements, templates."""
