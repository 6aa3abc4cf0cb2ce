//! The HTTP side that exporters and the API share: TLS, users, rate limit, deadlines, graceful stop.
