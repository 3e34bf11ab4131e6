"""
The commands: the arguments of each, and what it does with them.

Each module imports what its command needs when the command runs, so that ``--help`` doesn't wait for it.
"""
