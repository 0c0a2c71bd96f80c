//! `cargo xtask`: what a contributor and CI run.
fn main() {}
