"""What the page and the command line do with a model: a request, events on the way, a result; and whose turn it is."""
