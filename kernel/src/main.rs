//! The image. Everything that a processor's architecture decides is below `arch/`; what is not, is the library's.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod arch;

/// On a host there is nothing to boot: the image is built for a bare-metal target (`cargo xtask qemu`).
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("this image runs on a machine of its own: cargo xtask qemu arm64");
}
