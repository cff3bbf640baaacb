//! Passes the linker script of the image's architecture. (Not by the cargo configuration: any `RUSTFLAGS` in the environment,
//! even an empty one, would discard it there.)

use std::path::Path;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_OS") != "none" {
        return;
    }
    let (folder, script) = match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "aarch64" => ("arm64", "image.ld"),
        "arm" => ("arm", "image.ld"),
        "x86_64" => ("x86_64", "image.ld"),
        other => {
            println!("cargo:warning=there is no image for {other} yet");
            return;
        }
    };
    for name in ["sample", "user"] {
        module(name, &variable("TARGET"), if folder == "x86_64" { "kernel" } else { "small" });
    }
    let script = Path::new(&variable("CARGO_MANIFEST_DIR")).join("src/arch").join(folder).join(script);
    let script = script.to_string_lossy();
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
    if folder == "arm" {
        // What one entry maps, with short descriptors or long ones: parts of the image begin with one.
        let section = if variable("CARGO_FEATURE_LPAE").is_empty() { "0x100000" } else { "0x200000" };
        println!("cargo:rustc-link-arg-bins=--defsym=SECTION={section}");
    }
    if folder == "arm64" {
        // The image runs at two addresses, its load address and its link address: addresses in its data are relocated, from a
        // packed table, wherever they stand.
        for arg in ["-pie", "-z", "notext", "--no-dynamic-linker", "--pack-dyn-relocs=relr", "-z", "norelro"]
        {
            println!("cargo:rustc-link-arg-bins={arg}");
        }
    }
}

/// Compiles a module that the image loads: an object of its name among the build's files.
fn module(name: &str, target: &str, code_model: &str) {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let source = Path::new(&variable("CARGO_MANIFEST_DIR")).join(format!("module/{name}.rs"));
    let object = Path::new(&variable("OUT_DIR")).join(format!("{name}.o"));
    println!("cargo:rerun-if-changed={}", source.display());
    // Not by the image's flags: the loader places the module, and no debugger looks at it.
    let done = std::process::Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-name", name, "--crate-type=lib", "--target", target])
        .args(["-Cpanic=abort", "-Copt-level=s", "-Crelocation-model=static"])
        .arg(format!("-Ccode-model={code_model}"))
        .arg(format!("--emit=obj={}", object.display()))
        .arg(&source)
        // Where rustc leaves what it makes on the way: images are built at the same time.
        .current_dir(variable("OUT_DIR"))
        .status();
    assert!(done.is_ok_and(|status| status.success()), "the module {} does not compile", source.display());
}
