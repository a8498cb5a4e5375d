//! The program as it is shipped has no symbols: 2.6 MB less.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Cargo 1.95 takes the profile's `strip` back for a package with a level of optimisation of its own, as this one has. Only the
    // profile `dist` ends a process at a panic.
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|is| is == value);
    if is("CARGO_CFG_PANIC", "abort") && is("CARGO_CFG_TARGET_OS", "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
