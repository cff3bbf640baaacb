//! Which architectures are built in: the package's features. Whoever boots one machine leaves the others out, and their code with them.

use pagewright_firmware::Arch;

/// Whether machines of this architecture can be booted and their page tables be walked: whether the feature of its name is on.
pub const fn has(arch: Arch) -> bool {
    match arch {
        Arch::X86_64 => cfg!(feature = "x86_64"),
        Arch::I386 => cfg!(feature = "i386"),
        Arch::Arm => cfg!(feature = "arm"),
        Arch::Arm64 => cfg!(feature = "arm64"),
    }
}

/// Constants, so that what is left out is left out by the compiler.
pub(crate) const X86_64: bool = has(Arch::X86_64);
pub(crate) const I386: bool = has(Arch::I386);
pub(crate) const X86: bool = X86_64 || I386;
pub(crate) const ARM: bool = has(Arch::Arm);
pub(crate) const ARM64: bool = has(Arch::Arm64);

/// Whether arm64's tables with pages of this size are built in: the feature `arm64` has 4 KiB, `arm64-16k` and `arm64-64k` the others.
pub(crate) const fn arm64_pages(page_shift: u32) -> bool {
    match page_shift {
        14 => cfg!(feature = "arm64-16k"),
        16 => cfg!(feature = "arm64-64k"),
        _ => ARM64,
    }
}
