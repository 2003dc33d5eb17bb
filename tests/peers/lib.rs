//! Nothing by itself: the tests in `dtls/` and the benchmark in `benches/` are what this package is for.
