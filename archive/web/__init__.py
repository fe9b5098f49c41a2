"""The page: a read-only view of runs, served on loopback.

A request is answered in three steps, each in a file of its own: `guard` decides whether it may be asked, a function of
`views` turns the archive into plain data, and a template turns the data into HTML; `.json` behind any path gives the
data itself. `sight` keeps in memory what lists and plots of thousands of candidates need.
"""
