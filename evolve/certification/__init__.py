"""Certificates: an attempt on fresh sealed documents, its log, and the documents of one executed again."""
