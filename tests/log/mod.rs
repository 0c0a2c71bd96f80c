//! The logs of a running instance.

mod kill;
