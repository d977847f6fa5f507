"""`python -m fastnn`: the command line without the installed script."""

from fastnn.cli.app import main

if __name__ == "__main__":
    main()
