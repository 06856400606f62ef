"""`python -m hurricane` is the command `hurricane`."""

from hurricane.cli import main

if __name__ == "__main__":
    main()
