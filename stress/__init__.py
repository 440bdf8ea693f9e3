"""Does it hold under abuse? One module a question; `python -m stress` asks them all."""
