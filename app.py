"""The page: ``python app.py``, then open the address it prints."""

import sys

from lamdemo.cli import main

if __name__ == "__main__":
    main(["app", *sys.argv[1:]])
