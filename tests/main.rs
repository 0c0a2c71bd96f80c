//! The one integration-test binary of waxseal.

mod command;
mod verify;
