"""`python3 -m relay` is the same command line as relay.py and relay.pyz."""

from relay.cli import main

if __name__ == "__main__":
    main()
