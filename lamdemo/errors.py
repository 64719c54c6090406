"""Errors that are meant for the person in front of the page or the command line."""


class LamdemoError(Exception):
    """Something the user can mend, said in one sentence: what is wrong and what to do.

    The message must hold no path of this machine beyond the file name the user gave, and no trace. The
    command line prints it and exits with code 2, the page shows it as a notice.
    """
