"""Images from addresses on the web, fetched politely and never from one's own network.

`addresses` decides where a connection may go, `connection` makes it go there and nowhere else,
`fetch` gets one address, `robots` and `turns` keep the manners, `url_list` reads the list and
`source` makes a source of it.
Needs the extra `urls`.
"""

from keshikaran.ingest.web.fetch import FetchOptions
from keshikaran.ingest.web.source import UrlSource
from keshikaran.ingest.web.url_list import UrlEntry, read_url_list

__all__ = ["FetchOptions", "UrlEntry", "UrlSource", "read_url_list"]
