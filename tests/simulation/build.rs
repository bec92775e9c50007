//! Compiles the runtime with what stands in for the machine.

fn main() {
    println!("cargo::rustc-cfg=redlock_simulated");
    // The features of the runtime that would lead out of the simulated machine are not there.
    println!(
        "cargo::rustc-check-cfg=cfg(feature, values(\"tls\", \"insecure-tls\", \"signal\", \"serde\", \"metrics\"))"
    );
    println!("cargo::rerun-if-changed=build.rs");
}
