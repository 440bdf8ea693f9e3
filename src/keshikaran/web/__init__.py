"""The HTTP server: image files in, verdicts out. docs/serving.md tells the whole of it.

Way of a request: `connections` holds a socket to its limits, `edge` gives it an id and sees to it
that every end is answered and noted, `app` finds its route, `tokens` says who may ask, `body` and
`multipart` take the image files in, `service` has the model and its threads. `server` starts all
of it and ends it. `settings` are the limits, `problems` the one shape of a refusal.
"""
