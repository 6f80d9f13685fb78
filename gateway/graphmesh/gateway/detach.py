"""Starts a program that outlives its starter: double fork, a session of its own. Run as a script, by file name.

    python detach.py LOG PROGRAM ARGUMENT...

Prints the program's process id. The parent is a process with threads, where forking is unsafe, hence a script of its
own; it imports nothing that takes long.
"""

import os
import sys


def main(log: str, *command: str) -> None:
    """Start ``command`` with its output appended to ``log``."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        with os.fdopen(reader) as pipe:
            sys.stdout.write(pipe.read())
        return
    os.setsid()
    if child := os.fork():
        os.write(writer, str(child).encode())
        os._exit(0)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.execv(command[0], command)  # noqa: S606 - the program is the caller's own


if __name__ == "__main__":
    main(*sys.argv[1:])
