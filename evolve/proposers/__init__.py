"""Whatever turns parents and a prompt into a new program: hosted models, a mailbox, recorded replies, a mutator.

One protocol, one module each. A proposer answers with text; `vevolve.evolve.edits` turns the text into a program.
"""
