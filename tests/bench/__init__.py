"""The service beside others on the same data: `python -m tests.bench`.

Not part of the test suite: it takes minutes and its numbers are those of one machine, so it reports ratios between servers that
were measured in turns, over and over, and never an absolute time alone.

    data.py      the same generated graph for all, loaded by each server's own means
    servers.py   each server as the process that its users would start
    client.py    the load: `wrk`, or a client of our own
    measures.py  what is measured, and the targets
    growth.py    what each canned question costs on a large graph, held against a small one; and beside documents alone
    visibility.py  how long a write takes until it shows, with rules and without
    story.trig   what the generator of the tests does not make: as many of it as the size asks for
    underived/   canned questions over the whole graph as queries that read documents alone; the answers are compared first
    queries/     the questions, a file each; the first line says what each stands for
"""
