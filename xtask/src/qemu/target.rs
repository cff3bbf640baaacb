//! The images that there are, and the virtual machines that they boot in.

/// One image.
pub(crate) struct Target {
    /// As `cargo xtask qemu` takes it.
    pub(crate) name: &'static str,
    /// Rust's target.
    pub(crate) triple: &'static str,
    /// Features of `pagewright-kernel`.
    pub(crate) features: &'static [&'static str],
    /// Flags for rustc.
    pub(crate) rustflags: &'static str,
    /// Whether QEMU loads the bare bytes instead of the ELF file: what is booted by a protocol of its own.
    pub(crate) flat: bool,
    /// QEMU's program, and the Debian package that has it.
    pub(crate) qemu: &'static str,
    pub(crate) package: &'static str,
    /// Its machine.
    pub(crate) machine: &'static [&'static str],
    /// The image's exit code of QEMU's: `None` where QEMU ended by itself.
    pub(crate) exit_code: fn(i32) -> Option<i32>,
}

/// Frame pointers, for backtraces.
const FRAMES: &str = "-Cforce-frame-pointers=yes";

/// QEMU's machine for both of arm's images.
const ARM: [&str; 12] = [
    "-machine",
    "virt",
    "-cpu",
    "cortex-a15",
    "-nodefaults",
    "-display",
    "none",
    "-serial",
    "stdio",
    "-no-reboot",
    "-semihosting-config",
    "enable=on,target=native",
];

/// All images.
pub(crate) const TARGETS: [Target; 4] = [
    Target {
        name: "arm64",
        triple: "aarch64-unknown-none-softfloat",
        features: &["image"],
        rustflags: FRAMES,
        flat: true,
        qemu: "qemu-system-aarch64",
        package: "qemu-system-arm",
        machine: &[
            "-machine",
            "virt",
            "-cpu",
            "cortex-a72",
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
            "-semihosting-config",
            "enable=on,target=native",
        ],
        // Semihosting hands it over as it is.
        exit_code: Some,
    },
    Target {
        name: "x86_64",
        triple: "x86_64-unknown-none",
        features: &["image"],
        // The image runs where it is linked: there is nothing to relocate.
        rustflags: "-Cforce-frame-pointers=yes -Crelocation-model=static",
        flat: false,
        qemu: "qemu-system-x86_64",
        package: "qemu-system-x86",
        machine: &[
            "-machine",
            "q35",
            "-cpu",
            "max",
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
        ],
        exit_code: debug_exit,
    },
    Target {
        name: "arm",
        triple: "armv7a-none-eabi",
        features: &["image"],
        rustflags: FRAMES,
        flat: true,
        qemu: "qemu-system-arm",
        package: "qemu-system-arm",
        machine: &ARM,
        exit_code: Some,
    },
    Target {
        name: "arm-lpae",
        triple: "armv7a-none-eabi",
        features: &["image", "lpae"],
        rustflags: FRAMES,
        flat: true,
        qemu: "qemu-system-arm",
        package: "qemu-system-arm",
        machine: &ARM,
        exit_code: Some,
    },
];

/// The image's exit code of QEMU's, where the debug-exit device ends it: the image adds 0x10, QEMU doubles and adds one. Other codes
/// are QEMU's own.
fn debug_exit(code: i32) -> Option<i32> {
    (code >= 33 && code % 2 == 1).then_some((code - 33) / 2)
}

/// The image of that name.
///
/// # Errors
/// The names that there are.
pub(crate) fn target(name: &str) -> Result<&'static Target, String> {
    TARGETS.iter().find(|t| t.name == name).ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
        format!("there is no image for {name}: there are {}", names.join(", "))
    })
}
