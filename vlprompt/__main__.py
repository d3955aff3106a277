"""The command line as `python -m vlprompt`, also under torchrun."""

import sys

try:
    from vlprompt.cli import main
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    main()
