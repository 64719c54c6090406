"""``python -m lamdemo`` is the console command ``lamdemo``."""

from lamdemo.cli import main

if __name__ == "__main__":
    main()
