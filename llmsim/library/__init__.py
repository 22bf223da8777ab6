"""llmsim from Python: what each command does, as a call that returns an object; one file for each.

All calls are alike: what, ``key=value`` changes as of ``--set``, and by keyword what the command has as options. `out`
is a folder (of `report`, a file) that gets the files of the command's ``--out``; left out, nothing is written. `jobs`
is the number of processes that simulate; the answer does not depend on it. What a command refuses, its call refuses:
InputError with one line.

All have these arguments, also where one could mean nothing, so that one line of code calls any of them; there it is
refused, and not ignored (`convention`). `score` and `report` read what was simulated or measured: nothing to change,
nothing to simulate. `run` is one simulation, and those of `audit` and `validate` go one after another, each on what the
one before has left: `jobs` above 1 would not make them faster.
"""
