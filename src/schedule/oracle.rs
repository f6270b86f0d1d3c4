//! A slow second implementation, for tests alone.
