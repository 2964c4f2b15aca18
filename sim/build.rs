//! Compiles what replaces the system's randomness, and makes sure that everybody finds it.

fn main() {
    println!("cargo::rerun-if-changed=hooks/seeded.c");
    cc::Build::new()
        .file("hooks/seeded.c")
        .warnings_into_errors(true)
        .link_lib_modifier("+whole-archive")
        .compile("seeded");
    // Some libraries look the function up by its name when they run.
    for symbol in ["getrandom", "getentropy", "syscall"] {
        println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol={symbol}");
    }
}
