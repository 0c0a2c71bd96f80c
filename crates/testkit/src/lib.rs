//! Fixtures for tests.

