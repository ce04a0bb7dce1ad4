"""`python -m kg.cli`: the command `kg` where the entry point is not installed; promises to be the same."""

from kg.cli import main

if __name__ == "__main__":
    main()
