//! Empty: this package exists for its one test binary.
