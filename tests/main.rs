//! The one integration-test binary of waxseal.
