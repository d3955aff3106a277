"""The command line as `python -m vlprompt`, also under torchrun."""

from vlprompt.cli import main

if __name__ == "__main__":
    main()
