"""What each page says, as plain data: a function of a run and the query in its address."""
