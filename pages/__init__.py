"""One file a page: a page draws and calls core."""
