"""llmsim from Python: what each command does, as a call that returns an object; one file for each.

All calls are alike: what, ``key=value`` changes as of ``--set``, and by keyword what the command has as options. `out`
is a folder that gets the files of the command's ``--out``; left out, nothing is written. `jobs` is the number of
processes that simulate; the answer does not depend on it. What a command refuses, its call refuses: InputError with
one line.
"""
