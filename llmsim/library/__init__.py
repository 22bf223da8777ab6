"""llmsim from Python: what each command does, as a call that returns an object; one file for each.

All calls are alike: what, ``key=value`` changes as of ``--set``, and by keyword what the command has as options. `out`
is a folder (of `report`, a file) that gets the files of the command's ``--out``; left out, nothing is written. `jobs`
is the number of processes that simulate; the answer does not depend on it. What a command refuses, its call refuses:
InputError with one line.

Two arguments are missing where they could mean nothing: `score` and `report` read what was simulated or measured, so
that there is nothing to change and no process to share; `run` is one simulation, and those of `audit` and `validate`
(one or two, and one for each measured run) go one after another, so that these have no `jobs`.
"""
