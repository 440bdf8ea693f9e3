"""The command line: `main` puts it together, one file holds each group of commands."""
