"""Code that a config names and ppema does not know: finding it, checking its arguments, naming its mistakes. No paddle."""
