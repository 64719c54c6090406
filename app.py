"""The page: ``python app.py``, then open the address it prints."""

from lamdemo.ui import serve

if __name__ == "__main__":
    serve()
