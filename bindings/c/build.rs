//! How the shared library is linked: its name for the loader, and that it is never unloaded (a fork handler and a
//! thread of it may be there).
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The number changes with every incompatible ABI; see OTELCORE_ABI_VERSION.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libotelcore.so.0");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
