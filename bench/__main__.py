"""`python -m bench`: the command, from a checkout too."""

from bench.commands import main

if __name__ == "__main__":
    main()
