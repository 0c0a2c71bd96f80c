//! The one integration-test binary of waxseal.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on has failed")]

mod command;
mod instance;
mod layout;
mod verify;
