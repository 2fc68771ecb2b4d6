"""One module per concern, each with `measure(settings)` that gives its rows."""
