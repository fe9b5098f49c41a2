"""Seeds of the problem `circle_packing`."""
