"""Changes to a program without a model: small edits of its text, found on its syntax tree.

An edit replaces spans of the source, so that comments and layout survive and a diff shows the change alone. No kind
of change knows a problem: what is good is for the evaluation to say.
"""
