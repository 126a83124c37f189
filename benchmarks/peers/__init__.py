"""Public implementations beside ours, in an environment of their own (``python -m benchmarks.peers``).

`environment` makes it and asks it for figures; `tools` and `runner` run inside it, where neither akp_core nor
what it needs is installed, and so import nothing of ours.
"""
