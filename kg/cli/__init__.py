"""The command `kg`.

Hides the shell: arguments in, exit codes and text out. Data goes to standard output, everything said about it to standard
error. Exit codes: 0 done, 1 the answer is no (rejected, does not conform, query failed), 2 could not be read or understood,
3 the data directory failed, 4 try again later.

    shell.py     what all commands share
    files.py     load, check
    serving.py   serve
    answers.py   query, export
    asking.py    ask
    history.py   history, diff
    keeping.py   rebuild, backup, restore, verify, rebase
    tokens.py    token create, list, revoke
"""

from kg.cli import answers, asking, files, history, keeping, serving, tokens  # each hangs its commands on `main`
from kg.cli.shell import EXIT_CODES, exit_code, main

__all__ = ["EXIT_CODES", "answers", "asking", "exit_code", "files", "history", "keeping", "main", "serving", "tokens"]
