"""`python -m synthnet`, which is what torchrun starts."""

from synthnet.cli import main

if __name__ == "__main__":
    main()
