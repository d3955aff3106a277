"""python -m vlprompt: the command line, also under torchrun."""

from vlprompt.cli import main

if __name__ == "__main__":
    main()
