//! The program as it is shipped has no symbols: 2.6 MB less.

use std::ffi::OsStr;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Cargo 1.95 takes the profile's `strip` back for a package with a level of optimisation of its own, as this one has. Nothing but
    // the directory tells the profile: `PROFILE` is "release" for all that inherit it.
    let is_dist =
        std::env::var_os("OUT_DIR").is_some_and(|out| Path::new(&out).iter().any(|part| part == OsStr::new("dist")));
    if is_dist && std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
}
